/**
 * The last checkpoint of each issuer's audit log that this user has seen verified, kept outside the server: what finds
 * a log that was cut, or a whole database that was put back. A file that cannot be read is an error, never "none yet".
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { usage } from './failure.ts';
import { isRow, parseJson, type Row } from './json.ts';

export interface Checkpoint {
  number: number;
  hash: string;
  /** When it was seen, ISO 8601. */
  seenAt: string;
}

/** XDG Base Directory: a relative `XDG_STATE_HOME` is ignored. */
export function checkpointsPath(env: NodeJS.ProcessEnv): string {
  const state = env.XDG_STATE_HOME;
  const home = state !== undefined && isAbsolute(state) ? state : join(env.HOME || homedir(), '.local', 'state');
  return join(home, 'writ', 'checkpoints.json');
}

export function readCheckpoint(path: string, issuer: string): Checkpoint | undefined {
  const seen = readAll(path)[issuer];
  if (seen === undefined) return undefined;
  if (!isRow(seen) || typeof seen.number !== 'number' || typeof seen.hash !== 'string') throw broken(path);
  return { number: seen.number, hash: seen.hash, seenAt: String(seen.seenAt) };
}

export function storeCheckpoint(path: string, issuer: string, checkpoint: Checkpoint): void {
  const all = { ...readAll(path), [issuer]: checkpoint };
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const next = `${path}.${process.pid}`;
  writeFileSync(next, `${JSON.stringify(all, null, 2)}\n`, { mode: 0o600 });
  renameSync(next, path);
}

function readAll(path: string): Row {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    if (isRow(error) && error.code === 'ENOENT') return {};
    throw usage(
      `Cannot read the checkpoints seen so far in ${path}: ${error instanceof Error ? error.message : error}`,
    );
  }
  const all = parseJson(content);
  if (!isRow(all)) throw broken(path);
  return all;
}

const broken = (path: string) =>
  usage(
    `${path} is damaged. It holds the checkpoints seen so far: find out why before you move it away and start anew.`,
  );
