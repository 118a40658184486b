/** What IdPs match and page by is found by an index: no request of this kind reads a directory whole. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

const people = 20_000;
/** The first page of a walk counts, but not to the end. */
const walked = 10_200;

let world: ScimWorld;
let directory: ScimDirectory;
let id: string;
let at: string;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
  await world.sql`alter table people set (autovacuum_enabled = false)`;
  await world.sql`
    insert into people (directory_id, user_name, external_id, display_name, attributes, created_at, updated_at)
    select ${directory.id}::uuid, 'User' || i || '@x', 'e' || i, 'Person ' || md5(i::text),
      jsonb_build_object('emails', jsonb_build_array(jsonb_build_object('type', 'work', 'value', 'User' || i || '@x'))),
      now() - ${people} * interval '1 minute' + i * interval '1 minute', now() - i * interval '1 second'
    from generate_series(1, ${people}::int) as i`;
  await world.sql`analyze people`;
  const [row] = await world.sql`
    select id from people
    where directory_id = ${directory.id} and external_id = 'e777' and deleted_at is null`;
  id = String(row?.id);
  at = new Date(Date.now() - 50_000).toISOString();
});
afterAll(() => world.close());

const rowsRead = async (): Promise<{ scans: number; rows: number }> => {
  const [row] = await world.sql`
    select seq_tup_read::int + coalesce(idx_tup_fetch, 0)::int as rows,
      (select sum(idx_scan)::int from pg_stat_user_indexes where relname = 'people') + seq_scan::int as scans
    from pg_stat_user_tables where relname = 'people'`;
  return { scans: Number(row?.scans), rows: Number(row?.rows) };
};

/** Rows of people that one request reads. A connection tells its counts now and then, so it is asked until it has. */
async function costOf(query: Record<string, string>): Promise<number> {
  const path = `/Users?${new URLSearchParams(query)}`;
  const before = await rowsRead();
  const requests = 3;
  for (let sent = 0; sent < requests; sent++) expect((await directory.call('GET', path)).status).toBe(200);
  await expect
    .poll(
      async () => {
        await Promise.all(Array.from({ length: 12 }, () => world.sql`select pg_stat_force_next_flush()`));
        return (await rowsRead()).scans;
      },
      { timeout: 15_000, interval: 50 },
    )
    .toBeGreaterThanOrEqual(before.scans + requests);
  return ((await rowsRead()).rows - before.rows) / requests;
}

describe('RFC 7644 §3.4.2 rows that are read to answer', () => {
  it.each<[string, () => Record<string, string>, number?]>([
    ['userName eq', () => ({ filter: 'userName eq "user777@x"' })],
    ['externalId eq', () => ({ filter: 'externalId eq "e777"' })],
    ['id eq', () => ({ filter: `id eq "${id}"` })],
    ['displayName eq', () => ({ filter: 'displayName eq "person f1c1592588411002af340cbaedd6fc33"' })],
    ['emails.value eq', () => ({ filter: 'emails.value eq "USER777@x"' })],
    ['emails[…]', () => ({ filter: 'emails[type eq "work" and value eq "user777@x"]' })],
    ['emails[…].value', () => ({ filter: 'emails[type eq "work"].value eq "user777@x" and active eq true' })],
    ['one or the other', () => ({ filter: 'userName eq "user777@x" or emails.value eq "user778@x"' })],
    ['sorted', () => ({ filter: 'userName eq "user777@x"', sortBy: 'meta.lastModified' })],
    ['a walk', () => ({ cursor: '', count: '50' }), walked],
    ['a walk by userName', () => ({ cursor: '', count: '50', sortBy: 'userName', sortOrder: 'descending' }), walked],
    ['a walk by lastModified', () => ({ cursor: '', count: '50', sortBy: 'meta.lastModified' }), walked],
    ['userName sw', () => ({ filter: 'userName sw "user777"' })],
    ['displayName sw', () => ({ filter: 'displayName sw "person f1c15"' })],
    ['meta.lastModified gt', () => ({ filter: `meta.lastModified gt "${at}"`, sortBy: 'meta.lastModified' })],
  ])('%s', async (_name, query, most = 500) => expect(await costOf(query())).toBeLessThan(most));
});
