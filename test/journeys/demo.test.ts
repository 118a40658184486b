/** `npm run demo`, as a person runs it: it exits 0 only if every step happened as told, and leaves nothing behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const launcher = fileURLToPath(new URL('../../src/cli/writ.js', import.meta.url));
let folder: string;
beforeAll(async () => {
  // Another account may run PostgreSQL in here.
  folder = await mkdtemp(join(tmpdir(), 'writ-demo-test-'));
  await chmod(folder, 0o711);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** With settings of another Writ around it, none of which may reach the demo. */
function startDemo(...options: string[]) {
  return spawn(process.execPath, [launcher, 'demo', ...options], {
    env: {
      ...process.env,
      TMPDIR: folder,
      DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing',
      WRIT_ISSUER: 'https://writ.example.com',
      PORT: '1',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Of the processes that still have the folder in their environment. */
async function findLeftovers(): Promise<string[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found: string[] = [];
  for (const pid of pids) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (environment.includes(`TMPDIR=${folder}\0`)) found.push(pid);
  }
  return found;
}

async function expectNothingLeft(): Promise<void> {
  await expect.poll(findLeftovers, { timeout: 20_000 }).toEqual([]);
  await expect.poll(() => readdir(folder), { timeout: 5_000 }).toEqual([]);
}

test('the whole story happens, for Okta and for Entra ID, and nothing is left behind', {
  timeout: 60_000,
}, async () => {
  const demo = startDemo();
  const [told, problems, [code]] = await Promise.all([text(demo.stdout), text(demo.stderr), once(demo, 'close')]);
  expect(problems).toBe('');
  for (const line of [
    'triage reads INC-4711 at the CRM API: 200',
    '"task_intent": "incident_remediation.ticket_read"',
    '400 access_denied, approval_required',
    '"Operations":[{"op":"replace","value":{"active":false}}]',
    '"Operations":[{"op":"Replace","path":"active","value":"False"}]',
    'The same token at the same API: 401 from now on',
    "dave's ledger works on: 200, and a new token: 200",
    'the signature fits the keys that Writ publishes',
    'signed up to the last',
    'steps happened as told',
  ]) {
    expect(told).toContain(line);
  }
  // No colours and no rewriting of lines where nobody looks.
  for (const control of ['\u001b', '\r']) expect(told).not.toContain(control);
  expect(code).toBe(0);
  await expectNothingLeft();
});

test('an interruption ends it in order, and so does a kill', { timeout: 60_000 }, async () => {
  const interrupted = startDemo();
  await awaitText(interrupted.stdout, '✓ Writ starts');
  interrupted.kill('SIGINT');
  const [code] = await once(interrupted, 'exit');
  expect(code).toBe(130);
  await expectNothingLeft();

  const killed = startDemo('--keep');
  await awaitText(killed.stdout, '✓ The CRM API starts');
  killed.kill('SIGKILL');
  await expectNothingLeft();
});

async function awaitText(stream: NodeJS.ReadableStream, expected: string): Promise<void> {
  let told = '';
  stream.on('data', (chunk: Buffer) => {
    told += chunk.toString('utf8');
  });
  await expect.poll(() => told, { timeout: 30_000 }).toContain(expected);
}
