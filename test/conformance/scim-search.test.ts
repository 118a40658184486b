/** RFC 7644 §3.4.2.3 (sorting), §3.4.2.4 (pages), §3.4.3 (`.search`), §3.14 (If-None-Match), §3.8 (Accept). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { idIn, issuer, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

const searchUrn = 'urn:ietf:params:scim:api:messages:2.0:SearchRequest';
const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';

let world: ScimWorld;
let directory: ScimDirectory;
let names: Map<string, string>;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
  const people: [string, Record<string, unknown>][] = [
    [
      'b',
      { displayName: 'Beta', title: 'x', active: false, emails: [{ value: 'z@x' }, { value: 'B@x', primary: true }] },
    ],
    ['C', { displayName: 'alpha', name: { familyName: 'Z' }, emails: [{ value: 'a@x' }, { value: 'y@x' }] }],
    ['a', { displayName: 'Gamma', title: 'X', [enterprise]: { department: 'D' } }],
    ['D', { name: { familyName: 'y' } }],
  ];
  names = new Map();
  for (const [name, more] of people) names.set(await directory.user(name, more), name);
  const members = [...names.keys()].slice(0, 2).map((value) => ({ value }));
  names.set(idIn(await directory.call('POST', '/Groups', { displayName: 'beta team', members })), 'T');
  names.set(idIn(await directory.call('POST', '/Groups', { displayName: 'Zulu', externalId: 'g' })), 'Z');
});
afterAll(() => world.close());

const shown = (body: Record<string, unknown> | null): string =>
  [body?.Resources ?? []]
    .flat()
    .map((one) => names.get(Object(one).id) ?? '?')
    .join('');
const list = async (query: Record<string, string>, path = '/Users') =>
  (await directory.call('GET', `${path}?${new URLSearchParams(query)}`)).body;
const search = (body: object, path = '/.search') => directory.call('POST', path, { schemas: [searchUrn], ...body });

describe('RFC 7644 §3.4.2.3 sorting', () => {
  it.each<[string, string, string]>([
    // Without regard to case where the schema says so; what has no value last, and first when descending.
    ['userName', 'abCD', 'DCba'],
    ['USERNAME', 'abCD', 'DCba'],
    ['urn:ietf:params:scim:schemas:core:2.0:User:userName', 'abCD', 'DCba'],
    ['displayName', 'CbaD', 'DabC'],
    ['name.familyName', 'DC', 'CD'],
    [`${enterprise}:department`, 'a', 'a'],
    ['active', 'b', 'b'],
    ['meta.created', 'bCaD', 'DaCb'],
    ['meta.lastModified', 'bCaD', 'DaCb'],
    // The primary value, else the first.
    ['emails', 'Cb', 'bC'],
    ['emails.value', 'Cb', 'bC'],
  ])('%s', async (sortBy, ascending, descending) => {
    expect(shown(await list({ sortBy }))).toMatch(new RegExp(`^${ascending}`));
    expect(shown(await list({ sortBy, sortOrder: 'Descending' }))).toMatch(new RegExp(`${descending}$`));
  });

  it('is stable by id, and the same page by page', async () => {
    const whole = shown(await list({ sortBy: 'title' }));
    expect(whole).toHaveLength(4);
    let paged = '';
    for (let startIndex = 1; startIndex <= 4; startIndex++) {
      paged += shown(await list({ sortBy: 'title', startIndex: `${startIndex}`, count: '1' }));
    }
    expect(paged).toBe(whole);
    expect(shown(await list({ sortBy: 'title', sortOrder: 'descending' }))).toBe([...whole].reverse().join(''));
  });

  it('without sortBy sortOrder says nothing; unknown names and orders are refused', async () => {
    expect(shown(await list({ sortOrder: 'descending' }))).toBe('bCaD');
    for (const query of [
      { sortBy: 'usrName' },
      { sortBy: 'password' },
      { sortBy: 'name' },
      { sortBy: 'groups' },
      { sortBy: enterprise },
      { sortBy: 'userName', sortOrder: 'up' },
    ]) {
      expect(await list(query)).toMatchObject({ status: '400', scimType: 'invalidValue' });
    }
  });

  it('groups too', async () => {
    expect(shown(await list({ sortBy: 'displayName', sortOrder: 'descending' }, '/Groups'))).toBe('ZT');
    expect(shown(await list({ sortBy: 'externalId' }, '/Groups'))).toBe('ZT');
  });
});

describe('RFC 7644 §3.4.2.4 pages by index', () => {
  it('tells how many there are on every page', async () => {
    for (const [startIndex, count, itemsPerPage] of [
      [1, 4, 4],
      [1, 3, 3],
      [4, 3, 1],
      [5, 3, 0],
      [9, 3, 0],
      [1, 0, 0],
    ]) {
      const body = await list({ startIndex: `${startIndex}`, count: `${count}` });
      expect(body).toMatchObject({ totalResults: 4, startIndex, itemsPerPage });
    }
    const filtered = await list({ filter: 'title eq "x"', count: '1' });
    expect(filtered).toMatchObject({ totalResults: 2, itemsPerPage: 1 });
    expect(filtered).not.toHaveProperty('nextCursor');
  });
});

describe('RFC 7644 §3.4.3 POST .search', () => {
  it('takes what a query takes', async () => {
    const body = {
      attributes: ['userName', 'name.familyName'],
      filter: 'userName ge "b"',
      sortBy: 'userName',
      sortOrder: 'descending',
      startIndex: 2,
      count: 1,
    };
    const { status, headers, body: found } = await search(body, '/Users/.search');
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('application/scim+json');
    expect(found).toEqual({
      schemas: ['urn:ietf:params:scim:api:messages:2.0:ListResponse'],
      totalResults: 3,
      startIndex: 2,
      itemsPerPage: 1,
      Resources: [{ schemas: expect.anything(), id: expect.anything(), userName: 'C', name: { familyName: 'Z' } }],
    });
    const without = await search({ excludedAttributes: ['members', 'meta'] }, '/Groups/.search');
    expect(JSON.stringify(without.body)).not.toMatch(/"members"|"meta"/);
    expect(shown(without.body)).toBe('TZ');
  });

  it('§3.4.2.1 at the root: users and groups in one order, each with its own members', async () => {
    const { body } = await search({});
    expect(shown(body)).toBe('bCaDTZ');
    expect(body).toMatchObject({ totalResults: 6, itemsPerPage: 6 });
    expect(shown((await search({ sortBy: 'displayName' })).body)).toBe('CbTaZD');
    expect(shown((await search({ sortBy: 'displayName', sortOrder: 'descending', count: 3 })).body)).toBe('DZa');
    expect(shown((await search({ sortBy: 'userName', count: 4 })).body)).toBe('abCD');
    const some = await search({ attributes: ['userName', 'displayName'], filter: 'displayName sw "beta"' });
    expect(some.body?.Resources).toEqual([
      { schemas: expect.anything(), id: expect.anything(), userName: 'b', displayName: 'Beta' },
      { schemas: expect.anything(), id: expect.anything(), displayName: 'beta team' },
    ]);
  });

  it.each<[string, string]>([
    ['meta.resourceType eq "Group"', 'TZ'],
    ['meta.resourceType eq "User" and displayName sw "b"', 'b'],
    // What only one type has, the other has no value of.
    ['userName pr', 'bCaD'],
    ['members pr', 'T'],
    ['userName eq "a" or displayName eq "zulu"', 'aZ'],
    ['externalId eq "g"', 'Z'],
    ['not (userName pr)', 'TZ'],
    ['emails[value ew "@x"]', 'bC'],
  ])('%s', async (filter, expected) => expect(shown((await search({ filter })).body)).toBe(expected));

  it('what no type has is refused', async () => {
    expect(await search({ filter: 'usrName pr' })).toMatchObject({ status: 400, body: { scimType: 'invalidFilter' } });
    expect(await search({ filter: 'members pr' }, '/Users/.search')).toMatchObject({ status: 400 });
  });

  it.each<[string, unknown, string]>([
    ['no object', [], 'invalidSyntax'],
    ['no schemas', { filter: 'userName pr' }, 'invalidSyntax'],
    ['another schema', { schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'] }, 'invalidSyntax'],
    ['an unknown member', { schemas: [searchUrn], filters: 'x' }, 'invalidSyntax'],
    ['a member twice', { schemas: [searchUrn], count: 1, Count: 2 }, 'invalidSyntax'],
    ['a filter that is none', { schemas: [searchUrn], filter: 1 }, 'invalidValue'],
    ['a count that is none', { schemas: [searchUrn], count: '1' }, 'invalidValue'],
    ['attributes that are none', { schemas: [searchUrn], attributes: [1] }, 'invalidValue'],
    ['a bad filter', { schemas: [searchUrn], filter: '(' }, 'invalidFilter'],
    ['malformed', '{', 'invalidSyntax'],
  ])('refuses %s', async (_name, body, scimType) => {
    const answer = await directory.call('POST', '/.search', body);
    expect(answer).toMatchObject({ status: 400, body: { scimType } });
  });

  it('null is not given; other methods are 405; another media type is 415', async () => {
    expect((await search({ filter: null, count: null, sortBy: null })).body).toMatchObject({ totalResults: 6 });
    for (const path of ['/.search', '/Users/.search', '/Groups/.search']) {
      const { status, headers } = await directory.call('GET', path);
      expect([status, headers.get('allow')]).toEqual([405, 'POST']);
    }
    expect((await directory.call('POST', '/.search', '{}', { 'Content-Type': 'text/plain' })).status).toBe(415);
  });

  it('RFC 7644 §3.6 who was deleted is in no list, is not counted, and is in no group that is searched for', async () => {
    const own = await world.directory();
    const gone = await own.user('gone');
    await own.call('POST', '/Groups', { displayName: 'G', members: [{ value: gone }] });
    await own.call('DELETE', `/Users/${gone}`);
    for (const path of ['/Users', '/Users?count=0', '/Users?cursor=', '/Users?filter=userName%20eq%20%22gone%22']) {
      expect((await own.call('GET', path)).body).toMatchObject({ totalResults: 0, Resources: [] });
    }
    const { body } = await own.call('POST', '/.search', { schemas: [searchUrn], filter: 'userName pr or members pr' });
    expect(body).toMatchObject({ totalResults: 0, Resources: [] });
  });

  it('sees its own directory only', async () => {
    const stranger = await world.directory();
    const own = await stranger.user();
    const { body } = await stranger.call('POST', '/.search', { schemas: [searchUrn] });
    expect(body).toMatchObject({ totalResults: 1, Resources: [{ id: own }] });
  });
});

describe('RFC 7644 §3.14 If-None-Match', () => {
  it.each(['Users', 'Groups'])('/%s/{id}: 304 without a body while the version is the same', async (kind) => {
    const made = await directory.call('POST', `/${kind}`, { userName: `v-${kind}`, displayName: 'v' });
    const path = `/${kind}/${idIn(made)}`;
    const etag = made.headers.get('etag') ?? '';
    expect(etag).toMatch(/^W\/"/);
    const get = (tag: string) => directory.call('GET', path, undefined, { 'If-None-Match': tag });
    for (const tag of [etag, etag.slice(2), `"other", ${etag}`, '*']) {
      const answer = await get(tag);
      expect(answer).toMatchObject({ status: 304, body: null });
      expect(answer.headers.get('etag')).toBe(etag);
    }
    expect((await get('W/"other"')).status).toBe(200);
    await directory.call('PATCH', path, { Operations: [{ op: 'replace', path: 'displayName', value: 'w' }] });
    expect((await get(etag)).status).toBe(200);
    await directory.call('DELETE', path);
    expect((await get('*')).status).toBe(404);
  });
  it('a list has no version', async () => {
    const { status, headers } = await directory.call('GET', '/Users', undefined, { 'If-None-Match': '*' });
    expect([status, headers.get('etag')]).toEqual([200, null]);
  });
});

describe('RFC 7644 §3.8 Accept', () => {
  it.each<[string | undefined, string]>([
    [undefined, 'application/scim+json'],
    ['application/scim+json', 'application/scim+json'],
    ['application/json', 'application/json'],
    ['Application/JSON; charset=utf-8', 'application/json'],
    ['application/json, application/scim+json', 'application/scim+json'],
    ['application/json, application/scim+json;q=0.5', 'application/json'],
    ['application/json;q=0.9, */*;q=0.1', 'application/json'],
    ['*/*', 'application/scim+json'],
    ['text/html', 'application/scim+json'],
    ['', 'application/scim+json'],
  ])('%s', async (accept, expected) => {
    const headers: Record<string, string> = accept === undefined ? {} : { Accept: accept };
    for (const path of ['/Users', '/ServiceProviderConfig', '/Users/nobody']) {
      expect((await directory.call('GET', path, undefined, headers)).headers.get('content-type')).toBe(expected);
    }
    const url = `${issuer}/scim/v2/Users`;
    expect((await world.app.request(url, { headers })).headers.get('content-type')).toBe(expected);
  });
});
