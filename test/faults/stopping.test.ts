import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { explain } from '../../src/main.ts';
import { makeFolder } from '../support/cli.ts';
import { createTestDatabase } from '../support/database.ts';
import { freePort } from '../support/writ.ts';

const root = join(import.meta.dirname, '../..');

/** Starts Writ by `command` in a process group of its own and resolves once it listens. */
async function startBy(command: string[], env: NodeJS.ProcessEnv): Promise<ChildProcess> {
  const [program = '', ...rest] = command;
  const child = spawn(program, rest, { cwd: root, env: { ...process.env, ...env }, detached: true });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk) => {
      said += chunk;
    });
  while (!said.includes('API reference')) {
    if (child.exitCode !== null) throw new Error(`it did not start: ${said}`);
    await sleep(50);
  }
  return child;
}

/** Ends what a failure has left of it. */
function endGroup(group: number | undefined): void {
  try {
    if (group !== undefined) process.kill(-group, 'SIGKILL');
  } catch {
    // Nothing is left.
  }
}

/** A token request of which half has arrived: the answer to it is owed. */
async function beginRequest(port: number): Promise<{ rest: () => void; status: Promise<number | undefined> }> {
  const [half, other] = ['grant_type=client', '_credentials'];
  const headers = {
    'Content-Type': 'application/x-www-form-urlencoded',
    'Content-Length': half.length + other.length,
  };
  const begun = request({ host: '127.0.0.1', port, path: '/oauth/token', method: 'POST', headers });
  const status = new Promise<number | undefined>((resolve, reject) => {
    begun.on('response', (response) => resolve(response.resume().statusCode)).on('error', reject);
  });
  await new Promise((resolve) => begun.write(half, resolve));
  await sleep(50);
  return { rest: () => begun.end(other), status };
}

const isAnswered = (port: number): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/livez`).then(
    () => true,
    () => false,
  );

describe('a stop', { timeout: 60_000 }, () => {
  test.each([
    ['node itself', ['node', 'src/main.ts']],
    ['npm start', ['npm', 'start']],
    ['npx writ serve', ['node', 'src/cli/writ.js', 'serve']],
  ])(
    'of %s finishes what it answers although the signal comes twice, and leaves nothing running',
    async (_what, command) => {
      const database = await createTestDatabase();
      using folder = makeFolder();
      const port = await freePort();
      let group: number | undefined;
      try {
        const env = { PORT: String(port), DATABASE_URL: database.url, WRIT_DATA_DIR: folder.path };
        const child = await startBy(command, env);
        group = child.pid;
        const { rest, status } = await beginRequest(port);
        const ended = once(child, 'exit');
        for (let times = 0; times < 2; times++) {
          child.kill('SIGTERM');
          await sleep(50);
        }
        rest();
        expect(await status).toBe(401);
        await ended;
        expect(await isAnswered(port)).toBe(false);
        if (command[0] === 'node') expect([child.exitCode, child.signalCode]).toEqual([0, null]);
      } finally {
        endGroup(group);
        await database.drop();
      }
    },
  );
});

describe('why Writ does not start', () => {
  const failed = (members: object, message = 'it failed') => explain(Object.assign(new Error(message), members));

  test.each([
    ['a port that is taken', { code: 'EADDRINUSE', syscall: 'listen' }, /stop what listens there/],
    ['an address of another machine', { code: 'EADDRNOTAVAIL', syscall: 'listen' }, /set HOST and PORT/],
    ['a port for root alone', { code: 'EACCES', syscall: 'listen' }, /set HOST and PORT/],
    ['a database that is away', { code: 'ECONNREFUSED', syscall: 'connect' }, /DATABASE_URL does not answer/],
    ['a data folder that is a file', { code: 'EEXIST', syscall: 'mkdir', path: '/x' }, /WRIT_DATA_DIR has to be/],
    ['what a module says', {}, /^it failed$/],
  ])('%s is one sentence', (_what, members, message) => {
    expect(failed(members)).toMatch(message);
    expect(failed(members)).not.toMatch(/\n {4}at /);
  });

  test('a fault in the program keeps its stack', () => {
    expect(explain(new TypeError('x is undefined'))).toMatch(/\n {4}at /);
  });
});
