/**
 * The demo's processes: started at a free port, awaited until they answer, stopped in order. Each has a log file, and is
 * tethered: none outlives the demo. They run in process groups of their own, so that Ctrl-C reaches the demo alone.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { extname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface Starting {
  name: string;
  /** Relative to this folder, without its ending: that of the sources, or of what was built from them. */
  module: string;
  logFile: string;
  /** Added to the caller's environment, less all that configures Writ there. */
  env(port: number): Record<string, string>;
  /** Answers below 500 once the process is ready. */
  probePath: string;
}

export interface Running {
  url: string;
  /** Resolves when the process has ended: in order, or after ten seconds by force. */
  stop(): Promise<void>;
}

const startMs = 60_000;
const stopMs = 10_000;
const maxAttempts = 3;

export async function startProcess(starting: Starting): Promise<Running> {
  for (let attempt = 1; ; attempt++) {
    const port = await findFreePort();
    const child = spawnTethered(starting, port);
    const running = { url: `http://127.0.0.1:${port}`, stop: () => stop(child) };
    if (await becomesReady(child, `${running.url}${starting.probePath}`)) return running;
    await running.stop();
    const said = readFileSync(starting.logFile, 'utf8').trim();
    // Somebody else was faster at that port.
    if (attempt < maxAttempts && said.includes('EADDRINUSE')) continue;
    throw new Error(`${starting.name} did not start. It said:\n${said.slice(-2_000) || '(nothing)'}`);
  }
}

function spawnTethered({ module, logFile, env }: Starting, port: number): ChildProcess {
  const ending = extname(import.meta.url);
  const tether = new URL(`./tether${ending}`, import.meta.url).href;
  const entry = fileURLToPath(new URL(`${module}${ending}`, import.meta.url));
  const log = openSync(logFile, 'w', 0o600);
  try {
    return spawn(process.execPath, ['--import', tether, entry], {
      detached: true,
      stdio: ['ignore', log, log, 'ipc'],
      env: { ...readNeutralEnvironment(), ...env(port) },
    });
  } finally {
    closeSync(log);
  }
}

/** The demo is the same everywhere: whatever a developer has exported for another Writ stays out of it. */
function readNeutralEnvironment(): NodeJS.ProcessEnv {
  const isOurs = (name: string) => /^(PORT|HOST|DATABASE_URL|NODE_OPTIONS|WRIT_.*|PG[A-Z]+)$/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !isOurs(name)));
}

async function becomesReady(child: ChildProcess, probe: string): Promise<boolean> {
  const state = { hasFailed: false };
  child.once('error', () => {
    state.hasFailed = true;
  });
  const giveUpAt = performance.now() + startMs;
  while (!state.hasFailed && !hasEnded(child) && performance.now() < giveUpAt) {
    const status = await fetch(probe, { signal: AbortSignal.timeout(2_000) }).then(
      async (response) => {
        await response.body?.cancel();
        return response.status;
      },
      () => undefined,
    );
    if (status !== undefined && status < 500) return true;
    await sleep(20);
  }
  return false;
}

const hasEnded = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null;

async function stop(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
  child.kill('SIGTERM');
  await ended;
  clearTimeout(timer);
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
