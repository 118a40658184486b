/**
 * The owners' locks. An owner's lock is the lock of everything that acts in their name: issuance takes it shared, every
 * change of state takes it exclusive. Advisory, transaction-level: row locks let a stream of readers starve the writer.
 *
 * Under READ COMMITTED a statement that locks and reads at once may read what stood before the lock was granted, so the
 * lock is always a statement of its own and state is read in a later one.
 */
import { sql } from 'drizzle-orm';
import type { Tx } from './client.ts';

/** Ids in the one order in which every path takes them, so that no two paths can wait for each other in a circle. */
export const lockOrder = (ids: Iterable<string>): string[] => [...new Set(ids)].sort();

const textArray = (ids: string[]) =>
  sql`array[${sql.join(
    ids.map((id) => sql`${id}`),
    sql`, `,
  )}]::text[]`;

/** Waits until nobody issues for, or changes, any of these owners; holds them until the transaction ends. */
export async function lockOwners(tx: Tx, ids: Iterable<string>): Promise<void> {
  await tx.execute(
    sql`select pg_advisory_xact_lock(owner_lock_key(id)) from unnest(${textArray(lockOrder(ids))}) as id`,
  );
}

/** Waits until nobody changes any of these owners; holds them, with others, until the transaction ends. */
export async function shareOwners(tx: Tx, ids: Iterable<string>): Promise<void> {
  await tx.execute(
    sql`select pg_advisory_xact_lock_shared(owner_lock_key(id)) from unnest(${textArray(lockOrder(ids))}) as id`,
  );
}
