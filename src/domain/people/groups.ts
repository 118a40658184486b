/**
 * Groups of a directory and who is in them. Membership is written as deltas under the group's row lock, so that changes
 * that arrive together lose nobody. A group has people of its own directory only; a deleted person is in no group.
 */
import { and, asc, count, eq, inArray, isNull, type SQL, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { type Db, type Executor, type Tx, transaction } from '../../platform/db/client.ts';
import { groupMembers, groups, people } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';
import type { Window } from './people.ts';

export interface GroupState {
  displayName: string;
  externalId: string | null;
}

export interface Group extends GroupState {
  id: string;
  directoryId: string;
  /** Raised by every change, of members too. */
  version: number;
  createdAt: Date;
  updatedAt: Date;
}

/** How membership changes: from those that are there, or from nobody; an id stands in one of the lists at most. */
export interface MemberDelta {
  base: 'keep' | 'clear';
  add: readonly string[];
  remove: readonly string[];
}

export interface Member {
  id: string;
  display: string;
}

export type GroupCondition =
  | { field: 'id' | 'externalId' | 'displayName'; value: string }
  | { field: 'member'; value: string };

const columns = {
  id: groups.id,
  directoryId: groups.directoryId,
  displayName: groups.displayName,
  externalId: groups.externalId,
  version: groups.version,
  createdAt: groups.createdAt,
  updatedAt: groups.updatedAt,
};

/** `null`: nothing can meet it. */
function toCondition({ field, value }: GroupCondition): SQL | null {
  if (field === 'externalId') return eq(groups.externalId, value);
  if (field === 'displayName') return sql`lower(${groups.displayName}) = lower(${value})`;
  const id = canonicalId(value);
  if (id === null) return null;
  if (field === 'id') return eq(groups.id, id);
  return sql`exists (
    select from ${groupMembers} join ${people} on ${people.id} = ${groupMembers.personId}
    where ${groupMembers.groupId} = ${groups.id} and ${people.id} = ${id} and ${people.deletedAt} is null)`;
}

/** One directory's groups that meet all conditions, oldest first, and how many there are. */
export async function findGroups(
  executor: Executor,
  directoryId: string,
  conditions: readonly GroupCondition[],
  { offset, limit }: Window,
): Promise<{ total: number; groups: Group[] }> {
  const wanted = conditions.map(toCondition);
  const met = wanted.filter((condition) => condition !== null);
  if (met.length < wanted.length) return { total: 0, groups: [] };
  const where = and(eq(groups.directoryId, directoryId), ...met);
  const [counted] = await executor.select({ total: count() }).from(groups).where(where);
  const total = counted?.total ?? 0;
  if (limit === 0 || offset >= total) return { total, groups: [] };
  const rows = await executor
    .select(columns)
    .from(groups)
    .where(where)
    .orderBy(asc(groups.createdAt), asc(groups.id))
    .offset(offset)
    .limit(limit);
  return { total, groups: rows };
}

/** One of a directory's groups; `null`: none with this id there. */
export async function readGroup(executor: Executor, directoryId: string, id: string): Promise<Group | null> {
  const [group] = await executor
    .select(columns)
    .from(groups)
    .where(and(eq(groups.id, id), eq(groups.directoryId, directoryId)));
  return group ?? null;
}

const displayOfPerson = sql<string>`coalesce(nullif(${people.displayName}, ''), ${people.userName})`;

/** The members of each group, by the group's id. */
export async function membersOf(executor: Executor, groupIds: readonly string[]): Promise<Map<string, Member[]>> {
  if (groupIds.length === 0) return new Map();
  const rows = await executor
    .select({ of: groupMembers.groupId, id: people.id, display: displayOfPerson })
    .from(groupMembers)
    .innerJoin(people, eq(people.id, groupMembers.personId))
    .where(and(inArray(groupMembers.groupId, [...groupIds]), isNull(people.deletedAt)))
    .orderBy(asc(people.createdAt), asc(people.id));
  return collect(rows);
}

/** The groups of each person, by the person's id. */
export async function groupsOf(executor: Executor, personIds: readonly string[]): Promise<Map<string, Member[]>> {
  if (personIds.length === 0) return new Map();
  const query = executor
    .select({ of: groupMembers.personId, id: groups.id, display: groups.displayName })
    .from(groupMembers)
    .innerJoin(groups, eq(groups.id, groupMembers.groupId))
    .where(inArray(groupMembers.personId, [...personIds]))
    .orderBy(asc(groups.createdAt), asc(groups.id));
  // One text for each number of ids: only that of one person is sent again and again.
  return collect(await (personIds.length === 1 ? query.prepare('groups_of_person').execute() : query));
}

function collect(rows: { of: string; id: string; display: string }[]): Map<string, Member[]> {
  const collected = new Map<string, Member[]>();
  for (const { of, id, display } of rows) {
    const members = collected.get(of);
    if (members === undefined) collected.set(of, [{ id, display }]);
    else members.push({ id, display });
  }
  return collected;
}

/** One parameter, however many ids. */
const uuidArray = (ids: readonly string[]): SQL => sql`string_to_array(${ids.join(',')}::text, ',')::uuid[]`;

/** Who joined or left, for the audit log: all of them counted, the first of them named. */
interface Move {
  count: number;
  people: string[];
}

const maxNamed = 50;
const toMove = (rows: { person_id: string }[]): Move => ({
  count: rows.length,
  people: rows.slice(0, maxNamed).map(({ person_id: id }) => id),
});

/** @throws WritError `invalid_request` when somebody to add is not of this directory. */
async function changeMembers(
  tx: Tx,
  group: { id: string; directoryId: string },
  { base, add, remove }: MemberDelta,
): Promise<{ added: Move; removed: Move }> {
  // What is not a UUID is nobody's id: no one to remove, and an unknown one to add.
  const joining = [...new Set(add.map(canonicalId))].filter((id) => id !== null);
  const leaving = [...new Set(remove.map(canonicalId))].filter((id) => id !== null);
  await requireKnown(tx, group.directoryId, joining, add);
  const moves = { added: toMove([]), removed: toMove([]) };
  if (base === 'clear' || leaving.length > 0) {
    const who =
      base === 'clear' ? sql`person_id <> all (${uuidArray(joining)})` : sql`person_id = any (${uuidArray(leaving)})`;
    moves.removed = toMove(
      await tx.execute<{ person_id: string }>(
        sql`delete from ${groupMembers} where group_id = ${group.id} and ${who} returning person_id`,
      ),
    );
  }
  if (joining.length > 0) {
    moves.added = toMove(
      await tx.execute<{ person_id: string }>(sql`
        insert into ${groupMembers} (group_id, person_id)
        select ${group.id}::uuid, id from unnest(${uuidArray(joining)}) as id
        on conflict do nothing returning person_id`),
    );
  }
  return moves;
}

/** Another directory's person is as unknown as nobody. */
async function requireKnown(tx: Tx, directoryId: string, ids: string[], given: readonly string[]): Promise<void> {
  if (given.length === 0) return;
  const known = await tx.execute(sql`
    select id from ${people} where id = any (${uuidArray(ids)})
      and directory_id = ${directoryId} and deleted_at is null`);
  if (known.length < ids.length || given.some((id) => canonicalId(id) === null)) {
    throw new WritError('invalid_request', 'members: not everybody to add is a user of this directory');
  }
}

/** @throws WritError `invalid_request` when a member is not of this directory. */
export async function createGroup(
  db: Db,
  act: Act,
  directoryId: string,
  state: GroupState,
  members: readonly string[],
): Promise<Group> {
  return transaction(db, async (tx) => {
    const [group] = await tx
      .insert(groups)
      .values({ ...state, directoryId })
      .returning(columns);
    if (group === undefined) throw new Error('the insert returned no group');
    const { added } = await changeMembers(tx, group, { base: 'keep', add: members, remove: [] });
    const details = { directory: directoryId, group: group.id, displayName: group.displayName, added };
    await audit.append(tx, act, [{ kind: 'group.created', outcome: 'done', details }]);
    return group;
  });
}

/**
 * Changes a group to what the pure function `merge` makes of its current state; what `merge` throws refuses the change.
 * @throws WritError `not_found`; `invalid_request` when somebody to add is not of this directory.
 */
export async function changeGroup(
  db: Db,
  act: Act,
  { directoryId, id }: { directoryId: string; id: string },
  merge: (current: Group) => GroupState & { members: MemberDelta },
): Promise<Group> {
  return transaction(db, async (tx) => {
    const current = await lockGroup(tx, directoryId, id);
    const { members, displayName, externalId } = merge(current);
    const { added, removed } = await changeMembers(tx, current, members);
    const changed = Object.entries({ displayName, externalId })
      .filter(([name, value]) => value !== current[name === 'displayName' ? 'displayName' : 'externalId'])
      .map(([name]) => name);
    if (changed.length === 0 && added.count === 0 && removed.count === 0) return current;
    const [group] = await tx
      .update(groups)
      .set({ displayName, externalId, version: sql`${groups.version} + 1`, updatedAt: sql`clock_timestamp()` })
      .where(eq(groups.id, id))
      .returning(columns);
    if (group === undefined) throw new Error('the update returned no group');
    const details = { directory: directoryId, group: id, displayName: group.displayName, changed, added, removed };
    await audit.append(tx, act, [{ kind: 'group.changed', outcome: 'done', details }]);
    return group;
  });
}

async function lockGroup(tx: Tx, directoryId: string, id: string): Promise<Group> {
  const [group] = await tx
    .select(columns)
    .from(groups)
    .where(and(eq(groups.id, id), eq(groups.directoryId, directoryId)))
    .for('update');
  if (group === undefined) throw new WritError('not_found', 'no such group');
  return group;
}

/** `check` sees the group and may refuse by throwing. @throws WritError `not_found`, also the second time. */
export async function deleteGroup(
  db: Db,
  act: Act,
  { directoryId, id }: { directoryId: string; id: string },
  check: (current: Group) => void,
): Promise<void> {
  await transaction(db, async (tx) => {
    const group = await lockGroup(tx, directoryId, id);
    check(group);
    await tx.delete(groups).where(eq(groups.id, id));
    const details = { directory: directoryId, group: id, displayName: group.displayName };
    await audit.append(tx, act, [{ kind: 'group.deleted', outcome: 'done', details }]);
  });
}
