/**
 * Groups of a directory and who is in them. Membership is written as deltas under the group's row lock, so that changes
 * that arrive together lose nobody. A group has people of its own directory only; a deleted person is in no group.
 */
import { and, asc, eq, inArray, isNull, type SQL, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { type Db, type Executor, executePrepared, type Tx, transaction } from '../../platform/db/client.ts';
import { groupMembers, groups, people } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';
import { changeRightsOf, endTokensOf, uuidArray } from './group-rights.ts';
import type { LeaverRequest } from './offboard.ts';
import {
  holdRequiredGroup,
  type MembershipMoves,
  type MembershipPlan,
  moveMembers,
  type Offboarded,
  planMembership,
} from './required-group.ts';

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

/** What is read of a group. */
export const groupColumns = {
  id: groups.id,
  directoryId: groups.directoryId,
  displayName: groups.displayName,
  externalId: groups.externalId,
  version: groups.version,
  createdAt: groups.createdAt,
  updatedAt: groups.updatedAt,
};

/** One of a directory's groups; `null`: none with this id there. */
export async function readGroup(executor: Executor, directoryId: string, id: string): Promise<Group | null> {
  const [group] = await executor
    .select(groupColumns)
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

/** Who joined or left, for the audit log: all of them counted, the first of them named. */
interface Move {
  count: number;
  people: string[];
}

const maxNamed = 50;
const toMove = (ids: readonly string[]): Move => ({ count: ids.length, people: ids.slice(0, maxNamed) });

const fewIds = 100;

/**
 * The ids that a statement over so many returns. A plan that fits a handful compares each of ten thousand with each: for
 * many, PostgreSQL plans anew.
 */
async function run(tx: Tx, query: SQL, ids: number): Promise<string[]> {
  const rows =
    ids > fewIds ? await tx.execute<{ id: string }>(query) : await executePrepared<{ id: string }>(tx, query);
  return [...rows].map(({ id }) => id);
}

/** What is not a UUID is nobody's id. */
const canonicalIds = (given: readonly string[]): string[] =>
  [...new Set(given.map(canonicalId))].filter((id) => id !== null);

interface Moves {
  added: Move;
  removed: Move;
  /** Owners whose agents' tokens have to end with the membership: `endTokensOf`, after the audit record. */
  ending: string[];
}

/** @throws WritError `invalid_request` when somebody to add is not of this directory. */
async function changeMembers(
  tx: Tx,
  group: { id: string; directoryId: string },
  { base, add, remove }: MemberDelta,
): Promise<Moves> {
  const [joining, leaving] = [canonicalIds(add), canonicalIds(remove)];
  await requireKnown(tx, group.directoryId, joining, add);
  const who =
    base === 'clear' ? sql`person_id <> all (${uuidArray(joining)})` : sql`person_id = any (${uuidArray(leaving)})`;
  const ofWhom = sql`${groupMembers} where group_id = ${group.id}::uuid and ${who}`;
  const ending = await changeRightsOf(tx, group.id, {
    joining: sql`select unnest(${uuidArray(joining)})`,
    leaving: sql`select person_id from ${ofWhom}`,
  });
  const moves: Moves = { added: toMove([]), removed: toMove([]), ending };
  if (base === 'clear' || leaving.length > 0) {
    const deletion = sql`delete from ${ofWhom} returning person_id as id`;
    moves.removed = toMove(await run(tx, deletion, joining.length + leaving.length));
  }
  if (joining.length > 0) {
    const insertion = sql`
      insert into ${groupMembers} (group_id, person_id)
      select ${group.id}::uuid, id from unnest(${uuidArray(joining)}) as id
      on conflict do nothing returning person_id as id`;
    moves.added = toMove(await run(tx, insertion, joining.length));
  }
  return moves;
}

/** Another directory's person is as unknown as nobody. */
async function requireKnown(tx: Tx, directoryId: string, ids: string[], given: readonly string[]): Promise<void> {
  if (given.length === 0) return;
  const known = await run(
    tx,
    sql`select id from ${people} where id = any (${uuidArray(ids)})
      and directory_id = ${directoryId}::uuid and deleted_at is null`,
    ids.length,
  );
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
      .returning(groupColumns);
    if (group === undefined) throw new Error('the insert returned no group');
    const { added } = await changeMembers(tx, group, { base: 'keep', add: members, remove: [] });
    const details = { directory: directoryId, group: group.id, displayName: group.displayName, added };
    await audit.append(tx, act, [{ kind: 'group.created', outcome: 'done', details }]);
    return group;
  });
}

type Merge = (current: Group) => GroupState & { members: MemberDelta };

export interface ChangedGroup {
  group: Group;
  /** Of those who left by it: the directory requires this group. */
  offboardings: Offboarded[];
}

/**
 * Changes a group to what the pure function `merge` makes of its current state; what `merge` throws refuses the change.
 * Members of a group that the directory requires leave and join before the rest is changed (`required-group.ts`).
 * @throws WritError `not_found`; `invalid_request` when somebody to add is not of this directory.
 */
