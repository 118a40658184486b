/** The measured processes: started on the measured core, asked what they have used, and ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Cores } from './machine.ts';
import type { Memory, Usage } from './probe.ts';

export interface Server {
  name: string;
  url: string;
  usage(): Promise<Usage>;
  /** Has it collect its garbage, and tells what is left. */
  memory(): Promise<Memory>;
  /** Resolves once the process does next to nothing: what it had put off is done. */
  settle(): Promise<void>;
  /** What it said, when it has ended by itself. */
  lastWords(): string | undefined;
  stop(): Promise<void>;
}

export interface Starting {
  name: string;
  /** Relative to this folder. */
  module: string;
  env: (url: string, port: number) => Record<string, string>;
  /** Answers 200 once the server is ready. */
  probePath: string;
  /** How long it has to be quiet until nothing that it has put off can be left. */
  quietMs: number;
}

const startMs = 60_000;

/** `BENCH_PROFILE=<folder>`: every measured process leaves a CPU profile there, for Chrome's developer tools. */
const profileFolder = process.env.BENCH_PROFILE;
const profiling = profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`];

export async function startServer(cores: Cores, folder: string, starting: Starting): Promise<Server> {
  const { name, module, env, probePath, quietMs } = starting;
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const logFile = join(folder, `${name.replaceAll(/\W+/g, '-')}-${port}.log`);
  const log = openSync(logFile, 'w', 0o600);
  const pathOf = (path: string) => fileURLToPath(new URL(path, import.meta.url));
  const [command = '', ...args] = [
    ...cores.pinned,
    process.execPath,
    ...profiling,
    '--import',
    pathOf('./probe.ts'),
    pathOf(module),
  ];
  const child = spawn(command, args, {
    stdio: ['ignore', log, log, 'ipc'],
    env: { PATH: process.env.PATH, NODE_ENV: 'production', ...env(url, port) },
  });
  closeSync(log);
  const failed = once(child, 'exit').then(() => 'ended', String);
  const readLog = () => readFileSync(logFile, 'utf8').trim().slice(-2_000);
  if (!(await becomesReady(`${url}${probePath}`, failed))) {
    child.kill('SIGKILL');
    throw new Error(`${name} did not start. It said:\n${readLog()}`);
  }
  const usage = () => ask<Usage>(child, 'usage');
  return {
    name,
    url,
    usage,
    memory: () => ask<Memory>(child, 'memory'),
    settle: () => settle(usage, quietMs),
    lastWords: () =>
      hasEnded(child) ? `${name} ended (${child.exitCode ?? child.signalCode}): ${readLog()}` : undefined,
    stop: () => stop(child),
  };
}

async function becomesReady(probe: string, failed: Promise<string>): Promise<boolean> {
  let hasFailed = false;
  void failed.then(() => {
    hasFailed = true;
  });
  const giveUpAt = performance.now() + startMs;
  while (!hasFailed && performance.now() < giveUpAt) {
    const status = await fetch(probe, { signal: AbortSignal.timeout(2_000) }).then(
      async (response) => {
        await response.body?.cancel();
        return response.status;
      },
      () => undefined,
    );
    if (status === 200) return true;
    await sleep(25);
  }
  return false;
}

/** One question at a time: an answer does not say what it answers. */
async function ask<T>(child: ChildProcess, question: 'usage' | 'memory'): Promise<T> {
  const answer = once(child, 'message', { signal: AbortSignal.timeout(10_000) });
  child.send(question);
  const [told] = await answer;
  return told;
}

async function settle(usage: () => Promise<Usage>, quietMs: number): Promise<void> {
  const stepMs = 100;
  const giveUpAt = performance.now() + 15_000;
  let before = (await usage()).cpuMs;
  for (let quiet = 0; quiet < quietMs && performance.now() < giveUpAt; ) {
    await sleep(stepMs);
    const now = (await usage()).cpuMs;
    quiet = now - before < stepMs / 10 ? quiet + stepMs : 0;
    before = now;
  }
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

/** Without ceremony: nothing that it keeps is wanted any more, but for a profile, which is written at a proper end. */
async function stop(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'exit');
  child.kill(profileFolder === undefined ? 'SIGKILL' : 'SIGTERM');
  await ended;
}

function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
