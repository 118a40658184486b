import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

const script = fileURLToPath(new URL('../support/embedded-owner.ts', import.meta.url));
const isRoot = process.getuid?.() === 0;
const isLinux = process.platform === 'linux';
const nobody = 65534;

let template: string;
let place: string;
let dataDir: string;
const children = new Set<ChildProcess>();

/** A data directory that was in use before: making one takes a second, copying it a tenth. */
beforeAll(async () => {
  template = await mkdtemp(join(tmpdir(), 'writ-embedded-template-'));
  dataDir = template;
  await stop(await own());
});

afterAll(async () => {
  await rm(template, { recursive: true, force: true });
});

const reuse = (): void => void execFileSync('cp', ['-a', template, dataDir]);

beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), 'writ-embedded-'));
  await chmod(place, 0o755);
  dataDir = join(place, 'data');
});

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
  await gone();
  await rm(place, { recursive: true, force: true });
});

interface Owner {
  child: ChildProcess;
  url: string;
  ended: Promise<number | null>;
}

/** Starts a process of its own that owns the data directory; rejects with what it said when it ends without a URL. */
async function own(as: { uid?: number; gid?: number } = {}): Promise<Owner> {
  const child = spawn(process.execPath, [script, dataDir], { stdio: 'pipe', cwd: '/', ...as });
  children.add(child);
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()));
    void ended.then(() => reject(new Error(said)));
  });
  return { child, url, ended };
}

async function stop({ child, ended }: Owner): Promise<number | null> {
  child.stdin?.end();
  return await ended;
}

async function query(url: string, text: string): Promise<unknown[]> {
  const sql = postgres(url, { max: 1, onnotice: () => {}, connect_timeout: 5 });
  try {
    return [...(await sql.unsafe(text))];
  } finally {
    await sql.end();
  }
}

/** Processes that work in the cluster, or watch it. */
async function remaining(): Promise<number[]> {
  if (!isLinux) return [];
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const cwd = await readlink(`/proc/${name}/cwd`).catch(() => '');
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    const isOurs = cwd.startsWith(place) || command.includes(`${dataDir}/postgres`);
    if (isOurs && Number(name) !== process.pid) found.push(Number(name));
  }
  return found;
}

async function gone(ms = 10_000): Promise<boolean> {
  const giveUpAt = performance.now() + ms;
  while ((await remaining()).length > 0) {
    if (performance.now() > giveUpAt) return false;
    await sleep(50);
  }
  return true;
}

const postmasterPid = async (): Promise<number> =>
  Number((await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0]);

