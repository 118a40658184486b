import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseLeniently } from '../../src/edges/scim/call.ts';
import { readDeparture } from '../../src/edges/scim/departure.ts';
import { parseFilter, parsePath } from '../../src/edges/scim/filter.ts';
import { applyPatch, readOperations } from '../../src/edges/scim/patch.ts';
import { userSchema } from '../../src/edges/scim/schema.ts';
import type { DirectoryKind } from '../../src/platform/db/schema.ts';
import { idIn, openScimWorld, type ScimAnswer, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

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
/** Values that mean something somewhere. */
const plausible = fc.oneof(
  fc.constantFrom<unknown>(
    ...[true, false, 'True', 'False', null, '', [], {}, 'ada', { value: 'x', type: 'work', primary: 'True' }],
    ...[[{ value: 'x' }, { value: 'y', type: 'home' }], { active: false }, { active: 'True' }, { Active: 'no' }],
    ...[
      { 'name.givenName': 'A' },
      { [urn]: { title: 'x' } },
      { [`${enterprise}:manager`]: { $ref: null, value: 'm' } },
    ],
    ...[[{ $ref: null, value: '0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f' }], { members: [{ value: 'x' }] }, 'a\u0000b'],
  ),
  value,
);
const literal = fc.oneof(
  fc.constantFrom(
    '"x"',
    '"True"',
    'true',
    'null',
    '7',
    '-1.5e3',
    '"2026-11-25T00:00:00Z"',
    '"',
    '"\\u0000"',
    '"%_\\\\"',
    '',
  ),
  fc.string().map((one) => JSON.stringify(one)),
);
const message = fc.oneof(value, fc.record({ Operations: fc.array(fc.oneof(operation, value), { maxLength: 5 }) }));

/** What a filter or a path is made of, well-formed and not. */
const { filter } = fc.letrec<{ filter: string }>((tie) => ({
  filter: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc
      .tuple(name, fc.constantFrom('eq', 'Ne', 'co', 'sw', 'EW', 'gt', 'ge', 'lt', 'le', 'pr', 'xx'), literal)
      .map(([left, op, right]) => `${left} ${op} ${right}`),
    fc.tuple(tie('filter'), fc.constantFrom('and', 'OR', 'xor'), tie('filter')).map((parts) => parts.join(' ')),
    tie('filter').map((inner) => `not (${inner})`),
    tie('filter').map((inner) => `(${inner})`),
    fc
      .tuple(name, tie('filter'), fc.constantFrom('', '.value', '.value eq "x"', ']'))
      .map(([left, inner, right]) => `${left}[${inner}]${right}`),
    fc.string(),
    fc.string({ unit: 'binary' }),
  ),
}));
const path = fc.oneof(
  name,
  filter,
  fc.tuple(name, filter, name).map(([one, inner, other]) => `${one}[${inner}].${other}`),
);
const fragment = fc.record(
  {
    op: fc.constantFrom('add', 'Add', 'replace', 'Replace', 'remove'),
    path: fc.oneof(path, fc.constant(null)),
    value: plausible,
  },
  { requiredKeys: ['op'] },
);
const body = fc.oneof(
  { weight: 4, arbitrary: fc.record({ Operations: fc.array(fc.oneof(fragment, operation), { maxLength: 6 }) }) },
  { weight: 2, arbitrary: fc.dictionary(name, fc.oneof(plausible, value), { maxKeys: 8 }) },
  { weight: 2, arbitrary: message },
);
/** JSON, and what a broken connection or client makes of it. */
const text = fc.oneof(
  { weight: 9, arbitrary: body.map((one) => JSON.stringify(one)) },
  {
    weight: 1,
    arbitrary: fc.tuple(body, fc.nat(), fc.string({ maxLength: 3 })).map(([one, at, noise]) => {
      const whole = JSON.stringify(one);
      const cut = at % (whole.length + 1);
      return whole.slice(0, cut) + noise + whole.slice(cut + (at % 3));
    }),
  },
);

