/** A backup, restored: everything works again, and what is missing since is told by whoever kept a checkpoint. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { start } from '../../src/server.ts';
import { makeFolder, runCli } from '../support/cli.ts';
import {
  createEmptyDatabase,
  createTestDatabase,
  databaseUrl,
  runAsAdmin,
  type TestDatabase,
} from '../support/database.ts';
import { asApi, introspectAs } from '../support/oauth.ts';
import { awaitSealed } from '../support/sealed.ts';
import { askToken, createWorld, detail, makeAssertion, must, readIntent, type World } from '../support/world.ts';
import { adminToken, freePort, startWrit, type TestWrit } from '../support/writ.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

/** `pg_dump` refuses a server that is newer than itself. */
function canDump(): boolean {
  return spawnSync('pg_dump', ['--schema-only', '--dbname', database.url], { stdio: 'ignore' }).status === 0;
}

/** While Writ runs, where there is a `pg_dump` that fits; else of a database that nobody uses. */
async function backUp(writ: TestWrit): Promise<TestDatabase> {
  const copy = await createEmptyDatabase();
  if (canDump()) {
    const dump = execFileSync('pg_dump', ['--format=custom', '--dbname', database.url], { maxBuffer: 1e9 });
    execFileSync('pg_restore', ['--exit-on-error', '--no-owner', '--dbname', copy.url], { input: dump });
    return copy;
  }
  await writ.close();
  const [from, to] = [database.url, copy.url].map((url) => new URL(url).pathname.slice(1)) as [string, string];
  await runAsAdmin(databaseUrl(database.url, 'postgres'), async (sql) => {
    await sql.unsafe(`drop database ${to}`);
    await sql.unsafe(`create database ${to} template ${from}`);
  });
  return copy;
}

const ask = (node: TestWrit, world: World, issuer: string) =>
  askToken(node, world.triage, {
    authorization_details: detail(readIntent),
    client_assertion: makeAssertion({ ...node, url: issuer }, world.triage),
  });
const verifyFrom = (url: string, state: string) =>
  runCli(['audit', 'verify'], { env: { WRIT_URL: url, WRIT_ADMIN_TOKEN: adminToken, XDG_STATE_HOME: state } });

test('a restored database: keys open, tokens verify, the chain holds; a checkpoint from after the backup tells what is lost', async () => {
  using earlier = makeFolder();
  using later = makeFolder();
  let writ = await startWrit({ databaseUrl: database.url });
  const issuer = writ.url;
  const world = await createWorld(writ);
  const token = must(await ask(writ, world, issuer)).body.access_token;
  await awaitSealed(writ);
  expect(await verifyFrom(writ.url, earlier.path)).toMatchObject({ code: 0 });

  const copy = await backUp(writ);
  await writ.close();
  // Life goes on after the backup: another token, and Alice leaves.
  writ = await startWrit({ databaseUrl: database.url, issuer });
  must(await ask(writ, world, issuer));
  const users = `${writ.url}/scim/v2/Users/${world.alice}`;
  const headers = { authorization: `Bearer ${world.directory.scimToken}` };
  expect((await fetch(users, { method: 'DELETE', headers })).status).toBe(204);
  expect((await ask(writ, world, issuer)).body.reason).toBe('owner_inactive');
  // Kept outside once it is sealed.
  expect(await awaitSealed(writ)).toMatchObject({ ok: true });
  expect(await verifyFrom(writ.url, later.path)).toMatchObject({ code: 0 });
  await writ.close();

  try {
    await using restored = await startWrit({ databaseUrl: copy.url, issuer });
    expect((await introspectAs(restored, asApi(world.api), token)).body.active).toBe(true);
    // The departure is not in the backup: until the directory has sent it again, she is back.
    must(await ask(restored, world, issuer));
    expect(await verifyFrom(restored.url, earlier.path)).toMatchObject({ code: 0 });
    const told = await verifyFrom(restored.url, later.path);
    expect(told.code).toBe(6);
    expect(told.stderr).toMatch(/does not verify|was cut|put back/);
    const again = await fetch(`${restored.url}/scim/v2/Users/${world.alice}`, { method: 'DELETE', headers });
    expect(again.status).toBe(204);
    expect((await ask(restored, world, issuer)).body.reason).toBe('owner_inactive');
    expect((await introspectAs(restored, asApi(world.api), token)).body.active).toBe(false);
  } finally {
    await copy.drop();
  }
}, 60_000);

test('the folder of a Writ with its own PostgreSQL, copied while it is stopped, is a Writ again elsewhere', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'writ-restore-'));
  const [original, copy] = [join(folder, 'original'), join(folder, 'copy')];
  const serve = async (dataDir: string) => {
    const port = await freePort();
    const env = { PORT: `${port}`, WRIT_DATA_DIR: dataDir, WRIT_ADMIN_TOKEN: adminToken, WRIT_LOG_LEVEL: 'silent' };
    const writ = await start(readConfig(env), { now: () => new Date() });
    const call = (method: string, path: string) =>
      fetch(`http://localhost:${port}/api/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
        ...(method === 'POST' ? { body: '{}' } : {}),
      }).then((answer) => answer.json() as Promise<Record<string, unknown>>);
    return { writ, call };
  };
  try {
    const first = await serve(original);
    await first.call('POST', '/keys/rotate');
    const keys = (await first.call('GET', '/keys')).items as { kid: string }[];
    await first.writ.close();
    // With owners and modes: PostgreSQL refuses a cluster that others can read.
    execFileSync('cp', ['-a', original, copy]);
    await rm(original, { recursive: true });

    const second = await serve(copy);
    const restored = (await second.call('GET', '/keys')).items as { kid: string }[];
    expect(restored.map(({ kid }) => kid)).toEqual(keys.map(({ kid }) => kid));
    expect(restored).toHaveLength(6);
    expect(await second.call('POST', '/audit/verify')).toMatchObject({ ok: true });
    await second.writ.close();
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}, 60_000);
