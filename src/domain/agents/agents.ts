/**
 * Agents: who they are, who answers for them, and which intents they may use (standing grants).
 *
 * An agent has one owner, who is live when it is made. A sub-agent has its parent's owner and environment for good; the
 * database holds that, and that a parent is never changed. Every change holds the owner's lock (`locking.ts`), ends in
 * one audit event, raises `version`, and revokes last when tokens must not outlive it.
 *
 * `status`: pending → active ⇄ suspended → decommissioned (final). Latches (`owner_lost`, `expired`) hold an agent
 * besides its status and are cleared by a named act alone: activation or transfer (`lifecycle.ts`). What is "live" is
 * defined once, by `why_dead()` in the database.
 */
import { eq, type SQL, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Db, Executor, Tx } from '../../platform/db/client.ts';
import { type AgentStatus, agents, type LeaverPolicy } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import type { Page, PageRequest } from '../../platform/http/page.ts';
import { hashSecret, makeSecret } from '../../platform/keys/secret.ts';
import { type Act, type AuditEvent, append } from '../audit/append.ts';
import { revoke } from '../revocation/revoke.ts';
import { type AgentPatch, applyPatch, type Changes, compare } from './changes.ts';
import { grant, readGrants, readIntents, withdraw } from './grants.ts';
import { expiredEvent, latchExpired } from './latches.ts';
import { change, isOwnerLive, type LockedAgent, readClock, requireLiveOwner, touched, withAgent } from './locking.ts';
import { type AgentDraft, type Credential, validateAgent } from './validate.ts';
import { type AgentView, readPage, readView } from './views.ts';

export interface NewAgent {
  name: string;
  description?: string | undefined;
  /** A person's id. Required without `parent`, refused with it. */
  ownerId?: string | undefined;
  /** An agent's id: the new one is its sub-agent. */
  parent?: string | undefined;
  /** Required without `parent`; with it, the parent's or absent. */
  environment?: string | undefined;
  project?: string | null | undefined;
  expiresAt?: Date | null | undefined;
  credential: Credential;
  /** Names from the catalogue. */
  intents?: readonly string[] | undefined;
  leaverPolicy?: LeaverPolicy | null | undefined;
  /** A person's id: to whom the tree is offered by `handover`. */
  deputyId?: string | null | undefined;
  /** `active` by default. */
  status?: 'pending' | 'active' | undefined;
}

export interface AgentAndSecret {
  agent: AgentView;
  /** Only when one was made: this is the one time it is seen. */
  clientSecret?: string;
}

export interface AgentFilter {
  owner?: string | undefined;
  status?: AgentStatus | undefined;
  environment?: string | undefined;
  intent?: string | undefined;
  /** The whole name, to the letter. */
  name?: string | undefined;
  parent?: string | undefined;
}

const refuse = (why: string): never => {
  throw new WritError('invalid_request', why);
};

/**
 * Makes an agent under the lock of its owner.
 * @throws WritError `invalid_request` naming the member; `conflict` when the owner or the parent is not live.
 */
export async function createAgent(db: Db, act: Act, input: NewAgent): Promise<AgentAndSecret> {
  if (input.parent !== undefined) return createSubAgent(db, act, input, input.parent);
  const { environment } = input;
  if (environment === undefined) return refuse('environment: is required');
  const ownerId = canonicalId(input.ownerId ?? '') ?? refuse('owner: a person is required');
  return change(db, [ownerId], async (tx) => {
    await requireLiveOwner(tx, ownerId);
    return insertAgent(tx, act, input, { ownerId, environment, parentId: null });
  });
}

async function createSubAgent(db: Db, act: Act, input: NewAgent, parentId: string): Promise<AgentAndSecret> {
  if (input.ownerId !== undefined) refuse('owner: a sub-agent has the owner of its parent, leave it out');
  try {
    return await withAgent(db, act, parentId, async (tx, parent) => {
      const { ownerId, environment } = parent;
      if (input.environment !== undefined && input.environment !== environment) {
        refuse(`environment: a sub-agent is in the environment of its parent, "${environment}"`);
      }
      // In quarantine the tree may go on, but not grow: its owner has left.
      const [live] = await tx.execute<{ live: boolean }>(sql`
        select dead is null and not read_only as live from standing(array[${parent.id}::uuid])`);
      if (live?.live !== true) throw new WritError('conflict', 'parent: this agent is not live');
      return insertAgent(tx, act, input, { ownerId, environment, parentId: parent.id });
    });
  } catch (error) {
    if (error instanceof WritError && error.code === 'not_found') return refuse('parent: no such agent');
    throw error;
  }
}

