import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type AskedIntent, isRefusal, narrow } from '../../src/domain/intents/narrow.ts';
import { type AgentIntent, actions as allActions } from '../../src/protocol.ts';

const names = ['tickets.read', 'tickets.write', 'ledger.read'];
const places = ['https://a.example', 'https://b.example', 'https://c.example'];
const kinds = ['ticket', 'note', 'customer'];
const most = <T>(values: readonly T[]) =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: values.length - 1, maxLength: values.length });
const few = <T>(values: readonly T[]) => fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 });
const identifiers = fc.constantFrom('INC-1', 'INC-2');

/** Small alphabets, broad authorities and modest requests, so that they meet often. */
const authority: fc.Arbitrary<AgentIntent> = fc.record(
  {
    type: fc.constant('agent_intent' as const),
    task_intent: fc.constantFrom(...names),
    actions: most(allActions),
    locations: most(places),
    datatypes: most(kinds),
    identifier: identifiers,
  },
  { requiredKeys: ['type', 'task_intent', 'actions', 'locations', 'datatypes'] },
);
const asked: fc.Arbitrary<AskedIntent> = fc.record(
  {
    type: fc.constant('agent_intent' as const),
    task_intent: fc.constantFrom(...names),
    actions: few<string>([...allActions, 'sudo']),
    locations: few([...places, 'https://d.example']),
    datatypes: few([...kinds, 'secret']),
    identifier: fc.constantFrom('INC-1', 'INC-2', 'INC-3'),
    by: fc.constantFrom('details' as const, 'scope' as const, 'resource' as const),
  },
  { requiredKeys: ['type', 'task_intent', 'by'] },
);
const authorities = fc.array(authority, { minLength: 2, maxLength: 6, size: 'max' });

/** Mostly requests that some authority may cover; the others are anything. */
const wanted = (from: readonly AgentIntent[]): fc.Arbitrary<AskedIntent> => {
  const near = fc.constantFrom(...from).chain((one) =>
    fc.record(
      {
        type: fc.constant(one.type),
        task_intent: fc.constant(one.task_intent),
        actions: fc.subarray(one.actions, { minLength: 1 }),
        locations: fc.subarray(one.locations, { minLength: 1 }),
        datatypes: fc.subarray(one.datatypes, { minLength: 1 }),
        identifier: one.identifier === undefined ? identifiers : fc.constant(one.identifier),
        by: fc.constantFrom('details' as const, 'scope' as const, 'resource' as const),
      },
      { requiredKeys: ['type', 'task_intent', 'by'] },
    ),
  );
  return fc.oneof({ weight: 3, arbitrary: near }, { weight: 1, arbitrary: asked });
};
const request = authorities.chain((from) =>
  fc.tuple(fc.constant(from), fc.array(wanted(from), { minLength: 1, maxLength: 2 })),
);
const audience = fc.constantFrom(...places);

const within = (part: readonly string[], whole: readonly string[]): boolean => part.every((one) => whole.includes(one));
const covers = (whole: AgentIntent, part: AgentIntent): boolean =>
  whole.task_intent === part.task_intent &&
  within(part.actions, whole.actions) &&
  within(part.locations, whole.locations) &&
  within(part.datatypes, whole.datatypes) &&
  (whole.identifier === undefined || whole.identifier === part.identifier);
const cut = (
  from: readonly AgentIntent[],
  want: readonly AskedIntent[],
  at: string,
): readonly AgentIntent[] | undefined => {
  const grant = narrow(from, want, at, 'exceeds_subject_token');
  return isRefusal(grant) ? undefined : grant.details;
};
const runs = { numRuns: 5_000 };

test('promise 5: what narrow grants, some one authority covers, and the audience is in it', () => {
  let granted = 0;
  fc.assert(
    fc.property(request, audience, ([from, want], at) => {
      const details = cut(from, want, at);
      if (details === undefined) return;
      expect(details).toHaveLength(want.length);
      for (const detail of details) {
        granted += 1;
        expect(from.some((one) => covers(one, detail))).toBe(true);
        expect(detail.locations).toContain(at);
        expect(Object.keys(detail)).not.toContain('by');
      }
    }),
    runs,
  );
  // The property is about something.
  expect(granted).toBeGreaterThan(500);
});

test('promise 5: what is granted is what was asked, wherever the request said it', () => {
  fc.assert(
    fc.property(request, audience, ([from, [want]], at) => {
      if (want === undefined) return;
      const [detail] = cut(from, [want], at) ?? [];
      if (detail === undefined) return;
      for (const member of ['actions', 'datatypes', 'locations'] as const) {
        const list = want[member];
        if (list !== undefined) expect(new Set<string>(detail[member])).toEqual(new Set(list));
      }
      if (want.identifier !== undefined) expect(detail.identifier).toBe(want.identifier);
      if (want.locations === undefined) expect(detail.locations).toEqual([at]);
      if (want.by === 'scope' && want.identifier === undefined) expect(detail.identifier).toBeUndefined();
    }),
    runs,
  );
});

test('promise 5: narrowed twice is within narrowed once', () => {
  let both = 0;
  fc.assert(
    fc.property(
      request.chain(([from, want]) => {
        const once = want.map((one) => ({
          ...(from.find((whole) => whole.task_intent === one.task_intent) ?? from[0]),
          ...one,
        }));
        const less = fc.array(wanted(once as AgentIntent[]), { minLength: 1, maxLength: 2 });
        return fc.tuple(fc.constant(from), fc.constant(want), less);
      }),
      audience,
      audience,
      ([from, want, less], at, then) => {
        const once = cut(from, want, at);
        const twice = once === undefined ? undefined : cut(once, less, then);
        if (once === undefined || twice === undefined) return;
        both += 1;
        for (const detail of twice) {
          expect(once.some((one) => covers(one, detail))).toBe(true);
          expect(from.some((one) => covers(one, detail))).toBe(true);
        }
      },
    ),
    { numRuns: 20_000 },
  );
  expect(both).toBeGreaterThan(50);
});

test('narrow changes none of its arguments', () => {
  fc.assert(
    fc.property(request, audience, ([from, want], at) => {
      const before = JSON.stringify([from, want]);
      const details = cut(from, want, at);
      for (const detail of details ?? []) detail.actions.push('delete');
      expect(JSON.stringify([from, want])).toBe(before);
    }),
    runs,
  );
});
