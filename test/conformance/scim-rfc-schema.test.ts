/** What a client can see of RFC 7643's rules on attributes, users and groups, one row a requirement. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { idIn } from '../support/scim.ts';
import {
  base,
  checkRows,
  enterpriseUrn,
  expectError,
  groupUrn,
  openMatrix,
  type Row,
  someName,
  userUrn,
} from '../support/scim-rfc.ts';

const { world, call, user, get, post, made, group, patch } = openMatrix();

const schemaRows: Row[] = [
  [
    'RFC 7643 §2.1 names are read without regard to case, and written as the schema spells them',
    async () => {
      const user = await made({
        USERNAME: undefined,
        DISPLAYNAME: 'D',
        Name: { GIVENNAME: 'G' },
        EMAILS: [{ VALUE: 'e' }],
      });
      expect(user).toMatchObject({ displayName: 'D', name: { givenName: 'G' }, emails: [{ value: 'e' }] });
      const upper = await made({ [enterpriseUrn.toUpperCase()]: { DEPARTMENT: 'D' } });
      expect(upper).toMatchObject({ schemas: [userUrn, enterpriseUrn], [enterpriseUrn]: { department: 'D' } });
    },
  ],
  [
    'RFC 7643 §2.3 a value of another type is invalidValue',
    async () => {
      for (const wrong of [
        { title: 1 },
        { title: ['a'] },
        { name: 'a' },
        { name: { givenName: {} } },
        { emails: [7] },
      ]) {
        expectError(await post(wrong), 400, 'invalidValue');
      }
      for (const active of ['perhaps', 1, {}]) expectError(await post({ active }), 400, 'invalidValue');
    },
  ],
  [
    'RFC 7643 §2.4 at most one element is primary',
    async () => {
      const phones = [
        { value: '1', primary: true },
        { value: '2', primary: true },
      ];
      const { phoneNumbers } = await made({ phoneNumbers: phones });
      expect([phoneNumbers].flat().filter((phone) => Object(phone).primary)).toHaveLength(1);
    },
  ],
  [
    'RFC 7643 §2.5 null, [] and left out are the same: not assigned, and not sent',
    async () => {
      const user = await made({ title: null, emails: [], name: {}, [enterpriseUrn]: {} });
      expect(Object.keys(user).sort()).toEqual(['active', 'id', 'meta', 'schemas', 'userName']);
      expect(user.schemas).toEqual([userUrn]);
    },
  ],
  [
    'RFC 7643 §3.1 id is the server’s, externalId the client’s, case-exact and perhaps shared',
    async () => {
      const externalId = `Ext-${randomUUID()}`;
      const [one, two] = [await made({ id: 'mine', externalId }), await made({ externalId })];
      expect(one).toMatchObject({ id: expect.stringMatching(/^[0-9a-f-]{36}$/), externalId });
      expect(two.id).not.toBe(one.id);
      const filter = (value: string) => get(`/Users?filter=${encodeURIComponent(`externalId eq "${value}"`)}`);
      expect(await filter(externalId)).toMatchObject({ totalResults: 2 });
      expect(await filter(externalId.toUpperCase())).toMatchObject({ totalResults: 0 });
    },
  ],
  [
    'RFC 7643 §3.1 meta is the server’s: resourceType, location, version, created, and lastModified the same until changed',
    async () => {
      const user = await made({ meta: { resourceType: 'Robot', created: '2000-01-01T00:00:00Z', version: 'x' } });
      const instant = expect.stringMatching(/^20\d\d-\d\d-\d\dT[\d:.]+Z$/);
      expect(user.meta).toEqual({
        resourceType: 'User',
        created: instant,
        lastModified: Object(user.meta).created,
        location: `${base}/Users/${user.id}`,
        version: 'W/"1"',
      });
      const { body } = await patch(`/Users/${user.id}`, { op: 'add', path: 'title', value: 'x' });
      expect(body?.meta).toMatchObject({ created: Object(user.meta).created, version: 'W/"2"' });
      expect(Object(body?.meta).lastModified > Object(user.meta).lastModified).toBe(true);
    },
  ],
  [
    'RFC 7643 §3.1 schemas is always sent, with the extension’s URN when there is something in it',
    async () => {
      const { id } = await made({ [enterpriseUrn]: { employeeNumber: '7' } });
      expect((await get(`/Users/${id}`)).schemas).toEqual([userUrn, enterpriseUrn]);
      expect((await get(`/Users/${id}?excludedAttributes=schemas,id`)).id).toBe(id);
      const { body } = await patch(`/Users/${id}`, { op: 'remove', path: `${enterpriseUrn}:employeeNumber` });
      expect(body?.schemas).toEqual([userUrn]);
    },
  ],
  [
    'RFC 7643 §4.1.1 userName is required, not empty, and unique without regard to case',
    async () => {
      for (const userName of [undefined, null, '', ' ']) expectError(await post({ userName }), 400, 'invalidValue');
      const userName = someName();
      const { id } = await made({ userName });
      expectError(await post({ userName: userName.toUpperCase() }), 409, 'uniqueness');
      const other = await made();
      const rename = { op: 'replace', path: 'userName', value: userName.toUpperCase() };
      expectError(await patch(`/Users/${other.id}`, rename), 409, 'uniqueness');
      expectError(await call('PUT', `/Users/${other.id}`, { userName }), 409, 'uniqueness');
      // Its own name in another case is a rename.
      expect((await patch(`/Users/${id}`, rename)).body).toMatchObject({ userName: userName.toUpperCase() });
    },
  ],
  [
    'RFC 7643 §4.1.1 password may be written, is never sent back, and is not kept',
    async () => {
      const password = `secret-${randomUUID()}`;
      const answer = await post({ password });
      const id = idIn(answer);
      const path = `/Users/${id}`;
      const answers = [
        answer,
        await call('PUT', path, { userName: someName(), password }),
        await patch(path, { op: 'replace', path: 'password', value: password }),
        await call('GET', `${path}?attributes=password,userName`),
      ];
      for (const { body, status } of answers) {
        expect(status).toBeLessThan(300);
        expect(JSON.stringify(body)).not.toMatch(/password|secret/);
      }
      const [row] = await world().sql`select p::text as text from people p where id = ${id}`;
      expect(row?.text).not.toContain(password);
    },
  ],
  [
    'RFC 7643 §4.1.2 groups of a user is read-only: ignored in a body, refused in a PATCH path, true when read',
    async () => {
      const user = await made({ groups: [{ value: randomUUID() }] });
      expect(user).not.toHaveProperty('groups');
      const path = `/Users/${user.id}`;
      const id = await group(String(user.id));
      expect((await call('PUT', path, { userName: user.userName, groups: [] })).body).toMatchObject({
        groups: [{ value: id, $ref: `${base}/Groups/${id}`, display: 'G', type: 'direct' }],
      });
      for (const op of ['add', 'replace', 'remove']) {
        expectError(await patch(path, { op, path: 'groups', value: [] }), 400, 'mutability');
      }
    },
  ],
  [
    'RFC 7643 §4.2 displayName of a group is required; members have value, $ref and type',
    async () => {
      expectError(await call('POST', '/Groups', { members: [] }), 400, 'invalidValue');
      const { id, displayName } = await made({ displayName: 'Ada' });
      expect(await get(`/Groups/${await group(String(id))}`)).toMatchObject({
        schemas: [groupUrn],
        members: [{ value: id, $ref: `${base}/Users/${id}`, display: displayName, type: 'User' }],
      });
    },
  ],
  [
    'RFC 7643 §2.2, §4.2 a member is immutable, and whoever is none of the directory is no member',
    async () => {
      const id = await user();
      const path = `/Groups/${await group(id)}`;
      for (const operation of [
        { op: 'replace', path: `members[value eq "${id}"].value`, value: randomUUID() },
        { op: 'add', path: 'members.display', value: 'x' },
      ]) {
        expectError(await patch(path, operation), 400, 'mutability');
      }
      expectError(
        await patch(path, { op: 'add', path: 'members', value: [{ value: randomUUID() }] }),
        400,
        'invalidValue',
      );
    },
  ],
];

checkRows('RFC 7643', schemaRows);