interface Place {
  ownerId: string;
  environment: string;
  parentId: string | null;
}

async function insertAgent(tx: Tx, act: Act, input: NewAgent, place: Place): Promise<AgentAndSecret> {
  const catalogue = await readIntents(tx, input.intents ?? []);
  const draft = validateAgent(
    {
      name: input.name,
      description: input.description ?? '',
      environment: place.environment,
      project: input.project ?? null,
      expiresAt: input.expiresAt ?? null,
      credential: input.credential,
      intents: [...(input.intents ?? [])],
      leaverPolicy: input.leaverPolicy ?? null,
      deputyId: readDeputy(input.deputyId) ?? null,
    },
    { now: await readClock(tx), catalogue, ownerId: place.ownerId, isSubAgent: place.parentId !== null },
  );
  if (draft.deputyId !== null) await requireLiveDeputy(tx, draft.deputyId);
  const { columns, clientSecret } = storeCredential(draft.credential);
  const [row] = await tx
    .insert(agents)
    .values({
      ...place,
      name: draft.name,
      description: draft.description,
      project: draft.project,
      expiresAt: draft.expiresAt,
      leaverPolicy: draft.leaverPolicy,
      deputyId: draft.deputyId,
      status: input.status ?? 'active',
      heldBy: input.status === 'pending' ? act.by.type : null,
      path: [],
      ...columns,
    })
    .returning({ id: agents.id });
  if (row === undefined) throw new Error('an insert returned no row');
  await grant(tx, row.id, idsOf(draft.intents, catalogue));
  const agent = await readView(tx, row.id);
  const { name, environment, parent, project, status, expiresAt, intents, leaverPolicy, deputy } = agent;
  const chosen = { name, environment, parent, project, status, expiresAt, intents, leaverPolicy, deputy };
  await append(tx, act, [
    {
      kind: 'agent.created',
      outcome: 'done',
      agent: agent.id,
      person: agent.owner,
      details: { ...chosen, credential: columns.credentialKind },
    },
  ]);
  return { agent, ...(clientSecret !== undefined && { clientSecret }) };
}

/** The canonical id of a deputy that was given. */
const readDeputy = (id: string | null | undefined): string | null | undefined =>
  typeof id === 'string' ? (canonicalId(id) ?? refuse('deputy: no such person')) : id;

/**
 * Whoever is named has to be there now. They may leave at any moment after: a departure asks again, and so does who accepts.
 * @throws WritError `invalid_request` when there is no such person, `conflict` when they have left.
 */
async function requireLiveDeputy(tx: Tx, deputyId: string): Promise<void> {
  const live = await isOwnerLive(tx, deputyId);
  if (live === null) refuse('deputy: no such person');
  if (live === false) throw new WritError('conflict', 'deputy: this person is not active');
}

const idsOf = (names: readonly string[], catalogue: ReadonlyMap<string, { id: string }>): string[] =>
  names.flatMap((name) => catalogue.get(name)?.id ?? []);

function storeCredential(credential: Credential) {
  if ('jwks' in credential) {
    return { columns: { credentialKind: 'jwks' as const, jwks: credential.jwks, secretHash: null } };
  }
  const clientSecret = makeSecret('writ_client');
  return {
    columns: { credentialKind: 'secret' as const, jwks: null, secretHash: hashSecret(clientSecret) },
    clientSecret,
  };
}

/**
 * Changes an agent: read under the lock, merged, validated whole. Tokens end when an intent is withdrawn or a key or
 * secret is replaced. An expiry that has passed is latched first, so that a new date alone revives nothing.
 * @throws WritError `not_found`; `invalid_request` naming the member; `conflict` when it is decommissioned.
 */
