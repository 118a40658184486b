/** RFC 7643 §5 to §7, RFC 7644 §4: what Writ says of itself, and that it is so. */
import { expect } from 'vitest';
import {
  type Body,
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

const { call, user, get, made, patch } = openMatrix();

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
        expect((await call('GET', type.endpoint)).status).toBe(200);
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
        userName: someName(),
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
      const id = await user();
      const attributes = await attributesOf(groupUrn);
      const written = asWritten(attributes, id);
      const { body } = await call('POST', '/Groups', written);
      expect(body).toMatchObject(asWritten(attributes, id, ['readWrite', 'immutable']));
      expect(Object.keys(Object(body))).toEqual(['schemas', 'id', 'displayName', 'members', 'meta']);
    },
  ],
  [
    'RFC 7643 §7 each attribute of a user can be set and removed by its path, unless it is said to be fixed',
    async () => {
      const boss = await user();
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
        expect((await call('GET', path)).status).toBe(200);
        expectError(await call('GET', `${path}?filter=id%20pr`), 403);
        for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'] as const) {
          const answer = await call(method, path, method === 'DELETE' ? undefined : {});
          expectError(answer, 405);
          expect(answer.headers.get('allow')).toBe('GET');
        }
      }
      expectError(await call('GET', '/Schemas/urn:none'), 404);
      expectError(await call('GET', '/ResourceTypes/Robot'), 404);
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

checkRows('discovery', discoveryRows);
