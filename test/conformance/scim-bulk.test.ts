import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { idIn, issuer, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';
import { enterpriseUrn, idOfResult, resultsOf, sendBulk, statusesOf, userNamed } from '../support/scim-bulk.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
});
afterAll(() => world.close());

const bulk = (Operations: unknown, more: object = {}, to = directory) => sendBulk(to, Operations, more);
const read = async (path: string) => (await directory.call('GET', path)).body;
const managerIn = (body: Record<string, unknown> | null): unknown =>
  Object(Object(body?.[enterpriseUrn]).manager).value;
const offboardings = (person: string) =>
  world.sql`select method, answered_at from offboardings where person_id = ${person}`;

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
    const forward = { ...userNamed('d'), data: { userName: randomUUID(), [enterpriseUrn]: { manager: 'bulkId:e' } } };
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
      userNamed(`u${index}`, { [enterpriseUrn]: { manager: `bulkId:u${(index + 1) % 1_000}` } }),
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
    ['no operations', {}, 'invalidSyntax'],
    ['an empty list', { Operations: [] }, 'invalidSyntax'],
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
      userNamed('u', { [enterpriseUrn]: { manager: { value: 'bulkId:m' } } }),
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
      userNamed(bulkId, { title: bulkId, [enterpriseUrn]: { department: 'D', manager: by } });
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
      expect(person).toMatchObject({ [enterpriseUrn]: { department: 'D' } });
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
      userNamed('a', { [enterpriseUrn]: { manager: 'bulkId:nobody' } }),
      { ...userNamed('clash'), data: { userName: taken } },
      userNamed('b', { [enterpriseUrn]: { manager: 'bulkId:clash' } }),
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
      { ...userNamed('a'), data: { userName: taken, [enterpriseUrn]: { manager: 'bulkId:b' } } },
      userNamed('b', { [enterpriseUrn]: { manager: 'bulkId:a' } }),
      userNamed('c'),
    ]);
    expect(statusesOf(answer)).toEqual(['409', '409', '201']);
    const [, made] = resultsOf(answer);
    expect(await read(`/Users/${idOfResult(made)}`)).toMatchObject({ active: true });
    // Nor when the one that is missing was never begun.
    const stopped = await bulk(
      [
        userNamed('x', { [enterpriseUrn]: { manager: 'bulkId:y' }, title: 'bulkId:z' }),
        userNamed('y', { [enterpriseUrn]: { manager: 'bulkId:x' } }),
        { ...userNamed('z'), data: { userName: taken } },
      ],
      { failOnErrors: 1 },
    );
    expect(resultsOf(stopped).map(({ bulkId }) => bulkId)).not.toContain('x');
    expect(statusesOf(stopped)).toEqual(['409', '409']);
  });
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
    fc.dictionary(
      fc.constantFrom('userName', 'displayName', 'members', 'active', enterpriseUrn, 'emails', 'name'),
      value,
    ),
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
