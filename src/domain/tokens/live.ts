/**
 * Promise 1, decided in one place: is everything that a token would depend on alive? `readLiveness` takes the owners'
 * locks, reads the state in a later statement, and is the only maker of a `Live`. Signing, introspection and decisions
 * accept nothing else, so a path that forgot the check does not compile.
 *
 * A token depends on its agent, the agent's ancestors, their owner, and, when it came by exchange, on all that the
 * subject token depended on, at the epochs that token carried (`carried`). A state that ends tokens raises an epoch, so
 * a carried epoch that is lower than the subject's current one is dead.
 */
import type { TransactionSql } from 'postgres';
import { WritError } from '../../errors.ts';
import { lockOrder } from '../../platform/db/locks.ts';

export interface Question {
  agentId: string;
  /** The owner as read before the lock: the lock to take. Another owner by then makes the answer `stale`. */
  ownerId: string;
  /** Versions that the caller decided by. `null`: the caller decided nothing that they could change. */
  agentVersion: number | null;
  catalogueVersion: number | null;
  /** Epochs of a token that the answer is to stand on; empty for an agent's own request. */
  carried: Readonly<Record<string, number>>;
}

declare const alive: unique symbol;

/** Proof that everything was alive, under the owners' locks, in a transaction that has not ended yet. */
export interface Live {
  readonly [alive]: true;
  readonly state: 'live';
  readonly question: Question;
  /** Current epoch of every subject that a token made from this depends on. */
  readonly epochs: Readonly<Record<string, number>>;
  /** The database's clock, in seconds. */
  readonly at: number;
  /** When the agent, or an ancestor, expires, in seconds. */
  readonly expiresAt: number | null;
}

export interface Dead {
  readonly state: 'dead';
  readonly reason: 'owner_inactive' | 'agent_inactive' | 'subject_token_invalid';
  readonly at: number;
}

/** `busy`: the owner's lock is held by a change of state. `stale`: decide again, the world has moved. */
export type Liveness = Live | Dead | { readonly state: 'busy' } | { readonly state: 'stale' };

interface Row {
  n: number;
  dead: 'owner_inactive' | 'agent_inactive' | null;
  stale: boolean;
  epochs: Record<string, number> | null;
  at: number;
  expires: number | null;
  only_reads: boolean;
}

const locksOf = (question: Question): string[] => [question.ownerId, ...Object.keys(question.carried)];

/** Takes the locks of all questions, shared. Returns those that could not be had without waiting (`wait`: none). */
async function takeLocks(tx: TransactionSql, questions: readonly Question[], wait: boolean): Promise<Set<string>> {
  const ids = lockOrder(questions.flatMap(locksOf));
  if (wait) {
    await tx`select pg_advisory_xact_lock_shared(owner_lock_key(id)) from unnest(${ids}::text[]) as id`;
    return new Set();
  }
  const rows = await tx<{ id: string; got: boolean }[]>`
    select id, pg_try_advisory_xact_lock_shared(owner_lock_key(id)) as got from unnest(${ids}::text[]) as id`;
  return new Set(rows.filter((row) => !row.got).map((row) => row.id));
}

const readState = (tx: TransactionSql, questions: readonly Question[]) => {
  const agents = questions.map((question) => question.agentId);
  return tx<Row[]>`
    select q.n::int as n, l.dead,
      (l.agent is null or l.owner <> q.owner or l.version <> coalesce(q.version, l.version)
        or c.version <> coalesce(q.catalogue, c.version)) as stale,
      l.epochs, extract(epoch from clock_timestamp())::float8 as at,
      floor(extract(epoch from l.expires_at))::float8 as expires,
      current_setting('transaction_read_only') = 'on' as only_reads
    from unnest(${agents}::uuid[], ${questions.map((question) => question.ownerId)}::uuid[],
        ${questions.map((question) => question.agentVersion)}::bigint[],
        ${questions.map((question) => question.catalogueVersion)}::bigint[])
      with ordinality as q (agent, owner, version, catalogue, n)
    cross join catalogue c left join liveness(${agents}::uuid[]) l on l.agent = q.agent
    order by q.n`;
};

/** Current epochs of carried subjects (all of them UUIDs), and which are agents or people that are dead by state or expiry. */
async function readCarried(tx: TransactionSql, questions: readonly Question[]) {
  const ids = [...new Set(questions.flatMap((question) => Object.keys(question.carried)))];
  if (ids.length === 0) return { epochs: new Map<string, number>(), dead: new Set<string>() };
  const [epochs, dead] = await Promise.all([
    tx<
      { id: string; epoch: number }[]
    >`select id, epoch::float8 as epoch from subjects where id = any (${ids}::text[])`,
    tx<{ id: string }[]>`
      select a.id from agents a where a.id = any (${ids}::uuid[]) and why_dead(a.id) is not null
      union all select p.id from people p where p.id = any (${ids}::uuid[]) and not (p.active and p.deleted_at is null)`,
  ]);
  return { epochs: new Map(epochs.map((row) => [row.id, row.epoch])), dead: new Set(dead.map((row) => row.id)) };
}

/**
 * Locks and reads, for all questions at once, inside `tx`. The locks are held until `tx` ends, so what was alive stays
 * alive until what the caller writes in `tx` is committed.
 *
 * @throws WritError `unavailable` on a database that only reads: a standby, or a primary that was demoted, cannot know
 *   what was revoked elsewhere.
 */
export async function readLiveness(
  tx: TransactionSql,
  questions: readonly Question[],
  options: { wait: boolean },
): Promise<Liveness[]> {
  // Statements later than the lock: under READ COMMITTED only those are sure to see what the lock waited for. They are
  // sent with it, and run after it: a connection does one thing after the other.
  const [missed, rows, carried] = await Promise.all([
    takeLocks(tx, questions, options.wait),
    readState(tx, questions),
    readCarried(tx, questions),
  ]);
  return questions.map((question, index): Liveness => {
    const row = rows[index];
    if (row === undefined) throw new Error('a question without an answer');
    if (row.only_reads) throw new WritError('unavailable', 'the database only reads: it is not the primary');
    if (locksOf(question).some((id) => missed.has(id))) return { state: 'busy' };
    if (row.stale) return { state: 'stale' };
    if (row.dead !== null) return { state: 'dead', reason: row.dead, at: row.at };
    for (const [id, epoch] of Object.entries(question.carried)) {
      if ((carried.epochs.get(id) ?? 0) > epoch || carried.dead.has(id)) {
        return { state: 'dead', reason: 'subject_token_invalid', at: row.at };
      }
    }
    const epochs = { ...question.carried, ...row.epochs };
    return { state: 'live', question, epochs, at: row.at, expiresAt: row.expires } as unknown as Live;
  });
}
