import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Api, Catalogue, Intent } from '../../src/domain/intents/catalogue.ts';
import { isDenial } from '../../src/domain/intents/decide.ts';
import { decideExchange } from '../../src/domain/tokens/exchange.ts';
import type { AccessTokenClaims, Actor, AgentIntent } from '../../src/protocol.ts';
import { actions as allActions } from '../../src/protocol.ts';

const agents = ['agent-a', 'agent-b', 'agent-c'];
const places = ['https://a.example', 'https://b.example', 'https://c.example/path'];
const names = ['tickets.read', 'tickets.write'];
const kinds = ['ticket', 'note'];
const most = <T>(values: readonly T[]) =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: values.length - 1, maxLength: values.length });
const few = <T>(values: readonly T[]) => fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 });

const groups = ['group-a', 'group-b', 'group-c'];

const detail: fc.Arbitrary<AgentIntent> = fc.record(
  {
    type: fc.constant('agent_intent' as const),
    task_intent: fc.constantFrom(...names),
    actions: most(allActions),
    locations: most(places),
    datatypes: most(kinds),
    identifier: fc.constantFrom('INC-1', 'INC-2'),
  },
  { requiredKeys: ['type', 'task_intent', 'actions', 'locations', 'datatypes'] },
);

const toActor = (chain: readonly string[]): Actor | undefined =>
  chain.reduce<Actor | undefined>((act, sub) => ({ sub, ...(act === undefined ? {} : { act }) }), undefined);
const toChain = (act: Actor | undefined): string[] => (act === undefined ? [] : [act.sub, ...toChain(act.act)]);

const subject: fc.Arbitrary<AccessTokenClaims> = fc
  .record({
    aud: fc.constantFrom(...places),
    clientId: fc.constantFrom(...agents),
    details: fc.array(detail, { minLength: 1, maxLength: 3 }),
    chain: fc.array(fc.constantFrom(...agents), { maxLength: 4 }),
    exp: fc.integer({ min: 1_000, max: 2_000 }),
    epochs: fc.dictionary(fc.constantFrom('owner', ...agents), fc.nat(5)),
  })
  .map(({ aud, clientId, details, chain, exp, epochs }) => {
    const act = toActor(chain);
    return {
      iss: 'https://writ.example',
      aud,
      sub: 'agent-a',
      client_id: clientId,
      iat: 900,
      exp,
      jti: 'subject-jti',
      // Every token names its audience in each of its details.
      authorization_details: details.map((one) => ({ ...one, locations: [...new Set([aud, ...one.locations])] })),
      human_owner_id: 'owner',
      epochs,
      ...(act === undefined ? {} : { act }),
      agent: { name: 'a', environment: 'production', trust: 2 },
    };
  });

const catalogue: fc.Arbitrary<Catalogue> = fc
  .record({
    answering: fc.array(fc.option(fc.constantFrom(...agents)), { minLength: 3, maxLength: 3 }),
    environments: fc.array(fc.constantFrom('production', 'production', 'staging'), { minLength: 3, maxLength: 3 }),
    keptFor: fc.array(fc.option(few(groups), { nil: null, freq: 2 }), { minLength: 2, maxLength: 2 }),
  })
  .map(({ answering, environments, keptFor }) => {
    const apis = places.map(
      (identifier, index): Api => ({
        id: identifier,
        identifier,
        environment: environments[index] ?? 'production',
        tokenTtlSeconds: 300,
        signingAlgorithm: 'ES256',
        agentId: answering[index] ?? null,
      }),
    );
    const intents = names.map(
      (taskIntent, index): Intent => ({
        id: taskIntent,
        taskIntent,
        actions: [...allActions],
        datatypes: kinds,
        risk: 'write',
        apis: places,
        groups: keptFor[index] ? new Set(keptFor[index]) : null,
      }),
    );
    return {
      version: 1,
      apis: new Map(apis.map((api) => [api.identifier, api])),
      intents: new Map(intents.map((intent) => [intent.taskIntent, intent])),
    };
  });

