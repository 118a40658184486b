/** With the database away or overrun, whatever waits for it is told so within ten seconds. */
import { sql as text } from 'drizzle-orm';
import { expect, test } from 'vitest';
import { connect, isOutage } from '../../src/platform/db/client.ts';
import { createTestDatabase } from '../support/database.ts';

test('a query that never gets a connection is given up as an outage, and the pool goes on', async () => {
  const place = await createTestDatabase();
  const { db, sql, close } = connect({ url: place.url, poolSize: 1 });
  const released = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  const holding = sql.begin(async (tx) => {
    await tx`set local idle_in_transaction_session_timeout = 0`;
    held.resolve();
    await released.promise;
  });
  await held.promise;
  const startedAt = performance.now();
  const error: unknown = await db.execute(text`select 1`).catch((reason: unknown) => reason);
  expect(isOutage(error)).toBe(true);
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  released.resolve();
  await holding;
  expect(await db.execute(text`select 1 as one`)).toEqual([{ one: 1 }]);
  await close();
  await place.drop();
});
