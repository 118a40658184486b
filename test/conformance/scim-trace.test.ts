/** What is kept of the requests of a directory: each one, what it did, and nobody's values. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addTemporaryToken } from '../../src/domain/people/directory-tokens.ts';
import {
  createRequestLog,
  listRequests,
  type RequestLog,
  type ScimRequest,
} from '../../src/domain/people/scim-requests.ts';
import { redactFilter, redactPath } from '../../src/edges/scim/trace.ts';
import { idIn, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
let log: RequestLog;
let directory: ScimDirectory;
const silent = { warn: () => {} };
beforeAll(async () => {
  world = await openScimWorld({ noteRequest: (request) => log.note(request) });
  log = createRequestLog({ db: world.db, act: world.act, log: silent });
  directory = await world.directory('okta');
});
afterAll(() => world.close());

/** The newest first, once all are written. */
async function last(count: number, of = directory) {
  await log.flush();
  return (await listRequests(world.db, of.id, { limit: count })).items;
}

describe('each request leaves one row', () => {
  it('with what it did', async () => {
    const id = await directory.user('Ada.Byron@example.com');
    const path = `/Users/${id}`;
    await world.agentOf(id);
    const patch = (...Operations: object[]) => directory.call('PATCH', path, { Operations });
    await directory.call('GET', path);
    await patch({ op: 'replace', path: 'title', value: 'Countess' });
    await patch({ op: 'replace', path: 'title', value: 'Countess' });
    await patch({ op: 'replace', path: 'active', value: 'False' });
    await patch({ op: 'replace', path: 'active', value: true });
    await directory.call('DELETE', path);
    await directory.call('GET', path);
    const rows = (await last(8)).reverse();
    expect(rows.map(({ method, status, effect }) => [method, status, effect])).toEqual([
      ['POST', 201, 'created'],
      ['GET', 200, 'read'],
      ['PATCH', 200, 'changed'],
      ['PATCH', 200, 'nothing'],
      ['PATCH', 200, 'offboarded'],
      ['PATCH', 200, 'returned'],
      ['DELETE', 204, 'offboarded, deleted'],
      ['GET', 404, 'refused'],
    ]);
    expect(rows.map((row) => row.path)).toEqual(['/Users', ...Array(7).fill(path)]);
    expect(rows.every(({ tookMs, requestId }) => tookMs > 0 && requestId !== '')).toBe(true);
    expect(rows.map((row) => row.id)).toEqual(rows.map((row) => row.id).sort((one, other) => one - other));
  });

  it('groups and Bulk alike, refused requests too; without a good token there is none', async () => {
    const group = `/Groups/${idIn(await directory.call('POST', '/Groups', { displayName: 'G' }))}`;
    const add = { Operations: [{ op: 'add', path: 'members', value: [{ value: await directory.user() }] }] };
    await directory.call('PATCH', group, add);
    await directory.call('PATCH', group, add);
    await directory.call('PATCH', group, '{"Operations": [');
    await directory.call('POST', '/Bulk', {
      schemas: ['urn:ietf:params:scim:api:messages:2.0:BulkRequest'],
      Operations: [
        { method: 'POST', path: '/Users', bulkId: 'a', data: { userName: randomUUID(), shoeSize: 44 } },
        { method: 'POST', path: '/Users', bulkId: 'b', data: { userName: randomUUID() } },
        { method: 'POST', path: '/Users', bulkId: 'c', data: { userName: '' } },
      ],
    });
    await directory.call('GET', '/Users', undefined, { Authorization: 'Bearer nobody' });
    const rows = (await last(6)).reverse();
    expect(rows.map(({ method, status, effect }) => [method, status, effect])).toEqual([
      ['POST', 201, 'created'],
      ['POST', 201, 'created'],
      ['PATCH', 204, 'changed'],
      ['PATCH', 204, 'nothing'],
      ['PATCH', 400, 'refused'],
      ['POST', 200, 'created 2, refused'],
    ]);
    expect(rows.at(-2)).toMatchObject({ scimType: 'invalidSyntax', detail: expect.any(String) });
    expect(rows.at(-1)).toMatchObject({ ignored: ['shoeSize'], scimType: 'invalidValue' });
  });

  it('and says why all but a departure was refused', async () => {
    const id = await directory.user();
    const Operations = [
      { op: 'replace', path: 'emails', value: 7 },
      { op: 'replace', path: 'active', value: false },
    ];
    expect((await directory.call('PATCH', `/Users/${id}`, { Operations })).status).toBe(200);
    expect(await last(1)).toMatchObject([
      { status: 200, effect: 'offboarded', scimType: 'invalidValue', detail: 'emails: an object is expected' },
    ]);
  });
});