const asked = fc.array(
  fc.record(
    {
      type: fc.constant('agent_intent'),
      task_intent: fc.constantFrom(...names, 'nothing'),
      actions: few<string>(allActions),
      locations: few([...places, 'https://a.example/']),
      datatypes: few([...kinds, 'customer']),
      identifier: fc.constantFrom('INC-1', 'INC-2', 'INC-3'),
    },
    { requiredKeys: ['type', 'task_intent'] },
  ),
  { minLength: 1, maxLength: 2 },
);
const parameters = fc.record({
  resource: fc.array(fc.constantFrom(...places, 'https://a.example/', 'https://b.example/', 'https://d.example'), {
    maxLength: 1,
  }),
  authorizationDetails: fc.option(
    asked.map((details) => JSON.stringify(details)),
    { nil: undefined },
  ),
  scope: fc.option(fc.constantFrom(...names, names.join(' '), 'nothing', ''), { nil: undefined }),
});

const within = (part: readonly string[], whole: readonly string[]): boolean => part.every((one) => whole.includes(one));

test('promise 5: an exchange never exceeds its subject token in any dimension, and names everyone', () => {
  let granted = 0;
  fc.assert(
    fc.property(
      subject,
      fc.constantFrom(...agents),
      parameters,
      catalogue,
      few(groups),
      (token, actor, request, known, of) => {
        const frozen = JSON.stringify(token);
        const acting = { id: actor, environment: 'production', ownerGroups: new Set(of) };
        const decided = decideExchange(token, acting, request, known);
        expect(JSON.stringify(token)).toBe(frozen);
        if (isDenial(decided)) return;
        granted += 1;
        const { grant, api } = decided;

        // Who: the actor had the token, and is the newest of a chain that keeps all the older ones.
        const answersThere = known.apis.get(token.aud)?.agentId === actor;
        expect(token.client_id === actor || token.aud === actor || answersThere).toBe(true);
        const before = toChain(token.act);
        const after = toChain(decided.act);
        expect(after[0]).toBe(actor);
        expect(after.slice(after.length - before.length)).toEqual(before);
        expect(after.length).toBeLessThanOrEqual(4);
        expect(decided.sub).toBe(token.sub);

        // Where: the old audience, or a location of a detail; on this side of the wall.
        expect(grant.audience).toBe(api.identifier);
        const reachable = [token.aud, ...token.authorization_details.flatMap((one) => one.locations)];
        expect(reachable).toContain(api.identifier);
        expect(api.environment).toBe('production');

        // What: each detail lies within one detail of the subject token.
        expect(grant.details.length).toBeGreaterThan(0);
        for (const one of grant.details) {
          const covered = token.authorization_details.some(
            (whole) =>
              whole.task_intent === one.task_intent &&
              within(one.actions, whole.actions) &&
              within(one.locations, whole.locations) &&
              within(one.datatypes, whole.datatypes) &&
              (whole.identifier === undefined || whole.identifier === one.identifier),
          );
          expect(covered).toBe(true);
          expect(one.locations).toContain(api.identifier);
          // For the actor's own owner, whoever answers for the agent that the token came from.
          const keptFor = known.intents.get(one.task_intent)?.groups ?? null;
          expect(keptFor === null || of.some((group) => keptFor.has(group))).toBe(true);
        }
        // What `scope` says, some detail grants whole.
        for (const name of decided.scope.split(' ').filter((text) => text !== '')) {
          const intent = known.intents.get(name);
          const whole = grant.details.some(
            (one) =>
              one.task_intent === name &&
              one.identifier === undefined &&
              within(intent?.actions ?? ['?'], one.actions) &&
              within(intent?.datatypes ?? ['?'], one.datatypes),
          );
          expect(whole).toBe(true);
        }
        // What was asked by scope was granted whole.
        const names = (request.scope ?? '').split(' ').filter((text) => text !== '');
        expect(within(names, decided.scope.split(' '))).toBe(true);

        // How long, and on what it stands.
        expect(decided.notAfter).toBe(token.exp);
        expect(decided.carried).toEqual({ ...token.epochs, [token.jti]: 0 });
      },
    ),
    { numRuns: 20_000 },
  );
  expect(granted).toBeGreaterThan(100);
});
