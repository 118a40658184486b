/** Latches: what holds an agent besides its status, until a named act clears it. Set here, cleared in `lifecycle.ts`. */
import { type SQL, sql } from 'drizzle-orm';
import { type Db, isOutage, sqlState, type Tx } from '../../platform/db/client.ts';
import { type Act, type AuditEvent, append } from '../audit/append.ts';
import { revoke } from '../revocation/revoke.ts';
import { type LockedAgent, withAgent } from './locking.ts';

/**
 * Latches every agent of an owner who has left, under the owner's lock that its caller holds. The first part of a `with`,
 * so that 100,000 agents never leave the database: in the rest `owned` is all of the owner's agents that are not
 * decommissioned, latched now or before, and `latched` are those that were latched now.
 *
 * `version` stays: it guards cached rights, and nothing caches what is live. Raising it costs three times the latching.
 */
export const latchOwnedBy = (ownerId: string): SQL => sql`
  owned as materialized (
    -- In the order of the latches' index, which stays in the cache that way: a third cheaper where there are many.
    select id, name, parent_id as parent, path, environment, leaver_policy, deputy_id
    from agents where owner_id = ${ownerId}::uuid and status <> 'decommissioned' order by id
  ), latched as (
    -- Looking for latches first may read all that there are, of all owners. The instant is that of a quarantine that
    -- begins with it (leavers.ts).
    insert into latches (agent_id, reason, since) select id, 'owner_lost', statement_timestamp() from owned
    on conflict do nothing returning agent_id
  )`;

export interface LatchesOf {
  ownerId: string;
  offboardingId: string;
}

/**
 * What one departure of an owner has latched: after the one before it, and not after itself. What one before it had
 * latched counts from its confirmation, if it had to be confirmed (`relatch`).
 */
const ofDeparture = ({ ownerId, offboardingId }: LatchesOf): SQL => sql`
  reason = 'owner_lost' and agent_id in (select id from agents where owner_id = ${ownerId}::uuid)
  and since <= (select committed_at from offboardings where id = ${offboardingId}::uuid)
  and since > coalesce((
    select max(case when b.confirmation = 'confirmed' and b.confirmed_at <= o.committed_at
      then greatest(b.confirmed_at, b.committed_at) else b.committed_at end)
    from offboardings o join offboardings b on b.person_id = o.person_id
    where o.id = ${offboardingId}::uuid and b.committed_at < o.committed_at
  ), '-infinity')`;

/**
 * In the place of `latchOwnedBy`, when a departure that was held is settled later: what it has latched is latched from
 * now on, as if it had been settled at once.
 */
export const relatch = (departure: LatchesOf): SQL => sql`
  owned as materialized (
    select id, name, parent_id as parent, path, environment, leaver_policy, deputy_id
    from agents where owner_id = ${departure.ownerId}::uuid and status <> 'decommissioned' order by id
  ), latched as (
    update latches set since = statement_timestamp() where ${ofDeparture(departure)} returning agent_id
  )`;

/** Undoes what a departure has latched, and nothing else, under the lock of an owner who is live again. */
export async function unlatch(tx: Tx, departure: LatchesOf): Promise<number> {
  const [row] = await tx.execute<{ count: number }>(sql`
    with cleared as (delete from latches where ${ofDeparture(departure)} returning 1)
    select count(*)::int as count from cleared`);
  return row?.count ?? 0;
}

/** Latches an agent whose expiry has passed. True for the one that did it, who records it and revokes. */
export async function latchExpired(tx: Tx, agent: LockedAgent): Promise<boolean> {
  if (!agent.expired || agent.status === 'decommissioned') return false;
  const rows = await tx.execute(sql`
    insert into latches (agent_id, reason) values (${agent.id}::uuid, 'expired') on conflict do nothing returning 1`);
  return rows.length > 0;
}

export const expiredEvent = (agent: LockedAgent): AuditEvent => ({
  kind: 'agent.expired',
  outcome: 'done',
  agent: agent.id,
  person: agent.ownerId,
  details: { name: agent.name, expiresAt: agent.expiresAt?.toISOString() ?? null },
});

const batch = 100;

/**
 * Latches agents whose expiry has passed, at most 100 a call, each in its own transaction. Safe on many nodes at once:
 * whoever sets the latch records it. They are dead from their expiry on, with or without this. Returns how many it latched.
 *
 * An agent that cannot be latched keeps none of the others; its error is thrown at the end. An outage ends the round.
 */
export async function expireAgents(db: Db, act: Act): Promise<number> {
  const due = await db.execute<{ id: string }>(sql`
    select a.id from agents a
    where a.expires_at <= clock_timestamp() and a.status <> 'decommissioned'
      and not exists (select from latches l where l.agent_id = a.id and l.reason = 'expired')
    order by a.expires_at limit ${batch}`);
  const errors: unknown[] = [];
  let expired = 0;
  for (const { id } of due) {
    try {
      if (await expireAgent(db, act, id)) expired += 1;
    } catch (error) {
      if (isOutage(error) && sqlState(error) !== lockNotAvailable) throw error;
      errors.push(error);
    }
  }
  if (errors.length > 0) throw new AggregateError(errors, `${errors.length} expired agents could not be latched`);
  return expired;
}

/** Somebody held this one owner's lock for too long: no reason to leave the other owners' agents. */
const lockNotAvailable = '55P03';

const expireAgent = (db: Db, act: Act, id: string): Promise<boolean> =>
  withAgent(db, act, id, async (tx, agent) => {
    if (!(await latchExpired(tx, agent))) return false;
    await append(tx, act, [expiredEvent(agent)]);
    await revoke(tx, [{ id: agent.id }]);
    return true;
  });
