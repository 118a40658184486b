/**
 * A node that freezes at the worst moments, with all that it can hold: an owner's lock shared or exclusive, the feed's
 * row, the sealer's lock. However and wherever it is frozen, others wait for no more than a transaction may take.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect, type Database } from '../../src/platform/db/client.ts';
import { type FrozenAt, freezeHolder } from '../support/frozen.ts';
import { insist } from '../support/nodes.ts';
import { awaitSealed } from '../support/sealed.ts';
import { createWorld, must, type World } from '../support/world.ts';
import { startWrit, type TestWrit } from '../support/writ.ts';

/** A transaction may take 9 s, its end is looked for every second; the rest is room for a slow machine. */
const boundMs = 14_000;

let writ: TestWrit;
let world: World;
let database: Database;
const thaws: (() => void)[] = [];

beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  database = connect({ url: writ.databaseUrl, poolSize: 2 });
});
afterAll(async () => {
  for (const thaw of thaws) thaw();
  await database?.close();
  await writ?.close();
});

const freeze = async (at: FrozenAt, statement: string): Promise<void> => {
  thaws.push(await freezeHolder(writ.databaseUrl, at, (tx) => tx.unsafe(statement)));
};

async function createPerson(): Promise<string> {
  const schemas = ['urn:ietf:params:scim:schemas:core:2.0:User'];
  return must(await world.scim('POST', '/Users', { schemas, userName: `${crypto.randomUUID()}@example.com` })).body.id;
}

/** Milliseconds until the directory has its answer, trying again as an IdP does. */
async function leave(person: string): Promise<number> {
  const startedAt = performance.now();
  const left = await insist(() => world.scim('DELETE', `/Users/${person}`), 30_000);
  expect(left.status).toBe(204);
  return performance.now() - startedAt;
}

test.concurrent('frozen at any point of an issuance: its owner leaves in time', async () => {
  const points = ['between statements', 'inside a statement', 'before its answer'] as const;
  const times = points.map(async (at) => {
    const person = await createPerson();
    await freeze(at, `select pg_advisory_xact_lock_shared(owner_lock_key('${person}'))`);
    return [at, (await leave(person)) < boundMs];
  });
  expect(Object.fromEntries(await Promise.all(times))).toEqual(Object.fromEntries(points.map((at) => [at, true])));
});

test.concurrent('frozen in a departure, at the feed: the next ones leave in time', async () => {
  const [frozen, person] = [await createPerson(), await createPerson()];
  await freeze(
    'inside a statement',
    `select pg_advisory_xact_lock(owner_lock_key('${frozen}')); update feed set seq = seq`,
  );
  expect(Math.max(...(await Promise.all([leave(person), leave(frozen)])))).toBeLessThan(boundMs);
});

test.concurrent('frozen while it seals: others seal', async () => {
  await freeze('inside a statement', `select pg_advisory_xact_lock(hashtextextended('writ:audit-sealer', 0))`);
  const startedAt = performance.now();
  await createPerson();
  expect(await awaitSealed(writ)).toMatchObject({ ok: true });
  expect(performance.now() - startedAt).toBeLessThan(boundMs);
});

test.concurrent('a long read is left alone', async () => {
  const settled = database.sql.begin('isolation level repeatable read read only', async (tx) => {
    const [before] = await tx`select count(*) as count from audit_entries`;
    // As a verification of the log does, statement after statement.
    for (let second = 0; second < 13; second++) {
      await tx`select 1`;
      await sleep(1_000);
    }
    const [after] = await tx`select count(*) as count from audit_entries`;
    expect(after).toEqual(before);
  });
  await settled;
});
