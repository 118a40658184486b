/**
 * Random histories over two nodes and two verifiers, some steps at the same time, against the model of one page. Who may
 * get a token, why not, which tokens are alive, and which the verifiers accept: all of it is as the model says, in one of
 * the orders in which the steps can have happened.
 *
 * `WRIT_MODEL_RUNS=1000` for more; a failure prints seed and path, which `WRIT_MODEL_SEED` and `WRIT_MODEL_PATH` replay.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Company, departureCount, openCompany } from '../support/company.ts';
import { apply, type Command, crm, desk, emptyState, livesOf, type Outcome, type State } from '../support/model.ts';
import { must } from '../support/world.ts';

const boundMs = 20_000;
const runs = process.env.WRIT_MODEL_RUNS === undefined ? undefined : Number(process.env.WRIT_MODEL_RUNS);
const seed = Number(process.env.WRIT_MODEL_SEED ?? randomInt(2 ** 31));
const path = process.env.WRIT_MODEL_PATH;

let company: Company;
beforeAll(async () => {
  company = await openCompany();
});
afterAll(() => company?.[Symbol.asyncDispose]());

interface Step {
  do: Command['do'];
  /** Which of those that there are by then. */
  one: number;
  other: number;
  node: number;
  /** At the same time as the next. */
  together: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  do: fc.oneof(
    ...Object.entries({
      issue: 4,
      exchange: 9,
      leave: 4,
      hire: 3,
      return: 2,
      create: 2,
      'create below': 4,
      transfer: 3,
      suspend: 2,
      activate: 4,
      answer: 2,
      revoke: 3,
      decommission: 1,
    }).map(([name, weight]) => ({ weight, arbitrary: fc.constant(name as Command['do']) })),
  ),
  one: fc.nat(11),
  other: fc.nat(11),
  node: fc.nat(1),
  together: fc.boolean(),
});

/** The beginning of every history, so that there is somebody to do something to. */
const beginning: Command['do'][] = ['hire', 'hire', 'create', 'create', 'create below', 'answer', 'issue', 'issue'];

interface History {
  userNames: string[];
  /** What may have happened: one state for each order of what was done at the same time. */
  states: State[];
  log: string[];
}

const newest = (record: Record<string, unknown>, index: number): string | undefined =>
  Object.keys(record)
    .toReversed()
    .at(index % Math.max(1, Object.keys(record).length));

/** The step as a command about what there is; undefined: there is nothing that it could be about. */
function toCommand({ userNames, states: [state] }: History, { do: verb, one, other }: Step): Command | undefined {
  if (state === undefined) return undefined;
  const userName = userNames[one % userNames.length] ?? '';
  const agent = newest(state.agents, one);
  const person = newest(state.people, one);
  const someoneElse = newest(state.people, other);
  const token = newest(state.tokens, other);
  switch (verb) {
    case 'hire':
      return { do: verb, userName };
    case 'leave':
      return person === undefined ? undefined : { do: verb, person, how: other % departureCount };
    case 'return':
      return person === undefined ? undefined : { do: verb, person };
    case 'create':
      return person === undefined ? undefined : { do: verb, owner: person };
    case 'create below':
      return agent === undefined ? undefined : { do: verb, parent: agent };
    case 'transfer':
      return agent === undefined || someoneElse === undefined ? undefined : { do: verb, agent, owner: someoneElse };
    case 'issue':
      return agent === undefined ? undefined : { do: verb, agent, audience: other % 2 === 0 ? crm : desk };
    case 'exchange':
      return agent === undefined || token === undefined ? undefined : toExchange(state, agent, token, one, other);
    case 'revoke':
      return token === undefined ? undefined : { do: verb, token };
    default:
      return agent === undefined ? undefined : { do: verb, agent };
  }
}

/** Mostly by whom the token was issued to, or by whoever answers at the desk: others are only ever refused. */
function toExchange(state: State, any: string, token: string, one: number, other: number): Command {
  const { agent: own, audience } = state.tokens[token] ?? { agent: any, audience: crm };
  const agent = [own, state.answering ?? own, any][one % 3] ?? any;
  return { do: 'exchange', agent, token, audience: audience === desk && other % 2 === 0 ? desk : crm };
}

type Done = readonly [Command, Outcome];

const write = ([{ do: verb, ...about }, outcome]: Done): string =>
  `${verb} ${Object.values(about).join(' ')}: ${outcome.said} ${outcome.id ?? ''}`;

