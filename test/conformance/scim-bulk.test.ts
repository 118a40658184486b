import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLimits } from '../../src/platform/http/rate-limit.ts';
import {
  connectDirectory,
  idIn,
  issuer,
  mountScim,
  openScimWorld,
  type ScimAnswer,
  type ScimDirectory,
  type ScimWorld,
} from '../support/scim.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
});
afterAll(() => world.close());

const urn = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
const schemas = ['urn:ietf:params:scim:api:messages:2.0:BulkRequest'];
const bulk = (Operations: unknown, more: object = {}, to = directory) =>
  to.call('POST', '/Bulk', { schemas, Operations, ...more });
const resultsOf = ({ body }: ScimAnswer): Record<string, unknown>[] =>
  [body?.Operations].flat().map((result) => Object(result));
const statusesOf = (answer: ScimAnswer) => resultsOf(answer).map(({ status }) => status);
const read = async (path: string) => (await directory.call('GET', path)).body;
const isActive = async (id: string) => (await read(`/Users/${id}`))?.active;
const offboardings = (person: string) =>
  world.sql`select method, answered_at from offboardings where person_id = ${person}`;

const userNamed = (bulkId: string, more: object = {}) => ({
  method: 'POST',
  path: '/Users',
  bulkId,
  data: { userName: `${randomUUID()}@example.com`, ...more },
});
const idOfResult = (result: Record<string, unknown> | undefined) => String(result?.location).split('/').at(-1) ?? '';
const managerIn = (body: Record<string, unknown> | null): unknown => Object(Object(body?.[urn]).manager).value;
const off = { Operations: [{ op: 'replace', value: { active: false } }] };

