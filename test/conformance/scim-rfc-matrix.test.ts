/**
 * What a client can see of RFC 7643 and RFC 7644, one row a requirement, by section. Sorting, cursors, `.search` and the
 * filter grammar have files of their own; so do Bulk, manager and departures, of which here stands what ties them in.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { idIn, issuer, openScimWorld, type ScimAnswer, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
});
afterAll(() => world.close());

type Body = Record<string, unknown>;
type Row = [requirement: string, check: () => Promise<void>];

const base = `${issuer}/scim/v2`;
const userUrn = 'urn:ietf:params:scim:schemas:core:2.0:User';
const enterpriseUrn = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
const groupUrn = 'urn:ietf:params:scim:schemas:core:2.0:Group';
const name = () => `${randomUUID()}@example.com`;

const get = async (path: string): Promise<Body> => Object((await directory.call('GET', path)).body);
const post = (body: Body, query = '') => directory.call('POST', `/Users${query}`, { userName: name(), ...body });
const made = async (body: Body = {}): Promise<Body> => Object((await post(body)).body);
const group = async (...members: string[]) =>
  idIn(await directory.call('POST', '/Groups', { displayName: 'G', members: members.map((value) => ({ value })) }));
const patch = (path: string, ...Operations: Body[]) =>
  directory.call('PATCH', path, { schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'], Operations });
/** The user after these operations. */
const patched = async (before: Body, ...operations: Body[]): Promise<Body> => {
  const id = String((await made(before)).id);
  const answer = await patch(`/Users/${id}`, ...operations);
  expect(answer.status).toBe(200);
  expect(await get(`/Users/${id}`)).toEqual(answer.body);
  return Object(answer.body);
};
/** That this is refused so, and that nothing was changed by it. */
const refused = async (before: Body, operation: Body, scimType: string) => {
  const user = await made(before);
  const fine = { op: 'add', path: 'nickName', value: 'not to be seen' };
  expectError(await patch(`/Users/${user.id}`, fine, operation), 400, scimType);
  expect(await get(`/Users/${user.id}`)).toEqual(user);
};

