import { randomBytes } from 'node:crypto';
import { link, mkdir, open, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';

export interface SecretFile {
  secret: string;
  path: string;
  /** True when this call made it. */
  isNew: boolean;
}

/**
 * Reads the secret kept in `dataDir/name`, or makes it once, readable by its owner alone. Processes that start at once
 * agree on one secret. Refuses a file that others can read: what stood open has to be replaced, not quietly closed.
 */
export async function resolveSecretFile(dataDir: string, name: string, make: () => string): Promise<SecretFile> {
  const path = join(dataDir, name);
  const existing = await readSecret(path);
  if (existing !== undefined) return { secret: existing, path, isNew: false };

  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const secret = make();
  const isNew = await publish(path, `${secret}\n`);
  if (isNew) return { secret, path, isNew };
  const winner = await readSecret(path);
  if (winner === undefined) throw new Error(`${path} appeared and was gone again: is another process deleting it?`);
  return { secret: winner, path, isNew };
}

async function readSecret(path: string): Promise<string | undefined> {
  const status = await stat(path).catch((error: unknown) => {
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (status === undefined) return undefined;
  if (!status.isFile()) throw new Error(`${path} is not a file: move it away`);
  if (process.platform !== 'win32' && (status.mode & 0o077) !== 0) {
    throw new Error(
      `${path} holds a secret, but others can read it. If nobody has: chmod 600 ${path}. Otherwise replace the secret.`,
    );
  }
  const file = await open(path, 'r');
  try {
    const secret = (await file.readFile('utf8')).trim();
    if (secret === '')
      throw new Error(`${path} is empty: restore it from a backup; delete it only if nothing uses it yet`);
    return secret;
  } finally {
    await file.close();
  }
}

/** A hard link to a finished file is the one step that both fails when the name exists and never shows half a file. */
async function publish(path: string, content: string): Promise<boolean> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  const file = await open(draft, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
    await link(draft, path);
    return true;
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false;
    throw error;
  } finally {
    await file.close();
    await unlink(draft);
  }
}

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;
