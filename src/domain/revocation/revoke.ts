/**
 * Revocation: raises the epoch of what tokens depend on. A token carries the epoch of its agent, the agent's ancestors,
 * the owner, every actor and itself (`jti`), so one raised epoch ends a whole tree without naming its tokens.
 *
 * Owns the table `subjects`. Invariants: an epoch only ever grows, in the same transaction as the change that caused it;
 * that of a person or an agent under the owner's lock, and it is never forgotten; that of a `jti`, which nothing else
 * changes with, without the lock, and it is forgotten once the token has expired.
 */
import { sql } from 'drizzle-orm';
import { clientOf, type Executor, type Tx } from '../../platform/db/client.ts';
import { lockOrder } from '../../platform/db/locks.ts';
import { publish } from '../signals/feed.ts';

export interface RevokedSubject {
  /** Id of a person or an agent, or the `jti` of one token. */
  id: string;
  /** Only for a `jti`: when the token ends by itself. */
  expiresAt?: Date;
}

/**
 * Ends every token that carries a lower epoch of any of these subjects, and tells the verifiers. Returns the feed's
 * last sequence number. The last call of its transaction, but for the receipt of an offboarding, which needs the number:
 * from here to the commit every other revocation waits.
 *
 * The rows are locked in one order, so that two transactions with subjects in common wait for each other only one way.
 */
export async function revoke(tx: Tx, subjects: readonly RevokedSubject[]): Promise<number> {
  const expiries = new Map(subjects.map(({ id, expiresAt }) => [id, expiresAt]));
  const ordered = lockOrder(expiries.keys()).map((id) => ({ id, expires_at: expiries.get(id)?.toISOString() ?? null }));
  if (ordered.length === 0) throw new TypeError('revoke: nothing to revoke');
  // `greatest` ignores nulls, but null (never) has to win.
  const raised = await clientOf(tx)<{ id: string; epoch: string }[]>`
    insert into subjects (id, epoch, expires_at)
    select s.id, 1, s.expires_at
    from rows from (jsonb_to_recordset(${JSON.stringify(ordered)}::text::jsonb) as (id text, expires_at timestamptz))
      with ordinality as s (id, expires_at, place)
    order by s.place
    on conflict (id) do update set epoch = subjects.epoch + 1, expires_at = case
      when subjects.expires_at is not null and excluded.expires_at is not null
      then greatest(subjects.expires_at, excluded.expires_at)
    end
    returning id, epoch`;
  return publish(
    tx,
    raised.map(({ id, epoch }) => ({ subject: id, epoch: Number(epoch) })),
  );
}

/**
 * The present epoch of each id; 0 when nothing was ever revoked. Only a statement after the owners' locks may feed a
 * token.
 */
export async function currentEpochs(db: Executor, ids: Iterable<string>): Promise<Map<string, number>> {
  const epochs = new Map([...ids].map((id) => [id, 0]));
  if (epochs.size === 0) return epochs;
  const rows = await db.execute<{ id: string; epoch: string }>(sql`
    select id, epoch from subjects
    where id in (select jsonb_array_elements_text(${JSON.stringify([...epochs.keys()])}::text::jsonb))`);
  for (const { id, epoch } of rows) epochs.set(id, Number(epoch));
  return epochs;
}