const runs = Number(process.env.WRIT_FUZZ_RUNS ?? 2_000);
const seed = Number(process.env.WRIT_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
/** Side by side, each with a directory, a user and a group of its own. */
const lanes: DirectoryKind[] = ['generic', 'okta', 'entra', 'generic', 'jumpcloud', 'ping', 'authentik', 'rippling'];
const longest = 2_000;
const timeout = 30_000 + runs * 100;

interface Lane {
  directory: ScimDirectory;
  user: string;
  group: string;
  /** What was last read of each. */
  seen: Map<string, unknown>;
}

describe(`over HTTP, ${runs} runs, WRIT_FUZZ_SEED=${seed}`, () => {
  let world: ScimWorld;
  let ready: Lane[];
  beforeAll(async () => {
    world = await openScimWorld();
    ready = await Promise.all(
      lanes.map(async (kind) => {
        const directory = await world.directory(kind);
        const user = await directory.user();
        const made = await directory.call('POST', '/Groups', { displayName: 'G', members: [{ value: user }] });
        return { directory, user, group: idIn(made), seen: new Map() };
      }),
    );
  });
  afterAll(() => world.close());

  const inLanes = <T>(what: fc.Arbitrary<T>, count: number, act: (lane: Lane, given: T) => Promise<void>) =>
    Promise.all(
      ready.map((lane, at) =>
        fc.assert(
          fc.asyncProperty(what, (given) => act(lane, given)),
          { numRuns: Math.ceil(count / lanes.length), seed: seed + at, endOnFailure: true },
        ),
      ),
    );

  /** The answer, which has to be SCIM's own and timely; on a machine that was busy at a later time. */
  async function ask(
    { directory }: Lane,
    ...[method, at, given]: Parameters<ScimDirectory['call']>
  ): Promise<ScimAnswer> {
    const time = async () => {
      const started = performance.now();
      const answer = await directory.call(method, at, given);
      return { answer, took: performance.now() - started };
    };
    const { answer, took } = await time();
    let shortest = took;
    for (let attempt = 0; attempt < 5 && shortest > longest; attempt++)
      shortest = Math.min(shortest, (await time()).took);
    expect(shortest, `${method} ${at}`).toBeLessThan(longest);
    expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(500);
    if (answer.status >= 400) expect(answer.body).toMatchObject({ status: String(answer.status) });
    return answer;
  }

  it('no body gives a 5xx or hangs; a refused one changes nothing; a departure is done', { timeout }, async () => {
    const given = fc.tuple(
      fc.constantFrom<'POST' | 'PUT' | 'PATCH'>('POST', 'PUT', 'PATCH', 'PATCH'),
      fc.boolean(),
      text,
    );
    await inLanes(given, runs, async (lane, [method, ofUser, sent]) => {
      const resource = ofUser ? `/Users/${lane.user}` : `/Groups/${lane.group}`;
      const answer = await ask(lane, method, method === 'POST' ? (ofUser ? '/Users' : '/Groups') : resource, sent);
      if (method === 'POST') return;
      const read = async () => (await lane.directory.call('GET', resource)).body;
      const before = lane.seen.get(resource) ?? null;
      const after = await read();
      // A user shows the names of groups, a group those of its members.
      if (answer.status < 300) lane.seen.clear();
      lane.seen.set(resource, after);
      const said = ofUser ? readDeparture(method, parseLeniently(Buffer.from(sent))) : 'unsaid';
      if (said === 'leaves') {
        expect([answer.status, answer.body?.active, after?.active]).toEqual([200, false, false]);
        await lane.directory.call('PATCH', resource, { Operations: [{ op: 'replace', value: { active: true } }] });
        lane.seen.set(resource, await read());
      } else if (answer.status >= 400) {
        if (before !== null) expect(JSON.stringify(after)).toBe(JSON.stringify(before));
      } else {
        expect(after?.active).toBe(ofUser ? true : undefined);
      }
    });
  });

  it('no filter, path, paging or cursor gives a 5xx or hangs', { timeout }, async () => {
    const parameter = fc.oneof(filter, path, literal, fc.constantFrom('1', '-1', '0', '99999999999', 'ascending', ''));
    const names_ = [
      'filter',
      'sortBy',
      'sortOrder',
      'startIndex',
      'count',
      'cursor',
      'attributes',
      'excludedAttributes',
    ];
    const given = fc.tuple(
      fc.constantFrom('/Users', '/Groups', '/Users/.search', '/Groups/.search', '/.search'),
      fc.dictionary(fc.constantFrom(...names_), parameter, { maxKeys: 4 }),
      filter,
    );
    await inLanes(given, runs / 2, async (lane, [at, more, first]) => {
      const parameters = { filter: first, ...more };
      const search = { schemas: ['urn:ietf:params:scim:api:messages:2.0:SearchRequest'], ...parameters };
      const answer = at.endsWith('.search')
        ? await ask(lane, 'POST', at, search)
        : await ask(lane, 'GET', `${at}?${new URLSearchParams(parameters)}`);
      expect(answer.status).toBeOneOf([200, 400]);
    });
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
