/**
 * The database goes away: every kind of call says so within ten seconds, with a 503 that no client takes for an answer,
 * and everything works again by itself once it is back. A database that only reads, as a demoted primary does, is no
 * better: it cannot know what was revoked elsewhere.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, runAsAdmin, type TestDatabase } from '../support/database.ts';
import { type DatabaseProxy, startProxy } from '../support/database-proxy.ts';
import { askToken, createWorld, exchangeToken, must, postForm, readIntent, type World } from '../support/world.ts';
import { type Answer, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

let database: TestDatabase;
let proxy: DatabaseProxy;
let writ: TestWrit;
let world: World;
let token: string;

beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startProxy(database.url);
  writ = await startWrit({ databaseUrl: proxy.url });
  world = await createWorld(writ);
  token = must(await askToken(writ, world.triage, { scope: readIntent })).body.access_token;
});
afterAll(async () => {
  await writ?.close();
  await proxy?.[Symbol.asyncDispose]();
  await database?.drop();
});

type Call = [name: string, ask: () => Promise<Answer>];

const deactivation = {
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations: [{ op: 'replace', value: { active: false } }],
};

const basic = (): string => {
  const { clientId, clientSecret } = world.api.feedCredentials;
  return `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
};

/** Status and headers, without waiting for the end of a stream. */
async function connect(): Promise<Answer> {
  const controller = new AbortController();
  const { status, headers } = await fetch(`${writ.url}/revocations`, {
    headers: { authorization: basic() },
    signal: controller.signal,
  });
  controller.abort();
  return { status, headers, body: null };
}

/** Calls that decide, change, or say what is alive; to a directory, what is there is such an answer. */
const decisions = (): Call[] => [
  ['token', () => askToken(writ, world.triage, { scope: readIntent })],
  ['exchange', () => exchangeToken(writ, world.triage, token)],
  ['introspect', () => postForm(`${writ.url}/oauth/introspect`, { token }, { authorization: basic() })],
  ['SCIM POST', () => world.scim('POST', '/Users', { schemas: [], userName: `${randomUUID()}@example.com` })],
  ['SCIM PATCH', () => world.scim('PATCH', `/Users/${world.alice}`, deactivation)],
  ['SCIM PATCH of nobody', () => world.scim('PATCH', `/Users/${randomUUID()}`, deactivation)],
  ['SCIM PUT', () => world.scim('PUT', `/Users/${world.alice}`, { userName: 'alice@example.com', active: false })],
  ['SCIM DELETE', () => world.scim('DELETE', `/Users/${world.bob}`)],
  ['SCIM GET', () => world.scim('GET', `/Users/${world.alice}`)],
  ['SCIM GET of nobody', () => world.scim('GET', `/Users/${randomUUID()}`)],
  ['SCIM list', () => world.scim('GET', '/Users?filter=userName%20eq%20%22nobody%22')],
  ['SCIM group', () => world.scim('POST', '/Groups', { displayName: randomUUID() })],
  ['create a directory', () => writ.admin('POST', '/directories', { name: randomUUID(), kind: 'okta' })],
  ['suspend', () => writ.admin('POST', `/agents/${world.billing.id}/suspend`, { reason: 'outage' })],
  ['rotate keys', () => writ.admin('POST', '/keys/rotate', {})],
  ['feed', connect],
];

/** Calls that only look something up, for people. */
const lookups = (): Call[] => [
  ['agents', () => writ.admin('GET', '/agents')],
  ['no such agent', () => writ.admin('GET', `/agents/${randomUUID()}`)],
  ['audit', () => writ.admin('GET', '/audit')],
];

/** A standby may not know it yet. */
const unknownScimToken: Call = ['a wrong SCIM token', () => get('/scim/v2/Users', 'Bearer writ_scim_wrong')];

/** What nobody can be refused for while nobody can look it up. */
const strangers = (): Call[] => [
  unknownScimToken,
  ['a wrong admin token', () => get('/api/v1/agents', 'Bearer writ_admin_wrong')],
  ['wrong feed credentials', () => get('/revocations', `Basic ${Buffer.from(`${randomUUID()}:x`).toString('base64')}`)],
  ['an unknown agent', () => askToken(writ, { ...world.triage, id: randomUUID() })],
];

const get = async (path: string, authorization?: string): Promise<Answer> =>
  readAnswer(await fetch(`${writ.url}${path}`, authorization === undefined ? {} : { headers: { authorization } }));