const expectError = ({ status, body }: ScimAnswer, wanted: number, scimType?: string) => {
  expect(status).toBe(wanted);
  expect(body).toEqual({
    schemas: ['urn:ietf:params:scim:api:messages:2.0:Error'],
    status: String(wanted),
    ...(scimType === undefined ? {} : { scimType }),
    detail: expect.stringMatching(/./),
  });
};

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
      const userName = name();
      const { id } = await made({ userName });
      expectError(await post({ userName: userName.toUpperCase() }), 409, 'uniqueness');
      const other = await made();
      const rename = { op: 'replace', path: 'userName', value: userName.toUpperCase() };
      expectError(await patch(`/Users/${other.id}`, rename), 409, 'uniqueness');
      expectError(await directory.call('PUT', `/Users/${other.id}`, { userName }), 409, 'uniqueness');
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
        await directory.call('PUT', path, { userName: name(), password }),
        await patch(path, { op: 'replace', path: 'password', value: password }),
        await directory.call('GET', `${path}?attributes=password,userName`),
      ];
      for (const { body, status } of answers) {
        expect(status).toBeLessThan(300);
        expect(JSON.stringify(body)).not.toMatch(/password|secret/);
      }
      const [row] = await world.sql`select p::text as text from people p where id = ${id}`;
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
      expect((await directory.call('PUT', path, { userName: user.userName, groups: [] })).body).toMatchObject({
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
      expectError(await directory.call('POST', '/Groups', { members: [] }), 400, 'invalidValue');
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
      const id = await directory.user();
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

const discoveryRows: Row[] = [
  [
    'RFC 7643 §5 ServiceProviderConfig has all that is required',
    async () => {
      const config = await get('/ServiceProviderConfig');
      for (const feature of ['patch', 'bulk', 'filter', 'changePassword', 'sort', 'etag']) {
        expect(config[feature]).toMatchObject({ supported: expect.any(Boolean) });
      }
      expect(config).toMatchObject({
        schemas: ['urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig'],
        bulk: { maxOperations: expect.any(Number), maxPayloadSize: expect.any(Number) },
        filter: { maxResults: expect.any(Number) },
        authenticationSchemes: [
          { type: 'oauthbearertoken', name: expect.any(String), description: expect.any(String) },
        ],
        meta: { resourceType: 'ServiceProviderConfig', location: `${base}/ServiceProviderConfig` },
      });
    },
  ],
  [
    'RFC 7643 §6 each resource type names an endpoint and schemas that are there',
    async () => {
      const { Resources, totalResults } = await get('/ResourceTypes');
      const types = [Resources].flat().map((type) => Object(type));
      expect(types).toHaveLength(Number(totalResults));
      for (const type of types) {
        expect(type.schemas).toEqual(['urn:ietf:params:scim:schemas:core:2.0:ResourceType']);
        expect((await directory.call('GET', type.endpoint)).status).toBe(200);
        for (const urn of [type.schema, ...[type.schemaExtensions ?? []].flat().map(({ schema }) => schema)]) {
          expect(await get(`/Schemas/${urn}`)).toMatchObject({ id: urn });
        }
        expect(await get(`/ResourceTypes/${type.id}`)).toEqual(type);
        expect(type.meta).toEqual({ resourceType: 'ResourceType', location: `${base}/ResourceTypes/${type.id}` });
      }
    },
  ],
  [
    'RFC 7643 §7 each attribute says of itself everything that the RFC defines',
    async () => {
      const judge = (attribute: Body) => {
        expect(attribute).toMatchObject({
          name: expect.any(String),
          type: expect.stringMatching(/^(string|boolean|decimal|integer|dateTime|binary|reference|complex)$/),
          multiValued: expect.any(Boolean),
          description: expect.stringMatching(/./),
          required: expect.any(Boolean),
          mutability: expect.stringMatching(/^(readOnly|readWrite|immutable|writeOnly)$/),
          returned: expect.stringMatching(/^(always|never|default|request)$/),
        });
        if (attribute.type === 'string') expect(attribute.caseExact).toEqual(expect.any(Boolean));
        if (attribute.type !== 'boolean') expect(attribute.uniqueness).toMatch(/^(none|server|global)$/);
        if (attribute.type === 'reference') expect(attribute.referenceTypes).toEqual(expect.any(Array));
        expect(attribute.type === 'complex').toBe(Array.isArray(attribute.subAttributes));
        for (const sub of attributesIn(attribute.subAttributes)) judge(sub);
      };
      for (const schema of attributesIn((await get('/Schemas')).Resources)) {
        expect(schema.schemas).toEqual(['urn:ietf:params:scim:schemas:core:2.0:Schema']);
        expect(schema).toMatchObject({ meta: { resourceType: 'Schema', location: `${base}/Schemas/${schema.id}` } });
        for (const attribute of attributesIn(schema.attributes)) judge(attribute);
      }
    },
  ],
  [
    'RFC 7643 §7 what a schema calls readWrite or immutable is read back as written, and nothing else is',
    async () => {
      const boss = await made({ displayName: 'Boss' });
      const core = await attributesOf(userUrn);
      const enterprise = await attributesOf(enterpriseUrn);
      const wanted = (attributes: Body[]) => asWritten(attributes, String(boss.id), ['readWrite', 'immutable']);
      const user = await made({
        ...asWritten(core, String(boss.id)),
        userName: name(),
        [enterpriseUrn]: asWritten(enterprise, String(boss.id)),
      });
      const read = await get(`/Users/${user.id}`);
      expect(read).toEqual(user);
      const { userName: _, ...others } = wanted(core);
      expect(read).toMatchObject(others);
      const { manager, ...rest } = wanted(enterprise);
      expect(read[enterpriseUrn]).toMatchObject(rest);
      expect(Object(read[enterpriseUrn]).manager).toEqual({ ...Object(manager), displayName: 'Boss' });
      const known = new Set(['schemas', 'id', 'externalId', 'meta', enterpriseUrn, ...core.map((one) => one.name)]);
      expect(Object.keys(read).filter((member) => !known.has(member))).toEqual([]);
      const never = core.filter(({ returned }) => returned === 'never').map((one) => String(one.name));
      for (const member of ['groups', ...never]) expect(read).not.toHaveProperty(member);
    },
  ],
  [
    'RFC 7643 §7 of a group as well',
    async () => {
      const id = await directory.user();
      const attributes = await attributesOf(groupUrn);
      const written = asWritten(attributes, id);
      const { body } = await directory.call('POST', '/Groups', written);
      expect(body).toMatchObject(asWritten(attributes, id, ['readWrite', 'immutable']));
      expect(Object.keys(Object(body))).toEqual(['schemas', 'id', 'displayName', 'members', 'meta']);
    },
  ],
  [
    'RFC 7643 §7 each attribute of a user can be set and removed by its path, unless it is said to be fixed',
    async () => {
      const boss = await directory.user();
      for (const urn of [userUrn, enterpriseUrn]) {
        const attributes = await attributesOf(urn);
        for (const attribute of attributes) {
          const [member = ''] = [String(attribute.name)];
          if (['userName', 'active', 'password'].includes(member)) continue;
          const path = `${urn}:${member}`;
          const value = asWritten([attribute], boss)[member];
          const { id } = await made();
          const set = await patch(`/Users/${id}`, { op: 'replace', path, value });
          if (attribute.mutability === 'readOnly') {
            expectError(set, 400, 'mutability');
            continue;
          }
          expect(set.status).toBe(200);
          const holder = urn === userUrn ? set.body : Object(set.body?.[urn]);
          expect(holder).toMatchObject(asWritten([attribute], boss, ['readWrite']));
          const gone = await patch(`/Users/${id}`, { op: 'remove', path });
          expect(JSON.stringify(gone.body)).not.toContain(`"${member}"`);
        }
      }
    },
  ],
  [
    'RFC 7644 §4 discovery answers GET alone, without a filter',
    async () => {
      for (const path of [
        '/ServiceProviderConfig',
        '/ResourceTypes',
        '/ResourceTypes/User',
        '/Schemas',
        `/Schemas/${userUrn}`,
      ]) {
        expect((await directory.call('GET', path)).status).toBe(200);
        expectError(await directory.call('GET', `${path}?filter=id%20pr`), 403);
        for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'] as const) {
          const answer = await directory.call(method, path, method === 'DELETE' ? undefined : {});
          expectError(answer, 405);
          expect(answer.headers.get('allow')).toBe('GET');
        }
      }
      expectError(await directory.call('GET', '/Schemas/urn:none'), 404);
      expectError(await directory.call('GET', '/ResourceTypes/Robot'), 404);
    },
  ],
];

const attributesIn = (list: unknown): Body[] => (list === undefined ? [] : [list].flat().map((one) => Object(one)));
const attributesOf = async (urn: string): Promise<Body[]> => attributesIn((await get(`/Schemas/${urn}`)).attributes);

/** A resource with a value for each of these attributes; with `kinds` only for those of this mutability. */
function asWritten(attributes: Body[], id: string, kinds?: string[]): Body {
  const members = attributes
    .filter(({ mutability }) => kinds === undefined || kinds.includes(String(mutability)))
    .map((attribute): [string, unknown] => {
      const value = sampleOf(attribute, id, kinds);
      return [String(attribute.name), attribute.multiValued === true ? [value] : value];
    });
  return Object.fromEntries(members);
}

function sampleOf(
  { name: own, type, subAttributes, canonicalValues, referenceTypes }: Body,
  id: string,
  kinds?: string[],
): unknown {
  const subs = attributesIn(subAttributes);
  if (type === 'complex') {
    const isReference = subs.some((sub) => sub.name === '$ref');
    const value = asWritten(subs, id, kinds);
    return isReference ? { ...value, value: id } : value;
  }
  if (type === 'boolean') return true;
  if (type === 'reference' && own === '$ref') return `${base}/${[referenceTypes].flat()[0]}s/${id}`;
  const [canonical] = [canonicalValues ?? []].flat();
  return canonical ?? (type === 'binary' ? 'AAEC' : `a ${own}`);
}

const writeRows: Row[] = [
  [
    '§2 without a token, or with a wrong one, 401 with WWW-Authenticate',
    async () => {
      for (const headers of [{}, { authorization: 'Bearer wrong' }]) {
        const answer = await world.app.request(`${base}/Users`, { headers });
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
        (
          await directory.call('GET', `/Users/${id}`, undefined, accept === undefined ? {} : { Accept: accept })
        ).headers.get('content-type');
      expect(await typeFor()).toMatch(/^application\/scim\+json/);
      expect(await typeFor('application/scim+json')).toMatch(/^application\/scim\+json/);
      expect(await typeFor('application/json')).toMatch(/^application\/(scim\+)?json/);
      for (const type of ['application/json', 'application/scim+json; charset=utf-8']) {
        expect((await directory.call('POST', '/Users', { userName: name() }, { 'Content-Type': type })).status).toBe(
          201,
        );
      }
      const other = await directory.call('POST', '/Users', { userName: name() }, { 'Content-Type': 'text/xml' });
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
      const made = await directory.call('POST', '/Groups', { displayName: 'G' });
      expect(made.status).toBe(201);
      expect(made.headers.get('location')).toBe(`${base}/Groups/${idIn(made)}`);
    },
  ],
  [
    '§3.4.1 GET: 200 with ETag; of what is not there 404',
    async () => {
      const user = await made();
      const answer = await directory.call('GET', `/Users/${user.id}`);
      expect([answer.status, answer.headers.get('etag'), answer.body]).toEqual([200, 'W/"1"', user]);
      for (const path of ['/Users', '/Groups']) {
        expectError(await directory.call('GET', `${path}/${randomUUID()}`), 404);
        expectError(await directory.call('GET', `${path}/nobody`), 404);
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
      const answer = await directory.call('PUT', `/Users/${user.id}`, body);
      expect(answer.status).toBe(200);
      const { meta, ...rest } = Object(answer.body);
      expect(rest).toEqual({ schemas: [userUrn], id: user.id, userName: user.userName, nickName: 'N', active: true });
      expect(answer.headers.get('etag')).toBe(meta.version);
      expectError(await directory.call('PUT', `/Users/${user.id}`, {}), 400, 'invalidValue');
      expectError(await directory.call('PUT', `/Users/${randomUUID()}`, body), 404);
      expectError(await directory.call('PUT', `/Groups/${randomUUID()}`, { displayName: 'G' }), 404);
    },
  ],
  [
    '§3.5.1 PUT of a group replaces its members',
    async () => {
      const [one, two] = [await directory.user(), await directory.user()];
      const path = `/Groups/${await group(one)}`;
      const { body } = await directory.call('PUT', path, { displayName: 'H', members: [{ value: two }] });
      expect(body).toMatchObject({ displayName: 'H', members: [{ value: two }] });
      const bare = await directory.call('PUT', path, { displayName: 'H' });
      expect([bare.body?.members ?? []].flat()).toEqual([]);
    },
  ],
  [
    '§3.6 DELETE: 204 without a body, then 404 for everything, not found by a search, and the name is free',
    async () => {
      const user = await made();
      const path = `/Users/${user.id}`;
      expect(await directory.call('DELETE', path)).toMatchObject({ status: 204, body: null });
      expectError(await directory.call('GET', path), 404);
      expectError(await directory.call('PUT', path, { userName: user.userName }), 404);
      expectError(await patch(path, { op: 'add', path: 'title', value: 'x' }), 404);
      expectError(await directory.call('DELETE', path), 404);
      const filter = encodeURIComponent(`userName eq "${user.userName}"`);
      expect(await get(`/Users?filter=${filter}`)).toMatchObject({ totalResults: 0 });
      expect((await post({ userName: user.userName })).status).toBe(201);
      const id = await group();
      expect((await directory.call('DELETE', `/Groups/${id}`)).status).toBe(204);
      expectError(await directory.call('DELETE', `/Groups/${id}`), 404);
    },
  ],
  [
    '§3.7 Bulk is there, as announced',
    async () => {
      const operation = { method: 'POST', path: '/Users', bulkId: 'a', data: { userName: name() } };
      expect((await directory.call('POST', '/Bulk', { Operations: [operation] })).body).toMatchObject({
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
      const put = await directory.call('PUT', `${path}?attributes=nickName`, { userName: name(), ...body });
      expect(put.body).toEqual({ schemas: [userUrn], id: idIn(only), nickName: 'N' });
      const change = { op: 'add', path: 'title', value: 'X' };
      expect((await patch(`${path}?attributes=${userUrn}:title`, change)).body).toEqual({
        schemas: [userUrn],
        id: idIn(only),
        title: 'X',
      });
      const made = await directory.call('POST', '/Groups?excludedAttributes=members', { displayName: 'G' });
      expect(Object.keys(Object(made.body)).sort()).toEqual(['displayName', 'id', 'meta', 'schemas']);
      const renamed = { op: 'replace', path: 'displayName', value: 'H' };
      // §3.5.2: 200 with what is asked for, even where a PATCH is answered with 204 otherwise.
      expect(await patch(`/Groups/${idIn(made)}?attributes=displayName`, renamed)).toMatchObject({
        status: 200,
        body: { displayName: 'H' },
      });
    },
  ],
  ['§3.11 /Me: 501, for a token that is nobody’s', async () => expectError(await directory.call('GET', '/Me'), 501)],
  [
    '§3.12 each scimType where it belongs, and the status as a string',
    async () => {
      const { id } = await made();
      const path = `/Users/${id}`;
      expectError(await directory.call('GET', '/Users?filter=userName%20is%20%22x%22'), 400, 'invalidFilter');
      const add = { op: 'add', path: 'title', value: 'x' };
      expectError(await patch(path, ...Array(251).fill(add)), 400, 'tooMany');
      expectError(await post({ userName: (await made()).userName }), 409, 'uniqueness');
      expectError(await patch(path, { op: 'replace', path: 'id', value: 'x' }), 400, 'mutability');
      expectError(await directory.call('POST', '/Users', '{'), 400, 'invalidSyntax');
      expectError(await directory.call('PATCH', path, {}), 400, 'invalidSyntax');
      expectError(await patch(path, { op: 'move', path: 'title' }), 400, 'invalidSyntax');
      expectError(await patch(path, { op: 'add', path: 'title[', value: 'x' }), 400, 'invalidPath');
      expectError(await patch(path, { op: 'remove' }), 400, 'noTarget');
      expectError(await post({ title: 7 }), 400, 'invalidValue');
      expectError(await directory.call('GET', '/Users?cursor=forged'), 400, 'invalidCursor');
    },
  ],
  [
    '§3.14 If-Match on PUT, PATCH and DELETE: 412 when stale; the current version, a list with it and * are not',
    async () => {
      const groupPath = `/Groups/${await group()}`;
      const stale = { 'If-Match': 'W/"9"' };
      expectError(await directory.call('PUT', groupPath, { displayName: 'H' }, stale), 412);
      expectError(
        await directory.call(
          'PATCH',
          groupPath,
          { Operations: [{ op: 'add', path: 'displayName', value: 'H' }] },
          stale,
        ),
        412,
      );
      expectError(await directory.call('DELETE', groupPath, undefined, stale), 412);
      const user = await made();
      const put = (version: string) =>
        directory.call(
          'PUT',
          `/Users/${user.id}`,
          { userName: user.userName, title: version },
          { 'If-Match': version },
        );
      expectError(await put('W/"9"'), 412);
      for (const version of ['W/"1"', '"7", W/"2"', '*']) expect((await put(version)).status).toBe(200);
      expect((await directory.call('DELETE', groupPath, undefined, { 'If-Match': 'W/"1"' })).status).toBe(204);
    },
  ],
  [
    '§3.14 If-None-Match: 304 without a body while the version is the same',
    async () => {
      const { id } = await made();
      const read = (version: string) => directory.call('GET', `/Users/${id}`, undefined, { 'If-None-Match': version });
      expect(await read('W/"1"')).toMatchObject({ status: 304, body: null });
      expect((await read('W/"9"')).status).toBe(200);
    },
  ],
  [
    '§3.2, RFC 9110 §15.5.6 other methods: 405 that allows what is there; other paths: 404',
    async () => {
      const id = await directory.user();
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
          const answer = await directory.call(method, path, method === 'GET' || method === 'DELETE' ? undefined : {});
          expectError(answer, 405);
          expect(answer.headers.get('allow')).toBe(allowed);
        }
      }
      for (const path of ['/', '/Robots', `/Users/${id}/title`]) expectError(await directory.call('GET', path), 404);
    },
  ],
];

const work = { type: 'work', value: 'w@example.com' };
const home = { type: 'home', value: 'h@example.com' };
const patchRows: Row[] = [
  [
    'add without a path: each member as if added',
    async () =>
      expect(
        await patched({ title: 'A', emails: [work] }, { op: 'add', value: { nickName: 'N', emails: [home] } }),
      ).toMatchObject({
        title: 'A',
        nickName: 'N',
        emails: [work, home],
      }),
  ],
  [
    'add to a multi-valued attribute: appended; an equal element changes nothing, lastModified neither',
    async () => {
      expect(await patched({ emails: [work] }, { op: 'add', path: 'emails', value: [home] })).toMatchObject({
        emails: [work, home],
      });
      const user = await made({ emails: [work] });
      const again = await patch(`/Users/${user.id}`, {
        op: 'add',
        path: 'emails',
        value: [{ value: work.value, type: work.type }],
      });
      expect(again.body).toEqual(user);
    },
  ],
  [
    'add to a single-valued attribute: set; a complex one is merged',
    async () => {
      const before = { title: 'A', name: { givenName: 'G' } };
      const after = await patched(
        before,
        { op: 'add', path: 'title', value: 'B' },
        { op: 'add', path: 'name', value: { familyName: 'F' } },
      );
      expect(after).toMatchObject({ title: 'B', name: { givenName: 'G', familyName: 'F' } });
    },
  ],
  [
    'add with a value filter that matches nothing: makes the element that it describes',
    async () => {
      const add = { op: 'add', path: 'emails[type eq "home"].value', value: home.value };
      expect(await patched({ emails: [work] }, add)).toMatchObject({ emails: [work, home] });
      expect(await patched({}, add)).toMatchObject({ emails: [home] });
    },
  ],
  [
    'add with a value filter that matches: that element alone',
    async () =>
      expect(
        await patched({ emails: [work, home] }, { op: 'add', path: 'emails[type eq "work"].display', value: 'W' }),
      ).toMatchObject({ emails: [{ ...work, display: 'W' }, home] }),
  ],
  [
    'replace without a path: each member is set, the others stay',
    async () =>
      expect(
        await patched(
          { title: 'A', nickName: 'N', emails: [work] },
          { op: 'replace', value: { title: 'B', emails: [home] } },
        ),
      ).toMatchObject({
        title: 'B',
        nickName: 'N',
        emails: [home],
      }),
  ],
  [
    'replace of a multi-valued attribute: all of its elements',
    async () =>
      expect(
        (await patched({ emails: [work, home] }, { op: 'replace', path: 'emails', value: [home] })).emails,
      ).toEqual([home]),
  ],
  [
    'replace with a value filter: the elements that match, or what is named in them',
    async () => {
      const other = { type: 'other', value: 'o' };
      const before = { emails: [work, home] };
      expect((await patched(before, { op: 'replace', path: 'emails[type eq "work"]', value: other })).emails).toEqual([
        other,
        home,
      ]);
      const value = { op: 'replace', path: 'emails[type eq "work"].value', value: 'n' };
      expect((await patched(before, value)).emails).toEqual([{ type: 'work', value: 'n' }, home]);
    },
  ],
  [
    'replace with a value filter that matches nothing: noTarget',
    () => refused({ emails: [work] }, { op: 'replace', path: 'emails[type eq "home"].value', value: 'x' }, 'noTarget'),
  ],
  [
    'replace of what is not assigned: as add',
    async () =>
      expect(
        await patched(
          {},
          { op: 'replace', path: 'title', value: 'T' },
          { op: 'replace', path: 'name.givenName', value: 'G' },
        ),
      ).toMatchObject({ title: 'T', name: { givenName: 'G' } }),
  ],
  [
    'replace of a complex attribute: only the sub-attributes given',
    async () =>
      expect(
        (
          await patched(
            { name: { givenName: 'A', familyName: 'F' } },
            { op: 'replace', path: 'name', value: { givenName: 'B' } },
          )
        ).name,
      ).toEqual({ givenName: 'B', familyName: 'F' }),
  ],
  ['remove without a path: noTarget', () => refused({ title: 'A' }, { op: 'remove' }, 'noTarget')],
  [
    'remove of a single-valued attribute, a sub-attribute, an extension: not assigned any more',
    async () => {
      const before = { title: 'A', name: { givenName: 'G', familyName: 'F' }, [enterpriseUrn]: { division: 'D' } };
      const paths = ['title', 'name.givenName', enterpriseUrn];
      const after = await patched(before, ...paths.map((path) => ({ op: 'remove', path })));
      expect(after).not.toHaveProperty('title');
      expect(after).toMatchObject({ schemas: [userUrn], name: { familyName: 'F' } });
    },
  ],
  [
    'remove of a multi-valued attribute: all elements; with elements in value those alone',
    async () => {
      const before = { emails: [work, home] };
      expect(await patched(before, { op: 'remove', path: 'emails' })).not.toHaveProperty('emails');
      expect((await patched(before, { op: 'remove', path: 'emails', value: [{ value: home.value }] })).emails).toEqual([
        work,
      ]);
    },
  ],
  [
    'remove with a value filter: those that match, and the attribute with the last; none that match is success',
    async () => {
      const before = { emails: [work, home] };
      const remove = (type: string) => ({ op: 'remove', path: `emails[type eq "${type}"]` });
      expect((await patched(before, remove('work'))).emails).toEqual([home]);
      expect(await patched(before, remove('work'), remove('home'))).not.toHaveProperty('emails');
      expect((await patched(before, remove('other'))).emails).toEqual([work, home]);
      const display = { op: 'remove', path: 'emails[type eq "work"].type' };
      expect((await patched(before, display)).emails).toEqual([{ value: work.value }, home]);
    },
  ],
  [
    'remove of what is required or read-only: mutability',
    async () => {
      for (const path of ['userName', 'id', 'meta', 'groups', 'meta.version']) {
        await refused({ title: 'A' }, { op: 'remove', path }, 'mutability');
      }
      expectError(await patch(`/Groups/${await group()}`, { op: 'remove', path: 'displayName' }), 400, 'mutability');
    },
  ],
  [
    'add and replace of what is read-only: mutability',
    async () => {
      for (const path of ['id', 'meta', 'groups', 'meta.created', `${enterpriseUrn}:manager.displayName`]) {
        for (const op of ['add', 'replace']) await refused({ title: 'A' }, { op, path, value: 'x' }, 'mutability');
      }
    },
  ],
  [
    'a path that is malformed or names nothing: invalidPath',
    async () => {
      for (const path of [
        'shoeSize',
        'name.shoeSize',
        'emails[',
        'emails[type eq',
        'emails[shoe eq "x"]',
        'title[value eq "x"]',
        'a b',
        '.',
        'emails[type eq "x"].shoe',
        'urn:x:title',
      ]) {
        await refused({ emails: [work] }, { op: 'add', path, value: 'x' }, 'invalidPath');
      }
    },
  ],
  [
    'a value of the wrong type, or none: invalidValue',
    async () => {
      for (const operation of [
        { op: 'add', path: 'title', value: 7 },
        { op: 'replace', path: 'name', value: 'x' },
        { op: 'add', path: 'title' },
        { op: 'add', value: 'x' },
        { op: 'replace', path: 'userName', value: null },
        { op: 'replace', path: 'userName', value: '' },
      ]) {
        await refused({ title: 'A' }, operation, 'invalidValue');
      }
    },
  ],
  [
    'null as the value of replace: not assigned any more (RFC 7643 §2.5)',
    async () =>
      expect(await patched({ title: 'A' }, { op: 'replace', path: 'title', value: null })).not.toHaveProperty('title'),
  ],
  [
    'an element set primary: no other is any more',
    async () => {
      const before = { emails: [{ ...work, primary: true }, home] };
      const after = await patched(before, { op: 'add', path: 'emails[type eq "home"].primary', value: true });
      expect(after.emails).toEqual([
        { ...work, primary: false },
        { ...home, primary: true },
      ]);
      const third = { value: 't', primary: true };
      expect([(await patched(before, { op: 'add', path: 'emails', value: [third] })).emails].flat().at(-1)).toEqual(
        third,
      );
    },
  ],
  [
    'op and path in any case, a path with the URN',
    async () =>
      expect(
        await patched(
          {},
          { op: 'Add', path: 'TITLE', value: 'A' },
          { op: 'REPLACE', path: `${userUrn}:Name.GivenName`, value: 'G' },
          { OP: 'add', PATH: `${enterpriseUrn}:Department`, VALUE: 'D' },
        ),
      ).toMatchObject({ title: 'A', name: { givenName: 'G' }, [enterpriseUrn]: { department: 'D' } }),
  ],
  [
    'operations see what those before them did; the whole is one change',
    async () => {
      const after = await patched(
        { emails: [work] },
        { op: 'remove', path: 'emails' },
        { op: 'add', path: 'emails', value: [home] },
        { op: 'replace', path: 'emails[type eq "home"].value', value: 'n' },
      );
      expect(after).toMatchObject({ emails: [{ type: 'home', value: 'n' }], meta: { version: 'W/"2"' } });
    },
  ],
  [
    'one operation that is refused: none is applied',
    () => refused({ title: 'A' }, { op: 'replace', path: 'id', value: 'x' }, 'mutability'),
  ],
  [
    'members of a group: added, again without effect, removed by filter and by value, all at once',
    async () => {
      const ids = [await directory.user(), await directory.user(), await directory.user()];
      const path = `/Groups/${await group()}`;
      const members = async () =>
        [(await get(path)).members ?? []]
          .flat()
          .map((member) => Object(member).value)
          .sort();
      const change = async (operation: Body) => expect((await patch(path, operation)).status).toBeLessThan(300);
      await change({ op: 'add', path: 'members', value: ids.map((value) => ({ value })) });
      await change({ op: 'add', path: 'members', value: [{ value: ids[0] }] });
      expect(await members()).toEqual(ids.toSorted());
      await change({ op: 'remove', path: `members[value eq "${ids[0]}"]` });
      await change({ op: 'remove', path: 'members', value: [{ value: ids[1] }] });
      await change({ op: 'remove', path: 'members', value: [] });
      await change({ op: 'remove', path: 'members', value: [{ value: randomUUID() }] });
      expect(await members()).toEqual([ids[2]]);
      await change({ op: 'replace', path: 'members', value: [{ value: ids[0] }] });
      expect(await members()).toEqual([ids[0]]);
      await change({ op: 'remove', path: 'members' });
      expect(await members()).toEqual([]);
    },
  ],
];

const run = (rows: Row[]) => it.each(rows)('%s', (_requirement, check) => check());
describe('RFC 7643', () => run(schemaRows));
describe('RFC 7643 §5 to §7, RFC 7644 §4 discovery', () => run(discoveryRows));
describe('RFC 7644', () => run(writeRows));
describe('RFC 7644 §3.5.2 PATCH', () => run(patchRows));
