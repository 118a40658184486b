/** How every change of an agent begins: its owner's lock first, its state in a later statement. */
import { eq, sql } from 'drizzle-orm';
import { type ErrorCode, WritError } from '../../errors.ts';
import { constraintName, type Db, isOutage, sqlState, type Tx } from '../../platform/db/client.ts';
import { changeOwners } from '../../platform/db/locks.ts';
import { agents, people } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import type { Act } from '../audit/append.ts';

/** An agent as it stands under its owner's lock, and the database's clock at that moment. */
export type LockedAgent = typeof agents.$inferSelect & { now: Date; expired: boolean };

const maxAttempts = 5;
const moved = Symbol('the agent has another owner by now');

/** A directory acts on the agents of its own people. Asked under the lock: by then the agent may have another owner. */
async function requireOwn(tx: Tx, act: Act, agent: LockedAgent): Promise<void> {
  if (act.by.type !== 'directory') return;
  const [owner] = await tx.select({ directoryId: people.directoryId }).from(people).where(eq(people.id, agent.ownerId));
  if (owner?.directoryId !== act.by.id) throw noSuchAgent();
}

/**
 * Runs `fn` in a transaction that holds the lock of the agent's owner (and of the people in `alsoLock`). Locks are taken
 * in one order, so an owner that changed before the lock was granted means a fresh transaction, not one lock more.
 * @throws WritError `not_found`, also for a directory that the owner is not of; `conflict` when the agent keeps changing
 *   hands.
 */
export async function withAgent<T>(
  db: Db,
  act: Act,
  agentId: string,
  fn: (tx: Tx, agent: LockedAgent) => Promise<T>,
  alsoLock: readonly string[] = [],
): Promise<T> {
  const id = canonicalId(agentId);
  if (id === null) throw noSuchAgent();
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const [before] = await db.select({ ownerId: agents.ownerId }).from(agents).where(eq(agents.id, id));
    if (before === undefined) throw noSuchAgent();
    const outcome = await change(db, [before.ownerId, ...alsoLock], async (tx) => {
      const agent = await readLocked(tx, id);
      if (agent.ownerId !== before.ownerId) return moved;
      await requireOwn(tx, act, agent);
      return { value: await fn(tx, agent) };
    });
    if (outcome !== moved) return outcome.value;
  }
  throw new WritError('conflict', 'the agent is changing hands: look again');
}

export const noSuchAgent = (): WritError => new WritError('not_found', 'no such agent');

async function readLocked(tx: Tx, id: string): Promise<LockedAgent> {
  const [row] = await tx
    .select({
      agent: agents,
      now: sql`clock_timestamp()`.mapWith(agents.createdAt),
      expired: sql<boolean>`coalesce(expires_at <= clock_timestamp(), false)`,
    })
    .from(agents)
    .where(eq(agents.id, id));
  if (row === undefined) throw noSuchAgent();
  return { ...row.agent, now: row.now, expired: row.expired };
}

/** The database's clock, the one that decides what has expired. */
export async function readClock(tx: Tx): Promise<Date> {
  const [row] = await tx.execute<{ now: string }>(sql`select to_json(clock_timestamp()) as now`);
  if (row === undefined) throw new Error('the database has no clock');
  return new Date(row.now);
}

/** What every change of an agent's row sets as well. */
export const touched = { version: sql`version + 1`, updatedAt: sql`clock_timestamp()` };

const liveOf = (tx: Tx, ownerId: string) => tx.select({ live: people.live }).from(people).where(eq(people.id, ownerId));

/** Whether this person can answer for agents; `null`: there is no such person. Holds only under their lock. */
export async function isOwnerLive(tx: Tx, ownerId: string): Promise<boolean | null> {
  const [person] = await liveOf(tx, ownerId);
  return person === undefined ? null : person.live;
}

/**
 * Of somebody who is about to get agents. Shares their row until the end: whoever changes what groups give them meanwhile
 * learns of the agents, or these begin with what was changed.
 * @throws WritError `invalid_request` when there is no such person, `conflict` when they have left.
 */
export async function requireLiveOwner(tx: Tx, ownerId: string): Promise<void> {
  const [person] = await liveOf(tx, ownerId).for('share');
  if (person === undefined) throw new WritError('invalid_request', 'owner: no such person');
  if (!person.live) throw new WritError('conflict', 'owner: this person is not active');
}

/** What a broken constraint says to the caller. These are the database's second line: the rules are checked before. */
const brokenRules: Record<string, readonly [ErrorCode, string]> = {
  agents_owner_id_fkey: ['invalid_request', 'owner: no such person'],
  agents_parent: ['conflict', 'parent: a sub-agent has an existing parent, and its owner and environment'],
  agents_depth: ['conflict', 'parent: a tree of agents is at most 16 deep'],
  agents_place: ['conflict', 'an agent keeps its id, its parent and its path'],
  agents_environment_check: ['invalid_request', 'environment: not a valid name'],
  agent_intents_intent_id_fkey: ['invalid_request', 'intents: no such intent'],
};
/** Text with a NUL, or that is not Unicode. */
const unstorable = new Set(['22021', '22P05']);

/** `changeOwners` in which a broken constraint is a `WritError`. Outages and faults pass through as they are. */
export async function change<T>(db: Db, ownerIds: readonly string[], fn: (tx: Tx) => Promise<T>): Promise<T> {
  try {
    return await changeOwners(db, ownerIds, fn);
  } catch (error) {
    if (error instanceof WritError || isOutage(error)) throw error;
    const rule = brokenRules[constraintName(error) ?? ''];
    if (rule !== undefined) throw new WritError(rule[0], rule[1], { cause: error });
    if (unstorable.has(sqlState(error) ?? '')) {
      throw new WritError('invalid_request', 'a text holds characters that cannot be stored', { cause: error });
    }
    throw error;
  }
}
