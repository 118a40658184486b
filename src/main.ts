/** `npm start`: reads the environment, starts Writ, stops it in order on SIGTERM and SIGINT. */
import cluster from 'node:cluster';
import { pathToFileURL } from 'node:url';
import { type Config, type Environment, readConfig } from './config.ts';
import { connect, isOutage } from './platform/db/client.ts';
import { startEmbedded } from './platform/db/embedded.ts';
import { migrate } from './platform/db/migrate.ts';
import { createLogger } from './platform/http/log.ts';
import { createClosing } from './platform/http/serving.ts';
import { startWorkers } from './platform/http/workers.ts';
import { resolveSecrets } from './secrets.ts';
import { prepareDatabase, start } from './server.ts';

/** Serves until a signal comes. Rejects when Writ cannot start, or cannot go on. */
export async function serve(env: Environment): Promise<void> {
  const config = readConfig(env);
  if (config.workers > 1 && cluster.isPrimary) return serveByWorkers(config);
  if (cluster.isWorker) return serveAsWorker(config);
  const writ = await start(config, { now: () => new Date() });
  announce(config.issuer, writ.adminTokenFile);
  await until(Promise.race([signalled(), writ.failure]), writ.close);
}

/** Waits for the end, and closes. Closing may fail for the same reason as the rest: the first is told. */
async function until(end: Promise<void>, close: () => Promise<void>): Promise<void> {
  try {
    await end;
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
  await close();
}

/** The channel to the primary keeps a worker alive, so its end has to be said. */
async function serveAsWorker(config: Config): Promise<never> {
  const toStop = signalled();
  try {
    const writ = await start(config, { now: () => new Date(), isWorker: true });
    await toStop;
    await writ.close();
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`);
    process.exit(1);
  }
}

function announce(issuer: string, adminTokenFile: string | undefined): void {
  const lines = [`Writ ${issuer}`, `  API reference   ${issuer}/api/docs`, `  SCIM            ${issuer}/scim/v2`];
  if (adminTokenFile !== undefined) lines.push(`  admin token     in ${adminTokenFile}`);
  process.stderr.write(`${lines.join('\n')}\n`);
}

/** The primary of several processes: the database and its migrations, the secrets and the workers are its, requests are theirs. */
async function serveByWorkers(config: Config): Promise<void> {
  const log = createLogger(config.logLevel);
  const closing = createClosing();
  const toStop = signalled();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  const run = async (): Promise<void> => {
    const { url } = await prepareDatabase(config, log, closing, failure.reject);
    const { adminTokenFile } = await resolveSecrets(config);
    const workers = await startWorkers({
      count: config.workers,
      env: { DATABASE_URL: url },
      log,
      drainSeconds: config.drainSeconds,
    });
    closing.add(workers.close);
    announce(config.issuer, adminTokenFile);
    await Promise.race([toStop, failure.promise]);
  };
  await until(run(), closing.close);
}

/** Of one Ctrl-C more than one signal may come: the terminal sends one to all, and npm passes its own on. */
const repeatedMs = 1_000;

/** Resolves at the first signal. One that comes later than its repetition ends the process at once. */
function signalled(): Promise<void> {
  return new Promise((resolve) => {
    let firstAt: number | undefined;
    for (const [signal, number] of [
      ['SIGTERM', 15],
      ['SIGINT', 2],
    ] as const) {
      process.on(signal, () => {
        firstAt ??= performance.now();
        if (performance.now() - firstAt > repeatedMs) process.exit(128 + number);
        resolve();
      });
    }
  });
}

/** Brings the database up to this release and returns the names of the migrations that were run. */
export async function migrateDatabase(env: Environment): Promise<string[]> {
  const config = readConfig(env);
  const embedded =
    config.databaseUrl === undefined
      ? await startEmbedded({ dataDir: config.dataDir, log: (message) => process.stderr.write(`${message}\n`) })
      : undefined;
  const database = connect({ url: config.databaseUrl ?? embedded?.url ?? '', poolSize: 2 });
  try {
    return (await migrate(database.sql)).applied;
  } finally {
    await database.close();
    await embedded?.stop();
  }
}

/** Errors whose message says all that an operator needs, as does what the modules throw as a plain `Error`. */
const told = new Set(['ConfigError', 'EmbeddedError', 'MigrationError', 'UnsafeDatabaseError', 'WorkersError']);

/** Why Writ does not start, and what to do about it. A stack, which would hide it, is for faults in the program alone. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, name } = error;
  if ('syscall' in error && error.syscall === 'listen') {
    return 'code' in error && error.code === 'EADDRINUSE'
      ? `${message}: stop what listens there, or set PORT`
      : `${message}: set HOST and PORT to what this machine has and this user may use`;
  }
  if (isOutage(error)) return `the database in DATABASE_URL does not answer: ${message}`;
  if ('syscall' in error && 'path' in error) {
    return `${message}: WRIT_DATA_DIR has to be a folder that this user can make and write to`;
  }
  const isSentence = told.has(name) || (name === 'Error' && !('code' in error) && !('query' in error));
  return isSentence ? message : (error.stack ?? message);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await serve(process.env);
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`);
    process.exitCode = 1;
  }
}