async function expectOutage(calls: Call[]): Promise<void> {
  const answers = await Promise.all(
    calls.map(async ([name, ask]) => {
      const startedAt = performance.now();
      const { status, headers, body } = await ask();
      const isInTime = performance.now() - startedAt < 10_000;
      const saysWhen = Number(headers.get('retry-after')) > 0;
      return { name, status, isInTime, saysWhen, body: status === 503 ? undefined : body };
    }),
  );
  expect(answers).toEqual(
    calls.map(([name]) => ({ name, status: 503, isInTime: true, saysWhen: true, body: undefined })),
  );
}

async function expectProbes(ready: 200 | 503): Promise<void> {
  await expect.poll(async () => (await get('/readyz')).status, { timeout: 15_000 }).toBe(ready);
  expect((await get('/livez')).status).toBe(200);
  // What is known without the database stays available to those who verify offline.
  expect((await get('/oauth/jwks')).status).toBe(200);
  expect((await get('/.well-known/oauth-authorization-server')).status).toBe(200);
}

async function expectRecovery(): Promise<void> {
  await expectProbes(200);
  await expect
    .poll(async () => (await askToken(writ, world.triage, { scope: readIntent })).status, { timeout: 15_000 })
    .toBe(200);
  await expect.poll(async () => (await connect()).status, { timeout: 15_000 }).toBe(200);
  // Nobody has left, nothing has stopped.
  for (const person of [world.alice, world.bob]) {
    expect((await world.scim('GET', `/Users/${person}`)).body).toMatchObject({ active: true });
  }
  expect((await writ.admin('GET', `/agents/${world.billing.id}`)).body).toMatchObject({ live: true });
  expect((await writ.admin('GET', '/offboardings')).body.items).toEqual([]);
  expect((await writ.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
}

describe.each(['hangUp', 'swallow'] as const)('the database is gone (%s)', (how) => {
  test('every call answers 503 in time, at once and later; then everything recovers', { timeout: 90_000 }, async () => {
    await proxy.turn(how);
    await expectOutage([...decisions(), ...lookups(), ...strangers()]);
    await expectProbes(503);
    await expectOutage([...decisions(), ...lookups(), ...strangers()]);
    await proxy.turn('pass');
    proxy.cut('reset');
    await expectRecovery();
  });
});

describe('the database only reads', () => {
  const name = (): string => new URL(database.url).pathname.slice(1);
  /** Sessions take the setting when they begin, so those that are open have to end. */
  const beReadOnly = async (isReadOnly: boolean): Promise<void> =>
    runAsAdmin(database.url, async (sql) => {
      await sql.unsafe(`set default_transaction_read_only = off`);
      await sql.unsafe(`alter database ${name()} set default_transaction_read_only = ${isReadOnly ? 'on' : 'off'}`);
      await sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()`;
    });

  test('nothing is decided on its word, and nothing is lost', { timeout: 60_000 }, async () => {
    await beReadOnly(true);
    try {
      await expectProbes(503);
      await expectOutage([...decisions(), unknownScimToken]);
      for (const [name, ask] of lookups()) expect([name, (await ask()).status]).not.toEqual([name, 401]);
    } finally {
      await beReadOnly(false);
    }
    await expectRecovery();
  });

  test('a connected feed falls silent, so that verifiers know how stale they are', { timeout: 60_000 }, async () => {
    await expect.poll(async () => (await connect()).status, { timeout: 10_000 }).toBe(200);
    const controller = new AbortController();
    const stream = await fetch(`${writ.url}/revocations`, {
      headers: { authorization: basic() },
      signal: controller.signal,
    });
    let heartbeats = 0;
    const reading = (async () => {
      for await (const chunk of stream.body ?? [])
        heartbeats += Buffer.from(chunk).toString().split('event: heartbeat').length - 1;
    })().catch(() => {});
    await expect.poll(() => heartbeats, { timeout: 5_000 }).toBeGreaterThan(1);
    await beReadOnly(true);
    try {
      await expectProbes(503);
      const before = heartbeats;
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      expect(heartbeats).toBe(before);
    } finally {
      await beReadOnly(false);
    }
    const after = heartbeats;
    await expect.poll(() => heartbeats, { timeout: 15_000 }).toBeGreaterThan(after);
    controller.abort();
    await reading;
  });
});
