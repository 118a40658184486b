import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/platform/db/client.ts';
import { idIn, issuer, mountScim, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
});
afterAll(() => world.close());

const errorUrn = 'urn:ietf:params:scim:api:messages:2.0:Error';
const refusal = (status: number, scimType?: string) => ({
  status,
  body: { schemas: [errorUrn], status: String(status), ...(scimType === undefined ? {} : { scimType }) },
});
const list = (filter: string, more = '') => directory.call('GET', `/Users?filter=${encodeURIComponent(filter)}${more}`);

describe('RFC 7644 §2 authentication', () => {
  const routes: [string, string][] = [
    ['GET', '/Users'],
    ['POST', '/Users'],
    ['GET', '/Users/x'],
    ['PUT', '/Users/x'],
    ['PATCH', '/Users/x'],
    ['DELETE', '/Users/x'],
    ['GET', '/Groups'],
    ['POST', '/Groups'],
    ['GET', '/Groups/x'],
    ['PUT', '/Groups/x'],
    ['PATCH', '/Groups/x'],
    ['DELETE', '/Groups/x'],
    ['GET', '/ServiceProviderConfig'],
    ['GET', '/ResourceTypes'],
    ['GET', '/ResourceTypes/User'],
    ['GET', '/Schemas'],
    ['GET', '/Schemas/x'],
    ['GET', '/Me'],
    ['POST', '/Bulk'],
    ['POST', '/.search'],
    ['GET', '/nothing'],
  ];
  it.each(routes)('%s %s: 401 without, and with a wrong, token', async (method, path) => {
    for (const authorization of [
      undefined,
      'Bearer wrong',
      `Basic ${directory.token}`,
      `Bearer ${'x'.repeat(9_999)}`,
    ]) {
      const headers = authorization === undefined ? {} : { authorization };
      const answer = await world.app.request(`${issuer}/scim/v2${path}`, { method, headers });
      expect(answer.status).toBe(401);
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer realm=/);
      expect(answer.headers.get('content-type')).toBe('application/scim+json');
      expect(await answer.json()).toMatchObject(refusal(401).body);
    }
  });
  it('is recorded when it fails', async () => {
    const [row] = await world.sql`select body from audit_entries where kind = 'scim.refused' limit 1`;
    expect(String(row?.body)).not.toContain(directory.token);
  });
  it('is not recorded when there is no credential: anybody could fill the log', async () => {
    const count = async () => (await world.sql`select count(*)::int as count from audit_entries`)[0]?.count;
    const before = await count();
    expect((await world.app.request(`${issuer}/scim/v2/Users`)).status).toBe(401);
    expect(await count()).toBe(before);
  });
});

describe('directories are apart', () => {
  it('ids of another directory are unknown ids', async () => {
    const stranger = await world.directory();
    const person = await stranger.user();
    const group = idIn(await stranger.call('POST', '/Groups', { displayName: 'G' }));
    const off = { Operations: [{ op: 'replace', value: { active: false } }] };
    for (const path of [`/Users/${person}`, `/Groups/${group}`, `/Users/${randomUUID()}`, '/Users/nobody']) {
      expect(await directory.call('GET', path)).toMatchObject(refusal(404));
      expect(await directory.call('PATCH', path, off)).toMatchObject(refusal(404));
      expect(await directory.call('DELETE', path)).toMatchObject(refusal(404));
    }
    expect(await list(`id eq "${person}"`)).toMatchObject({ status: 200, body: { totalResults: 0 } });
    const [foreign, unknown] = await Promise.all(
      [person, randomUUID(), 'nobody', group].map((value) =>
        directory.call('POST', '/Groups', { displayName: 'G', members: [{ value }] }),
      ),
    );
    expect(foreign).toMatchObject(refusal(400, 'invalidValue'));
    expect(foreign?.body).toEqual(unknown?.body);
    expect((await stranger.call('GET', `/Users/${person}`)).body).toMatchObject({ active: true });
  });
  it('the same userName may stand in two of them', async () => {
    const userName = `${randomUUID()}@example.com`;
    expect(await directory.user(userName)).not.toBe(await (await world.directory()).user(userName));
  });
});