describe('the embedded PostgreSQL', { timeout: 120_000 }, () => {
  test('starts from nothing, is safe and complete, and keeps its data', async () => {
    const first = await own();
    await query(first.url, "create table kept (word text); insert into kept values ('ÄRGER')");
    const [settings] = await query(
      first.url,
      `select current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
        current_setting('synchronous_commit') as synchronous_commit, current_setting('server_encoding') as encoding,
        current_setting('TimeZone') as timezone, current_setting('listen_addresses') as listen_addresses`,
    );
    expect(settings).toEqual({
      fsync: 'on',
      full_page_writes: 'on',
      synchronous_commit: 'on',
      encoding: 'UTF8',
      timezone: 'UTC',
      listen_addresses: '127.0.0.1',
    });
    expect(await stop(first)).toBe(0);
    expect(await remaining()).toEqual([]);

    const second = await own();
    expect(await query(second.url, 'select word, lower(word) as folded from kept')).toEqual([
      { word: 'ÄRGER', folded: 'ärger' },
    ]);
    await stop(second);
  });

  test('asks for its password and keeps it to itself', async () => {
    reuse();
    const owner = await own();
    const url = new URL(owner.url);
    url.password = 'guessed';
    await expect(query(url.href, 'select 1')).rejects.toMatchObject({ code: '28P01' });
    for (const name of ['postgres-password', 'postgres.log', 'lock']) {
      expect((await stat(join(dataDir, name))).mode & 0o077).toBe(0);
    }
    expect((await stat(join(dataDir, 'postgres'))).mode & 0o077).toBe(0);
    await stop(owner);
  });

  test('a second start says who owns the directory and does no harm', async () => {
    reuse();
    const owner = await own();
    await expect(own()).rejects.toThrow(`is in use by another Writ (process ${owner.child.pid})`);
    expect(await query(owner.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    await stop(owner);
  });

  test('of many starts at once, one wins', async () => {
    reuse();
    const starts = await Promise.allSettled([own(), own(), own()]);
    const owners = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
    expect(owners).toHaveLength(1);
    for (const owner of owners) await stop(owner);
  });

  test.runIf(isLinux)('does not outlive an owner that was killed', async () => {
    reuse();
    const owner = await own();
    await query(owner.url, 'create table kept (n int); insert into kept values (1)');
    owner.child.kill('SIGKILL');
    expect(await gone()).toBe(true);
    const next = await own();
    expect(await query(next.url, 'select n from kept')).toEqual([{ n: 1 }]);
    await stop(next);
  });

  test.runIf(isLinux)('a committed row survives the death of everything at once', async () => {
    reuse();
    const owner = await own();
    await query(owner.url, 'create table kept (n int); insert into kept values (1)');
    for (const pid of [owner.child.pid ?? 0, ...(await remaining())]) process.kill(pid, 'SIGKILL');
    const next = await own();
    expect(await query(next.url, 'select n from kept')).toEqual([{ n: 1 }]);
    await stop(next);
  });

  test.runIf(isLinux)('stops a PostgreSQL whose watcher was killed with its owner, and starts anew', async () => {
    reuse();
    const owner = await own();
    const server = await postmasterPid();
    const watchers: number[] = [];
    for (const pid of await remaining()) {
      if ((await readFile(`/proc/${pid}/comm`, 'utf8')).trim() === 'sh') watchers.push(pid);
    }
    expect(watchers.length).toBeGreaterThan(0);
    for (const pid of [...watchers, owner.child.pid ?? 0]) process.kill(pid, 'SIGKILL');
    await owner.ended;
    expect(await remaining()).toContain(server);
    const next = await own();
    expect(await remaining()).not.toContain(server);
    expect(await query(next.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    await stop(next);
    expect(await remaining()).toEqual([]);
  });

  test.runIf(isLinux)('a pid file that names a stranger is no obstacle', async () => {
    reuse();
    const stale = ['1', join(dataDir, 'postgres'), '1700000000', '5433', '', '127.0.0.1', ' 1 1', 'ready   ', ''];
    await writeFile(join(dataDir, 'postgres', 'postmaster.pid'), stale.join('\n'));
    const next = await own();
    expect(await query(next.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    await stop(next);
  });

  test('a start that was killed while it made the cluster is made good', async () => {
    await mkdir(join(dataDir, 'postgres.new-dead', 'cluster', 'base'), { recursive: true });
    const owner = await own();
    expect((await readdir(dataDir)).filter((name) => name.startsWith('postgres.new'))).toEqual([]);
    await stop(owner);
  });

  test('a cluster of another PostgreSQL is refused with what to do', async () => {
    await mkdir(join(dataDir, 'postgres'), { recursive: true });
    await writeFile(join(dataDir, 'postgres', 'PG_VERSION'), '17\n');
    await expect(own()).rejects.toThrow(/made by PostgreSQL 17.*pg_dump/);
  });

  test.runIf(isRoot)('runs for an ordinary user', async () => {
    await mkdir(dataDir);
    await chown(dataDir, nobody, nobody);
    const owner = await own({ uid: nobody, gid: nobody });
    expect((await stat(`/proc/${await postmasterPid()}`)).uid).toBe(nobody);
    expect(await query(owner.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    expect(await stop(owner)).toBe(0);
    expect(await remaining()).toEqual([]);
  });

  test.runIf(isRoot && isLinux)('as root runs as another user, and sees nothing else of the directory', async () => {
    reuse();
    const owner = await own();
    const { uid } = await stat(`/proc/${await postmasterPid()}`);
    expect(uid).not.toBe(0);
    expect((await stat(dataDir)).mode & 0o777).toBe(0o711);
    await stop(owner);
  });

  test.runIf(isRoot && isLinux)('as root runs below a directory that is closed to others, such as /root', async () => {
    reuse();
    await chmod(place, 0o700);
    const owner = await own();
    expect(await query(owner.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    expect(await stop(owner)).toBe(0);
    expect(await remaining()).toEqual([]);
    expect((await stat(place)).mode & 0o777).toBe(0o700);
  });
});
