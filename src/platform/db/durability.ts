import { sql as statement } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Executor, Sql } from './client.ts';

export class UnsafeDatabaseError extends Error {
  override readonly name = 'UnsafeDatabaseError';
}

interface Facts {
  fsync: string;
  full_page_writes: string;
  synchronous_commit: string;
  version: string;
  in_recovery: boolean;
  read_only: string;
  isolation: string;
  encoding: string;
}

/**
 * Refuses a database on which a commit is not a promise: a token would be out whose audit record, or a leaver's
 * answer be sent whose offboarding, is lost with the power. Throws with every reason and what to do.
 */
export async function refuseUnsafe(sql: Sql): Promise<void> {
  const [facts] = await sql<Facts[]>`
    select current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
           current_setting('synchronous_commit') as synchronous_commit, current_setting('server_version_num') as version,
           pg_is_in_recovery() as in_recovery, current_setting('transaction_read_only') as read_only,
           current_setting('transaction_isolation') as isolation,
           current_setting('server_encoding') as encoding`;
  if (facts === undefined) throw new UnsafeDatabaseError('the database did not say how it is set up');
  const reasons = findReasons(facts);
  if (reasons.length === 0) return;
  throw new UnsafeDatabaseError(
    `Writ does not run on this database:\n${reasons.map((reason) => `  - ${reason}`).join('\n')}`,
  );
}

function findReasons(facts: Facts): string[] {
  const reasons: string[] = [];
  if (Number(facts.version) < 140000) reasons.push('it is older than PostgreSQL 14: upgrade it');
  if (facts.fsync !== 'on') reasons.push('fsync is off: set fsync = on in postgresql.conf');
  if (facts.full_page_writes !== 'on') reasons.push('full_page_writes is off: set full_page_writes = on');
  if (facts.synchronous_commit === 'off') {
    reasons.push('synchronous_commit is off: remove it from DATABASE_URL, or from the role’s and database’s settings');
  }
  if (facts.in_recovery) reasons.push('it is a standby: point DATABASE_URL at the primary');
  else if (facts.read_only === 'on') reasons.push('it is read-only: remove default_transaction_read_only');
  if (facts.isolation !== 'read committed') {
    // What a lock waited for has to be seen by the statement after it.
    reasons.push(`its isolation is ${facts.isolation}: remove default_transaction_isolation from DATABASE_URL`);
  }
  if (facts.encoding !== 'UTF8')
    reasons.push(`its encoding is ${facts.encoding}: create the database with encoding UTF8`);
  return reasons;
}

/** A column of a statement that is sent anyway, for `refuseStandby`. */
export const takesWrites = statement<boolean>`current_setting('transaction_read_only') = 'off'`;

/**
 * For answers that somebody takes for final, such as "there is no such person": a standby, or a primary that was
 * demoted, knows only the past. @throws WritError `unavailable` on a database that only reads.
 */
export function refuseStandby(writes: boolean | undefined): void {
  if (writes !== true) throw new WritError('unavailable', 'the database only reads: it is not the primary');
}

/** The same, where there is nothing else to ask. */
export async function requirePrimary(executor: Executor): Promise<void> {
  const [row] = await executor.execute<{ writes: boolean }>(statement`select ${takesWrites} as writes`);
  refuseStandby(row?.writes);
}
