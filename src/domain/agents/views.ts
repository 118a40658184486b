/** Agents as callers see them. One statement for a page, whatever its length. */
import { and, asc, eq, type SQL, sql } from 'drizzle-orm';
import type { Executor } from '../../platform/db/client.ts';
import { isAfter, microsOf } from '../../platform/db/creation.ts';
import { type AgentStatus, agents, type LatchReason, type LeaverPolicy } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import { noSuchAgent } from './locking.ts';
import type { Credential } from './validate.ts';

export interface AgentView {
  id: string;
  clientId: string;
  name: string;
  description: string;
  /** A person's id. */
  owner: string;
  environment: string;
  project: string | null;
  parent: string | null;
  status: AgentStatus;
  latches: { reason: LatchReason; since: Date }[];
  /** Whether it could get a token at the moment of the read, if only for reading: it, its ancestors and its owner. */
  live: boolean;
  /** What becomes of the tree when the owner leaves; `null`: what its environment says, and in a sub-agent what its root says. */
  leaverPolicy: LeaverPolicy | null;
  /** A person's id: to whom the tree is offered by `handover`. */
  deputy: string | null;
  /** Until when the tree may read on after its owner has left; `null`: it is not in quarantine. */
  quarantinedUntil: Date | null;
  expiresAt: Date | null;
  credential: Credential;
  intents: string[];
  createdAt: Date;
  updatedAt: Date;
}

// Inside `sql` drizzle leaves out the table's name, which a subquery would take for its own column: hence plain text.
const columns = {
  id: agents.id,
  name: agents.name,
  description: agents.description,
  owner: agents.ownerId,
  environment: agents.environment,
  project: agents.project,
  parent: agents.parentId,
  status: agents.status,
  expiresAt: agents.expiresAt,
  jwks: agents.jwks,
  createdAt: agents.createdAt,
  updatedAt: agents.updatedAt,
  live: sql<boolean>`why_dead(agents.id) is null`,
  leaverPolicy: agents.leaverPolicy,
  deputy: agents.deputyId,
  quarantinedUntil: sql<string | null>`(
    select to_json(q.until) #>> '{}' from quarantines q
    where q.agent_id = agents.path[1] and q.person_id = agents.owner_id and q.until > clock_timestamp())`,
  latches: sql<{ reason: LatchReason; since: string }[]>`coalesce((
    select jsonb_agg(jsonb_build_object('reason', l.reason, 'since', l.since) order by l.reason)
    from latches l where l.agent_id = agents.id), '[]')`,
  intents: sql<string[]>`coalesce((
    select jsonb_agg(i.task_intent order by i.task_intent)
    from agent_intents g join intents i on i.id = g.intent_id where g.agent_id = agents.id), '[]')`,
  createdMicros: microsOf(agents.createdAt),
};

const selectRows = (executor: Executor) => executor.select(columns).from(agents).$dynamic();
type Row = Awaited<ReturnType<typeof selectRows>>[number];

function toView({ jwks, createdMicros: _, latches, quarantinedUntil, ...row }: Row): AgentView {
  return {
    ...row,
    clientId: row.id,
    quarantinedUntil: quarantinedUntil === null ? null : new Date(quarantinedUntil),
    latches: latches.map(({ reason, since }) => ({ reason, since: new Date(since) })),
    credential: jwks === null ? { secret: true } : { jwks },
  };
}

/** @throws WritError `not_found`. */
export async function readView(executor: Executor, agentId: string): Promise<AgentView> {
  const id = canonicalId(agentId);
  const [row] = id === null ? [] : await selectRows(executor).where(eq(agents.id, id));
  if (row === undefined) throw noSuchAgent();
  return toView(row);
}

/**
 * A page of the agents that meet every condition, oldest first.
 * @throws WritError `invalid_request` on a cursor of another list.
 */
export async function readPage(
  executor: Executor,
  conditions: (SQL | undefined)[],
  { cursor, limit }: PageRequest,
): Promise<Page<AgentView>> {
  const rows = await selectRows(executor)
    .where(and(...conditions, cursor === undefined ? undefined : isAfter(cursor, agents.createdAt, agents.id)))
    .orderBy(asc(agents.createdAt), asc(agents.id))
    .limit(limit + 1);
  const { items, nextCursor } = toPage(rows, limit, (row) => [row.createdMicros, row.id]);
  return { items: items.map(toView), nextCursor };
}