describe('RFC 7644 §3.4.2 lists', () => {
  it('pages in a stable order with integers, and survives absurd numbers', async () => {
    const many = await world.directory();
    const ids: string[] = [];
    for (let index = 0; index < 5; index++) ids.push(await many.user());
    const page = async (query: string) => (await many.call('GET', `/Users?${query}`)).body;
    const idsOf = (body: Record<string, unknown> | null) => [body?.Resources].flat().map((one) => Object(one).id);
    expect(await page('')).toMatchObject({ totalResults: 5, startIndex: 1, itemsPerPage: 5 });
    expect(idsOf(await page('startIndex=2&count=2'))).toEqual(ids.slice(1, 3));
    expect(await page('startIndex=5&count=100')).toMatchObject({ totalResults: 5, startIndex: 5, itemsPerPage: 1 });
    expect(await page('startIndex=-3&count=1')).toMatchObject({ startIndex: 1, itemsPerPage: 1 });
    expect(await page('count=0')).toMatchObject({ totalResults: 5, itemsPerPage: 0, Resources: [] });
    expect(await page('count=-1')).toMatchObject({ totalResults: 5, itemsPerPage: 0, Resources: [] });
    expect(await page('startIndex=999999999999999&count=999999999999999')).toMatchObject({
      totalResults: 5,
      Resources: [],
    });
    for (const query of ['count=x', 'startIndex=1.5', 'count=1&count=2', 'count=1e3']) {
      expect(await page(query)).toMatchObject({ status: '400', scimType: 'invalidValue' });
    }
  });

  it('finds by every attribute that identity providers match by, in any case', async () => {
    const userName = `Grace.${randomUUID()}@Example.com`;
    const externalId = randomUUID();
    const emails = [
      { type: 'work', value: userName },
      { type: 'home', value: `home.${userName}` },
    ];
    const id = await directory.user(userName, { externalId, emails });
    for (const filter of [
      `userName eq "${userName.toLowerCase()}"`,
      `USERNAME EQ "${userName}"`,
      `externalId eq "${externalId}"`,
      `id eq "${id}"`,
      `emails[type eq "work"].value eq "${userName}"`,
      `emails.value Eq "${userName}"`,
      `emails[type eq "work" and value eq "${userName}"]`,
      `userName eq "${userName}" And active eq true`,
      `urn:ietf:params:scim:schemas:core:2.0:User:userName eq "${userName}"`,
    ]) {
      expect(await list(filter)).toMatchObject({ status: 200, body: { totalResults: 1, Resources: [{ id }] } });
    }
    for (const filter of [
      `emails[type eq "home"].value eq "${userName}"`,
      `externalId eq "${externalId.toUpperCase()}"`,
      'id eq "nobody"',
      `userName eq "${userName}" and active eq false`,
      `userName eq "${randomUUID()}"`,
    ]) {
      expect(await list(filter)).toMatchObject({ status: 200, body: { totalResults: 0, Resources: [] } });
    }
  });

  it.each([
    'password eq "x"',
    'tilte eq "x"',
    'userName eq 1',
    'userName',
    '((((((((((userName eq "x"',
    `userName eq "${'a'.repeat(5_000)}"`,
    'userName eq "\\u0000"',
    'active eq "maybe"',
  ])('invalidFilter: %s', async (filter) => expect(await list(filter)).toMatchObject(refusal(400, 'invalidFilter')));

  it('groups: by displayName without members, and by a member', async () => {
    const member = await directory.user();
    const displayName = `Team ${randomUUID()}`;
    const id = idIn(await directory.call('POST', '/Groups', { displayName, members: [{ value: member }] }));
    const query = `/Groups?excludedAttributes=members&filter=${encodeURIComponent(`displayName eq "${displayName.toUpperCase()}"`)}`;
    const { body } = await directory.call('GET', query);
    expect(body).toMatchObject({ totalResults: 1, Resources: [{ id, displayName }] });
    expect(JSON.stringify(body)).not.toContain('members');
    const both = encodeURIComponent(`id eq "${id}" and members eq "${member}"`);
    expect((await directory.call('GET', `/Groups?filter=${both}`)).body).toMatchObject({ totalResults: 1 });
    const neither = encodeURIComponent(`id eq "${id}" and members[value eq "${randomUUID()}"]`);
    expect((await directory.call('GET', `/Groups?filter=${neither}`)).body).toMatchObject({ totalResults: 0 });
  });

  it('RFC 7644 §3.9 sends what is asked for, and id and schemas always', async () => {
    const id = await directory.user(undefined, {
      name: { givenName: 'A', familyName: 'B' },
      title: 'Dr',
      emails: [{ value: 'x', type: 'work' }],
    });
    const get = async (query: string) => (await directory.call('GET', `/Users/${id}?${query}`)).body;
    expect(await get('attributes=title,name.givenName,emails.value')).toEqual({
      schemas: expect.anything(),
      id,
      title: 'Dr',
      name: { givenName: 'A' },
      emails: [{ value: 'x' }],
    });
    const rest = await get('excludedAttributes=id,title,NAME.familyName,meta');
    expect(rest).toMatchObject({ id, name: { givenName: 'A' }, emails: [{ value: 'x', type: 'work' }] });
    expect(Object.keys(rest ?? {})).not.toEqual(expect.arrayContaining(['title']));
    expect(JSON.stringify(rest)).not.toMatch(/familyName|meta/);
  });
});

