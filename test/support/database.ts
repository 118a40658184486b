import { randomBytes } from 'node:crypto';
import postgres from 'postgres';
import { inject } from 'vitest';
import type { Sql } from '../../src/platform/db/client.ts';

export interface TestDatabase {
  url: string;
  drop(): Promise<void>;
}

/** A fresh, migrated database on the run's PostgreSQL; `drop` it when the file is done, whoever is still connected. */
export async function createTestDatabase(): Promise<TestDatabase> {
  return await createDatabase(inject('template'));
}

/** A database without any table, for tests that bring their own migrations. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  return await createDatabase('template0');
}

async function createDatabase(template: string): Promise<TestDatabase> {
  const server = inject('serverUrl');
  const name = `writ_test_${randomBytes(8).toString('hex')}`;
  await runAsAdmin(server, (sql) => sql.unsafe(`create database ${name} template ${template}`));
  return {
    url: databaseUrl(server, name),
    drop: async () => {
      await runAsAdmin(server, (sql) => sql.unsafe(`drop database if exists ${name} with (force)`));
    },
  };
}

/** The same server and role, another database. */
export function databaseUrl(server: string, name: string): string {
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

/** One short-lived connection without the pool's limits, as creating a database may take a while on a busy machine. */
export async function runAsAdmin(server: string, work: (sql: Sql) => Promise<unknown>): Promise<void> {
  const sql = postgres(server, { max: 1, onnotice: () => {} });
  try {
    await work(sql);
  } finally {
    await sql.end();
  }
}
