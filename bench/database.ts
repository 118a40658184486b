/** PostgreSQL for the bench: its own, durable as shipped, or the one that `BENCH_DATABASE_URL` names. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import postgres, { type Sql } from 'postgres';
import { startEmbedded } from '../src/platform/db/embedded.ts';

export interface Postgres {
  version: string;
  /** How a commit becomes durable, as the server says. */
  durability: string;
  /** A connection without time limits, for bulk loads. */
  admin: Sql;
  createDatabase(): Promise<string>;
  /** A connection to one of the databases, without time limits. Closed with the rest. */
  open(url: string): Sql;
  /** User and system time of all its processes so far, in milliseconds; `undefined` where that cannot be read. */
  cpuMs(): Promise<number | undefined>;
  close(): Promise<void>;
}

/** `given`: address of a database whose role may create databases. */
export async function openPostgres(folder: string, given: string | undefined): Promise<Postgres> {
  const embedded = given ? undefined : await startEmbedded({ dataDir: folder, log: () => {} });
  const url = given || (embedded?.url ?? '');
  const opened: Sql[] = [];
  const databases: string[] = [];
  const open = (address: string): Sql => {
    const sql = postgres(address, { max: 4, onnotice: () => {} });
    opened.push(sql);
    return sql;
  };
  const admin = open(url);
  const [facts] = await admin`
    select current_setting('server_version') as version, current_setting('fsync') as fsync,
           current_setting('synchronous_commit') as commit`;
  return {
    version: facts?.version,
    durability: `fsync ${facts?.fsync}, synchronous_commit ${facts?.commit}`,
    admin,
    open,
    createDatabase: async () => {
      const name = `writ_bench_${randomBytes(6).toString('hex')}`;
      await admin.unsafe(`create database ${name} template template0 encoding 'UTF8'`);
      databases.push(name);
      const address = new URL(url);
      address.pathname = `/${name}`;
      return address.href;
    },
    cpuMs: async () =>
      readCpu((await admin<{ pid: number }[]>`select pid from pg_stat_activity`).map(({ pid }) => pid)),
    close: async () => {
      if (embedded === undefined) {
        for (const name of databases) await admin.unsafe(`drop database if exists ${name} with (force)`);
      }
      await Promise.all(opened.map((sql) => sql.end({ timeout: 1 })));
      await embedded?.stop();
    },
  };
}

/** Ticks of Linux are 10 ms wherever this runs. */
const tickMs = 10;

function readCpu(pids: number[]): number | undefined {
  let ticks = 0;
  for (const pid of pids) {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('postgres')) return undefined;
      // After the name in parentheses: state is the first field, utime and stime the 12th and 13th.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      return undefined;
    }
  }
  return ticks * tickMs;
}
