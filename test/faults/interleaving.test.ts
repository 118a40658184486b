/**
 * Promise 2 over two processes: in each round the requests of two agents and the word of the directory are thrown at two
 * nodes at random instants. Whatever the order: no token for a request that began after the directory had its answer; and
 * every token from before is on the receipt, and dead for verifiers and for introspection.
 *
 * `WRIT_FAULT_SEED` repeats a schedule, `WRIT_FAULT_ROUNDS` says how many rounds (`npm run faults`: 10,000).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Verifier } from '../../src/sdk/api/verify.ts';
import {
  type Cluster,
  type Company,
  openCluster,
  openCompany,
  showOnFailure,
  untilJudged,
  type WritNode,
} from '../support/nodes.ts';
import { must } from '../support/world.ts';
import type { Answer } from '../support/writ.ts';

const wanted = Number(process.env.WRIT_FAULT_ROUNDS ?? 500);
const seed = Number(process.env.WRIT_FAULT_SEED ?? Date.now() % 1_000_000_007);
/** Without a wanted number of rounds a slow machine does fewer, but never less than a hundred. */
const enoughRounds = process.env.WRIT_FAULT_ROUNDS === undefined ? 100 : wanted;
const enoughMs = 15_000;

let cluster: Cluster;
let company: Company;
let nodes: [WritNode, WritNode];
let verifiers: Verifier[] = [];

beforeAll(async () => {
  cluster = await openCluster();
  const first = await cluster.start();
  nodes = [first, await cluster.start()];
  company = await openCompany(cluster, first);
  verifiers = await Promise.all(nodes.map((node) => company.follow(node)));
});
afterAll(async () => {
  await Promise.all(verifiers.map((verifier) => verifier.close()));
  await cluster?.[Symbol.asyncDispose]();
});

showOnFailure(() => cluster?.said());

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function createRandom(from: number): () => number {
  let state = from | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Shot {
  beganAt: number;
  answer: Answer;
}

/** One round; how many tokens it ended. */
async function play(random: () => number): Promise<number> {
  const below = (limit: number): number => Math.floor(random() * limit);
  const anyNode = (): WritNode => nodes[below(2)] ?? nodes[0];
  const { person, agents } = await company.createTeam();
  const first = must(await cluster.ask(anyNode(), agents[0])).body.access_token;

  const spanMs = 2 + below(14);
  const shots = Array.from({ length: 10 + below(8) }, async (): Promise<Shot> => {
    const [node, agent, isExchange] = [anyNode(), agents[below(2)] ?? agents[0], random() < 0.25];
    await sleep(random() * spanMs);
    const beganAt = performance.now();
    const fire = isExchange ? cluster.exchange(node, agents[0], first) : cluster.ask(node, agent);
    return { beganAt, answer: await fire };
  });
  const settled = Promise.all(shots);
  settled.catch(() => {});
  await sleep(random() * spanMs);
  const left = await company.beActive(anyNode(), person, false);
  const answeredAt = performance.now();
  expect(left.status).toBe(200);
  const late = Promise.all(
    nodes.flatMap((node) => [
      ...agents.map((agent) => cluster.ask(node, agent)),
      cluster.exchange(node, agents[0], first),
    ]),
  );

  const fired = await settled;
  const after = [...(await late), ...fired.filter(({ beganAt }) => beganAt > answeredAt).map(({ answer }) => answer)];
  expect(new Set(after.map(({ status, body }) => `${status} ${body.reason}`))).toEqual(new Set(['400 owner_inactive']));
  const before = fired.filter(({ beganAt }) => beganAt <= answeredAt).map(({ answer }) => answer);
  for (const { status, body } of before) expect([200, 'owner_inactive']).toContain(body.reason ?? status);
  const tokens: string[] = [first, ...before.flatMap(({ body }) => body.access_token ?? [])];
  // Each was on record before the departure was: none slipped in behind it.
  const receipt = must(await anyNode().admin('GET', `/offboardings/${left.headers.get('writ-offboarding')}`)).body;
  expect(receipt.tokensUnexpired).toBe(tokens.length);
  await Promise.all(
    tokens.map(async (token) => {
      for (const verifier of verifiers)
        expect(await untilJudged(verifier, token, 'token_revoked')).toBe('token_revoked');
      expect(await company.isActive(anyNode(), token)).toBe(false);
    }),
  );
  return tokens.length;
}

test('issuance and offboarding at random over two processes', { timeout: 120_000 + wanted * 1_000 }, async ({
  annotate,
}) => {
  process.stderr.write(`interleaving: WRIT_FAULT_SEED=${seed}\n`);
  const startedAt = performance.now();
  let rounds = 0;
  let tokens = 0;
  const lane = async (): Promise<void> => {
    while (rounds < wanted && (rounds < enoughRounds || performance.now() - startedAt < enoughMs)) {
      const round = rounds++;
      // A schedule of its own for each round, so that one round can be told from the seed alone.
      tokens += await play(createRandom(seed + round)).catch((cause: unknown) => {
        throw new Error(`round ${round} of WRIT_FAULT_SEED=${seed}`, { cause });
      });
    }
  };
  await Promise.all([lane(), lane(), lane()]);
  await annotate(`seed ${seed}: ${rounds} rounds, ${tokens} tokens`);
  expect(rounds).toBeGreaterThanOrEqual(Math.min(wanted, 100));
  expect((await nodes[1].admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
});
