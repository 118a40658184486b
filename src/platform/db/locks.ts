/**
 * The owners' locks. An owner's lock is the lock of everything that acts in their name: issuance takes it shared, every
 * change of state takes it exclusive. Advisory, transaction-level: row locks let a stream of readers starve the writer.
 *
 * Under READ COMMITTED a statement that locks and reads at once may read what stood before the lock was granted, so the
 * lock is always a statement of its own and state is read in a later one.
 */
import { sql } from 'drizzle-orm';
import { type Db, type Tx, transaction } from './client.ts';
import { takeTurns } from './turns.ts';

/** Ids in the one order in which every path takes them, so that no two paths can wait for each other in a circle. */
export const lockOrder = (ids: Iterable<string>): string[] => [...new Set(ids)].sort();

/** Waits until nobody issues for, or changes, any of these owners; holds them until the transaction ends. */
export async function lockOwners(tx: Tx, ids: Iterable<string>): Promise<void> {
  await tx
    .select({ locked: sql`pg_advisory_xact_lock(owner_lock_key(id))` })
    .from(sql`unnest(${sql.param(lockOrder(ids))}::text[]) as id`)
    .prepare('lock_owners')
    .execute();
}

/**
 * Runs `fn` in a transaction that holds these owners' locks: the one way to change a person or an agent. Waits its turn
 * within the process first, so that those who wait for one owner do not hold the connections that others need.
 */
export async function changeOwners<T>(db: Db, ids: Iterable<string>, fn: (tx: Tx) => Promise<T>): Promise<T> {
  const ordered = lockOrder(ids);
  return takeTurns(db, ordered, () =>
    transaction(db, async (tx) => {
      await lockOwners(tx, ordered);
      return fn(tx);
    }),
  );
}
