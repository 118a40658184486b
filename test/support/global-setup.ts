/**
 * One real PostgreSQL for the whole run: the one `TEST_DATABASE_URL` names (its role has to be allowed to create
 * databases), else an embedded one in a temporary directory. Migrates one template, of which every test file gets a copy.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { connect } from '../../src/platform/db/client.ts';
import { startEmbedded } from '../../src/platform/db/embedded.ts';
import { migrate } from '../../src/platform/db/migrate.ts';
import { databaseUrl, runAsAdmin } from './database.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A database of the server that the role may connect to, to create others from. */
    serverUrl: string;
    /** Name of the migrated template. */
    template: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer(process.env.TEST_DATABASE_URL);
  const template = `writ_template_${randomBytes(6).toString('hex')}`;
  try {
    await runAsAdmin(server.url, (sql) => sql.unsafe(`create database ${template} template template0 encoding 'UTF8'`));
    const database = connect({ url: databaseUrl(server.url, template), poolSize: 1 });
    try {
      await migrate(database.sql);
    } finally {
      await database.close();
    }
  } catch (error) {
    await server.stop();
    throw error;
  }
  project.provide('serverUrl', server.url);
  project.provide('template', template);
  return async () => {
    if (!server.isOwn) await runAsAdmin(server.url, (sql) => sql.unsafe(`drop database ${template} with (force)`));
    await server.stop();
  };
}

async function startServer(given: string | undefined): Promise<{ url: string; isOwn: boolean; stop(): Promise<void> }> {
  if (given) return { url: given, isOwn: false, stop: async () => {} };
  const dataDir = await mkdtemp(join(tmpdir(), 'writ-test-'));
  const discard = async (): Promise<void> => await rm(dataDir, { recursive: true, force: true, maxRetries: 3 });
  try {
    const embedded = await startEmbedded({ dataDir, log: () => {} });
    return {
      url: embedded.url,
      isOwn: true,
      stop: async () => {
        await embedded.stop();
        await discard();
      },
    };
  } catch (error) {
    await discard();
    throw error;
  }
}
