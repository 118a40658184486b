/** RFC 9865: pages by cursor. */
import { Hono } from 'hono';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createScim } from '../../src/edges/scim/scim.ts';
import { createLimits } from '../../src/platform/http/rate-limit.ts';
import { connectDirectory, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

const searchUrn = 'urn:ietf:params:scim:api:messages:2.0:SearchRequest';

let world: ScimWorld;
let directory: ScimDirectory;
let clock: number;
beforeAll(async () => {
  world = await openScimWorld();
  // The same edge with a clock that can be set.
  const deps = {
    db: world.db,
    node: world.act.node,
    now: () => new Date(clock),
    issuer: 'http://writ.test',
    log: pino({ level: 'silent' }),
    limits: createLimits({ client: 0, directory: 0, failures: 0 }, () => 0),
    cursorKey: Buffer.alloc(32, 7),
  };
  clock = Date.now();
  const app = new Hono().route('/scim/v2', createScim(deps));
  directory = await connectDirectory(world.db, world.act, app, 'generic');
  for (let index = 0; index < 25; index++) {
    const name = String(index).padStart(2, '0');
    await directory.user(`u${name}`, {
      ...(index % 3 === 0 ? {} : { displayName: ['x', 'Y', 'z'][index % 2] }),
      ...(index % 2 === 0 ? { title: 'even', emails: [{ value: `${25 - index}@x` }] } : {}),
    });
  }
  for (let index = 0; index < 5; index++) await directory.call('POST', '/Groups', { displayName: `g${index}` });
});
afterAll(() => world.close());

type Body = Record<string, unknown> | null;
const get = async (query: Record<string, string>, path = '/Users'): Promise<Body> =>
  (await directory.call('GET', `${path}?${new URLSearchParams(query)}`)).body;
const idsIn = (body: Body): string[] => [body?.Resources ?? []].flat().map((one) => Object(one).id);

/** All pages, one after the other. */
async function walk(query: Record<string, string>, path = '/Users'): Promise<Body[]> {
  const pages: Body[] = [];
  let cursor = '';
  do {
    const page = await get({ ...query, cursor }, path);
    expect(page, JSON.stringify(page)).toHaveProperty('totalResults');
    pages.push(page);
    cursor = String(page?.nextCursor ?? '');
  } while (cursor !== '' && pages.length < 50);
  return pages;
}

describe('RFC 9865 §2 walks', () => {
  it.each<[Record<string, string>]>([
    [{ count: '7' }],
    [{ count: '5' }],
    [{ count: '1', filter: 'title eq "even"' }],
    [{ count: '4', sortBy: 'userName', sortOrder: 'descending' }],
    [{ count: '4', sortBy: 'displayName' }],
    [{ count: '4', sortBy: 'displayName', sortOrder: 'descending' }],
    [{ count: '3', sortBy: 'emails' }],
    [{ count: '3', sortBy: 'emails', sortOrder: 'descending' }],
    [{ count: '6', sortBy: 'active' }],
    [{ count: '6', sortBy: 'meta.lastModified', sortOrder: 'descending' }],
    [{ count: '6', sortBy: 'id' }],
  ])('%j: each once, in order', async (query) => {
    const { count, ...rest } = query;
    const whole = await get({ ...rest, count: '200' });
    const pages = await walk(query);
    expect(pages.flatMap(idsIn)).toEqual(idsIn(whole));
    expect(pages).toHaveLength(Math.ceil(idsIn(whole).length / Number(count)));
    for (const [index, page] of pages.entries()) {
      const isLast = index === pages.length - 1;
      expect(page).toMatchObject({ totalResults: whole?.totalResults, itemsPerPage: idsIn(page).length });
      expect(page).not.toHaveProperty('startIndex');
      if (isLast) expect(page).not.toHaveProperty('nextCursor');
      else expect(page?.nextCursor).toMatch(/^[A-Za-z0-9._~-]+$/);
    }
  });

  it('over users and groups together, and in the body of a search', async () => {
    for (const more of [{}, { sortBy: 'displayName' }, { sortBy: 'displayName', sortOrder: 'descending' }]) {
      const ids: string[] = [];
      let cursor: unknown = '';
      while (cursor !== undefined && ids.length < 60) {
        const body = { schemas: [searchUrn], count: 7, cursor, ...more };
        const answer = await directory.call('POST', '/.search', body);
        expect(answer).toMatchObject({ status: 200, body: { totalResults: 30 } });
        ids.push(...idsIn(answer.body));
        cursor = answer.body?.nextCursor;
      }
      const whole = await directory.call('POST', '/.search', { schemas: [searchUrn], count: 200, ...more });
      expect(ids).toEqual(idsIn(whole.body));
    }
  });

  it('who comes or goes meanwhile hides nobody and shows nobody twice', async () => {
    const query = { count: '10', sortBy: 'userName', filter: 'userName sw "u"' };
    const before = idsIn(await get({ ...query, count: '200' }));
    const first = await get({ ...query, cursor: '' });
    const early = await directory.user('u00a');
    await directory.call('DELETE', `/Users/${before[3]}`);
    const rest: string[] = [];
    let cursor = first?.nextCursor;
    while (cursor !== undefined) {
      const page = await get({ ...query, cursor: String(cursor) });
      rest.push(...idsIn(page));
      cursor = page?.nextCursor;
    }
    expect([...idsIn(first), ...rest]).toEqual(before);
    await directory.call('DELETE', `/Users/${early}`);
  });

  it('without a cursor pages go by index, as ServiceProviderConfig says', async () => {
    expect(await get({ count: '2' })).toMatchObject({ startIndex: 1 });
    expect(await get({}, '/ServiceProviderConfig')).toMatchObject({
      sort: { supported: true },
      pagination: {
        cursor: true,
        index: true,
        defaultPaginationMethod: 'index',
        defaultPageSize: 100,
        maxPageSize: 200,
        cursorTimeout: 3_600,
      },
    });
    expect(await get({ cursor: '', count: '0' })).not.toHaveProperty('nextCursor');
  });
});

describe('RFC 9865 §2.1 what a cursor is bound to', () => {
  const query = { count: '3', filter: 'userName sw "u"', sortBy: 'userName' };
  const next = async (): Promise<string> => String((await get({ ...query, cursor: '' }))?.nextCursor);
  const refusal = (scimType: string) => ({ status: '400', scimType });

  it.each<[string, Record<string, string>, string]>([
    ['another filter', { filter: 'userName sw "U"' }, 'invalidCursor'],
    ['no filter', { filter: '' }, 'invalidCursor'],
    ['another order', { sortOrder: 'descending' }, 'invalidCursor'],
    ['another attribute', { sortBy: 'displayName' }, 'invalidCursor'],
    ['another count', { count: '4' }, 'invalidCount'],
    ['a count that is too large', { count: '201' }, 'invalidCount'],
    ['an index as well', { startIndex: '1' }, 'invalidValue'],
  ])('%s', async (_name, change, scimType) => {
    expect(await get({ ...query, ...change, cursor: await next() })).toMatchObject(refusal(scimType));
  });

  it('the type, and the directory', async () => {
    const cursor = String((await get({ count: '3', cursor: '' }))?.nextCursor);
    expect(await get({ count: '3', cursor }, '/Groups')).toMatchObject(refusal('invalidCursor'));
    const search = { schemas: [searchUrn], count: 3, cursor };
    expect((await directory.call('POST', '/Users/.search', search)).status).toBe(200);
    expect((await directory.call('POST', '/.search', search)).body).toMatchObject(refusal('invalidCursor'));
    const stranger = await world.directory();
    expect((await stranger.call('GET', `/Users?count=3&cursor=${cursor}`)).body).toMatchObject(
      refusal('invalidCursor'),
    );
  });

  it('nobody makes one up', async () => {
    const cursor = await next();
    const [payload = '', mac = ''] = cursor.split('.');
    const parts: unknown[] = JSON.parse(Buffer.from(payload, 'base64url').toString());
    const forged = Buffer.from(JSON.stringify([...parts.slice(0, 3), 'u99', parts[4]])).toString('base64url');
    for (const bad of [
      'x',
      '.',
      `${payload}.`,
      payload,
      `${forged}.${mac}`,
      `${payload}.${Buffer.alloc(32).toString('base64url')}`,
      `${cursor}.x`,
      'x'.repeat(3_000),
    ]) {
      expect(await get({ ...query, cursor: bad })).toMatchObject(refusal('invalidCursor'));
    }
    expect(idsIn(await get({ ...query, cursor }))).toHaveLength(3);
  });

  it('lives as long as is promised, and expires then', async () => {
    const cursor = await next();
    clock += 3_600_000;
    expect(idsIn(await get({ ...query, cursor }))).toHaveLength(3);
    clock += 1;
    expect(await get({ ...query, cursor })).toMatchObject(refusal('expiredCursor'));
  });
});
