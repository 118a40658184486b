/**
 * Agents as a directory sees them: those whose owner is one of its people, until they are decommissioned; nobody else's.
 * Within a directory's agents a name is given once, without regard to case, as far as the directory names them; Writ
 * itself lets agents have any name.
 *
 * Reads, and the one rule that the acts of `agents.ts` and `lifecycle.ts` do not have. What is done to an agent is done
 * by those.
 */
import { and, asc, count, desc, eq, isNull, ne, not, or, type SQL, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Db, Executor } from '../../platform/db/client.ts';

import { agents, people } from '../../platform/db/schema.ts';
import { takeTurns } from '../../platform/db/turns.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { change } from './locking.ts';
import type { AgentView } from './views.ts';

export interface DirectoryAgent {
  id: string;
  name: string;
  description: string;
  /** Whether it could get a token at the moment of the read. */
  isLive: boolean;
  owner: { id: string; name: string; isDeleted: boolean };
  parent: { id: string; name: string } | null;
  /** The agent whose owner is that of the whole tree. */
  rootId: string;
  /** Differs whenever the agent was written, and when it has begun or ceased to be live by something else. */
  version: number;
  createdAt: Date;
  updatedAt: Date;
}

export type AgentCondition =
  | { all: readonly AgentCondition[] }
  | { any: readonly AgentCondition[] }
  | { not: AgentCondition }
  | { field: 'id' | 'owner' | 'parent'; is: 'eq'; value: string }
  | { field: 'parent'; is: 'present' }
  | { field: 'name' | 'description'; is: 'eq' | 'co' | 'sw' | 'ew'; value: string }
  | { field: 'description'; is: 'present' }
  | { field: 'live'; is: 'eq'; value: boolean }
  | { always: boolean };

export interface AgentOrder {
  by: 'id' | 'name' | 'createdAt' | 'updatedAt';
  isDescending: boolean;
}

const columns = {
  id: agents.id,
  name: agents.name,
  description: agents.description,
  isLive: sql<boolean>`why_dead(agents.id) is null`,
  ownerId: agents.ownerId,
  ownerName: sql<string>`coalesce(nullif(people.display_name, ''), people.user_name)`,
  ownerDeletedAt: people.deletedAt,
  parentId: agents.parentId,
  parentName: sql<string | null>`(select parent.name from agents parent where parent.id = agents.parent_id)`,
  rootId: sql<string>`agents.path[1]`,
  version: agents.version,
  createdAt: agents.createdAt,
  updatedAt: agents.updatedAt,
};

const selectRows = (executor: Executor, where: SQL | undefined) =>
  executor.select(columns).from(agents).innerJoin(people, eq(people.id, agents.ownerId)).where(where);
type Row = Awaited<ReturnType<typeof selectRows>>[number];

const versionOf = (version: number, isLive: boolean): number => 2 * version + (isLive ? 1 : 0);

function toAgent(row: Row): DirectoryAgent {
  const { ownerId, ownerName, ownerDeletedAt, parentId, parentName, version, ...rest } = row;
  return {
    ...rest,
    owner: { id: ownerId, name: ownerName, isDeleted: ownerDeletedAt !== null },
    parent: parentId === null ? null : { id: parentId, name: parentName ?? '' },
    version: versionOf(version, row.isLive),
  };
}

const scopeOf = (directoryId: string): SQL | undefined =>
  and(eq(people.directoryId, directoryId), ne(agents.status, 'decommissioned'));

const ids = { id: agents.id, owner: agents.ownerId, parent: agents.parentId };
const texts = { name: agents.name, description: agents.description };

function compareText(own: SQL, is: 'eq' | 'co' | 'sw' | 'ew', value: string): SQL {
  const wanted = sql`lower(${value}::text)`;
  switch (is) {
    case 'eq':
      return sql`${own} = ${wanted}`;
    case 'co':
      return sql`strpos(${own}, ${wanted}) > 0`;
    case 'sw':
      return sql`starts_with(${own}, ${wanted})`;
    case 'ew':
      return sql`right(${own}, length(${wanted})) = ${wanted}`;
  }
}