/** Keeps the states that allow what was answered, in any of these orders. */
function narrow(history: History, orders: readonly (readonly Done[])[]): void {
  history.log.push(...(orders[0]?.map(write) ?? []));
  const next = orders.flatMap((order) =>
    history.states
      .map((state) => structuredClone(state))
      .filter((state) => order.every(([command, outcome]) => apply(state, command, outcome))),
  );
  const distinct = [...new Map(next.map((state) => [JSON.stringify(state), state])).values()];
  expect(distinct.length, `the model does not allow the last of:\n${history.log.join('\n')}`).toBeGreaterThan(0);
  history.states = distinct;
}

async function take(history: History, steps: readonly Step[]): Promise<void> {
  const commands = steps.map((one) => [toCommand(history, one), one.node] as const);
  const done = await Promise.all(
    commands.flatMap(([command, node]) =>
      command === undefined ? [] : [company.perform(command, node).then((outcome): Done => [command, outcome])],
    ),
  );
  if (done.length > 0) narrow(history, done.length === 1 ? [done] : [done, done.toReversed()]);
}

/** Everybody asks for a token; then every token is looked into at a node, and shown to both verifiers. */
async function compare(history: History): Promise<void> {
  const agents = Object.keys(history.states[0]?.agents ?? {});
  const asked = await Promise.all(
    agents.map(async (agent, index): Promise<Done> => {
      const command: Command = { do: 'issue', agent, audience: crm };
      return [command, await company.perform(command, index + history.log.length)];
    }),
  );
  narrow(history, [asked]);
  const tokens = Object.keys(history.states[0]?.tokens ?? {});
  const active = await Promise.all(
    tokens.map(async (id, index) => [id, await company.isActive(id, index + history.log.length)] as const),
  );
  const observed = Object.fromEntries(active);
  const fitting = history.states.filter((state) => isDeepStrictEqual(livesOf(state), observed));
  if (fitting.length === 0) {
    expect(observed, `introspection, after:\n${history.log.join('\n')}`).toEqual(
      livesOf(history.states[0] ?? emptyState()),
    );
  }
  history.states = fitting;
  await company.hearAll();
  for (const verifier of company.verifiers) {
    const accepted = await Promise.all(
      tokens.map(async (id) => [id, (await company.isAccepted(id, verifier)) ?? observed[id]] as const),
    );
    expect(Object.fromEntries(accepted), `a verifier, after:\n${history.log.join('\n')}`).toEqual(observed);
  }
}

async function checkRecords({ states: [state] }: History): Promise<void> {
  for (const [index, jti] of Object.keys(state?.tokens ?? {}).entries()) {
    const { items } = must(await company.nodes[index % 2 === 0 ? 0 : 1].admin('GET', `/audit?jti=${jti}`)).body;
    const issuances = items.filter(({ kind }: { kind: string }) => /^token\.(issued|exchanged)$/.test(kind));
    expect(issuances, `the record of ${jti}`).toHaveLength(1);
  }
}

async function live(steps: readonly Step[]): Promise<void> {
  const userNames = ['ada', 'bob', 'eve'].map((name) => `${name}-${randomUUID()}@example.com`);
  const history: History = { userNames, states: [emptyState()], log: [] };
  await company.clearDesk();
  for (const [index, verb] of beginning.entries()) {
    await take(history, [{ do: verb, one: index, other: index, node: index % 2, together: false }]);
  }
  let sinceCheck = 0;
  for (let index = 0; index < steps.length; ) {
    const count = steps[index]?.together ? 2 : 1;
    await take(history, steps.slice(index, index + count));
    index += count;
    sinceCheck += count;
    if (sinceCheck < 5 && index < steps.length) continue;
    await compare(history);
    sinceCheck = 0;
  }
  await checkRecords(history);
}

test('whatever happens in whatever order, two nodes and two verifiers do as the model says', {
  timeout: runs === undefined ? 120_000 : 24 * 3_600_000,
}, async ({ annotate }) => {
  let count = 0;
  const property = fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 24 }), async (steps) => {
    await live(steps);
    count += 1;
  });
  await fc.assert(property, {
    seed,
    ...(path === undefined ? {} : { path }),
    ...(runs === undefined ? { numRuns: 40, interruptAfterTimeLimit: boundMs } : { numRuns: runs }),
  });
  await annotate(`${count} histories, seed ${seed}`);
  expect(must(await company.nodes[1].admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
});
