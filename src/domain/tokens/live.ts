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
import type { AuditNode, Place } from '../audit/append.ts';

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
  /** Its owner has left, and its leaver policy lets it go on reading (until `expiresAt`). */
  readonly readOnly: boolean;
  /** When the agent, or an ancestor, expires, or its quarantine ends, in seconds. */
  readonly expiresAt: number | null;
}

export interface Dead {
  readonly state: 'dead';
  readonly reason: 'owner_inactive' | 'agent_inactive' | 'subject_token_invalid';
  readonly at: number;
}

/** `busy`: the owner's lock is held by a change of state. `stale`: decide again, the world has moved. */
export type Liveness = Live | Dead | { readonly state: 'busy' } | { readonly state: 'stale' };

/** A client assertion to be used up: SHA-256 of `iss` and `jti` in hexadecimal, kept until it has expired. */
export interface Assertion {
  id: string;
  expiresAt: Date;
}

interface Row {
  busy: boolean;
  stale: boolean;
  dead: 'owner_inactive' | 'agent_inactive' | null;
  read_only: boolean | null;
  epochs: Record<string, number> | null;
  expires: number | null;
  at: number;
  fresh: boolean;
  counter: string | null;
  placed: number | null;
  transaction: string | null;
}

/** What is done in the same breath for those that are not busy, unless one of them is stale. */
export interface Taking {
  /** Whose numbers in the audit log are taken, one for each. */
  node: AuditNode;
  /** For each question, what is used up. */
  assertions: readonly (Assertion | undefined)[];
}

export interface Taken {
  found: Liveness[];
  /** For each question: its assertion was used for the first time, or there is none. */
  fresh: boolean[];
  /** `undefined`: nothing was taken. */
  place: Place | undefined;
}

const locksOf = (question: Question): string[] => [question.ownerId, ...Object.keys(question.carried)];

/** The statement of `migrations/0005`: locks first, then reads, then what is taken. */
function readBatch(tx: TransactionSql, questions: readonly Question[], wait: boolean, taking: Taking | undefined) {
  const locks = questions.flatMap((question, index) => locksOf(question).map((id) => ({ id, of: index + 1 })));
  const assertions = taking?.assertions ?? [];
  return tx<Row[]>`
    select busy, stale, dead, read_only, epochs, expires, at, fresh, counter, placed, transaction from settle_batch(
      ${wait}::boolean, ${lockOrder(locks.map(({ id }) => id))}::text[],
      ${locks.map((lock) => lock.of)}::integer[], ${locks.map(({ id }) => id)}::text[],
      ${questions.map((question) => question.agentId)}::uuid[], ${questions.map((question) => question.ownerId)}::uuid[],
      ${questions.map((question) => question.agentVersion)}::bigint[],
      ${questions.map((question) => question.catalogueVersion)}::bigint[],
      ${taking?.node.id ?? null}::uuid, ${assertions.map((one) => one?.id ?? null)}::text[],
      ${assertions.map((one) => one?.expiresAt.toISOString() ?? null)}::timestamptz[])`;
}

interface Carried {
  id: string;
  epoch: number;
  dead: boolean;
}

/**
 * Current epochs of carried subjects (all of them UUIDs), and which are agents or people that are dead by state or expiry.
 * The asking agent and its owner are left out: the batch has read them.
 */
async function readCarried(tx: TransactionSql, questions: readonly Question[]): Promise<Map<string, Carried>> {
  const others = ({ agentId, ownerId, carried }: Question) =>
    Object.keys(carried).filter((id) => id !== agentId && id !== ownerId);
  const ids = [...new Set(questions.flatMap(others))];
  if (ids.length === 0) return new Map();
  const rows = await tx<Carried[]>`
    select d.id, coalesce(s.epoch, 0)::float8 as epoch,
      l.dead is not null or coalesce(not p.live, false) as dead
    from unnest(${ids}::text[]) as d (id)
    left join subjects s on s.id = d.id
    left join standing(${ids}::uuid[]) l on l.agent = d.id::uuid
    left join people p on p.id = d.id::uuid`;
  return new Map(rows.map((row) => [row.id, row]));
}

/** What a row says of its question. */
function toLiveness(question: Question, row: Row, carried: ReadonlyMap<string, Carried>): Liveness {
  if (row.busy) return { state: 'busy' };
  if (row.stale) return { state: 'stale' };
  if (row.dead !== null) return { state: 'dead', reason: row.dead, at: row.at };
  for (const [id, epoch] of Object.entries(question.carried)) {
    const current = row.epochs?.[id] ?? carried.get(id)?.epoch ?? 0;
    if (current > epoch || carried.get(id)?.dead === true) {
      return { state: 'dead', reason: 'subject_token_invalid', at: row.at };
    }
  }
  const epochs = { ...question.carried, ...row.epochs };
  const readOnly = row.read_only === true;
  return { state: 'live', question, epochs, at: row.at, readOnly, expiresAt: row.expires } as unknown as Live;
}

/**
 * Locks and reads, for all questions at once, inside `tx`, and takes what `taking` says. The locks are held until `tx`
 * ends, so what was alive stays alive until what the caller writes in `tx` is committed.
 *
 * @throws an outage on a database that only reads: a standby, or a primary that was demoted, cannot know what was revoked
 *   elsewhere, and gives no such lock and no such number.
 */
export async function readLiveness(
  tx: TransactionSql,
  questions: readonly Question[],
  { wait, taking }: { wait: boolean; taking?: Taking },
): Promise<Taken> {
  // Sent together and run one after the other: what is carried is read under the locks as well.
  const [rows, carried, primary] = await Promise.all([
    readBatch(tx, questions, wait, taking),
    readCarried(tx, questions),
    taking === undefined ? isPrimary(tx) : true,
  ]);
  if (!primary) throw new WritError('unavailable', 'the database only reads: it is not the primary');
  const found = questions.map((question, index): Liveness => {
    const row = rows[index];
    if (row === undefined) throw new Error('a question without an answer');
    return toLiveness(question, row, carried);
  });
  const [{ counter = null, placed = null, transaction = null } = {}] = rows;
  const count = rows.filter(({ busy }) => !busy).length;
  const place =
    taking === undefined || counter === null || placed === null || transaction === null
      ? undefined
      : { node: taking.node, first: Number(counter) - count + 1, at: new Date(placed), transaction };
  return { found, fresh: rows.map((row) => row.fresh), place };
}

/** Who takes something finds out by that. */
async function isPrimary(tx: TransactionSql): Promise<boolean> {
  const [row] = await tx<{ writes: boolean }[]>`select current_setting('transaction_read_only') = 'off' as writes`;
  return row?.writes === true;
}
