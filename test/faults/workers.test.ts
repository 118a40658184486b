/** `WRIT_WORKERS`: several processes on one port, one of them killed under load. */
import { readdir, readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { awaitScrape, scrape } from '../support/metrics.ts';
import { type Program, startProgram } from '../support/program.ts';
import { askToken, createWorld, detail, readIntent, type World } from '../support/world.ts';

let database: TestDatabase;
let writ: Program;
let world: World;

beforeAll(async () => {
  database = await createTestDatabase();
  writ = await startProgram({ DATABASE_URL: database.url, WRIT_WORKERS: '2' });
  world = await createWorld(writ);
}, 120_000);
afterAll(async () => {
  await writ?.stop();
  await database.drop();
}, 60_000);

/** Linux tells a process's children; elsewhere the log has their ends only. */
async function workersOf(program: Program): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const parents = await Promise.all(
    pids.map(async (pid) => {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return state === 'Z' ? undefined : { pid: Number(pid), parent: Number(parent) };
    }),
  );
  return parents.flatMap((one) => (one !== undefined && one.parent === program.child.pid ? [one.pid] : []));
}

const ask = async (): Promise<number> => {
  const answer = await askToken(writ, world.triage, { authorization_details: detail(readIntent) });
  return answer.status;
};

describe.runIf(process.platform === 'linux')('two workers', () => {
  test('both answer, each as a node of its own in the audit log, and show their metrics as one', async () => {
    expect(await workersOf(writ)).toHaveLength(2);
    const nodes = new Set<string>();
    for (let round = 0; nodes.size < 2 && round < 50; round++) {
      // Each on a connection of its own: whoever is free takes it.
      expect(await Promise.all(Array.from({ length: 8 }, ask))).toEqual(Array(8).fill(200));
      const { items } = (await writ.admin('GET', '/audit?kind=token.issued&limit=200')).body;
      for (const { node } of items) nodes.add(node);
    }
    expect(nodes.size).toBe(2);
    const found = await awaitScrape(writ.url, ({ sum }) => sum('writ_db_up') === 1);
    expect(found.sum('writ_db_pool_size')).toBe(20);
    const issued = found.sum('writ_tokens_issued_total');
    expect(issued % 8).toBe(0);
    expect((await scrape(writ.url)).sum('writ_tokens_issued_total')).toBe(issued);
  });

  test('kill -9 of one under load: tokens go on, another takes its place, and the log is whole', async () => {
    const [victim = 0] = await workersOf(writ);
    const load = { over: false, good: 0, refused: 0, lost: 0 };
    const run = async (): Promise<void> => {
      while (!load.over) {
        const status = await ask().catch(() => 0);
        if (status === 200) load.good += 1;
        // The connection ended with the worker that had it: nothing is known, so the caller asks again.
        else if (status === 0) load.lost += 1;
        else load.refused += 1;
      }
    };
    const clients = Array.from({ length: 8 }, run);
    await until(() => load.good >= 20);
    process.kill(victim, 'SIGKILL');
    const before = load.good;
    await until(() => load.good >= before + 50);
    await until(async () => {
      const pids = await workersOf(writ);
      return pids.length === 2 && !pids.includes(victim);
    });
    const joined = load.good;
    await until(() => load.good >= joined + 50);
    load.over = true;
    await Promise.all(clients);
    expect(load.refused).toBe(0);
    // What was in flight in the worker that was killed, and no more.
    expect(load.lost).toBeLessThanOrEqual(clients.length * 2);
    expect(writ.output()).toContain('a worker has ended, another takes its place');
    expect((await writ.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
  }, 120_000);

  test('SIGTERM ends all of them in order', async () => {
    const pids = await workersOf(writ);
    expect(await writ.stop()).toEqual({ code: 0, signal: null });
    const left = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)));
    expect(left.filter((one) => one !== undefined)).toEqual([]);
  }, 60_000);

  test('a worker that cannot start ends the whole, which says why', async () => {
    const other = Buffer.alloc(32, 1).toString('base64');
    await expect(startProgram({ DATABASE_URL: database.url, WRIT_WORKERS: '2', WRIT_KEK: other })).rejects.toThrow(
      /does not open with this WRIT_KEK[\s\S]*a worker did not start/,
    );
  }, 120_000);
});

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + 50_000;
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) throw new Error(`not so after 50 s: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
