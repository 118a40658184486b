/** RFC 7644 §3.4.2.2: random filters on random people, by the database and by a second reading of the RFC. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Filter, operators, parseFilter, parsePath } from '../../src/edges/scim/filter.ts';
import { openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';
import { holdsOf, type Known, printFilter } from '../support/scim-filter.ts';

const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
const runs = Number(process.env.WRIT_FILTER_RUNS ?? 400);

const text: Known = { type: 'string' };
const exact: Known = { type: 'string', isExact: true };
const truth: Known = { type: 'boolean' };
const instant: Known = { type: 'dateTime' };
const known: Record<string, Known> = {
  id: exact,
  userName: text,
  externalId: exact,
  displayName: text,
  active: truth,
  title: text,
  'name.familyName': text,
  'meta.created': instant,
  'meta.lastModified': instant,
  'meta.resourceType': exact,
  'meta.version': text,
  emails: text,
  'emails.value': text,
  'emails.type': text,
  'emails.primary': truth,
  'x509Certificates.value': exact,
  groups: text,
  'groups.value': text,
  'groups.display': text,
  schemas: text,
  [`${enterprise}:department`]: text,
  [`${enterprise}:manager.value`]: text,
};
const lists = ['emails', 'x509Certificates', 'groups', 'schemas'];
const elements: Record<string, string[]> = {
  emails: ['value', 'type', 'primary'],
  groups: ['value', 'display'],
  x509Certificates: ['value'],
};
const presentOnly = ['name', 'emails', 'groups', enterprise, `${enterprise}:manager`, 'addresses'];

/** Few letters, so that texts meet; and what is special to patterns, to JSON and to encodings. */
const word = fc.string({ unit: fc.constantFrom(...'aAbB%_\\"\'.*', '😀', '~'), maxLength: 3 });
const person = fc.record(
  {
    externalId: word.filter((one) => one.trim() !== ''),
    displayName: word,
    title: word,
    active: fc.boolean(),
    name: fc.record({ familyName: word, givenName: word }, { requiredKeys: [] }),
    emails: fc.array(
      fc.record({ value: word, type: fc.constantFrom('work', 'Home'), primary: fc.boolean() }, { requiredKeys: [] }),
      { maxLength: 3 },
    ),
    x509Certificates: fc.array(fc.record({ value: word }), { maxLength: 2 }),
    [enterprise]: fc.record({ department: word, manager: fc.record({ value: word }) }, { requiredKeys: [] }),
  },
  { requiredKeys: [] },
);

/** Values that stand in some person, and others. */
let samples: string[] = ['a'];
let instants: string[] = ['2026-01-01T00:00:00Z'];
const sample = fc.nat().map((index) => samples[index % samples.length] ?? '');

function comparisonOf(attribute: string, type: Known): fc.Arbitrary<Filter> {
  const equality = fc.constantFrom('eq' as const, 'ne' as const);
  if (type.type === 'boolean') {
    return fc.record({
      op: equality,
      attribute: fc.constant(attribute),
      value: fc.oneof(fc.boolean(), fc.constant(null)),
    });
  }
  if (type.type === 'dateTime') {
    const op = fc.constantFrom(...operators.filter((one) => !['co', 'sw', 'ew'].includes(one)));
    const value = fc.nat().map((index) => instants[index % instants.length] ?? '');
    return fc.record({ op, attribute: fc.constant(attribute), value });
  }
  const op = fc.constantFrom(
    ...operators.filter(
      (one) =>
        !(attribute.endsWith('x509Certificates.value') || (type.isExact === true && attribute === 'value')) ||
        !/^[gl]/.test(one),
    ),
  );
  return fc.oneof(
    { weight: 5, arbitrary: fc.record({ op, attribute: fc.constant(attribute), value: fc.oneof(word, sample) }) },
    { weight: 1, arbitrary: fc.record({ op: equality, attribute: fc.constant(attribute), value: fc.constant(null) }) },
  );
}

const presenceOf = (attribute: string): fc.Arbitrary<Filter> => fc.constant({ op: 'pr', attribute });

/** Terms joined and negated, at most three deep. */
function joinedOf(leaf: fc.Arbitrary<Filter>): fc.Arbitrary<Filter> {
  const { filter } = fc.letrec<{ filter: Filter }>((tie) => ({
    filter: fc.oneof(
      { maxDepth: 3, withCrossShrink: true },
      { weight: 3, arbitrary: leaf },
      {
        weight: 1,
        arbitrary: fc.record({
          op: fc.constantFrom('and' as const, 'or' as const),
          terms: fc.array(tie('filter'), { minLength: 2, maxLength: 3 }),
        }),
      },
      { weight: 1, arbitrary: fc.record({ op: fc.constant('not' as const), term: tie('filter') }) },
    ),
  }));
  return filter;
}

