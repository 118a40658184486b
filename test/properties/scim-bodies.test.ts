import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDeparture } from '../../src/edges/scim/departure.ts';
import { parseFilter, parsePath } from '../../src/edges/scim/filter.ts';
import { applyPatch, readOperations } from '../../src/edges/scim/patch.ts';
import { userSchema } from '../../src/edges/scim/schema.ts';
import { idIn, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

const urn = 'urn:ietf:params:scim:schemas:core:2.0:User';
const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
const names = [
  'userName',
  'active',
  'Active',
  `${urn}:active`,
  urn,
  enterprise,
  `${enterprise}:manager`,
  'emails',
  'emails.value',
  'name',
  'name.givenName',
  'members',
  'displayName',
  'externalId',
  'roles',
  'schemas',
  'id',
  'meta',
  'groups',
  'password',
  'emails[type eq "work"]',
  'emails[type eq "work"].value',
  'roles[primary eq "True"].value',
  'members[value eq "x"]',
  'constructor',
  'toString',
  'hasOwnProperty',
  '__proto_',
  'x',
  '',
  '[',
  'emails[',
  'a.b.c',
];
const name = fc.oneof(fc.constantFrom(...names), fc.string());
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<unknown>(null, true, false, 'True', 'False', '', 0, 'x', [], {}),
    fc.string({ unit: 'binary' }),
    fc.double(),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(name, tie('value'), { maxKeys: 5 }),
  ),
}));
const operation = fc.record(
  { op: fc.oneof(fc.constantFrom('add', 'Replace', 'REMOVE'), value), path: fc.oneof(name, value), value },
  { requiredKeys: [] },
);
const message = fc.oneof(value, fc.record({ Operations: fc.array(fc.oneof(operation, value), { maxLength: 5 }) }));

describe('over HTTP', () => {
  let world: ScimWorld;
  let directory: ScimDirectory;
  beforeAll(async () => {
    world = await openScimWorld();
    directory = await world.directory();
  });
  afterAll(() => world.close());

  it('no JSON body gives a 5xx, and nobody comes back who left', async () => {
    const group = idIn(await directory.call('POST', '/Groups', { displayName: 'G' }));
    let user = await directory.user();
    await fc.assert(
      fc.asyncProperty(fc.constantFrom('POST', 'PUT', 'PATCH'), fc.boolean(), message, async (method, ofUser, body) => {
        const collection = ofUser ? '/Users' : '/Groups';
        const path = method === 'POST' ? collection : `${collection}/${ofUser ? user : group}`;
        const answer = await directory.call(method, path, JSON.stringify(body));
        expect(answer.status).toBeLessThan(500);
        if (answer.status >= 400) expect(answer.body).toMatchObject({ status: String(answer.status) });
        if (!ofUser || method === 'POST') return;
        const said = readDeparture(method, JSON.parse(JSON.stringify(body)));
        if (said === 'leaves') expect(answer.body).toMatchObject({ active: false });
        if (answer.body?.active === false) user = await directory.user();
      }),
      { numRuns: 300 },
    );
  });

  it('no query gives a 5xx', async () => {
    const text = fc.oneof(
      fc.string(),
      fc.constantFrom('userName eq "x"', 'emails[type eq "work"].value eq "x"', '1', '-1'),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('Users', 'Groups'),
        fc.array(fc.tuple(name, text), { maxLength: 3 }),
        text,
        async (kind, more, filter) => {
          const query = new URLSearchParams([
            ['filter', filter],
            ...more.map(([, given], index): [string, string] => [
              ['startIndex', 'count', 'attributes', 'excludedAttributes', 'filter'][index] ?? 'x',
              given,
            ]),
          ]);
          const answer = await directory.call('GET', `/${kind}?${query}`);
          expect(answer.status).toBeOneOf([200, 400]);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('pure parts', () => {
  it('a departure that is added to any PATCH, last, is heard', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(operation, value), { maxLength: 5 }), (operations) => {
        const Operations = [...operations, { op: 'Replace', path: 'active', value: 'False' }];
        expect(readDeparture('PATCH', { Operations })).toBe('leaves');
      }),
    );
  });

  it('only refusals are thrown, and a given resource is never changed in place', () => {
    const resource = { userName: 'ada', emails: [{ value: 'x', type: 'work' }], [enterprise]: { department: 'x' } };
    const before = structuredClone(resource);
    fc.assert(
      fc.property(message, fc.string(), (body, text) => {
        for (const act of [
          () => applyPatch(userSchema, resource, readOperations(body, 250)),
          () => parseFilter(text),
          () => parsePath(text),
        ]) {
          try {
            act();
          } catch (error) {
            expect(error).toHaveProperty('name', 'ScimRefusal');
          }
        }
        expect(resource).toEqual(before);
      }),
      { numRuns: 2_000 },
    );
  });

  it('PATCH is idempotent for replace and remove', () => {
    const resource = { userName: 'ada', emails: [{ value: 'x', type: 'work' }], title: 'Dr' };
    const idempotent = fc.record({ op: fc.constantFrom('replace', 'remove'), path: fc.constantFrom(...names), value });
    fc.assert(
      fc.property(idempotent, (one) => {
        try {
          const operations = readOperations({ Operations: [one] }, 250);
          const once = applyPatch(userSchema, resource, operations);
          expect(applyPatch(userSchema, once, operations)).toEqual(once);
        } catch (error) {
          expect(error).toHaveProperty('name', 'ScimRefusal');
        }
      }),
    );
  });
});