describe('ignored parts are told by name', () => {
  it.each([
    [
      'POST',
      '/Users',
      { userName: randomUUID(), shoeSize: 44, name: { givenName: 'A', rank: 'x' }, password: 'secret-1' },
    ],
    [
      'PATCH',
      null,
      { Operations: [{ op: 'add', value: { shoeSize: 44, name: { rank: 'x' }, password: 'secret-1' } }] },
    ],
    ['PUT', null, { userName: randomUUID(), shoeSize: 44, name: { rank: 'x' }, password: 'secret-1' }],
  ] as const)('%s', async (method, given, body) => {
    const path = given ?? `/Users/${await directory.user()}`;
    expect((await directory.call(method, path, body)).status).toBeLessThan(300);
    const [row] = await last(1);
    expect(row?.ignored.toSorted()).toEqual(['name.rank', 'password', 'shoeSize']);
  });

  it('a PATCH path that names nothing is ignored for a known IdP, and invalidPath for a generic one (RFC 7644 §3.12)', async () => {
    const operations = [
      { op: 'replace', path: 'shoeSize', value: 44 },
      { op: 'add', path: 'emails[colour eq "red"].value', value: 'ada@example.com' },
      { op: 'add', path: 'emails[type eq "work"].colour', value: 'red' },
      { op: 'remove', path: 'urn:example:other:2.0:User:badge' },
    ];
    const generic = await world.directory('generic');
    const strict = `/Users/${await generic.user()}`;
    for (const operation of operations) {
      const refused = await generic.call('PATCH', strict, { Operations: [operation] });
      expect(refused).toMatchObject({ status: 400, body: { scimType: 'invalidPath' } });
    }
    const path = `/Users/${await directory.user()}`;
    const Operations = [...operations, { op: 'replace', path: 'title', value: 'Dr' }];
    expect(await directory.call('PATCH', path, { Operations })).toMatchObject({ status: 200, body: { title: 'Dr' } });
    expect((await last(1))[0]?.ignored).toEqual(['shoeSize', 'emails.colour', 'urn:example:other:2.0:User:badge']);

    const group = idIn(await directory.call('POST', '/Groups', { displayName: 'G', colour: 'red' }));
    const renamed = await directory.call('PATCH', `/Groups/${group}`, {
      Operations: [
        { op: 'replace', path: 'colour', value: 'red' },
        { op: 'replace', value: { id: group, displayName: 'H', shape: 'round' } },
      ],
    });
    expect(renamed.status).toBe(204);
    expect((await last(2)).map(({ ignored }) => ignored)).toEqual([['colour', 'shape'], ['colour']]);
  });
});

describe('nobody’s values are kept', () => {
  it('not of paths, filters, messages, bodies, tokens', async () => {
    const secret = 'Xq7Zmarker';
    const named = {
      userName: `${secret}@example.com`,
      password: secret,
      externalId: secret,
      name: { givenName: secret },
    };
    const id = idIn(await directory.call('POST', '/Users', named));
    await directory.call('POST', '/Users', named);
    await directory.call('PUT', `/Users/${id}`, { ...named, [`${secret}@x`]: secret, emails: secret });
    await directory.call('PATCH', `/Users/${id}`, {
      Operations: [{ op: 'replace', path: `emails[value eq "${secret}"].value`, value: secret }],
    });
    for (const path of [
      `/Users?filter=${encodeURIComponent(`userName eq "${secret}"`)}`,
      `/Users?filter=${encodeURIComponent(`userName eq ${secret}`)}`,
      `/Users?filter=${encodeURIComponent(`userName ${secret} "x"`)}`,
      `/Users?filter=${encodeURIComponent(`active gt "${secret}`)}`,
      `/Users?${secret}=${secret}&attributes=${secret}&sortBy=${secret}&cursor=${secret}`,
      `/Users/${secret}`,
      `/${secret}`,
    ]) {
      await directory.call('GET', path);
    }
    const rows = await last(11);
    expect(JSON.stringify(rows)).not.toContain(secret);
    expect(JSON.stringify(rows)).not.toContain(directory.token);
  });

  it.each([
    ['userName eq "ada"', 'userName eq "…"'],
    ['userName Eq "a\\"b" and (active eq true)', 'userName Eq "…" and (active eq true)'],
    ['emails[type eq "work" and value co "@x"].value pr', 'emails[type eq "…" and value co "…"].value pr'],
    [
      'urn:ietf:params:scim:schemas:core:2.0:User:userName sw "a',
      'urn:ietf:params:scim:schemas:core:2.0:User:userName sw "…"',
    ],
    ['userName eq ada or ada eq 7', 'userName eq … or … eq …'],
  ])('%s keeps its shape', (filter, kept) => {
    expect(redactFilter(filter)).toBe(kept);
  });

  it('ids and numbers of a path stay', () => {
    const id = randomUUID();
    const path = `/Groups/${id}?filter=${encodeURIComponent('displayName eq "x"')}&startIndex=1&count=100&excludedAttributes=members`;
    const url = new URL(`http://x/scim/v2${path}`);
    expect(redactPath(url, '/scim/v2')).toBe(
      `/Groups/${id}?filter=displayName eq "…"&startIndex=1&count=100&excludedAttributes=members`,
    );
  });
});