export async function changeAgent(db: Db, act: Act, id: string, patch: AgentPatch): Promise<AgentAndSecret> {
  return withAgent(db, act, id, async (tx, locked) => {
    if (locked.status === 'decommissioned') throw new WritError('conflict', 'the agent is decommissioned, for good');
    const before = draftOf(locked, await readGrants(tx, locked.id));
    const merged = applyPatch(before, { ...patch, deputyId: readDeputy(patch.deputyId) });
    const catalogue = await readIntents(tx, [...before.intents, ...merged.intents]);
    const { now, ownerId } = locked;
    const isSubAgent = locked.parentId !== null;
    const circumstances = { now, catalogue, standingExpiry: before.expiresAt, ownerId, isSubAgent };
    const after = validateAgent(merged, circumstances);
    const changes = compare(before, after, patch);
    if (after.deputyId !== null && after.deputyId !== before.deputyId) await requireLiveDeputy(tx, after.deputyId);
    const events: AuditEvent[] = [];
    const hasExpired = await latchExpired(tx, locked);
    if (hasExpired) events.push(expiredEvent(locked));
    let clientSecret: string | undefined;
    if (changes.members.length > 0) {
      clientSecret = await storeChanges(tx, locked.id, after, changes);
      await withdraw(tx, locked.id, idsOf(changes.withdrawn, catalogue));
      await grant(tx, locked.id, idsOf(changes.granted, catalogue));
      events.push(changedEvent(locked, after, changes));
    }
    const agent = await readView(tx, locked.id);
    if (events.length > 0) await append(tx, act, events);
    if (hasExpired || changes.endsTokens) await revoke(tx, [{ id: locked.id }]);
    return { agent, ...(clientSecret !== undefined && { clientSecret }) };
  });
}

const draftOf = (agent: LockedAgent, intents: string[]): AgentDraft => ({
  name: agent.name,
  description: agent.description,
  environment: agent.environment,
  project: agent.project,
  expiresAt: agent.expiresAt,
  credential: agent.jwks === null ? { secret: true } : { jwks: agent.jwks },
  intents,
  leaverPolicy: agent.leaverPolicy,
  deputyId: agent.deputyId,
});

async function storeChanges(tx: Tx, id: string, after: AgentDraft, changes: Changes): Promise<string | undefined> {
  const { name, description, project, expiresAt, leaverPolicy, deputyId } = after;
  const { columns, clientSecret } = changes.replacesCredential ? storeCredential(after.credential) : {};
  await tx
    .update(agents)
    .set({ name, description, project, expiresAt, leaverPolicy, deputyId, ...columns, ...touched })
    .where(eq(agents.id, id));
  return clientSecret;
}

function changedEvent(agent: LockedAgent, after: AgentDraft, changes: Changes): AuditEvent {
  const { members, granted, withdrawn } = changes;
  const { name, project, expiresAt, leaverPolicy, deputyId: deputy } = after;
  const now = { name, project, expiresAt: expiresAt?.toISOString() ?? null, leaverPolicy, deputy };
  return {
    kind: 'agent.changed',
    outcome: 'done',
    agent: agent.id,
    person: agent.ownerId,
    details: { changed: members, granted, withdrawn, ...now },
  };
}

/** @throws WritError `not_found`. */
export const getAgent = (executor: Executor, id: string): Promise<AgentView> => readView(executor, id);

/** Agents that meet every filter given, oldest first. */
export function listAgents(executor: Executor, filter: AgentFilter, page: PageRequest): Promise<Page<AgentView>> {
  const { owner, status, environment, intent, name, parent } = filter;
  return readPage(
    executor,
    [
      owner === undefined ? undefined : eq(agents.ownerId, idOf('owner', owner)),
      status === undefined ? undefined : eq(agents.status, status),
      environment === undefined ? undefined : eq(agents.environment, environment),
      name === undefined ? undefined : eq(agents.name, name),
      parent === undefined ? undefined : eq(agents.parentId, idOf('parent', parent)),
      intent === undefined
        ? undefined
        : sql`agents.id in (
            select g.agent_id from agent_intents g join intents i on i.id = g.intent_id where i.task_intent = ${intent})`,
    ],
    page,
  );
}

const idOf = (member: string, text: string): string => canonicalId(text) ?? refuse(`${member}: not an id`);

/**
 * Everything below an agent, at any depth, without the agent itself.
 * @throws WritError `not_found`.
 */
export async function listDescendants(executor: Executor, id: string, page: PageRequest): Promise<Page<AgentView>> {
  const root = await readView(executor, id);
  // Apart from the paging, whose order would otherwise tempt the planner to walk all agents instead of the paths' index.
  const below: SQL = sql`agents.id in (
    with tree as materialized (select id from agents where path @> array[${root.id}::uuid])
    select id from tree where id <> ${root.id}::uuid)`;
  return readPage(executor, [below], page);
}