describe('RFC 7644 §3.3 to §3.6 bodies', () => {
  const post = (body: unknown, headers = {}) => directory.call('POST', '/Users', body, headers);
  it.each<[string, string, string]>([
    ['malformed', '{"userName":', 'invalidSyntax'],
    ['empty', '', 'invalidSyntax'],
    ['a duplicate member', '{"userName":"a","userName":"b"}', 'invalidSyntax'],
    ['a member in two cases', '{"userName":"a","username":"b"}', 'invalidSyntax'],
    ['NUL', '{"userName":"a\\u0000"}', 'invalidSyntax'],
    ['half a surrogate pair', '{"userName":"\\ud800"}', 'invalidSyntax'],
    ['too deep', `{"userName":"a","x":${'['.repeat(99)}${']'.repeat(99)}}`, 'invalidSyntax'],
    ['an array', '[]', 'invalidSyntax'],
    ['a string', '"x"', 'invalidSyntax'],
    ['no userName', '{"displayName":"x"}', 'invalidValue'],
    ['an empty userName', '{"userName":"  "}', 'invalidValue'],
    ['a long userName', `{"userName":"${'ж'.repeat(501)}"}`, 'invalidValue'],
    ['a wrong type', '{"userName":"a","title":{"a":1}}', 'invalidValue'],
    ['too many elements', JSON.stringify({ userName: 'a', emails: Array(201).fill({ value: 'x' }) }), 'invalidValue'],
  ])('%s', async (_name, body, scimType) => expect(await post(body)).toMatchObject(refusal(400, scimType)));

  it('takes both media types with a charset, and no other', async () => {
    const body = () => JSON.stringify({ userName: randomUUID() });
    for (const type of ['application/scim+json', 'application/json', 'Application/SCIM+JSON; charset=UTF-8']) {
      expect((await post(body(), { 'Content-Type': type })).status).toBe(201);
    }
    for (const type of ['text/plain', 'application/xml', 'application/x-www-form-urlencoded', '']) {
      expect(await post(body(), { 'Content-Type': type })).toMatchObject(refusal(415));
    }
  });
  it('a refusal of something long is short, and quick', async () => {
    const startedAt = performance.now();
    const answer = await directory.call('POST', '/.search', {
      schemas: ['urn:ietf:params:scim:api:messages:2.0:SearchRequest'],
      ['M'.repeat(900_000)]: '1',
    });
    expect(answer).toMatchObject({ status: 400, body: { scimType: 'invalidSyntax' } });
    expect(JSON.stringify(answer.body).length).toBeLessThan(1_000);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  it('refuses more than 1 MiB', async () => {
    expect(await post({ userName: 'a', title: 'x'.repeat(1_100_000) })).toMatchObject(refusal(413));
    expect(await post('x'.repeat(10_000_000))).toMatchObject(refusal(413));
  });
  it('a long userName in any script still fits its index', async () => {
    expect((await post({ userName: `${randomUUID()}${'𝔘'.repeat(230)}` })).status).toBe(201);
    expect((await post({ userName: `${randomUUID()}${'ж'.repeat(460)}`, externalId: 'ж'.repeat(500) })).status).toBe(
      201,
    );
  });
  it('a PATCH that fails half-way changes nothing', async () => {
    const id = await directory.user(undefined, { title: 'Dr' });
    const before = (await directory.call('GET', `/Users/${id}`)).body;
    const Operations = [
      { op: 'replace', path: 'title', value: 'X' },
      { op: 'remove', path: 'userName' },
    ];
    expect(await directory.call('PATCH', `/Users/${id}`, { Operations })).toMatchObject(refusal(400, 'mutability'));
    expect((await directory.call('GET', `/Users/${id}`)).body).toEqual(before);
  });
  it('PUT replaces: what is left out is gone; it never creates', async () => {
    const userName = randomUUID();
    const id = await directory.user(userName, { title: 'Dr', displayName: 'D' });
    const { body } = await directory.call('PUT', `/Users/${id}`, { userName, id: 'other', meta: {}, schemas: ['x'] });
    expect(body).toMatchObject({ id, userName, active: true });
    expect(JSON.stringify(body)).not.toMatch(/title|displayName/);
    expect(await directory.call('PUT', `/Users/${randomUUID()}`, { userName })).toMatchObject(refusal(404));
  });
  it('a rename to a name that is taken is 409, in any case', async () => {
    const userName = `${randomUUID()}@x`;
    await directory.user(userName);
    const Operations = [{ op: 'replace', path: 'userName', value: userName.toUpperCase() }];
    expect(await directory.call('PATCH', `/Users/${await directory.user()}`, { Operations })).toMatchObject(
      refusal(409, 'uniqueness'),
    );
  });
  it('§3.14 If-Match: a stale version is 412, the current one and * are not; no change, no new version', async () => {
    const made = await directory.call('POST', '/Users', { userName: randomUUID() });
    const path = `/Users/${idIn(made)}`;
    const etag = made.headers.get('etag') ?? '';
    expect(made.body).toMatchObject({ meta: { version: etag, resourceType: 'User' } });
    const patch = (title: string, ifMatch: string) =>
      directory.call(
        'PATCH',
        path,
        { Operations: [{ op: 'add', path: 'title', value: title }] },
        { 'If-Match': ifMatch },
      );
    expect((await patch('a', etag)).status).toBe(200);
    expect(await patch('b', etag)).toMatchObject(refusal(412));
    const same = await patch('a', '*');
    expect((await patch('a', '*')).headers.get('etag')).toBe(same.headers.get('etag'));
  });
});

describe('RFC 7644 §4 discovery, and what is not there', () => {
  it('tells exactly what works', async () => {
    expect((await directory.call('GET', '/ServiceProviderConfig')).body).toMatchObject({
      patch: { supported: true },
      bulk: { supported: true, maxOperations: 1_000, maxPayloadSize: 1_048_576 },
      filter: { supported: true, maxResults: 200 },
      sort: { supported: true },
      etag: { supported: true },
      changePassword: { supported: false },
      authenticationSchemes: [{ type: 'oauthbearertoken' }],
    });
    const types = await directory.call('GET', '/ResourceTypes');
    expect(types.body).toMatchObject({
      totalResults: 2,
      Resources: [{ id: 'User', endpoint: '/Users' }, { id: 'Group' }],
    });
    expect((await directory.call('GET', '/ResourceTypes/Group')).body).toMatchObject({ endpoint: '/Groups' });
    const schemas = await directory.call('GET', '/Schemas');
    expect(schemas.body).toMatchObject({ totalResults: 3 });
    const urn = 'urn:ietf:params:scim:schemas:core:2.0:User';
    const { body } = await directory.call('GET', `/Schemas/${urn}`);
    expect(body).toMatchObject({ id: urn, meta: { location: `${issuer}/scim/v2/Schemas/${urn}` } });
    expect(JSON.stringify(body)).toContain('"name":"userName"');
    for (const path of ['/Schemas/urn:x', '/ResourceTypes/Agent'])
      expect((await directory.call('GET', path)).status).toBe(404);
    expect(await directory.call('GET', '/Schemas?filter=x')).toMatchObject(refusal(403));
  });
  it.each(['/Me'])('%s: 501', async (path) => {
    expect(await directory.call('POST', path, {})).toMatchObject(refusal(501));
  });
  it('other methods are 405 with Allow, other paths 404', async () => {
    const answer = await directory.call('PUT', '/Users', {});
    expect(answer).toMatchObject(refusal(405));
    expect(answer.headers.get('allow')).toBe('GET, POST');
    expect(await directory.call('DELETE', '/Schemas')).toMatchObject(refusal(405));
    expect(await directory.call('GET', '/Agents')).toMatchObject(refusal(404));
  });
});

describe('an outage is 503 with Retry-After, never a 4xx', () => {
  it('while the token is looked up, and for every request', async () => {
    const id = await directory.user();
    const lost = connect({ url: world.url.replace(/:\d+\//, ':1/'), poolSize: 2 });
    const app = mountScim(lost.db, world.act);
    const headers = { Authorization: `Bearer ${directory.token}`, 'Content-Type': 'application/scim+json' };
    for (const [method, path, body] of [
      ['GET', '/Users?filter=userName%20eq%20%22x%22', undefined],
      ['GET', `/Users/${id}`, undefined],
      ['PATCH', `/Users/${id}`, '{"Operations":[{"op":"replace","value":{"active":false}}]}'],
      ['DELETE', `/Users/${id}`, undefined],
      ['POST', '/Users', '{"userName":"x"}'],
    ] as const) {
      const answer = await app.request(`${issuer}/scim/v2${path}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body }),
      });
      expect(answer.status).toBe(503);
      expect(answer.headers.get('retry-after')).toBe('5');
      expect(await answer.json()).toMatchObject(refusal(503).body);
    }
    await lost.close();
  });

  it('after the token was recognised: a failing audit insert is a 500 and changes nothing', async () => {
    const id = await directory.user();
    await world.sql.unsafe(`
      create function refuse_offboarding() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
      create trigger refuse before insert on offboardings for each row execute function refuse_offboarding()`);
    const off = { Operations: [{ op: 'replace', value: { active: false } }] };
    expect(await directory.call('PATCH', `/Users/${id}`, off)).toMatchObject(refusal(500));
    expect(await directory.call('DELETE', `/Users/${id}`)).toMatchObject(refusal(500));
    await world.sql.unsafe('drop trigger refuse on offboardings; drop function refuse_offboarding');
    expect((await directory.call('GET', `/Users/${id}`)).body).toMatchObject({ active: true });
    expect((await directory.call('PATCH', `/Users/${id}`, off)).body).toMatchObject({ active: false });
  });
});
