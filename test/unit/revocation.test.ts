import { sql as query } from 'drizzle-orm';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { currentEpochs, revoke } from '../../src/domain/revocation/revoke.ts';
import { sweepExpired } from '../../src/domain/revocation/sweep.ts';
import { acknowledge, publish, readFeed, snapshot, sweep } from '../../src/domain/signals/feed.ts';
import { connect, type Database, transaction } from '../../src/platform/db/client.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { registerApi, writeReceipt } from '../support/feed.ts';

let database: TestDatabase;
let connection: Database;

beforeAll(async () => {
  database = await createTestDatabase();
  connection = connect({ url: database.url });
});
afterAll(async () => {
  await connection.close();
  await database.drop();
});
beforeEach(async () => {
  const { sql } = connection;
  await sql`truncate subjects, revocations, assertions, acknowledgements, offboardings, offboarding_holdings`;
  await sql`update feed set seq = 0, swept = 0`;
});

const revokeIds = (...ids: string[]) =>
  transaction(connection.db, (tx) =>
    revoke(
      tx,
      ids.map((id) => ({ id })),
    ),
  );

test('each revocation raises the epoch by one and gets the next number', async () => {
  expect(await revokeIds('agent', 'person')).toBe(2);
  expect(await revokeIds('agent')).toBe(3);
  expect(await currentEpochs(connection.db, ['agent', 'person', 'nobody'])).toEqual(
    new Map([
      ['agent', 2],
      ['person', 1],
      ['nobody', 0],
    ]),
  );
  const read = await readFeed(connection.db, 0, 10);
  expect(read).toMatchObject({ seq: 3, head: 3, swept: 0 });
  expect(read.entries.map((entry) => entry.seq)).toEqual([1, 2, 3]);
  expect(read.entries.at(-1)).toMatchObject({ subject: 'agent', epoch: 2 });
});

test('a subject named twice is raised once; nothing to revoke is a mistake of the caller', async () => {
  await revokeIds('agent', 'agent');
  expect(await currentEpochs(connection.db, ['agent'])).toEqual(new Map([['agent', 1]]));
  await expect(revokeIds()).rejects.toThrow(TypeError);
});

test('a transaction that fails takes its number back', async () => {
  await expect(
    transaction(connection.db, async (tx) => {
      await revoke(tx, [{ id: 'agent' }]);
      throw new Error('changed my mind');
    }),
  ).rejects.toThrow('changed my mind');
  expect(await readFeed(connection.db, 0, 10)).toMatchObject({ seq: 0, head: 0, entries: [] });
  expect(await revokeIds('agent')).toBe(1);
});

test('transactions with the same subjects in opposite order do not deadlock', async () => {
  const ids = Array.from({ length: 20 }, (_, index) => `agent-${index}`);
  const rounds = Array.from({ length: 30 }, (_, index) => revokeIds(...(index % 2 ? ids : ids.toReversed())));
  const last = await Promise.all(rounds);
  expect(Math.max(...last)).toBe(600);
  expect(new Set((await currentEpochs(connection.db, ids)).values())).toEqual(new Set([30]));
});

test('the epoch of a token is forgotten once the token has expired, that of an agent never', async () => {
  const { db } = connection;
  const past = new Date(Date.now() - 3_600_000);
  const soon = new Date(Date.now() + 60_000);
  await transaction(db, (tx) =>
    revoke(tx, [{ id: 'agent' }, { id: 'old token', expiresAt: past }, { id: 'token', expiresAt: soon }]),
  );
  // Once never, always never; the later of two ends.
  await transaction(db, (tx) =>
    revoke(tx, [
      { id: 'agent', expiresAt: past },
      { id: 'token', expiresAt: past },
    ]),
  );
  await connection.sql`insert into assertions values ('\\x01', ${past}), ('\\x02', ${soon})`;
  expect(await sweepExpired(db)).toEqual({ subjects: 1, assertions: 1 });
  expect(await currentEpochs(db, ['agent', 'old token', 'token'])).toEqual(
    new Map([
      ['agent', 2],
      ['old token', 0],
      ['token', 2],
    ]),
  );
});

test('a snapshot has the highest epoch of each subject, and every dead key for good', async () => {
  const { db, sql } = connection;
  await revokeIds('agent');
  await revokeIds('agent', 'person');
  await transaction(db, (tx) => publish(tx, [{ kid: 'stolen' }]));
  await sql`
    insert into signing_keys (kid, algorithm, public_jwk, private_key, signs_from, revoked_at)
    values ('stolen long ago', 'ES256', '{}', '', now(), now() - interval '1 year'), ('good', 'ES256', '{}', '', now(), null)`;
  const first = await snapshot(db);
  expect(first).toMatchObject({ seq: 4, keys: ['stolen', 'stolen long ago'] });
  expect(first.revocations.toSorted((a, b) => a.subject.localeCompare(b.subject))).toEqual([
    { subject: 'agent', epoch: 2 },
    { subject: 'person', epoch: 1 },
  ]);
  await sql`update revocations set expires_at = now() - interval '1 second'`;
  expect(await snapshot(db)).toMatchObject({ seq: 4, revocations: [], keys: ['stolen long ago'] });
});

