import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLimits } from '../../src/platform/http/rate-limit.ts';
import {
  connectDirectory,
  idIn,
  issuer,
  mountScim,
  openScimWorld,
  type ScimDirectory,
  type ScimWorld,
} from '../support/scim.ts';
import { enterpriseUrn, idOfResult, off, resultsOf, sendBulk, statusesOf, userNamed } from '../support/scim-bulk.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
});
afterAll(() => world.close());

const bulk = (Operations: unknown, more: object = {}, to = directory) => sendBulk(to, Operations, more);
const isActive = async (id: string) => (await directory.call('GET', `/Users/${id}`)).body?.active;
const offboardings = (person: string) =>
  world.sql`select method, answered_at from offboardings where person_id = ${person}`;

describe('a departure inside Bulk', () => {
  it.each<[string, (id: string) => object]>([
    ['DELETE', () => ({ method: 'DELETE' })],
    ['delete', () => ({ method: 'delete' })],
    ['PATCH', () => ({ method: 'PATCH', data: off })],
    [
      'PATCH with a string',
      () => ({ method: 'PATCH', data: { operations: [{ op: 'Replace', path: 'Active', value: 'False' }] } }),
    ],
    ['PUT', (id) => ({ method: 'PUT', data: { userName: `${id}@x`, active: false } })],
    ['with a stale version', () => ({ method: 'PATCH', version: 'W/"99"', data: off })],
    ['a stale DELETE', () => ({ method: 'DELETE', version: 'W/"99"' })],
    ['with a version that is none', () => ({ method: 'PUT', version: 7, data: { active: 'FALSE' } })],
    [
      'with a reference that leads nowhere',
      () => ({ method: 'PUT', data: { userName: 'x', active: false, [enterpriseUrn]: { manager: 'bulkId:x' } } }),
    ],
    [
      'beside nonsense',
      () => ({ method: 'PATCH', data: { Operations: [...off.Operations, { op: 'add', path: 'shoeSize', value: 1 }] } }),
    ],
  ])('%s: is carried out and proven, also after failOnErrors has stopped', async (_name, operation) => {
    const [one, two] = [await directory.user(), await directory.user()];
    const bad = { method: 'DELETE', path: `/Groups/${randomUUID()}` };
    for (const [id, before] of [
      [one, []],
      [two, [bad]],
    ] as const) {
      const answer = await bulk([...before, { ...operation(id), path: `/Users/${id}` }, userNamed('x')], {
        failOnErrors: 1,
      });
      const result = resultsOf(answer)[before.length];
      expect(result).toMatchObject({
        status: expect.stringMatching(/^20[04]$/),
        location: expect.stringContaining(id),
      });
      expect(statusesOf(answer)).toHaveLength(2);
      await expect.poll(async () => (await offboardings(id))[0]?.answered_at ?? null).not.toBeNull();
      expect(await offboardings(id)).toHaveLength(1);
    }
  });

  it('each receipt is marked answered when the Bulk was', async () => {
    const leavers = [await directory.user(), await directory.user(), await directory.user()];
    const answer = await bulk(leavers.map((id) => ({ method: 'PATCH', path: `/Users/${id}`, data: off })));
    const rows = await world.sql`select id from offboardings where person_id = any (${leavers}) order by seq`;
    expect(answer.headers.get('writ-offboarding')?.split(', ')).toEqual(rows.map(({ id }) => id));
    for (const id of leavers) {
      await expect.poll(async () => (await offboardings(id))[0]?.answered_at ?? null).not.toBeNull();
    }
  });

  it('in a message that is refused for anything else, it alone is done', async () => {
    const bodies: ((id: string) => unknown)[] = [
      (id) => `{"Operations":[{"method":"POST","path":"/Users","bulkId":"a","data":{"userName":"a","userName":"b"}},
        {"method":"PATCH","path":"/Users/${id}","data":${JSON.stringify(off)}}]}`,
      (id) => ({ failOnErrors: 'x', Operations: [userNamed('a'), { method: 'DELETE', path: `/Users/${id}` }] }),
      (id) => ({ Operations: { method: 'PUT', path: `/Users/${id}`, data: { active: false } } }),
      (id) => ({ Operations: [userNamed('a'), userNamed('a'), { method: 'DELETE', path: `/Users/${id}` }] }),
    ];
    const alone = await world.directory();
    for (const body of bodies) {
      const id = await alone.user();
      const answer = await alone.call('POST', '/Bulk', body(id));
      expect(answer.status).toBe(200);
      const statuses = statusesOf(answer);
      expect(statuses.at(-1)).toMatch(/^20[04]$/);
      for (const status of statuses.slice(0, -1)) expect(status).toBe('400');
      expect(await offboardings(id)).toHaveLength(1);
    }
    expect((await alone.call('GET', '/Users?filter=active%20eq%20true')).body).toMatchObject({ totalResults: 0 });
    const typed = await alone.user();
    const headers = { 'Content-Type': 'text/plain' };
    const body = { Operations: [userNamed('a'), { method: 'DELETE', path: `/Users/${typed}` }] };
    expect(statusesOf(await alone.call('POST', '/Bulk', body, headers))).toEqual(['415', '204']);
  });

  it('who comes and leaves in one Bulk has left', async () => {
    const answer = await bulk([{ method: 'PATCH', path: '/Users/bulkId:a', data: off }, userNamed('a')]);
    expect(statusesOf(answer)).toEqual(['200', '201']);
    const id = idOfResult(resultsOf(answer)[1]);
    expect(await isActive(id)).toBe(false);
    expect(resultsOf(answer)[0]?.location).toBe(`${issuer}/scim/v2/Users/${id}`);
  });

  it('so is removal from the group that the directory requires, and so is an agent that is switched off', async () => {
    const strict = await world.directory();
    const [staying, leaving] = [await strict.user(), await strict.user()];
    const members = [{ value: staying }, { value: leaving }];
    const group = idIn(await strict.call('POST', '/Groups', { displayName: 'Staff', members }));
    await world.sql`update directories set required_group_id = ${group}, scim_agents = true where id = ${strict.id}`;
    const agent = await world.agentOf(staying);
    const bad = { method: 'DELETE', path: `/Groups/${randomUUID()}` };
    const remove = { op: 'remove', path: `members[value eq "${leaving}"]` };
    const answer = await bulk(
      [
        bad,
        userNamed('a'),
        { method: 'PATCH', path: `/Groups/${group.toUpperCase()}`, data: { Operations: [remove] } },
        { method: 'PATCH', path: `/Agents/${agent}`, data: off },
      ],
      { failOnErrors: 1 },
      strict,
    );
    expect(statusesOf(answer)).toEqual(['404', '204', '200']);
    await expect.poll(async () => (await offboardings(leaving))[0]?.answered_at ?? null).not.toBeNull();
    expect(await offboardings(staying)).toHaveLength(0);
    expect((await strict.call('GET', `/Agents/${agent}`)).body).toMatchObject({ active: false });
  });

  it('an outage in the middle is a 5xx of its operation, and never a success', async () => {
    const [id, other] = [await directory.user(), await directory.user()];
    await world.sql.unsafe(`
      create function refuse_bulk() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
      create trigger refuse_bulk before insert on offboardings for each row execute function refuse_bulk()`);
    const operation = { method: 'PATCH', path: `/Users/${id}`, data: off };
    const rename = { method: 'PUT', path: `/Users/${other}`, data: { userName: `${other}@x` } };
    const answer = await bulk([operation, rename]);
    await world.sql.unsafe('drop trigger refuse_bulk on offboardings; drop function refuse_bulk');
    expect(statusesOf(answer)).toEqual(['500', '200']);
    expect(await isActive(id)).toBe(true);
    expect(statusesOf(await bulk([operation]))).toEqual(['200']);
  });
});

