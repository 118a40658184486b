/** Forgets what time has made irrelevant, in small batches that several nodes can work on at once. */
import { type SQL, sql } from 'drizzle-orm';
import type { Db } from '../../platform/db/client.ts';

/** An assertion or a token counts as expired only when no tolerated clock still accepts it. */
const toleranceSeconds = 300;
const batchSize = 5_000;
/** Bounds one call; the next call goes on. */
const batchesAtMost = 200;

/** Deletes epochs of expired tokens and used client assertions that have expired. Returns how many of each. */
export async function sweepExpired(db: Db): Promise<{ subjects: number; assertions: number }> {
  return {
    subjects: await sweepBatches(db, sql`subjects`),
    assertions: await sweepBatches(db, sql`assertions`),
  };
}

async function sweepBatches(db: Db, table: SQL): Promise<number> {
  let total = 0;
  for (let batch = 0; batch < batchesAtMost; batch++) {
    const rows = await db.execute<{ gone: string }>(sql`
      with gone as (
        delete from ${table} where id in (
          select id from ${table}
          where expires_at < statement_timestamp() - make_interval(secs => ${toleranceSeconds}::int)
          order by expires_at limit ${batchSize}::int for update skip locked
        ) returning 1
      )
      select count(*) as gone from gone`);
    const gone = Number(rows[0]?.gone);
    total += gone;
    if (gone < batchSize) break;
  }
  return total;
}