describe('RFC 7644 §3.7 Bulk', () => {
  it('carries out each operation and answers with location, version and status as strings, in the order given', async () => {
    const [one, two, three] = [await directory.user(), await directory.user(), await directory.user()];
    const answer = await bulk([
      userNamed('a'),
      { method: 'PUT', path: `/Users/${one}`, data: { userName: `${one}@x`, title: 'Dr' } },
      { method: 'patch', path: `/Users/${two}`, data: { Operations: [{ op: 'add', path: 'title', value: 'Dr' }] } },
      { method: 'DELETE', path: `/Users/${three}`, bulkId: 'd' },
      { method: 'POST', path: '/Groups', bulkId: 'g', data: { displayName: 'G', members: [{ value: one }] } },
    ]);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/scim+json');
    expect(answer.body).toEqual({
      schemas: ['urn:ietf:params:scim:api:messages:2.0:BulkResponse'],
      Operations: [
        { method: 'POST', bulkId: 'a', location: expect.any(String), version: 'W/"1"', status: '201' },
        { method: 'PUT', location: `${issuer}/scim/v2/Users/${one}`, version: 'W/"2"', status: '200' },
        { method: 'PATCH', location: `${issuer}/scim/v2/Users/${two}`, version: 'W/"2"', status: '200' },
        { method: 'DELETE', bulkId: 'd', location: `${issuer}/scim/v2/Users/${three}`, status: '204' },
        { method: 'POST', bulkId: 'g', location: expect.any(String), version: 'W/"1"', status: '201' },
      ],
    });
    const [made] = resultsOf(answer);
    expect(await read(`/Users/${idOfResult(made)}`)).toMatchObject({ meta: { location: made?.location } });
    expect(await read(`/Users/${one}`)).toMatchObject({ title: 'Dr' });
    expect(await read(`/Users/${two}`)).toMatchObject({ title: 'Dr' });
    expect((await directory.call('GET', `/Users/${three}`)).status).toBe(404);
  });

  it('§3.7.3 the error body of each operation that fails, with the location unless it was a POST', async () => {
    const taken = `${randomUUID()}@example.com`;
    await directory.user(taken);
    const nobody = randomUUID();
    const answer = await bulk([
      { method: 'POST', path: '/Users', bulkId: 'a', data: { userName: taken } },
      { method: 'PUT', path: `/Users/${nobody}`, data: { userName: 'x' } },
      { method: 'POST', path: '/Users', data: { userName: 'without a bulkId' } },
      { method: 'GET', path: '/Users' },
      { method: 'POST', path: '/Nothing', bulkId: 'b', data: {} },
      { method: 'POST', path: '/Bulk', bulkId: 'c', data: { Operations: [] } },
      { method: 'POST', path: '/Users/.search', bulkId: 'd', data: {} },
      { method: 'PATCH', path: '/Users', data: {} },
      { method: 'PUT', path: `/Users/${nobody}` },
      'nonsense',
      userNamed('last'),
    ]);
    const expected = ['409', '404', '400', '400', '404', '405', '400', '405', '400', '400', '201'];
    expect(statusesOf(answer)).toEqual(expected);
    const [conflict, missing, ...rest] = resultsOf(answer);
    expect(conflict).toMatchObject({ bulkId: 'a', response: { status: '409', scimType: 'uniqueness' } });
    expect(conflict).not.toHaveProperty('location');
    expect(missing).toMatchObject({ location: `${issuer}/scim/v2/Users/${nobody}`, response: { status: '404' } });
    for (const result of rest.slice(0, -1)) expect(result.response).toMatchObject({ status: result.status });
  });

  it('§3.7.3 failOnErrors: after so many errors no more is begun; without it all are tried', async () => {
    const bad = { method: 'DELETE', path: `/Groups/${randomUUID()}` };
    const operations = () => [userNamed('a'), bad, userNamed('b'), bad, userNamed('c')];
    expect(statusesOf(await bulk(operations()))).toEqual(['201', '404', '201', '404', '201']);
    expect(statusesOf(await bulk(operations(), { failOnErrors: 1 }))).toEqual(['201', '404']);
    expect(statusesOf(await bulk(operations(), { failOnErrors: 2 }))).toEqual(['201', '404', '201', '404']);
    expect(statusesOf(await bulk(operations(), { failOnErrors: 3 }))).toHaveLength(5);
    // Not even what another one needs.
    const forward = { ...userNamed('d'), data: { userName: randomUUID(), [urn]: { manager: 'bulkId:e' } } };
    expect(statusesOf(await bulk([bad, forward, userNamed('e')], { failOnErrors: 1 }))).toEqual(['404']);
  });

  it('§3.14 version is the If-Match of its operation', async () => {
    const id = await directory.user();
    const patch = (title: string, version: string) => ({
      method: 'PATCH',
      path: `/Users/${id}`,
      version,
      data: { Operations: [{ op: 'add', path: 'title', value: title }] },
    });
    const answer = await bulk([patch('a', 'W/"1"'), patch('b', 'W/"1"'), patch('c', 'W/"2"')]);
    expect(statusesOf(answer)).toEqual(['200', '412', '200']);
    expect(await read(`/Users/${id}`)).toMatchObject({ title: 'c' });
  });

  it('§3.7.4 more than maxOperations or maxPayloadSize: 413 that names the limit, and nothing is done', async () => {
    const { bulk: limits } = Object((await directory.call('GET', '/ServiceProviderConfig')).body);
    expect(limits).toEqual({ supported: true, maxOperations: 1_000, maxPayloadSize: 1_048_576 });
    const alone = await world.directory();
    // All of them in one circle: each is managed by the next.
    const many = Array.from({ length: 1_001 }, (_, index) =>
      userNamed(`u${index}`, { [urn]: { manager: `bulkId:u${(index + 1) % 1_000}` } }),
    );
    const tooMany = await bulk(many, {}, alone);
    expect(tooMany).toMatchObject({
      status: 413,
      body: { status: '413', detail: expect.stringContaining('maxOperations') },
    });
    const tooLarge = await bulk([userNamed('a', { title: 'x'.repeat(1_048_576) })], {}, alone);
    expect(tooLarge).toMatchObject({ status: 413, body: { detail: expect.stringContaining('maxPayloadSize') } });
    expect((await alone.call('GET', '/Users')).body).toMatchObject({ totalResults: 0 });
    expect(statusesOf(await bulk(many.slice(0, 1_000), {}, alone)).filter((status) => status === '201')).toHaveLength(
      1_000,
    );
  });

  it.each<[string, unknown, string]>([
    ['no operations', { schemas }, 'invalidSyntax'],
    ['an empty list', { schemas, Operations: [] }, 'invalidSyntax'],
    ['an array', [], 'invalidSyntax'],
    ['no JSON', '{"Operations":[', 'invalidSyntax'],
    ['failOnErrors as a string', { Operations: [userNamed('a')], failOnErrors: '1' }, 'invalidValue'],
    ['a bulkId twice', { Operations: [userNamed('a'), userNamed('a')] }, 'invalidValue'],
    ['operations in two spellings', { Operations: [userNamed('a')], operations: [userNamed('b')] }, 'invalidSyntax'],
  ])('a message that is wrong is refused as a whole: %s', async (_name, body, scimType) => {
    expect(await directory.call('POST', '/Bulk', body)).toMatchObject({ status: 400, body: { scimType } });
  });

  it('is for POST alone, and sees its own directory alone', async () => {
    const get = await directory.call('GET', '/Bulk');
    expect(get.status).toBe(405);
    expect(get.headers.get('allow')).toBe('POST');
    const foreign = await (await world.directory()).user();
    const answer = await bulk([
      { method: 'DELETE', path: `/Users/${foreign}` },
      { method: 'POST', path: '/Groups', bulkId: 'g', data: { displayName: 'G', members: [{ value: foreign }] } },
    ]);
    expect(statusesOf(answer)).toEqual(['404', '400']);
    expect(await offboardings(foreign)).toHaveLength(0);
  });

  it('what is refused is recorded as the request by itself would be', async () => {
    const alone = await world.directory();
    await bulk(
      [
        { method: 'PUT', path: `/Users/${randomUUID()}`, data: {} },
        { method: 'DELETE', path: '/Users/bulkId:x' },
      ],
      {},
      alone,
    );
    const rows = await world.sql`
      select body::jsonb -> 'details' as details from audit_entries
      where kind = 'scim.refused' and body::jsonb -> 'details' ->> 'directory' = ${alone.id} order by counter`;
    expect(rows.map(({ details }) => Object(details).status)).toEqual([404, 409]);
  });
});