describe('the rate of a directory', () => {
  it('a Bulk counts as its operations, and departures pass when nothing else does', async () => {
    let now = 0;
    const limits = createLimits({ client: 0, directory: 2, failures: 0 }, () => now);
    const limited = await connectDirectory(world.db, world.act, mountScim(world.db, world.act, limits), 'generic');
    const [one, two] = [await limited.user(), await limited.user()];
    now += 60_000;
    expect(
      statusesOf(
        await bulk(
          [1, 2, 3].map((index) => userNamed(`${index}`)),
          {},
          limited,
        ),
      ),
    ).toHaveLength(3);
    expect((await limited.call('GET', '/Users')).headers.get('ratelimit')).toMatch(/r=16\b/);
    await bulk(
      Array.from({ length: 30 }, (_, index) => userNamed(`${index}`)),
      {},
      limited,
    );
    const refused = await bulk([userNamed('x')], {}, limited);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).not.toBeNull();
    const mixed = await bulk(
      [
        userNamed('x'),
        { method: 'PATCH', path: `/Users/${one}`, data: off },
        { method: 'DELETE', path: `/Users/${two}` },
      ],
      {},
      limited,
    );
    expect(mixed.status).toBe(200);
    expect(statusesOf(mixed)).toEqual(['429', '200', '204']);
    for (const id of [one, two]) expect(await offboardings(id)).toHaveLength(1);
    now += 5_000;
    expect((await limited.call('GET', '/Users')).status).toBe(429);
    now += 60_000;
    expect((await limited.call('GET', '/Users')).status).toBe(200);
  });
});
