/**
 * What a client can see of RFC 7644, one row a requirement, by section. PATCH, the schemas and discovery have tables of
 * their own (`scim-rfc-*.test.ts`); so have sorting, cursors, `.search`, the filter grammar, Bulk and departures.
 */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { idIn } from '../support/scim.ts';
import {
  base,
  checkRows,
  enterpriseUrn,
  expectError,
  openMatrix,
  type Row,
  someName,
  userUrn,
} from '../support/scim-rfc.ts';

const { world, call, user, get, post, made, group, patch } = openMatrix();

const writeRows: Row[] = [
  [
    '§2 without a token, or with a wrong one, 401 with WWW-Authenticate',
    async () => {
      for (const headers of [{}, { authorization: 'Bearer wrong' }]) {
        const answer = await world().app.request(`${base}/Users`, { headers });
        expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([
          401,
          expect.stringMatching(/^Bearer/),
        ]);
      }
    },
  ],
  [
    '§3.1 scim+json unless the client accepts JSON only; both are taken, with a charset',
    async () => {
      const { id } = await made();
      const typeFor = async (accept?: string) =>
        (await call('GET', `/Users/${id}`, undefined, accept === undefined ? {} : { Accept: accept })).headers.get(
          'content-type',
        );
      expect(await typeFor()).toMatch(/^application\/scim\+json/);
      expect(await typeFor('application/scim+json')).toMatch(/^application\/scim\+json/);
      expect(await typeFor('application/json')).toMatch(/^application\/(scim\+)?json/);
      for (const type of ['application/json', 'application/scim+json; charset=utf-8']) {
        expect((await call('POST', '/Users', { userName: someName() }, { 'Content-Type': type })).status).toBe(201);
      }
      const other = await call('POST', '/Users', { userName: someName() }, { 'Content-Type': 'text/xml' });
      expectError(other, 415);
    },
  ],
  [
    '§3.3 POST: 201 with the resource, Location and ETag as in meta',
    async () => {
      const answer = await post({ title: 'Dr' });
      expect(answer.status).toBe(201);
      const meta = Object(answer.body?.meta);
      expect(answer.headers.get('location')).toBe(meta.location);
      expect(answer.headers.get('etag')).toBe(meta.version);
      expect(await get(`/Users/${idIn(answer)}`)).toEqual(answer.body);
      const made = await call('POST', '/Groups', { displayName: 'G' });
      expect(made.status).toBe(201);
      expect(made.headers.get('location')).toBe(`${base}/Groups/${idIn(made)}`);
    },
  ],
  [
    '§3.4.1 GET: 200 with ETag; of what is not there 404',
    async () => {
      const user = await made();
      const answer = await call('GET', `/Users/${user.id}`);
      expect([answer.status, answer.headers.get('etag'), answer.body]).toEqual([200, 'W/"1"', user]);
      for (const path of ['/Users', '/Groups']) {
        expectError(await call('GET', `${path}/${randomUUID()}`), 404);
        expectError(await call('GET', `${path}/nobody`), 404);
      }
    },
  ],
  [
    '§3.5.1 PUT: replaces, ignores what is read-only, and what is left out is gone; it never creates',
    async () => {
      const user = await made({
        title: 'Dr',
        externalId: 'x',
        emails: [{ value: 'e' }],
        [enterpriseUrn]: { division: 'D' },
      });
      const body = {
        userName: user.userName,
        id: randomUUID(),
        meta: { version: 'x' },
        groups: [{ value: 'x' }],
        nickName: 'N',
      };
      const answer = await call('PUT', `/Users/${user.id}`, body);
      expect(answer.status).toBe(200);
      const { meta, ...rest } = Object(answer.body);
      expect(rest).toEqual({ schemas: [userUrn], id: user.id, userName: user.userName, nickName: 'N', active: true });
      expect(answer.headers.get('etag')).toBe(meta.version);
      expectError(await call('PUT', `/Users/${user.id}`, {}), 400, 'invalidValue');
      expectError(await call('PUT', `/Users/${randomUUID()}`, body), 404);
      expectError(await call('PUT', `/Groups/${randomUUID()}`, { displayName: 'G' }), 404);
    },
  ],
  [
    '§3.5.1 PUT of a group replaces its members',
    async () => {
      const [one, two] = [await user(), await user()];
      const path = `/Groups/${await group(one)}`;
      const { body } = await call('PUT', path, { displayName: 'H', members: [{ value: two }] });
      expect(body).toMatchObject({ displayName: 'H', members: [{ value: two }] });
      const bare = await call('PUT', path, { displayName: 'H' });
      expect([bare.body?.members ?? []].flat()).toEqual([]);
    },
  ],
  [
    '§3.6 DELETE: 204 without a body, then 404 for everything, not found by a search, and the name is free',
    async () => {
      const user = await made();
      const path = `/Users/${user.id}`;
      expect(await call('DELETE', path)).toMatchObject({ status: 204, body: null });
      expectError(await call('GET', path), 404);
      expectError(await call('PUT', path, { userName: user.userName }), 404);
      expectError(await patch(path, { op: 'add', path: 'title', value: 'x' }), 404);
      expectError(await call('DELETE', path), 404);
      const filter = encodeURIComponent(`userName eq "${user.userName}"`);
      expect(await get(`/Users?filter=${filter}`)).toMatchObject({ totalResults: 0 });
      expect((await post({ userName: user.userName })).status).toBe(201);
      const id = await group();
      expect((await call('DELETE', `/Groups/${id}`)).status).toBe(204);
      expectError(await call('DELETE', `/Groups/${id}`), 404);
    },
  ],
  [
    '§3.7 Bulk is there, as announced',
    async () => {
      const operation = { method: 'POST', path: '/Users', bulkId: 'a', data: { userName: someName() } };
      expect((await call('POST', '/Bulk', { Operations: [operation] })).body).toMatchObject({
        schemas: ['urn:ietf:params:scim:api:messages:2.0:BulkResponse'],
        Operations: [{ bulkId: 'a', status: '201' }],
      });
    },
  ],
  [
    '§3.9 attributes and excludedAttributes shape the answers to writes too; id and schemas always come',
    async () => {
      const body = { title: 'Dr', nickName: 'N', name: { givenName: 'G', familyName: 'F' } };
      const only = await post(body, '?attributes=title,name.givenName');
      expect(only.body).toEqual({ schemas: [userUrn], id: expect.any(String), title: 'Dr', name: { givenName: 'G' } });
      expect(only.headers.get('location')).toBe(`${base}/Users/${idIn(only)}`);
      const without = await post(body, '?excludedAttributes=title,name,meta,id,schemas');
      expect(Object.keys(Object(without.body)).sort()).toEqual(['active', 'id', 'nickName', 'schemas', 'userName']);
      const path = `/Users/${idIn(only)}`;
      const put = await call('PUT', `${path}?attributes=nickName`, { userName: someName(), ...body });
      expect(put.body).toEqual({ schemas: [userUrn], id: idIn(only), nickName: 'N' });
      const change = { op: 'add', path: 'title', value: 'X' };
      expect((await patch(`${path}?attributes=${userUrn}:title`, change)).body).toEqual({
        schemas: [userUrn],
        id: idIn(only),
        title: 'X',
      });
      const made = await call('POST', '/Groups?excludedAttributes=members', { displayName: 'G' });
      expect(Object.keys(Object(made.body)).sort()).toEqual(['displayName', 'id', 'meta', 'schemas']);
      const renamed = { op: 'replace', path: 'displayName', value: 'H' };
      // §3.5.2: 200 with what is asked for, even where a PATCH is answered with 204 otherwise.
      expect(await patch(`/Groups/${idIn(made)}?attributes=displayName`, renamed)).toMatchObject({
        status: 200,
        body: { displayName: 'H' },
      });
    },
  ],
  [
    '§3.11 /Me: 501 for every method, for a token that is nobody’s; the detail says what to do instead',
    async () => {
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const) {
        const answer = await call(method, '/Me', ['GET', 'DELETE'].includes(method) ? undefined : { userName: 'x' });
        expectError(answer, 501);
        expect(answer.body?.detail).toContain('/Users');
      }
    },
  ],
  [
    '§3.12 each scimType where it belongs, and the status as a string',
    async () => {
      const { id } = await made();
      const path = `/Users/${id}`;
      expectError(await call('GET', '/Users?filter=userName%20is%20%22x%22'), 400, 'invalidFilter');
      const add = { op: 'add', path: 'title', value: 'x' };
      expectError(await patch(path, ...Array(251).fill(add)), 400, 'tooMany');
      expectError(await post({ userName: (await made()).userName }), 409, 'uniqueness');
      expectError(await patch(path, { op: 'replace', path: 'id', value: 'x' }), 400, 'mutability');
      expectError(await call('POST', '/Users', '{'), 400, 'invalidSyntax');
      expectError(await call('PATCH', path, {}), 400, 'invalidSyntax');
      expectError(await patch(path, { op: 'move', path: 'title' }), 400, 'invalidSyntax');
      expectError(await patch(path, { op: 'add', path: 'title[', value: 'x' }), 400, 'invalidPath');
      expectError(await patch(path, { op: 'remove' }), 400, 'noTarget');
      expectError(await post({ title: 7 }), 400, 'invalidValue');
      expectError(await call('GET', '/Users?cursor=forged'), 400, 'invalidCursor');
    },
  ],
  [
    '§3.14 If-Match on PUT, PATCH and DELETE: 412 when stale; the current version, a list with it and * are not',
    async () => {
      const groupPath = `/Groups/${await group()}`;
      const stale = { 'If-Match': 'W/"9"' };
      expectError(await call('PUT', groupPath, { displayName: 'H' }, stale), 412);
      expectError(
        await call('PATCH', groupPath, { Operations: [{ op: 'add', path: 'displayName', value: 'H' }] }, stale),
        412,
      );
      expectError(await call('DELETE', groupPath, undefined, stale), 412);
      const user = await made();
      const put = (version: string) =>
        call('PUT', `/Users/${user.id}`, { userName: user.userName, title: version }, { 'If-Match': version });
      expectError(await put('W/"9"'), 412);
      for (const version of ['W/"1"', '"7", W/"2"', '*']) expect((await put(version)).status).toBe(200);
      expect((await call('DELETE', groupPath, undefined, { 'If-Match': 'W/"1"' })).status).toBe(204);
    },
  ],
  [
    '§3.14 If-None-Match: 304 without a body while the version is the same',
    async () => {
      const { id } = await made();
      const read = (version: string) => call('GET', `/Users/${id}`, undefined, { 'If-None-Match': version });
      expect(await read('W/"1"')).toMatchObject({ status: 304, body: null });
      expect((await read('W/"9"')).status).toBe(200);
    },
  ],
  [
    '§3.2, RFC 9110 §15.5.6 other methods: 405 that allows what is there; other paths: 404',
    async () => {
      const id = await user();
      const rows: [string, string][] = [
        ['/Users', 'GET, POST'],
        ['/Groups', 'GET, POST'],
        [`/Users/${id}`, 'GET, PUT, PATCH, DELETE'],
        [`/Groups/${await group()}`, 'GET, PUT, PATCH, DELETE'],
        ['/Bulk', 'POST'],
      ];
      for (const [path, allowed] of rows) {
        for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const) {
          if (allowed.split(', ').includes(method)) continue;
          const answer = await call(method, path, method === 'GET' || method === 'DELETE' ? undefined : {});
          expectError(answer, 405);
          expect(answer.headers.get('allow')).toBe(allowed);
        }
      }
      for (const path of ['/', '/Robots', `/Users/${id}/title`]) expectError(await call('GET', path), 404);
    },
  ],
];

checkRows('RFC 7644', writeRows);
