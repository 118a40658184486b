/**
 * What is done to an agent as a whole: suspend, activate, decommission, transfer. Each is a named act with a reason,
 * under the owner's lock, and recorded once. Asking for what is so already changes and records nothing.
 *
 * | act          | from                       | to             | also                                              |
 * |--------------|----------------------------|----------------|---------------------------------------------------|
 * | suspend      | pending, active            | suspended      | ends its tokens and its descendants'              |
 * | activate     | pending, suspended, active | active         | clears the latches whose cause is gone            |
 * | decommission | any                        | decommissioned | so do all descendants; final                      |
 * | transfer     | any but decommissioned     | stays          | the whole tree, by its root; clears `owner_lost`  |
 *
 * The last three, of a root, end what its owner's departure has left: the quarantine, and the offer that is open.
 */
import { eq, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Db, Tx } from '../../platform/db/client.ts';
import { type AgentStatus, agents, latches } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { type Act, type AuditEvent, type AuditKind, append } from '../audit/append.ts';
import { revoke } from '../revocation/revoke.ts';
import { endLeaving } from './leavers.ts';
import { isOwnerLive, type LockedAgent, requireLiveOwner, touched, withAgent } from './locking.ts';
import { checkReason } from './validate.ts';
import { type AgentView, readView } from './views.ts';

export { expireAgents, latchOwnedBy } from './latches.ts';

const refuseDecommissioned = (agent: LockedAgent): void => {
  if (agent.status === 'decommissioned') throw new WritError('conflict', 'the agent is decommissioned, for good');
};

const eventOf = (kind: AuditKind, agent: LockedAgent, reason: string, details: object): AuditEvent => ({
  kind,
  outcome: 'done',
  agent: agent.id,
  person: agent.ownerId,
  reason,
  details: { name: agent.name, ...details },
});

/** `heldBy`: who made it so; `null` for what is active. */
async function setStatus(tx: Tx, id: string, status: AgentStatus, heldBy: Act['by']['type'] | null): Promise<void> {
  await tx
    .update(agents)
    .set({ status, heldBy, ...touched })
    .where(eq(agents.id, id));
}

/** Stops an agent, and so everything below it, until it is activated. @throws WritError `not_found`, `conflict`. */
export async function suspendAgent(db: Db, act: Act, id: string, why: string): Promise<AgentView> {
  const reason = checkReason(why);
  return withAgent(db, act, id, async (tx, agent) => {
    refuseDecommissioned(agent);
    if (agent.status === 'suspended') {
      // A directory's suspension that somebody else repeats is no longer the directory's to lift.
      if (agent.heldBy === 'directory' && act.by.type !== 'directory') {
        await setStatus(tx, agent.id, 'suspended', act.by.type);
        await append(tx, act, [eventOf('agent.suspended', agent, reason, { from: agent.status })]);
      }
      return readView(tx, agent.id);
    }
    // What somebody else keeps pending stays theirs to lift.
    const isTheirs = act.by.type === 'directory' && agent.status === 'pending' && agent.heldBy !== 'directory';
    await setStatus(tx, agent.id, 'suspended', isTheirs ? (agent.heldBy ?? 'administrator') : act.by.type);
    const view = await readView(tx, agent.id);
    await append(tx, act, [eventOf('agent.suspended', agent, reason, { from: agent.status })]);
    await revoke(tx, [{ id: agent.id }]);
    return view;
  });
}

/**
 * A directory lifts what it has imposed itself. An IdP that repeats its whole resource would otherwise undo what an
 * administrator has decided, or bring back agents because their owner is back.
 */
async function refuseForeignHold(tx: Tx, act: Act, agent: LockedAgent): Promise<void> {
  if (act.by.type !== 'directory') return;
  if (agent.status !== 'active' && agent.heldBy !== 'directory') {
    throw new WritError(
      'conflict',
      'the agent was made inactive by somebody else than the directory: an administrator activates it',
    );
  }
  const held = await tx.select({ reason: latches.reason }).from(latches).where(eq(latches.agentId, agent.id));
  if (held.length > 0) {
    throw new WritError('conflict', 'the agent stopped with its owner, or has expired: an administrator activates it');
  }
}

/**
 * Makes an agent active and clears its latches, each only if its cause is gone. An ancestor that is not live still keeps
 * it from being so. A directory clears no latches, and activates what it has made inactive itself.
 * @throws WritError `not_found`; `conflict` saying what to do first.
 */
