/** The machine: who runs on which core, and what is written about it. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem, type } from 'node:os';

export interface Cores {
  /** What a command has to begin with to run on the measured core. */
  pinned: readonly string[];
  /** How it was done, for the results. */
  note: string;
}

/**
 * Gives the first core to whatever is measured and moves this process, with all that it starts later (PostgreSQL), to
 * the others. Where `taskset` is missing, or there is one core only, nothing is pinned, and the note says so.
 */
export function divideCores(): Cores {
  const last = availableParallelism() - 1;
  if (last < 1) return { pinned: [], note: 'one core only: servers, load and PostgreSQL share it' };
  try {
    execFileSync('taskset', ['-a', '-c', '-p', `1-${last}`, String(process.pid)], { stdio: 'ignore' });
  } catch {
    return { pinned: [], note: 'taskset is missing: nothing is pinned, so these numbers say little' };
  }
  const others = last === 1 ? 'core 1' : `cores 1-${last}`;
  return {
    pinned: ['taskset', '-c', '0'],
    note: `each server pinned to core 0; load generator and PostgreSQL on ${others}`,
  };
}

const versionOf = (name: string): string =>
  JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;

/** Processor, memory, system and versions, one line each. */
export function describeMachine(postgresVersion: string): string[] {
  const [cpu] = cpus();
  const packages = ['oidc-provider', 'jose', 'scimmy', 'scimmy-routers', 'express', 'hono', 'postgres'];
  return [
    `${cpu?.model.trim() ?? 'unknown processor'}, ${availableParallelism()} cores, ${Math.round(totalmem() / 2 ** 30)} GiB; ${type()} ${release()}`,
    `Node.js ${process.versions.node}, PostgreSQL ${postgresVersion}; ${packages.map((name) => `${name} ${versionOf(name)}`).join(', ')}`,
  ];
}
