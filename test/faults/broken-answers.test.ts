/**
 * An answer of the database that breaks off in its midst, by an error or with its connection: the next answer, of
 * whatever other statement, is whole. Where it is not, somebody who exists is told that nobody has this token or id.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { sql as statement } from 'drizzle-orm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect, type Database, isOutage, sqlState } from '../../src/platform/db/client.ts';
import { createEmptyDatabase, type TestDatabase } from '../support/database.ts';
import { type DatabaseProxy, startProxy } from '../support/database-proxy.ts';

let place: TestDatabase;
let proxy: DatabaseProxy;
let database: Database;

beforeAll(async () => {
  place = await createEmptyDatabase();
  proxy = await startProxy(place.url);
  database = connect({ url: proxy.url, poolSize: 1 });
});
afterAll(async () => {
  await database.close();
  await proxy[Symbol.asyncDispose]();
  await place.drop();
});

/** Once the pool has a connection again. */
async function nextAnswers(): Promise<unknown[]> {
  const answers: unknown[] = [];
  for (const giveUpAt = performance.now() + 10_000; answers.length < 3; ) {
    try {
      const [raw, prepared] = [await database.sql`select 7 as seven`, await database.sql`select ${7}::int as seven`];
      answers.push([...raw], [...prepared], [...(await database.db.execute(statement`select ${7}::int as seven`))]);
    } catch (error) {
      if (!isOutage(error) || performance.now() > giveUpAt) throw error;
      await sleep(20);
    }
  }
  return answers;
}
const whole = Array(3).fill([{ seven: 7 }]);

test('broken off by an error', async () => {
  const text = 'select 1 / (3 - n) as x from generate_series(1, 5) n where n <';
  for (const failing of [() => database.sql.unsafe(`${text} 9`), () => database.sql.unsafe(`${text} $1`, [9])]) {
    expect(sqlState(await failing().catch((error: unknown) => error))).toBe('22012');
    expect(await nextAnswers()).toEqual(whole);
  }
});

test('broken off by the end of its backend', async () => {
  const failing = database.sql`
    select n, case when n = 3 then pg_terminate_backend(pg_backend_pid()) end from generate_series(1, 5) n`;
  expect(isOutage(await failing.catch((error: unknown) => error))).toBe(true);
  expect(await nextAnswers()).toEqual(whole);
});

test.each(['reset', 'end'] as const)(
  'broken off in the midst of a row, as the connection is lost (%s)',
  async (how) => {
    const failing = database.sql`
    select n, repeat('x', 3000) as x, pg_sleep(0.03) from generate_series(1, 100) n`.catch((error: unknown) => error);
    await sleep(500);
    proxy.cut(how);
    expect(isOutage(await failing)).toBe(true);
    expect(await nextAnswers()).toEqual(whole);
  },
);

test('long answers of long rows arrive as they are', async () => {
  const rows = await database.sql`select n, repeat(chr(65 + n % 26), n % 5000) as x from generate_series(1, 8000) n`;
  expect(rows).toHaveLength(8_000);
  for (const [index, { n, x }] of rows.entries()) {
    if (n !== index + 1 || x !== String.fromCharCode(65 + (n % 26)).repeat(n % 5000)) throw new Error(`row ${index}`);
  }
  const [huge] = await database.sql`select repeat('y', 20000000) as y`;
  expect(huge?.y).toHaveLength(20_000_000);
});
