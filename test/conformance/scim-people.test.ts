import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findOwner } from '../../src/domain/people/owner.ts';
import { getPerson, listPeople } from '../../src/domain/people/people.ts';
import { openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
});
afterAll(() => world.close());

const off = { Operations: [{ op: 'replace', value: { active: false } }] };

describe('owner', () => {
  it('a UUID is a person id and nothing else; anything else is a userName, in any case', async () => {
    const userName = `Ada.${randomUUID()}@example.com`;
    const id = await directory.user(userName);
    const ada = { id, live: true, directoryId: directory.id, userName };
    expect(await findOwner(world.db, id)).toEqual(ada);
    expect(await findOwner(world.db, id.toUpperCase())).toEqual(ada);
    expect(await findOwner(world.db, userName.toLowerCase())).toEqual(ada);
    const uuidName = randomUUID();
    await directory.user(uuidName);
    await expect(findOwner(world.db, uuidName)).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(findOwner(world.db, 'nobody')).rejects.toMatchObject({ code: 'invalid_request' });
    await directory.call('PATCH', `/Users/${id}`, off);
    expect(await findOwner(world.db, id)).toMatchObject({ live: false });
  });

  it('one that stands in two directories has to be given with its directory', async () => {
    const other = await world.directory();
    const userName = `${randomUUID()}@example.com`;
    const [mine, theirs] = [await directory.user(userName), await other.user(userName)];
    await expect(findOwner(world.db, userName)).rejects.toMatchObject({ code: 'conflict' });
    expect(await findOwner(world.db, { directory: other.id, userName })).toMatchObject({ id: theirs });
    const { name } = (await getPerson(world.db, mine)).directory;
    expect(await findOwner(world.db, { directory: name, userName })).toMatchObject({ id: mine });
    await expect(findOwner(world.db, { directory: 'nowhere', userName })).rejects.toMatchObject({
      code: 'invalid_request',
    });
    await other.call('DELETE', `/Users/${theirs}`);
    expect(await findOwner(world.db, userName)).toMatchObject({ id: mine });
    expect(await findOwner(world.db, theirs)).toMatchObject({ live: false });
  });
});

describe('people for administrators', () => {
  it('pages through all directories, tombstones included, without gaps', async () => {
    const ids: string[] = [];
    for (let index = 0; index < 5; index++) ids.push(await directory.user(`list-${index}-${randomUUID()}`));
    await directory.call('DELETE', `/Users/${ids[1]}`);
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await listPeople(world.db, { q: 'LIST-', directory: directory.id }, { limit: 2, cursor });
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    expect(seen).toEqual(ids);
    expect(await getPerson(world.db, ids[1] ?? '')).toMatchObject({ active: false, deletedAt: expect.any(Date) });
    expect((await listPeople(world.db, { q: 'list-', active: false }, { limit: 10 })).items).toHaveLength(1);
    expect((await listPeople(world.db, { q: '%' }, { limit: 10 })).items).toEqual([]);
    await expect(listPeople(world.db, {}, { limit: 10, cursor: 'x' })).rejects.toMatchObject({
      code: 'invalid_request',
    });
    await expect(getPerson(world.db, 'x')).rejects.toMatchObject({ code: 'not_found' });
  });
});

it('on a real server the receipt is marked answered once the answer is out, and the audit names the caller', async () => {
  const server = serve({ fetch: world.app.fetch, port: 0, hostname: '127.0.0.1' });
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address() as AddressInfo;
  const id = await directory.user();
  const answer = await fetch(`http://127.0.0.1:${address.port}/scim/v2/Users/${id}`, {
    method: 'PATCH',
    headers: { Authorization: `Bearer ${directory.token}`, 'Content-Type': 'application/scim+json; charset=utf-8' },
    body: JSON.stringify(off),
  });
  expect(await answer.json()).toMatchObject({ id, active: false });
  await expect
    .poll(
      () =>
        world.sql`select answered_at >= committed_at - interval '1 second' as answered from offboardings where person_id = ${id}`,
    )
    .toEqual([{ answered: true }]);
  const [entry] =
    await world.sql`select body from audit_entries where person_id = ${id} and kind = 'person.offboarded'`;
  expect(String(entry?.body)).toContain('127.0.0.1');
  expect(String(entry?.body)).toContain(directory.id);
  await new Promise((resolve) => server.close(resolve));
});

it('a lock that is not granted in time is 503, and the retry succeeds', async () => {
  const id = await directory.user();
  await world.sql.begin(async (held) => {
    await held`select pg_advisory_xact_lock(owner_lock_key(${id}))`;
    const answer = await directory.call('PATCH', `/Users/${id}`, off);
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).not.toBeNull();
  });
  expect((await directory.call('PATCH', `/Users/${id}`, off)).body).toMatchObject({ active: false });
});

it('a connection that is cut in the middle is 503, and nothing is half done', async () => {
  const id = await directory.user();
  const cut = async () => {
    const rows = await world.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and wait_event_type = 'Lock'`;
    return rows.length;
  };
  await world.sql.begin(async (held) => {
    await held`select pg_advisory_xact_lock(owner_lock_key(${id}))`;
    const waiting = directory.call('DELETE', `/Users/${id}`);
    await expect.poll(cut, { interval: 50 }).toBe(1);
    expect((await waiting).status).toBe(503);
  });
  expect((await directory.call('GET', `/Users/${id}`)).body).toMatchObject({ active: true });
});
