/** More than can be done at once: it is said early and in the right form, and what was accepted completes. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { revoke } from '../../src/domain/revocation/revoke.ts';
import { type Candidate, createCommitQueue } from '../../src/domain/tokens/commit.ts';
import { WritError } from '../../src/errors.ts';
import { transaction } from '../../src/platform/db/client.ts';
import { createTestDatabase } from '../support/database.ts';
import { registerApi, startFeedNode } from '../support/feed.ts';
import { openScimWorld } from '../support/scim.ts';
import type { Parsed } from '../support/writ.ts';

/** What `createCommitQueue` accepts beyond what is answered. */
const queueLength = 4_096;

test('the queue of issuance refuses what is too much at once, and everything that it accepted is committed', async () => {
  const world = await openScimWorld();
  try {
    const directory = await world.directory();
    const ownerId = await directory.user();
    const agentId = await world.agentOf(ownerId);
    const queue = createCommitQueue(world.db, world.act.node);
    const ask = (): Candidate => ({
      question: { agentId, ownerId, agentVersion: null, catalogueVersion: null, carried: {} },
      assertion: undefined,
      act: world.act,
      record: () => ({ kind: 'token.issued', outcome: 'done', agent: agentId, person: ownerId, jti: randomUUID() }),
    });
    let refusedAtOnce = 0;
    const answers = Array.from({ length: queueLength + 500 }, () =>
      queue.commit(ask()).catch((error: unknown) => {
        refusedAtOnce += 1;
        return error instanceof WritError ? error : new Error('another failure', { cause: error });
      }),
    );
    // Nothing has come back from the database yet: a refusal waits for nobody.
    await new Promise((resolve) => setImmediate(resolve));
    expect(refusedAtOnce).toBe(500);
    expect(queue.depth()).toBe(queueLength);

    const settled = await Promise.all(answers);
    expect(settled.filter((one) => one instanceof WritError && one.code === 'unavailable')).toHaveLength(500);
    expect(settled.filter((one) => !(one instanceof Error) && 'state' in one && one.state === 'live')).toHaveLength(
      queueLength,
    );
    const [{ count } = { count: 0 }] = await world.sql<{ count: number }[]>`
      select count(*)::int as count from audit_entries where kind = 'token.issued'`;
    expect(count).toBe(queueLength);
    expect(queue.depth()).toBe(0);
    // It takes more again.
    expect(await queue.commit(ask())).toMatchObject({ state: 'live' });
  } finally {
    await world.close();
  }
});

test('300 verifiers that join at once share a few reads of 20,000 revocations, and others are answered meanwhile', async () => {
  const database = await createTestDatabase();
  const node = await startFeedNode(database.url);
  const api = await registerApi(node.sql);
  await node.sql`
    insert into revocations (seq, subject, epoch, expires_at)
    select n, 'subject ' || n, 1, now() + interval '1 hour' from generate_series(1, 20000) n`;
  await node.sql`update feed set seq = 20000`;
  await expect.poll(() => node.feed.position(), { timeout: 10_000 }).toBe(20_000);
  const program = fileURLToPath(new URL('../support/join-feed.ts', import.meta.url));
  const verifiers = spawn(process.execPath, [program, node.url, api.authorization, '300']);
  const lines = createInterface({ input: verifiers.stdout })[Symbol.asyncIterator]();
  const readLine = async (): Promise<Parsed> => JSON.parse((await lines.next()).value ?? 'null');
  try {
    let isOver = false;
    const waits: number[] = [];
    const others = (async () => {
      while (!isOver) {
        const from = performance.now();
        const body = JSON.stringify({ seq: 1, verifier: 'other' });
        const headers = { authorization: api.authorization, 'content-type': 'application/json' };
        expect((await fetch(`${node.url}/ack`, { method: 'POST', headers, body })).status).toBe(204);
        waits.push(performance.now() - from);
      }
    })();
    const joined: { readAt: string; bytes: number }[] = await readLine();
    isOver = true;
    await others;
    expect(joined).toHaveLength(300);
    expect(Math.min(...joined.map(({ bytes }) => bytes))).toBeGreaterThan(20_000 * 30);
    // Alone each of them takes longer to read than they all take to arrive.
    expect(new Set(joined.map(({ readAt }) => readAt)).size).toBeLessThan(150);
    expect(Math.max(...waits)).toBeLessThan(10_000);

    // None of those who shared has missed anything.
    await transaction(node.db, (tx) => revoke(tx, [{ id: 'somebody' }]));
    expect(await readLine()).toEqual(Array(300).fill('20001'));
  } finally {
    verifiers.kill('SIGKILL');
    await node[Symbol.asyncDispose]();
    await database.drop();
  }
});