describe('the list', () => {
  const row = (directoryId: string, more: Partial<ScimRequest> = {}): ScimRequest => ({
    ...{ directoryId, requestId: 'r', method: 'GET', path: '/Users', status: 200, scimType: null, detail: null },
    ...{ ignored: [], effect: 'read', tookMs: 1, userAgent: null },
    ...more,
  });

  it('keeps the last 200 of each directory', async () => {
    const [one, other] = [await world.directory(), await world.directory()];
    for (let n = 0; n < 450; n++) log.note(row(one.id, { requestId: String(n) }));
    for (let n = 0; n < 5; n++) log.note(row(other.id));
    await log.flush();
    const [{ count, least } = {}] = await world.sql`
      select count(*)::int, min(request_id::int) as least from scim_requests where directory_id = ${one.id}`;
    expect([count, least]).toEqual([200, 250]);
    expect(await last(50, other)).toHaveLength(5);
    const page = await listRequests(world.db, one.id, { limit: 150 });
    const next = await listRequests(world.db, one.id, { limit: 150, cursor: page.nextCursor ?? '' });
    expect([...page.items, ...next.items].map(({ requestId }) => Number(requestId))).toEqual(
      Array.from({ length: 200 }, (_, n) => 449 - n),
    );
    expect(next.nextCursor).toBeNull();
  });

  it('takes characters that PostgreSQL does not', async () => {
    const one = await world.directory();
    log.note(row(one.id, { detail: 'a\0b\ud800 \\u0000', userAgent: '\0', ignored: ['x\0'] }));
    expect(await last(1, one)).toMatchObject([{ detail: 'ab\ufffd \\u0000', userAgent: '', ignored: ['x'] }]);
  });

  it('never holds up a request: while the database does not answer the newest wait, the oldest are dropped and counted', async () => {
    const one = await world.directory();
    const warned: object[] = [];
    const own = createRequestLog({
      db: world.db,
      act: world.act,
      log: { warn: (members: object) => void warned.push(members) },
    });
    const locked = await world.sql.reserve();
    try {
      await locked`begin`;
      await locked`lock table scim_requests in access exclusive mode`;
      const started = performance.now();
      for (let n = 0; n < 5_000; n++) own.note(row(one.id, { requestId: String(n) }));
      expect(performance.now() - started).toBeLessThan(500);
      expect(own.dropped()).toBeGreaterThanOrEqual(2_900);
      await locked`rollback`;
    } finally {
      locked.release();
    }
    await own.flush();
    expect((await last(1, one))[0]?.requestId).toBe('4999');
  });

  it('a directory that is not there is not found', async () => {
    await expect(listRequests(world.db, randomUUID(), { limit: 1 })).rejects.toMatchObject({ code: 'not_found' });
  });
});

it('a token that has expired is refused (401); a temporary one works beside the others until then', async () => {
  const one = await world.directory();
  const { scimToken, expiresAt } = await addTemporaryToken(world.db, world.act, one.id, 1);
  const ask = (token: string) =>
    world.app.request('http://writ.test/scim/v2/Users', { headers: { Authorization: `Bearer ${token}` } });
  expect((await ask(scimToken)).status).toBe(200);
  expect((await ask(one.token)).status).toBe(200);
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, expiresAt.getTime() - Date.now()) + 50));
  expect((await ask(scimToken)).status).toBe(401);
  expect((await ask(one.token)).status).toBe(200);
});
