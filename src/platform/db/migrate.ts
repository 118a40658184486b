/**
 * Brings a database up to this version: runs `migrations/NNNN_what.sql` in order, forward only. One transaction a file,
 * all under one advisory lock, so that any number of nodes may start at once. Refuses a database that is newer than
 * the code, a file that was edited after it ran, and a file that was merged behind one that already ran.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Sql } from './client.ts';
import { openDedicated } from './dedicated.ts';

/** The same place seen from `src/platform/db` in a checkout and from `dist/platform/db` in the package. */
export const migrationsDirectory: string = fileURLToPath(new URL('../../../migrations', import.meta.url));

/** An advisory lock of its own: 'WRIT' in ASCII. */
const lockKey = 0x57524954;

export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

interface MigrationFile {
  name: string;
  checksum: string;
  text: string;
}

/**
 * Runs what is pending and answers with the names, in order. Throws `MigrationError`, with what to do, when database
 * and files do not fit together; a failing file leaves the database as it was before that file.
 */
export async function migrate(sql: Sql, directory: string = migrationsDirectory): Promise<{ applied: string[] }> {
  const files = await readMigrations(directory);
  // Migrations may take minutes, and nodes that start together wait for each other.
  const own = openDedicated(sql, { applicationName: 'writ migrate', isUnhurried: true });
  const applied: string[] = [];
  try {
    for (;;) {
      const name = await applyNext(own, files);
      if (name === undefined) return { applied };
      applied.push(name);
    }
  } finally {
    await own.end({ timeout: 5 });
  }
}

async function applyNext(sql: Sql, files: MigrationFile[]): Promise<string | undefined> {
  return await sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(${lockKey})`;
    await tx`create table if not exists migrations (
      name text primary key, checksum text not null, applied_at timestamptz not null default now())`;
    const recorded = await tx<{ name: string; checksum: string }[]>`select name, checksum from migrations`;
    const file = findNext(files, new Map(recorded.map((row) => [row.name, row.checksum])));
    if (file === undefined) return undefined;
    try {
      await tx.unsafe(file.text);
    } catch (error) {
      throw new MigrationError(`${file.name} failed, nothing of it was kept: ${explain(error)}`, { cause: error });
    }
    await tx`insert into migrations (name, checksum) values (${file.name}, ${file.checksum})`;
    return file.name;
  });
}

const explain = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The first file that has not run. Pure, so that its refusals can be tested without a database. */
export function findNext(
  files: readonly MigrationFile[],
  recorded: ReadonlyMap<string, string>,
): MigrationFile | undefined {
  const known = new Set(files.map((file) => file.name));
  const unknown = [...recorded.keys()].filter((name) => !known.has(name)).sort();
  if (unknown.length > 0) {
    throw new MigrationError(
      `the database is newer than this version of Writ: it has ${unknown.join(', ')}. ` +
        'Start the version that made it, or a later one; there is no way back.',
    );
  }
  let pending: MigrationFile | undefined;
  for (const file of files) {
    const checksum = recorded.get(file.name);
    if (checksum === undefined) {
      pending ??= file;
    } else if (pending !== undefined) {
      throw new MigrationError(
        `${pending.name} has not run, but ${file.name}, which comes after it, has. ` +
          `Give ${pending.name} a number above the last one, so that every database runs the same order.`,
      );
    } else if (checksum !== file.checksum) {
      throw new MigrationError(
        `${file.name} was edited after it ran here. Restore the file as it was and put the change into a new migration.`,
      );
    }
  }
  return pending;
}

/** Reads and checks the files of a directory, in the order in which they run. */
export async function readMigrations(directory: string): Promise<MigrationFile[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort();
  const numbers = new Set<string>();
  const files: MigrationFile[] = [];
  for (const name of names) {
    if (!/^\d{4}_[a-z0-9_]+\.sql$/.test(name)) {
      throw new MigrationError(`${name}: migrations are named NNNN_what_it_does.sql, in lower case`);
    }
    const number = name.slice(0, 4);
    if (numbers.has(number))
      throw new MigrationError(`two migrations have the number ${number}: renumber the newer one`);
    numbers.add(number);
    // A checkout on Windows may have changed the line ends; that is not an edit.
    const text = (await readFile(`${directory}/${name}`, 'utf8')).replaceAll('\r\n', '\n');
    if (/^\s*(begin|commit|rollback|start\s+transaction)(\s+(work|transaction))?\s*;/im.test(text)) {
      throw new MigrationError(
        `${name} controls its own transaction: leave begin and commit out, each file runs in one`,
      );
    }
    files.push({ name, checksum: createHash('sha256').update(text).digest('hex'), text });
  }
  return files;
}
