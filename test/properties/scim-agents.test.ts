/** Whatever is sent about an agent is read or refused: bodies and filters of any shape, and a stop is heard in each. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { DirectoryAgent } from '../../src/domain/agents/directory-agents.ts';
import { agentUrn } from '../../src/edges/scim/agent-schema.ts';
import { toAgentCondition } from '../../src/edges/scim/agents-filter.ts';
import { readPatch, readSuspension, readWhole } from '../../src/edges/scim/agents-wire.ts';
import { ScimRefusal } from '../../src/edges/scim/errors.ts';
import { parseFilter } from '../../src/edges/scim/filter.ts';
import { plainReading } from '../../src/edges/scim/resource.ts';

const id = '0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f';
const agent: DirectoryAgent = {
  id,
  name: 'triage',
  description: '',
  isLive: true,
  owner: { id, name: 'alice@example.com', isDeleted: false },
  parent: null,
  rootId: id,
  version: 3,
  createdAt: new Date(0),
  updatedAt: new Date(0),
};

const names = ['agentUserName', 'name', 'displayName', 'description', 'active', 'owners', 'parent', 'subject', 'id'];
const name = fc.constantFrom(
  ...names.flatMap((one) => [one, one.toUpperCase(), `${agentUrn}:${one}`]),
  ...['owners.value', 'owners[value eq "x"]', 'owners[value eq "x"].display', agentUrn, 'emails', '__proto__', '', '['],
);
const leaf = fc.oneof(
  fc.constantFrom<unknown>(true, false, 'True', 'false', null, '', 0, id, [], {}, 'triage'),
  fc.string({ maxLength: 5 }),
);
const value = fc.oneof(
  leaf,
  fc.array(leaf, { maxLength: 3 }),
  fc.dictionary(name, leaf, { maxKeys: 4 }),
  fc.array(fc.record({ value: leaf, $ref: leaf }, { requiredKeys: [] }), { maxLength: 3 }),
);
const operation = fc.record(
  { op: fc.constantFrom('add', 'Replace', 'REMOVE', 'move', 7), path: fc.oneof(name, fc.constant(null)), value },
  { requiredKeys: ['op'] },
);
const body = fc.oneof(
  fc.record({ Operations: fc.array(operation, { maxLength: 5 }) }),
  fc.dictionary(name, value, { maxKeys: 6 }),
  fc.jsonValue(),
);

const orRefusal = (read: () => unknown): void => {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(ScimRefusal);
  }
};

test('any body is read, or refused as SCIM has it', () => {
  fc.assert(
    fc.property(fc.constantFrom('POST', 'PUT', 'PATCH'), body, (method, sent) => {
      const said = readSuspension(method, sent);
      orRefusal(() => readWhole(sent, said, plainReading));
      orRefusal(() => readPatch(agent, sent, said, plainReading));
    }),
    { numRuns: 3_000 },
  );
});

test('a stop that comes last is heard, whatever stands before it', () => {
  const stop = fc.constantFrom<object>(
    { op: 'replace', path: 'active', value: false },
    { op: 'Add', path: `${agentUrn}:Active`, value: 'False' },
    { op: 'replace', value: { [agentUrn.toUpperCase()]: { active: [false] } } },
    { op: 'replace', value: { [`${agentUrn}:active`]: 'FALSE' } },
    { op: 'remove', path: ` ${agentUrn}:active ` },
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(operation, fc.jsonValue()), { maxLength: 6 }), stop, (before, last) => {
      expect(readSuspension('PATCH', { Operations: [...before, last] })).toBe('leaves');
    }),
    { numRuns: 2_000 },
  );
});

test('any filter of the grammar is a condition, or invalidFilter', () => {
  const operator = fc.constantFrom('eq', 'ne', 'co', 'sw', 'ew', 'gt', 'ge', 'lt', 'le');
  const literal = fc.constantFrom('"x"', '""', 'true', '"False"', 'null', '7', `"${id}"`, '"%_\\\\"');
  const term = fc.oneof(
    fc.tuple(name, operator, literal).map((parts) => parts.join(' ')),
    name.map((one) => `${one} pr`),
    fc.tuple(operator, literal).map(([op, wanted]) => `owners[value ${op} ${wanted}]`),
  );
  const filter = fc
    .tuple(term, fc.constantFrom('and', 'or'), term)
    .chain(([one, word, other]) => fc.constantFrom(one, `${one} ${word} ${other}`, `not (${one}) ${word} (${other})`));
  fc.assert(
    fc.property(filter, (text) => orRefusal(() => toAgentCondition(parseFilter(text)))),
    { numRuns: 3_000 },
  );
});