test('an entry outlives the longest token, whose life is 900 seconds', async () => {
  await revokeIds('agent');
  const [row] = await connection.sql<{ life: number }[]>`
    select extract(epoch from expires_at - at)::float8 as life from revocations`;
  expect(row?.life).toBeGreaterThanOrEqual(960);
});

test('sweeping removes expired entries from the front only and remembers how far', async () => {
  const { db, sql } = connection;
  for (const id of ['a', 'b', 'c', 'd']) await revokeIds(id);
  await sql`update revocations set expires_at = now() - interval '1 second' where seq in (1, 2, 4)`;
  expect(await sweep(db)).toBe(2);
  expect(await readFeed(db, 0, 10)).toMatchObject({ seq: 4, swept: 2, entries: [{ seq: 3 }, { seq: 4 }] });
  await sql`update revocations set expires_at = now() - interval '1 second'`;
  expect(await sweep(db)).toBe(2);
  expect(await sweep(db)).toBe(0);
  expect(await readFeed(db, 0, 10)).toMatchObject({ seq: 4, swept: 4, entries: [] });
  expect(await revokeIds('a')).toBe(5);
});

test('a read that its limit cuts short says how far it came', async () => {
  await revokeIds('a', 'b', 'c');
  expect(await readFeed(connection.db, 0, 2)).toMatchObject({ seq: 2, head: 3 });
  expect(await readFeed(connection.db, 2, 2)).toMatchObject({ seq: 3, head: 3 });
  expect(await readFeed(connection.db, 0, 0)).toMatchObject({ seq: 0, head: 3, entries: [] });
});

test('an acknowledgement counts once, for a number that exists, by a name that can be printed', async () => {
  const { db, sql } = connection;
  const api = await registerApi(sql);
  await writeReceipt(sql, await revokeIds('person'));
  await acknowledge(db, api.id, 'crm-1', 1);
  await acknowledge(db, api.id, 'crm-1', 1);
  expect(await sql`select verifier, seq from acknowledgements`).toEqual([{ verifier: 'crm-1', seq: '1' }]);
  for (const [verifier, seq] of [
    ['crm-1', 2],
    ['crm-1', -1],
    ['crm-1', 0.5],
    ['', 1],
    ['a\nb', 1],
    ['x'.repeat(201), 1],
  ] as const) {
    await expect(acknowledge(db, api.id, verifier, seq), `${verifier} ${seq}`).rejects.toMatchObject({
      code: 'invalid_request',
    });
  }
});

test('only an acknowledgement that a receipt reads is kept', async () => {
  const { db, sql } = connection;
  const api = await registerApi(sql);
  const tell = async (seq: number) => {
    for (const verifier of ['a', 'b']) await acknowledge(db, api.id, verifier, seq);
  };
  await tell(await revokeIds('agent'));
  await writeReceipt(sql, await revokeIds('person'), new Date(Date.now() - 1_300_000));
  await tell(2);
  await writeReceipt(sql, await revokeIds('person'));
  await revokeIds('agent');
  for (const seq of [2, 4, 3, 4]) await tell(seq);
  await tell(await revokeIds('agent'));
  await writeReceipt(sql, await revokeIds('person'));
  await acknowledge(db, api.id, 'b', 6);
  expect(await sql`select verifier, seq::int from acknowledgements order by seq, verifier`).toEqual([
    { verifier: 'a', seq: 4 },
    { verifier: 'b', seq: 4 },
    { verifier: 'b', seq: 6 },
  ]);
});

test('the numbers become visible in their order: 50 publishers, one reader that never sees a gap', async () => {
  const { db } = connection;
  const publishers = connect({ url: database.url, poolSize: 50 });
  const writers = Array.from({ length: 50 }, async (_, writer) => {
    for (let round = 0; round < 10; round++) {
      await transaction(publishers.db, async (tx) => {
        // Transactions of unlike length, some of which come to nothing.
        await tx.execute(query`select pg_sleep(${Math.random() / 100})`);
        await revoke(tx, [{ id: `${writer}-${round}` }, { id: 'shared' }]);
        if ((writer + round) % 7 === 0) throw new Error('rolled back');
      }).catch((error: Error) => expect(error.message).toBe('rolled back'));
    }
  });
  const written = Promise.all(writers).then(() => true);
  const seen: number[] = [];
  for (let isDone = false; !isDone || seen.length < (await readFeed(db, 0, 0)).head; ) {
    isDone = await Promise.race([written, Promise.resolve(false)]);
    const { entries, seq } = await readFeed(db, seen.length, 1_000);
    seen.push(...entries.map((entry) => entry.seq));
    expect(seq).toBe(seen.length);
  }
  expect(seen).toEqual(seen.map((_, index) => index + 1));
  const committed = Array.from({ length: 500 }, (_, index) => (Math.floor(index / 10) + (index % 10)) % 7 !== 0);
  expect(seen).toHaveLength(2 * committed.filter(Boolean).length);
  await publishers.close();
});