const within = Object.entries(elements).map(([attribute, members]): fc.Arbitrary<Filter> => {
  const leaves = members.flatMap((member) => [
    comparisonOf(member, known[`${attribute}.${member}`] ?? text),
    presenceOf(member),
  ]);
  return fc.record({
    op: fc.constant('some' as const),
    attribute: fc.constant(attribute),
    filter: joinedOf(fc.oneof(...leaves)),
  });
});
const anyFilter = joinedOf(
  fc.oneof(
    ...Object.entries(known).map(([attribute, type]) => comparisonOf(attribute, type)),
    ...[...Object.keys(known), ...presentOnly].map(presenceOf),
    ...within,
  ),
);

describe('the grammar', () => {
  it('what is printed is parsed to what it was', () => {
    fc.assert(
      fc.property(anyFilter, (filter) => {
        expect(parseFilter(printFilter(filter))).toEqual(filter);
      }),
      {
        numRuns: 1_000,
      },
    );
  });

  const fragment = fc.constantFrom(
    ...[
      'userName',
      'emails[',
      ']',
      '(',
      ')',
      'not (',
      'not',
      ' and ',
      ' or ',
      ' eq ',
      ' pr',
      '"a"',
      '"',
      '\\',
      ' ',
      '.value',
      'null',
      '1e9',
      'é',
    ],
  );
  it('nothing but a refusal is thrown, and no text takes long', () => {
    const texts = fc.oneof(
      fc.string({ maxLength: 5_000 }),
      fc.array(fragment, { maxLength: 900 }).map((all) => all.join('')),
    );
    fc.assert(
      fc.property(texts, (given) => {
        const startedAt = performance.now();
        for (const parse of [parseFilter, parsePath]) {
          try {
            parse(given);
          } catch (error) {
            expect(error).toHaveProperty('name', 'ScimRefusal');
          }
        }
        expect(performance.now() - startedAt).toBeLessThan(100);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('the database selects exactly whom the filter describes', () => {
  let world: ScimWorld;
  let directory: ScimDirectory;
  const resources: Record<string, unknown>[] = [];
  beforeAll(async () => {
    world = await openScimWorld();
    directory = await world.directory();
    for (const [index, more] of fc.sample(person, { numRuns: 60, seed: 7 }).entries()) {
      await directory.user(`${index}-${['a', 'B', '%', '_'][index % 4]}`, more);
    }
    const ids = async () => (await list('')).map(({ id }) => String(id));
    for (const [index, displayName] of ['aB', 'b%', '_'].entries()) {
      const members = (await ids()).filter((_, at) => at % (index + 2) === 0).map((value) => ({ value }));
      await directory.call('POST', '/Groups', { displayName, members });
    }
    resources.push(...(await list('')));
    const texts = JSON.stringify(resources).matchAll(/"((?:[^"\\]|\\.)*)"/g);
    samples = [...texts].map(([quoted]) => JSON.parse(quoted)).filter((one) => one.length < 60 && !/^\d{4}-/.test(one));
    const shown = resources.map(({ meta }) => String(Object(meta).created));
    instants = shown.flatMap((one) => [
      one,
      one.replace('Z', '4Z'),
      `${one.slice(0, -1)}+00:00`,
      one.replace(/\.\d+Z/, 'z'),
    ]);
  });
  afterAll(() => world.close());

  async function list(filter: string): Promise<Record<string, unknown>[]> {
    const query = new URLSearchParams({ count: '200', ...(filter === '' ? {} : { filter }) });
    const { status, body } = await directory.call('GET', `/Users?${query}`);
    if (status !== 200) throw new Error(`${filter}: ${JSON.stringify(body)}`);
    return [body?.Resources].flat().map((one) => Object(one));
  }

  it(`${runs} random filters`, async () => {
    await fc.assert(
      fc.asyncProperty(anyFilter, async (filter) => {
        const printed = printFilter(filter);
        fc.pre(printed.length < 4_000);
        const found = (await list(printed)).map(({ id }) => id);
        const expected = resources.filter((one) => holdsOf(one, filter, known, lists)).map(({ id }) => id);
        expect(found, printed).toEqual(expected);
      }),
      { numRuns: runs },
    );
  }, 120_000);
});
