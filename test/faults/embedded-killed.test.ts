/**
 * The embedded PostgreSQL's own processes are killed under a Writ as `npm start` runs it: it recovers by itself, and
 * where it cannot, the process ends with a message and a code that tell a supervisor to start it again. Nothing that was
 * answered is lost.
 */
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { becomesReady, isReady, showOnFailure, spawnNode, type WritNode } from '../support/nodes.ts';
import { askToken, createWorld, must, readIntent, type World } from '../support/world.ts';
import { freePort } from '../support/writ.ts';

const isLinux = process.platform === 'linux';

let dataDir: string;
let port: number;
let writ: WritNode;
let world: World;
let said = '';
const jtis: string[] = [];

function start(): WritNode {
  return spawnNode(port, { WRIT_DATA_DIR: dataDir, WRIT_LOG_LEVEL: 'info' });
}

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'writ-killed-'));
  port = await freePort();
  writ = start();
  await becomesReady(writ);
  world = await createWorld(writ);
});
afterAll(async () => {
  writ?.signal('SIGTERM');
  await writ?.ended;
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
});
showOnFailure(() => `${said}${writ?.said()}`);

const postmaster = async (): Promise<number> =>
  Number((await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0]);

/** PostgreSQL's processes of this cluster that serve Writ's connections. */
async function findBackends(): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const cwd = await readlink(`/proc/${name}/cwd`).catch(() => '');
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (cwd.startsWith(dataDir) && /postgres 127\.0\.0\.1/.test(command)) found.push(Number(name));
  }
  return found;
}

/** Tokens under way while `kill` is at work; each is on record afterwards, or was refused with a 503. */
async function issueAround(kill: () => Promise<void>): Promise<void> {
  const isOver = { yes: false };
  const others = new Set<string>();
  const work = async (): Promise<void> => {
    while (!isOver.yes) {
      const answer = await askToken(writ, world.triage, { scope: readIntent });
      if (answer.status === 200) {
        jtis.push(JSON.parse(Buffer.from(answer.body.access_token.split('.')[1], 'base64url').toString()).jti);
      } else others.add(`${answer.status} ${Number(answer.headers.get('retry-after')) > 0}`);
    }
  };
  const workers = Array.from({ length: 4 }, work);
  const before = jtis.length;
  await expect.poll(() => jtis.length, { timeout: 15_000 }).toBeGreaterThan(before + 10);
  await kill();
  const then = jtis.length;
  await expect.poll(() => jtis.length, { timeout: 30_000 }).toBeGreaterThan(then + 30);
  isOver.yes = true;
  await Promise.all(workers);
  expect([...others].filter((other) => other !== '503 true')).toEqual([]);
  await expect.poll(() => isReady(writ), { timeout: 15_000 }).toBe(true);
}

async function expectNothingLost(): Promise<void> {
  expect((await writ.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
  for (const jti of jtis.filter((_, index) => index % 20 === 0 || index > jtis.length - 5)) {
    expect(must(await writ.admin('GET', `/audit?jti=${jti}`)).body.items).toHaveLength(1);
  }
  expect(must(await writ.admin('GET', `/agents/${world.helper.id}`)).body.live).toBe(true);
}

describe.runIf(isLinux)('the embedded PostgreSQL', () => {
  test('a backend that is killed takes the others down; it recovers by itself', async () => {
    await issueAround(async () => {
      const [backend = 0] = await findBackends();
      expect(backend).toBeGreaterThan(1);
      process.kill(backend, 'SIGKILL');
    });
    await expectNothingLost();
  });

  test('killed as a whole, it is started again at its place', async () => {
    const before = await postmaster();
    await issueAround(async () => {
      process.kill(before, 'SIGKILL');
      await expect.poll(() => postmaster().catch(() => before), { timeout: 30_000 }).not.toBe(before);
    });
    expect(writ.said().includes('starting it again')).toBe(true);
    await expectNothingLost();
  });

  test('killed again at once, Writ ends and says why; the next start has everything', async () => {
    const pid = await postmaster();
    process.kill(pid, 'SIGKILL');
    expect(await writ.ended).toBe('1');
    expect(writ.said().slice(-2_000)).toMatch(/PostgreSQL in .* ended by itself \(137\)/);
    said = writ.said();
    writ = start();
    await becomesReady(writ);
    // The administrator's token is the one that was given; the world is the one that was.
    await expectNothingLost();
    expect((await askToken(writ, world.triage, { scope: readIntent })).status).toBe(200);
  });

  test('told to stop, it leaves no process behind', async () => {
    writ.signal('SIGTERM');
    expect(await writ.ended).toBe('0');
    expect(await findBackends()).toEqual([]);
  });
});
