/** The queue of issuance when its connections are lost at the worst moment: everybody is answered, and it can be stopped. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { insertAt, takePlace } from '../../src/domain/audit/append.ts';
import { type Candidate, type CommitQueue, createCommitQueue } from '../../src/domain/tokens/commit.ts';
import { isOutage } from '../../src/platform/db/client.ts';
import { openScimWorld } from '../support/scim.ts';

let world: Awaited<ReturnType<typeof openScimWorld>>;
let ask: (act?: Candidate['act']) => Candidate;

beforeAll(async () => {
  world = await openScimWorld();
  const directory = await world.directory();
  const ownerId = await directory.user();
  const agentId = await world.agentOf(ownerId);
  ask = (act = world.act) => ({
    question: { agentId, ownerId, agentVersion: null, catalogueVersion: null, carried: {} },
    assertion: { id: randomUUID().replaceAll('-', ''), expiresAt: new Date(Date.now() + 60_000) },
    act,
    record: () => ({ kind: 'token.issued', outcome: 'done', agent: agentId, person: ownerId, jti: randomUUID() }),
  });
});
afterAll(() => world?.close());

const outcomeOf = (answer: ReturnType<CommitQueue['commit']>): Promise<string> =>
  answer.then(
    ({ state }) => state,
    (error: unknown) => (isOutage(error) ? 'outage' : `${error}`),
  );

test('the transaction that waits for its batch is ended: nobody is forgotten, and the queue drains', async () => {
  const queue = createCommitQueue(world.db, world.act.node);
  const release = Promise.withResolvers<void>();
  const held = world.sql.begin(async (tx) => {
    await tx`select from audit_nodes where node = ${world.act.node.id} for update`;
    await release.promise;
  });
  const idle = () => world.sql<{ pid: number }[]>`
    select pid from pg_stat_activity where datname = current_database() and state = 'idle in transaction'
      and query like 'begin%'`;
  const first = outcomeOf(queue.commit(ask()));
  await expect
    .poll(async () => (await world.sql`select from pg_stat_activity where wait_event_type = 'Lock'`).length)
    .toBeGreaterThan(0);
  const second = [outcomeOf(queue.commit(ask())), outcomeOf(queue.commit(ask()))];
  await expect.poll(async () => (await idle()).length).toBeGreaterThan(0);
  for (const { pid } of await idle()) await world.sql`select pg_terminate_backend(${pid}::int)`;
  await new Promise((resolve) => setTimeout(resolve, 100));
  release.resolve();
  await held;
  expect(await first).toBe('live');
  for (const outcome of await Promise.all(second)) expect(['live', 'outage']).toContain(outcome);
  await queue.drain();
  expect(queue.depth()).toBe(0);
  expect(await outcomeOf(queue.commit(ask()))).toBe('live');
});

test('a node that the log does not know: a refusal, and no assertion is used up', async () => {
  const node = { ...world.act.node, id: randomUUID() };
  const queue = createCommitQueue(world.db, node);
  const count = async () => (await world.sql`select from assertions`).length;
  const before = await count();
  expect(await outcomeOf(queue.commit(ask({ ...world.act, node })))).toMatch(/is not enlisted/);
  await queue.drain();
  expect(await count()).toBe(before);
});

test('a record is written in the transaction that took its place, or not at all', async () => {
  const { act } = world;
  const event = { kind: 'token.issued', outcome: 'done', jti: randomUUID() } as const;
  const place = await world.sql.begin((tx) => takePlace(tx, act.node, 0));
  await expect(world.sql.begin((tx) => insertAt(tx, place, [{ act, event }]))).rejects.toThrow(/was over before it/);
  await expect(insertAt(world.sql, place, [{ act, event }])).rejects.toThrow(/was over before it/);
  expect(await world.sql`select from audit_entries where jti = ${event.jti}`).toHaveLength(0);
  // What cannot be written is said before anything is sent.
  const bad = { ...event, expiresAt: new Date(Number.NaN) };
  expect(() => insertAt(world.sql, place, [{ act, event: bad }])).toThrow();
});