export async function changeGroup(
  db: Db,
  act: Act,
  where: { directoryId: string; id: string },
  merge: Merge,
  request: LeaverRequest,
): Promise<ChangedGroup> {
  const { directoryId, id } = where;
  const begun = await transaction(db, async (tx) => {
    if ((await holdRequiredGroup(tx, directoryId)) !== id) return { group: await writeGroup(tx, act, where, merge) };
    return planRequired(tx, where, merge);
  });
  if ('group' in begun) return { group: begun.group, offboardings: [] };
  const moves = await moveMembers(db, act, where, begun.plan, request);
  if (begun.refusal !== null) throw begun.refusal;
  const group = await transaction(db, (tx) => writeGroup(tx, act, where, merge, moves));
  return { group, offboardings: moves.offboardings };
}

/**
 * Who leaves and who joins a required group. A removal that is spelled out is honoured even if the same request adds
 * somebody who is unknown here; `refusal` is then its answer.
 */
async function planRequired(
  tx: Tx,
  { directoryId, id }: { directoryId: string; id: string },
  merge: Merge,
): Promise<{ plan: MembershipPlan; refusal: WritError | null }> {
  const current = await readGroup(tx, directoryId, id);
  if (current === null) throw new WritError('not_found', 'no such group');
  const { base, add, remove } = merge(current).members;
  const [joining, leaving] = [canonicalIds(add), canonicalIds(remove)];
  try {
    await requireKnown(tx, directoryId, joining, add);
    return { plan: await planMembership(tx, current, { base, joining, leaving }), refusal: null };
  } catch (refusal) {
    if (!(refusal instanceof WritError) || base === 'clear' || leaving.length === 0) throw refusal;
    return { plan: await planMembership(tx, current, { base, joining: [], leaving }), refusal };
  }
}

/** `moves`: members who were moved already, and nobody is here. */
async function writeGroup(
  tx: Tx,
  act: Act,
  { directoryId, id }: { directoryId: string; id: string },
  merge: Merge,
  moves?: MembershipMoves,
): Promise<Group> {
  const current = await lockGroup(tx, directoryId, id);
  const { members, displayName, externalId } = merge(current);
  const moved = moves && { added: toMove(moves.added), removed: toMove(moves.removed), ending: [] };
  const { added, removed, ending } = moved ?? (await changeMembers(tx, current, members));
  const changed = Object.entries({ displayName, externalId })
    .filter(([name, value]) => value !== current[name === 'displayName' ? 'displayName' : 'externalId'])
    .map(([name]) => name);
  if (changed.length === 0 && added.count === 0 && removed.count === 0) return current;
  const [group] = await tx
    .update(groups)
    .set({ displayName, externalId, version: sql`${groups.version} + 1`, updatedAt: sql`clock_timestamp()` })
    .where(eq(groups.id, id))
    .returning(groupColumns)
    .prepare('write_group')
    .execute();
  if (group === undefined) throw new Error('the update returned no group');
  const details = { directory: directoryId, group: id, displayName: group.displayName, changed, added, removed };
  await audit.append(tx, act, [{ kind: 'group.changed', outcome: 'done', details }]);
  await endTokensOf(tx, ending);
  return group;
}

async function lockGroup(tx: Tx, directoryId: string, id: string): Promise<Group> {
  const [group] = await tx
    .select(groupColumns)
    .from(groups)
    .where(and(eq(groups.id, id), eq(groups.directoryId, directoryId)))
    .for('update')
    .prepare('lock_group')
    .execute();
  if (group === undefined) throw new WritError('not_found', 'no such group');
  return group;
}

const maxAttempts = 5;

/**
 * `check` sees the group and may refuse by throwing. Members of a group that the directory requires leave first; the
 * requirement stays. @throws WritError `not_found`, also the second time.
 */
export async function deleteGroup(
  db: Db,
  act: Act,
  where: { directoryId: string; id: string },
  check: (current: Group) => void,
  request: LeaverRequest,
): Promise<{ offboardings: Offboarded[] }> {
  const gone: MembershipMoves = { added: [], removed: [], offboardings: [] };
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const plan = await transaction(db, (tx) => dropGroup(tx, act, where, check, gone.removed));
    if (plan === null) return { offboardings: gone.offboardings };
    const moves = await moveMembers(db, act, where, plan, request);
    gone.removed.push(...moves.removed);
    gone.offboardings.push(...moves.offboardings);
  }
  throw new WritError('unavailable', 'people are being added to this group meanwhile');
}

/** Deletes the group, or answers who has to leave before that. `removed`: who has left by this request. */
async function dropGroup(
  tx: Tx,
  act: Act,
  { directoryId, id }: { directoryId: string; id: string },
  check: (current: Group) => void,
  removed: readonly string[],
): Promise<MembershipPlan | null> {
  const isRequired = (await holdRequiredGroup(tx, directoryId)) === id;
  const group = await lockGroup(tx, directoryId, id);
  check(group);
  if (isRequired) {
    const plan = await planMembership(tx, group, { base: 'clear', joining: [], leaving: [] });
    if (plan.leaving.length > 0) return plan;
  }
  const members = sql`select person_id from ${groupMembers} where group_id = ${id}::uuid`;
  const ending = await changeRightsOf(tx, id, { leaving: members });
  await tx.delete(groups).where(eq(groups.id, id));
  const left = removed.length === 0 ? {} : { removed: toMove(removed) };
  const details = { directory: directoryId, group: id, displayName: group.displayName, ...left };
  await audit.append(tx, act, [{ kind: 'group.deleted', outcome: 'done', details }]);
  await endTokensOf(tx, ending);
  return null;
}