export async function activateAgent(db: Db, act: Act, id: string, why: string): Promise<AgentView> {
  const reason = checkReason(why);
  return withAgent(db, act, id, async (tx, agent) => {
    refuseDecommissioned(agent);
    if (!(await isOwnerLive(tx, agent.ownerId))) {
      throw new WritError('conflict', 'the owner of the agent is not active: transfer it to somebody who is');
    }
    await refuseForeignHold(tx, act, agent);
    if (agent.expired)
      throw new WritError('conflict', 'the agent has expired: set expiresAt to a later time, or to null');
    const cleared = await tx.delete(latches).where(eq(latches.agentId, agent.id)).returning({ reason: latches.reason });
    const leftQuarantine = agent.parentId === null && (await endLeaving(tx, act, agent.id, reason));
    const isChanged = agent.status !== 'active' || cleared.length > 0 || leftQuarantine;
    if (isChanged) await setStatus(tx, agent.id, 'active', null);
    const view = await readView(tx, agent.id);
    // No 2xx without its effect, and none behind a 4xx: what a directory activates is live, or as it was.
    if (act.by.type === 'directory' && !view.live)
      throw new WritError('conflict', 'an agent above this one is not active, activate that first');
    if (isChanged) {
      const details = { from: agent.status, cleared: cleared.map((latch) => latch.reason) };
      await append(tx, act, [eventOf('agent.activated', agent, reason, details)]);
    }
    // With the quarantine ends what its sub-agents had to go on with: their latches are theirs to be cleared.
    if (leftQuarantine) await revoke(tx, [{ id: agent.id }]);
    return view;
  });
}

/** Ends an agent and all its descendants, for good. @throws WritError `not_found`. */
export async function decommissionAgent(db: Db, act: Act, id: string, why: string): Promise<AgentView> {
  const reason = checkReason(why);
  return withAgent(db, act, id, async (tx, agent) => {
    if (agent.status === 'decommissioned') return readView(tx, agent.id);
    const ended = await tx
      .update(agents)
      .set({ status: 'decommissioned', ...touched })
      .where(sql`path @> array[${agent.id}::uuid] and status <> 'decommissioned'`)
      .returning({ id: agents.id });
    if (agent.parentId === null) await endLeaving(tx, act, agent.id, reason);
    const view = await readView(tx, agent.id);
    const details = { from: agent.status, descendants: ended.length - 1 };
    await append(tx, act, [eventOf('agent.decommissioned', agent, reason, details)]);
    await revoke(tx, [{ id: agent.id }]);
    return view;
  });
}

/**
 * Gives a whole tree, by its root, to another owner, who is live. Tokens that name the old owner end. It is the answer to
 * an owner who has left, and clears that latch everywhere in the tree; other latches and states stay.
 * @throws WritError `not_found`; `invalid_request` when there is no such person; `conflict` for a sub-agent, and for an
 *   owner who is not active.
 */
export async function transferAgent(db: Db, act: Act, id: string, owner: string, why: string): Promise<AgentView> {
  const reason = checkReason(why);
  const ownerId = canonicalId(owner);
  if (ownerId === null) throw new WritError('invalid_request', 'owner: a person is required');
  return withAgent(db, act, id, (tx, agent) => transferTree(tx, act, agent, ownerId, reason), [ownerId]);
}

/** A directory names other owners for what is at work; what stopped with its owner is an administrator's to decide on. */
async function refuseStopped(tx: Tx, act: Act, agent: LockedAgent): Promise<void> {
  if (act.by.type !== 'directory') return;
  const [held] = await tx.execute(sql`
    select 1 from latches l join agents a on a.id = l.agent_id
    where l.reason = 'owner_lost' and a.path @> array[${agent.id}::uuid] limit 1`);
  if (held === undefined) return;
  throw new WritError('conflict', 'the agent stopped with its owner: an administrator gives it to somebody else');
}

/**
 * The transfer itself, under both owners' locks. `also`: what the act is recorded as besides, before it.
 * @throws as `transferAgent`.
 */
export async function transferTree(
  tx: Tx,
  act: Act,
  agent: LockedAgent,
  ownerId: string,
  reason: string,
  also: readonly AuditEvent[] = [],
): Promise<AgentView> {
  refuseDecommissioned(agent);
  if (agent.parentId !== null) {
    throw new WritError('conflict', `a sub-agent has the owner of its tree: transfer its root, ${agent.path[0]}`);
  }
  await requireLiveOwner(tx, ownerId);
  await refuseStopped(tx, act, agent);
  const tree = sql`select id from agents where path @> array[${agent.id}::uuid]`;
  const cleared = await tx
    .delete(latches)
    .where(sql`reason = 'owner_lost' and agent_id in (${tree})`)
    .returning({ agentId: latches.agentId });
  const leftQuarantine = await endLeaving(tx, act, agent.id, reason);
  if (agent.ownerId === ownerId && cleared.length === 0 && !leftQuarantine) return readView(tx, agent.id);
  // The foreign key carries the owner down the tree, but not the version. Nobody is their own deputy.
  await tx
    .update(agents)
    .set({ ownerId, deputyId: agent.deputyId === ownerId ? null : agent.deputyId })
    .where(eq(agents.id, agent.id));
  const moved = await tx.update(agents).set(touched).where(sql`id in (${tree})`).returning({ id: agents.id });
  const view = await readView(tx, agent.id);
  const details = { from: agent.ownerId, descendants: moved.length - 1, cleared: cleared.length };
  await append(tx, act, [...also, { ...eventOf('agent.transferred', agent, reason, details), person: ownerId }]);
  await revoke(tx, [{ id: agent.id }]);
  return view;
}
