/**
 * `npm run bench -- [tokens] [verifier] [scim] [offboarding] [growth] [memory] [--quick]`: measures Writ side by side
 * with what it is compared with, prints tables and ratios, and writes `bench/results.md` (not with `--quick`, or for a
 * part of a part).
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openPostgres, type Postgres } from './database.ts';
import { describeMachine, divideCores } from './machine.ts';
import { measureGrowth } from './parts/growth.ts';
import { measureMemory } from './parts/memory.ts';
import { measureOffboarding } from './parts/offboarding.ts';
import { measureScim } from './parts/scim.ts';
import { measureTokens } from './parts/tokens.ts';
import { measureVerifier } from './parts/verifier.ts';
import type { Server } from './processes.ts';
import { renderSection, type Section, writeResults } from './report.ts';
import type { Bench } from './stage.ts';

const parts: Record<string, (bench: Bench) => Promise<Section[]>> = {
  tokens: measureTokens,
  verifier: measureVerifier,
  scim: measureScim,
  offboarding: measureOffboarding,
  growth: measureGrowth,
  memory: measureMemory,
};
/** It takes longer than all others together: only when it is named. */
const byDefault = Object.keys(parts).filter((name) => name !== 'memory');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    /** Of the tokens' part: `private_key_jwt`, `client_secret` or `exchange`. */
    kind: { type: 'string' },
    /** Of the tokens' part: `memory`, `postgres` or `writ`; of the memory's: `tokens`, `verifier` or `subscribers`. */
    target: { type: 'string' },
    /** Of tokens, in the memory's part. */
    count: { type: 'string' },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
  },
});
const unknown = positionals.filter((name) => !(name in parts));
if (unknown.length > 0)
  throw new Error(`no part is called ${unknown.join(', ')}; there are ${Object.keys(parts).join(', ')}`);

const startedAt = performance.now();
const progress = (text: string): void => {
  process.stderr.write(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(4)} s  ${text}\n`);
};

async function runPart(name: string, ground: Omit<Bench, 'keep'>): Promise<Section[]> {
  const servers: Server[] = [];
  const keep = async (starting: Promise<Server>): Promise<Server> => {
    const server = await starting;
    servers.push(server);
    return server;
  };
  try {
    return (await parts[name]?.({ ...ground, keep })) ?? [];
  } catch (error) {
    for (const server of servers) {
      const words = server.lastWords();
      if (words !== undefined) process.stderr.write(`${words}\n`);
    }
    throw error;
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
}

const { quick } = values;
const loadBefore = loadavg()[0]?.toFixed(1);
const cores = divideCores();
const folder = await mkdtemp(join(tmpdir(), 'writ-bench-'));
// PostgreSQL may run as another account, which has to pass through.
await chmod(folder, 0o711);
let postgres: Postgres | undefined;
try {
  postgres = await openPostgres(join(folder, 'database'), process.env.BENCH_DATABASE_URL);
  progress(`PostgreSQL ${postgres.version}, ${postgres.durability}; ${cores.note}; load average ${loadBefore}`);
  const pace = {
    rounds: Number(values.rounds ?? (quick ? 2 : 4)),
    seconds: Number(values.seconds ?? (quick ? 0.3 : 1.5)),
    connections: 32,
  };
  const only = {
    ...(values.kind === undefined ? {} : { kind: values.kind }),
    ...(values.target === undefined ? {} : { target: values.target }),
    ...(values.count === undefined ? {} : { count: Number(values.count) }),
  };
  const sections: Section[] = [];
  for (const name of positionals.length === 0 ? byDefault : positionals) {
    const measured = await runPart(name, { cores, folder, postgres, pace, quick, only, progress });
    for (const section of measured) process.stdout.write(`\n${renderSection(section)}\n\n`);
    sections.push(...measured);
  }
  if (!quick && Object.keys(only).length === 0) {
    const command = ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' ');
    const context = [
      ...describeMachine(postgres.version),
      `${cores.note}; ${postgres.durability}; load average before: ${loadBefore}`,
      `${new Date().toISOString().slice(0, 10)}, \`${command}\``,
    ];
    writeResults(new URL('./results.md', import.meta.url), sections, context);
  }
  progress('done');
} finally {
  await postgres?.close();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}