/** Every value is a parameter. Nothing here is null when it is compared, but for the parent. */
function compile(condition: AgentCondition, directoryId: string): SQL {
  if ('always' in condition) return sql`${condition.always}::boolean`;
  if ('all' in condition)
    return and(sql`true`, ...condition.all.map((term) => compile(term, directoryId))) ?? sql`true`;
  if ('any' in condition)
    return or(sql`false`, ...condition.any.map((term) => compile(term, directoryId))) ?? sql`false`;
  if ('not' in condition) return not(sql`coalesce(${compile(condition.not, directoryId)}, false)`);
  switch (condition.field) {
    case 'live':
      // For all at once: a function that is called for each of them costs ten times as much.
      return sql`(${agents.id} in (
        select s.agent from standing(array(
          select a.id from agents a join people p on p.id = a.owner_id where p.directory_id = ${directoryId}::uuid)) s
        where s.dead is null)) = ${condition.value}::boolean`;
    case 'id':
    case 'owner':
    case 'parent': {
      if (condition.is === 'present') return sql`${ids[condition.field]} is not null`;
      const id = canonicalId(condition.value);
      return id === null ? sql`false` : eq(ids[condition.field], id);
    }
    case 'name':
    case 'description':
      if (condition.is === 'present') return sql`${texts[condition.field]} <> ''`;
      return compareText(sql`lower(${texts[condition.field]})`, condition.is, condition.value);
  }
}

const orders = {
  id: agents.id,
  name: sql`lower(${agents.name}) collate "C"`,
  createdAt: agents.createdAt,
  updatedAt: agents.updatedAt,
};

/** A page of those that meet the condition (`null`: all), and how many they are; oldest first without an order. */
export async function findDirectoryAgents(
  executor: Executor,
  directoryId: string,
  condition: AgentCondition | null,
  { order, offset, limit }: { order: AgentOrder | null; offset: number; limit: number },
): Promise<{ total: number; agents: DirectoryAgent[] }> {
  const where = and(scopeOf(directoryId), condition === null ? undefined : compile(condition, directoryId));
  const [counted] = await executor
    .select({ total: count() })
    .from(agents)
    .innerJoin(people, eq(people.id, agents.ownerId))
    .where(where);
  const total = counted?.total ?? 0;
  if (limit === 0 || offset >= total) return { total, agents: [] };
  const direct = order?.isDescending === true ? desc : asc;
  const rows = await selectRows(executor, where)
    .orderBy(direct(orders[order?.by ?? 'createdAt']), direct(agents.id))
    .offset(offset)
    .limit(limit);
  return { total, agents: rows.map(toAgent) };
}

/** `null`: the directory has no such agent. */
export async function readDirectoryAgent(
  executor: Executor,
  directoryId: string,
  id: string,
): Promise<DirectoryAgent | null> {
  const [row] = await selectRows(executor, and(scopeOf(directoryId), eq(agents.id, id)));
  return row === undefined ? null : toAgent(row);
}

/** One of the directory's people, active or not; `null`: nobody there has this id, or they are deleted. */
export async function readOwner(
  executor: Executor,
  directoryId: string,
  personId: string,
): Promise<DirectoryAgent['owner'] | null> {
  const [owner] = await executor
    .select({ id: people.id, name: columns.ownerName })
    .from(people)
    .where(and(eq(people.id, personId), eq(people.directoryId, directoryId), isNull(people.deletedAt)));
  return owner === undefined ? null : { ...owner, isDeleted: false };
}

/** What was made just now: without another read, which might fail when there is nothing to be undone. */
export function toNewAgent(view: AgentView, owner: DirectoryAgent['owner']): DirectoryAgent {
  const { id, name, description, live: isLive, createdAt, updatedAt } = view;
  return {
    id,
    name,
    description,
    isLive,
    owner,
    parent: null,
    rootId: id,
    version: versionOf(1, isLive),
    createdAt,
    updatedAt,
  };
}

/**
 * Runs `work`, which gives an agent this name, while nobody else gives one in the same directory. `work` has transactions
 * of its own, on another connection than the one that holds the lock: so only one at a time in this process, lest all
 * connections of the pool wait for one more.
 * @throws WritError `conflict` when another agent of the directory has the name.
 */
export async function withFreeName<T>(
  db: Db,
  directoryId: string,
  { name, except }: { name: string; except?: string },
  work: () => Promise<T>,
): Promise<T> {
  const done: T[] = [];
  const isTaken = and(
    scopeOf(directoryId),
    sql`lower(${agents.name}) = lower(${name.trim()}::text)`,
    except === undefined ? undefined : ne(agents.id, except),
  );
  try {
    await takeTurns(db, ['names of agents'], () =>
      change(db, [`names of agents:${directoryId}`], async (tx) => {
        const [other] = await tx
          .select({ id: agents.id })
          .from(agents)
          .innerJoin(people, eq(people.id, agents.ownerId))
          .where(isTaken)
          .limit(1);
        if (other !== undefined) throw new WritError('conflict', 'agentUserName: another agent has this name');
        done.push(await work());
      }),
    );
  } catch (error) {
    // What is committed is not undone by losing the lock after it.
    if (done.length === 0) throw error;
  }
  const [value] = done;
  if (value === undefined) throw new Error('the work returned nothing');
  return value;
}
