/** `npm start`: reads the environment, starts Writ, stops it in order on SIGTERM and SIGINT. */
import { pathToFileURL } from 'node:url';
import { type Environment, readConfig } from './config.ts';
import { connect, isOutage } from './platform/db/client.ts';
import { startEmbedded } from './platform/db/embedded.ts';
import { migrate } from './platform/db/migrate.ts';
import { start } from './server.ts';

/** Serves until a signal comes. Rejects when Writ cannot start. */
export async function serve(env: Environment): Promise<void> {
  const config = readConfig(env);
  const writ = await start(config, { now: () => new Date() });
  const lines = [
    `Writ ${writ.issuer}`,
    `  API reference   ${writ.issuer}/api/docs`,
    `  SCIM            ${writ.issuer}/scim/v2`,
  ];
  if (writ.adminTokenFile !== undefined) lines.push(`  admin token     in ${writ.adminTokenFile}`);
  process.stderr.write(`${lines.join('\n')}\n`);
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
  await writ.close();
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

/** Errors whose message says all that an operator needs; a stack would hide it. */
const told = new Set(['ConfigError', 'EmbeddedError', 'MigrationError', 'UnsafeDatabaseError']);

/** Why Writ does not start, and what to do about it. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('code' in error && error.code === 'EADDRINUSE') return `${error.message}: stop what listens there, or set PORT`;
  if (isOutage(error)) return `the database in DATABASE_URL does not answer: ${error.message}`;
  return told.has(error.name) ? error.message : (error.stack ?? error.message);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await serve(process.env);
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`);
    process.exitCode = 1;
  }
}
