import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { askToken, createWorld, readIntent, type World } from '../support/world.ts';
import { startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
beforeAll(async () => {
  writ = await startWrit({ env: { WRIT_POOL_SIZE: '6' } });
  world = await createWorld(writ);
});
afterAll(() => writ.close());

test('many requests about one owner wait in line, and nobody else waits with them', async () => {
  const outside = postgres(writ.databaseUrl, { max: 1, onnotice: () => {} });
  const holding = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  const lock = outside.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(owner_lock_key(${world.alice}))`;
    held.resolve();
    await holding.promise;
  });
  await held.promise;
  const patch = () =>
    world.scim('PATCH', `/Users/${world.alice}`, {
      schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
      Operations: [{ op: 'replace', path: 'displayName', value: `Alice ${Math.random()}` }],
    });
  const blocked = Promise.all(Array.from({ length: 30 }, patch));

  const startedAt = performance.now();
  expect((await askToken(writ, world.billing, { scope: readIntent })).status).toBe(200);
  expect((await writ.admin('GET', `/people/${world.bob}`)).status).toBe(200);
  expect((await world.scim('GET', `/Users/${world.bob}`)).status).toBe(200);
  expect(performance.now() - startedAt).toBeLessThan(1_500);

  holding.resolve();
  await lock;
  await outside.end();
  for (const answer of await blocked) expect([200, 503]).toContain(answer.status);
});

test('a token request waits for a change of its owner, and is decided by what the change left', async () => {
  const outside = postgres(writ.databaseUrl, { max: 1, onnotice: () => {} });
  const holding = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  const lock = outside.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(owner_lock_key(${world.bob}))`;
    held.resolve();
    await holding.promise;
    await tx`update agents set status = 'suspended', version = version + 1 where id = ${world.billing.id}`;
  });
  await held.promise;
  const asked = askToken(writ, world.billing, { scope: readIntent });
  const first = await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 500, 'waits'))]);
  expect(first).toBe('waits');
  holding.resolve();
  await lock;
  expect((await asked).body.reason).toBe('agent_inactive');
  await outside`update agents set status = 'active', version = version + 1 where id = ${world.billing.id}`;
  await outside.end();
});

test('who loses patience in line gets a 503 with Retry-After, and the line goes on', async () => {
  const outside = postgres(writ.databaseUrl, { max: 1, onnotice: () => {} });
  const blocked = outside.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(owner_lock_key(${world.alice}))`;
    await new Promise((resolve) => setTimeout(resolve, 4_000));
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const suspend = () => writ.admin('POST', `/agents/${world.triage.id}/suspend`, { reason: 'trial' });
  const answers = await Promise.all([suspend(), suspend(), suspend()]);
  for (const answer of answers) {
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).not.toBeNull();
  }
  await blocked;
  await outside.end();
  expect((await suspend()).body.status).toBe('suspended');
});