describe('RFC 7644 §3.7.1 to §3.7.2 bulkId', () => {
  it('in data and in path, of what stands before or after', async () => {
    const answer = await bulk([
      { method: 'POST', path: '/Groups', bulkId: 'g', data: { displayName: 'G', members: [{ value: 'bulkId:u' }] } },
      { method: 'PATCH', path: '/Users/bulkId:u', data: { Operations: [{ op: 'add', path: 'title', value: 'Dr' }] } },
      userNamed('u', { [urn]: { manager: { value: 'bulkId:m' } } }),
      userNamed('m'),
      {
        method: 'PATCH',
        path: '/Groups/bulkId:g',
        data: { Operations: [{ op: 'add', path: 'members', value: [{ $ref: '../Users/bulkId:m' }] }] },
      },
    ]);
    expect(statusesOf(answer)).toEqual(['201', '200', '201', '201', '204']);
    const [group, , user, manager] = resultsOf(answer).map(idOfResult);
    expect(await read(`/Groups/${group}`)).toMatchObject({ members: [{ value: manager }, { value: user }] });
    const person = await read(`/Users/${user}`);
    expect(person).toMatchObject({ title: 'Dr' });
    expect(managerIn(person)).toBe(manager);
    const left = await bulk([
      {
        method: 'PATCH',
        path: `/Groups/${group}`,
        data: { Operations: [{ op: 'remove', path: `members[value eq "${user}"]` }] },
      },
    ]);
    expect(statusesOf(left)).toEqual(['204']);
    expect(await read(`/Groups/${group}`)).toMatchObject({ members: [{ value: manager }] });
  });

  it('in a circle: each other’s managers, one’s own, three in a row, and a user and a group', async () => {
    const managed = (bulkId: string, by: string) =>
      userNamed(bulkId, { title: bulkId, [urn]: { department: 'D', manager: by } });
    const answer = await bulk([
      managed('a', 'bulkId:b'),
      managed('b', 'bulkId:a'),
      managed('own', 'bulkId:own'),
      managed('x', 'bulkId:y'),
      managed('y', 'bulkId:z'),
      managed('z', 'bulkId:x'),
      userNamed('u', { groups: [{ value: 'bulkId:g' }] }),
      { method: 'POST', path: '/Groups', bulkId: 'g', data: { displayName: 'G', members: [{ value: 'bulkId:u' }] } },
    ]);
    expect(statusesOf(answer)).toEqual(Array(8).fill('201'));
    const results = resultsOf(answer);
    const [a, b, own, x, y, z, u, g] = results.map(idOfResult);
    for (const [id, manager] of [
      [a, b],
      [b, a],
      [own, own],
      [x, y],
      [y, z],
      [z, x],
    ]) {
      const person = await read(`/Users/${id}`);
      expect(managerIn(person)).toBe(manager);
      expect(person).toMatchObject({ [urn]: { department: 'D' } });
      expect(results.find(({ location }) => String(location).endsWith(String(id)))?.version).toBe(
        Object(person?.meta).version,
      );
    }
    expect(await read(`/Groups/${g}`)).toMatchObject({ members: [{ value: u }] });
  });

  it('that lead nowhere: 409 in that operation, and the others are done', async () => {
    const taken = `${randomUUID()}@example.com`;
    await directory.user(taken);
    const answer = await bulk([
      userNamed('a', { [urn]: { manager: 'bulkId:nobody' } }),
      { ...userNamed('clash'), data: { userName: taken } },
      userNamed('b', { [urn]: { manager: 'bulkId:clash' } }),
      { method: 'PATCH', path: '/Users/bulkId:clash', data: { Operations: [] } },
      userNamed('c'),
    ]);
    expect(statusesOf(answer)).toEqual(['409', '409', '409', '409', '201']);
    expect(resultsOf(answer)[0]).toMatchObject({ response: { detail: expect.stringContaining('bulkId:nobody') } });
    expect(resultsOf(answer)[0]).not.toHaveProperty('location');
  });

  it('a circle that cannot be closed says 409 with the location of what was made without it', async () => {
    const taken = `${randomUUID()}@example.com`;
    await directory.user(taken);
    const answer = await bulk([
      { ...userNamed('a'), data: { userName: taken, [urn]: { manager: 'bulkId:b' } } },
      userNamed('b', { [urn]: { manager: 'bulkId:a' } }),
      userNamed('c'),
    ]);
    expect(statusesOf(answer)).toEqual(['409', '409', '201']);
    const [, made] = resultsOf(answer);
    expect(await read(`/Users/${idOfResult(made)}`)).toMatchObject({ active: true });
    // Nor when the one that is missing was never begun.
    const stopped = await bulk(
      [
        userNamed('x', { [urn]: { manager: 'bulkId:y' }, title: 'bulkId:z' }),
        userNamed('y', { [urn]: { manager: 'bulkId:x' } }),
        { ...userNamed('z'), data: { userName: taken } },
      ],
      { failOnErrors: 1 },
    );
    expect(resultsOf(stopped).map(({ bulkId }) => bulkId)).not.toContain('x');
    expect(statusesOf(stopped)).toEqual(['409', '409']);
  });
});

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
      () => ({ method: 'PUT', data: { userName: 'x', active: false, [urn]: { manager: 'bulkId:x' } } }),
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

