import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** Open for as long as they are locked: a collected handle would be a lost lock. */
const held = new Set<DatabaseSync>();

/**
 * Makes this process the only owner of a data directory, until it ends or calls what this returns. Throws, naming the
 * owner, when there is one.
 *
 * The lock is the kernel's, so `kill -9` frees it at once and nothing stale is left to be judged: a file with a pid
 * has to guess whether a number was reused, and two starts that both find it stale race for it; a listening
 * socket in the directory has the same race. Node has no call for file locks, but SQLite takes one (fcntl) for
 * `begin exclusive`. It also holds between containers that share a volume on one machine.
 */
export async function takeLock(dataDir: string): Promise<() => void> {
  const path = join(dataDir, 'lock');
  const owner = join(dataDir, 'lock-owner');
  const handle = new DatabaseSync(path);
  try {
    handle.exec('begin exclusive');
  } catch (error) {
    handle.close();
    if (!(error instanceof Error && 'errcode' in error && error.errcode === 5)) throw error;
    const pid = (await readFile(owner, 'utf8').catch(() => '')).trim();
    throw new Error(
      `${dataDir} is in use by another Writ${pid === '' ? '' : ` (process ${pid})`}. ` +
        'Stop it first, or give this one its own WRIT_DATA_DIR, or run both on one DATABASE_URL.',
    );
  }
  held.add(handle);
  await chmod(path, 0o600);
  await writeFile(owner, `${process.pid}\n`, { mode: 0o600 });
  return () => {
    if (held.delete(handle)) handle.close();
  };
}