describe('RFC 7644 §3.11 /Me', () => {
  it.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const)(
    '%s: 501 that says what to do instead',
    async (method) => {
      const body = method === 'GET' ? undefined : { userName: 'x' };
      expect(await directory.call(method, '/Me', body)).toMatchObject({
        status: 501,
        body: { status: '501', detail: expect.stringContaining('/Users') },
      });
    },
  );
});

it('no body makes it fail: whatever is sent is carried out or refused', async () => {
  const id = await directory.user();
  const target = fc.constantFrom(
    '/Users',
    `/Users/${id}`,
    '/Groups',
    '/Users/bulkId:a',
    '/Groups/%',
    '/',
    '/Users//x',
    '',
  );
  const loose = <T>(value: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 5, arbitrary: value }, { weight: 1, arbitrary: fc.jsonValue() });
  const value = fc.oneof(
    fc.constantFrom('bulkId:a', 'bulkId:', 'x/bulkId:b', false, null, id),
    fc.jsonValue({ maxDepth: 3 }),
  );
  const data = fc.oneof(
    fc.dictionary(fc.constantFrom('userName', 'displayName', 'members', 'active', urn, 'emails', 'name'), value),
    fc.record({
      Operations: fc.array(fc.record({ op: fc.constantFrom('add', 'remove'), path: value, value }), { maxLength: 3 }),
    }),
  );
  const operation = fc.record(
    {
      method: loose(fc.constantFrom('POST', 'PUT', 'PATCH', 'DELETE', 'patch')),
      path: loose(target),
      bulkId: loose(fc.constantFrom('a', 'b', 'c')),
      version: loose(fc.constantFrom('W/"1"', '*', 'ü')),
      data: loose(data),
    },
    { requiredKeys: [] },
  );
  const message = fc.record(
    {
      failOnErrors: loose(fc.integer({ min: 0, max: 3 })),
      Operations: loose(fc.array(loose(operation), { maxLength: 5 })),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(message, async (body) => {
      const answer = await directory.call('POST', '/Bulk', body);
      expect([200, 400]).toContain(answer.status);
      if (answer.status === 200) for (const status of statusesOf(answer)) expect(status).toMatch(/^[24]\d\d$/);
    }),
    { numRuns: 200 },
  );
});

it('ids made in a Bulk are those that a search finds', async () => {
  const operation = userNamed('a');
  const answer = await bulk([operation]);
  const filter = encodeURIComponent(`userName eq "${operation.data.userName}"`);
  const { body } = await directory.call('GET', `/Users?filter=${filter}`);
  expect(body).toMatchObject({ totalResults: 1, Resources: [{ id: idOfResult(resultsOf(answer)[0]) }] });
  expect(idIn({ ...answer, body: Object([body?.Resources].flat()[0]) })).toBe(idOfResult(resultsOf(answer)[0]));
});
