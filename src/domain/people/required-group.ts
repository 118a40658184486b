/**
 * The group that a directory may require. Whoever of its people is not in it is `excluded`, and so not live: removal from
 * it, in whichever way, is a departure like any other, with a receipt of its own, and being added is a return, which
 * brings no agent back. Somebody new is excluded until added. What the IdP says in `active` stays as it said it.
 *
 * Membership of a required group is written person by person under their owner lock, together with `excluded`, so that
 * the two always say the same. What a directory requires is read under a lock of its row that lasts as long as the
 * transaction: a change of it waits for everybody who has read it, and everybody later reads what it has become.
 */
import { eq, type SQL, sql } from 'drizzle-orm';
import type { Db, Tx } from '../../platform/db/client.ts';
import { changeOwners } from '../../platform/db/locks.ts';
import { directories, groups, people } from '../../platform/db/schema.ts';
import type { Act, AuditEvent } from '../audit/append.ts';
import * as audit from '../audit/append.ts';
import { changeRightsOf, endTokensOf } from './group-rights.ts';
import { type LeaverRequest, latestOffboarding, offboard } from './offboard.ts';
import { type Person, readPerson } from './people.ts';

/** Whether this directory requires a group: for a statement that writes a person. A row that is locked is read anew. */
export const requiresGroup = (directoryId: string): SQL<boolean> =>
  sql`(select required_group_id is not null from directories where id = ${directoryId}::uuid for key share)`;

/** The group that the directory requires, until the end of this transaction. */
export async function holdRequiredGroup(tx: Tx, directoryId: string): Promise<string | null> {
  const [directory] = await tx
    .select({ id: directories.requiredGroupId })
    .from(directories)
    .where(eq(directories.id, directoryId))
    .for('key share')
    .prepare('hold_required_group')
    .execute();
  return directory?.id ?? null;
}

export interface GroupOf {
  id: string;
  directoryId: string;
}

/** Rights that a group gives are changed under the lock of its row, which comes before those of people's rows. */
const lockGroup = (tx: Tx, id: string) =>
  tx.select({ id: groups.id }).from(groups).where(eq(groups.id, id)).for('update');

const idsOf = (ids: readonly string[]): SQL =>
  sql`select jsonb_array_elements_text(${JSON.stringify(ids)}::text::jsonb)::uuid`;

const isIn = (groupId: string, personId: SQL): SQL =>
  sql`exists (select from group_members m where m.group_id = ${groupId}::uuid and m.person_id = ${personId})`;

/** The one who is not in the group any more, under their lock; the last thing in its transaction. */
async function exclude(tx: Tx, act: Act, person: Person, request: LeaverRequest): Promise<string | null> {
  if (person.excluded) return (await latestOffboarding(tx, person.id))?.id ?? null;
  // The version stays: no part of the resource that the directory reads has changed.
  await tx.update(people).set({ excluded: true }).where(eq(people.id, person.id));
  if (person.live) return (await offboard(tx, act, person, request)).id;
  const details = { directory: person.directoryId, changed: ['excluded'] };
  await audit.append(tx, act, [{ kind: 'person.changed', outcome: 'done', person: person.id, details }]);
  return (await latestOffboarding(tx, person.id))?.id ?? null;
}

/** A receipt, and how many agents stopped with it; `null`: by an earlier request. */
export interface Offboarded {
  receipt: string;
  agents: number | null;
}

interface Removal {
  /** They were in the group until now. */
  removed: boolean;
  offboarding: Offboarded | null;
}

/** Takes one member out of a group, and offboards them when their directory requires it. */
async function removeMember(db: Db, act: Act, group: GroupOf, id: string, request: LeaverRequest): Promise<Removal> {
  let agents: number | null = null;
  const observe = (count: number): void => {
    agents = count;
  };
  const { removed, receipt } = await changeOwners(db, [id], async (tx) => {
    const isRequired = (await holdRequiredGroup(tx, group.directoryId)) === group.id;
    await lockGroup(tx, group.id);
    const membership = sql`group_members where group_id = ${group.id}::uuid and person_id = ${id}::uuid`;
    const ending = await changeRightsOf(tx, group.id, { leaving: sql`select person_id from ${membership}` });
    const removed = (await tx.execute(sql`delete from ${membership} returning 1`)).length > 0;
    const person = isRequired ? await readPerson(tx, group.directoryId, id) : null;
    const excludes = person !== null && !person.excluded;
    const receipt = excludes ? await exclude(tx, act, person, { ...request, observe }) : null;
    // Who leaves by this has no tokens that could end once more; who has left may have agents that go on reading.
    if (!excludes || !person.live) await endTokensOf(tx, ending);
    return { removed, receipt };
  });
  return { removed, offboarding: receipt === null ? null : { receipt, agents } };
}

/** People who are changed in one transaction: each needs a lock, and the database has room for so many. */
const chunkSize = 100;

function* chunksOf(ids: readonly string[]): Generator<string[]> {
  for (let start = 0; start < ids.length; start += chunkSize) yield ids.slice(start, start + chunkSize);
}

/** Puts people into a group, and readmits those whom its lack has excluded. Answers who was not in it before. */
async function addMembers(db: Db, act: Act, group: GroupOf, ids: readonly string[]): Promise<string[]> {
  const added: string[] = [];
  for (const chunk of chunksOf(ids)) {
    const joined = await changeOwners(db, chunk, async (tx) => {
      const required = await holdRequiredGroup(tx, group.directoryId);
      await lockGroup(tx, group.id);
      await changeRightsOf(tx, group.id, { joining: idsOf(chunk) });
      // Somebody who was deleted meanwhile is in no group.
      const rows = await tx.execute<{ id: string }>(sql`
        insert into group_members (group_id, person_id)
        select ${group.id}::uuid, id from people
        where id in (${idsOf(chunk)}) and directory_id = ${group.directoryId}::uuid and deleted_at is null
        on conflict do nothing returning person_id as id`);
      await readmit(tx, act, chunk, required);
      return [...rows].map(({ id }) => id);
    });
    added.push(...joined);
  }
  return added;
}

/** Under their locks. It is a return of who was live before; of somebody new it is the beginning. */
async function readmit(tx: Tx, act: Act, ids: readonly string[], required: string | null): Promise<void> {
  const rows = await tx.execute<{ id: string; directory: string; returns: boolean }>(sql`
    update people set excluded = false
    where id in (${idsOf(ids)}) and excluded and deleted_at is null
      and ${required === null ? sql`true` : isIn(required, sql`people.id`)}
    returning id, directory_id as directory,
      live and exists (select from offboardings o where o.person_id = people.id) as returns`);
  const events = [...rows].map(
    ({ id, directory, returns }): AuditEvent => ({
      kind: returns ? 'person.returned' : 'person.changed',
      outcome: 'done',
      person: id,
      details: { directory, changed: ['excluded'] },
    }),
  );
  await audit.append(tx, act, events);
}

/** Transactions at once: the rest of the pool is for others. */
const atOnce = 4;

/** Does it for each, a few at a time. After a failure nothing new is begun, and it is thrown once all have ended. */
async function forEach<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const state = { failed: false };
  const worker = async (): Promise<void> => {
    for (const item of rest) {
      if (state.failed) return;
      await work(item).catch((error: unknown) => {
        state.failed = true;
        throw error;
      });
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: atOnce }, worker));
  for (const outcome of ended) if (outcome.status === 'rejected') throw outcome.reason;
}

/** Who a change of a required group concerns. */
export interface MembershipPlan {
  leaving: string[];
  joining: string[];
  /** Receipts of those whom the change names although they have left by an earlier one. */
  repeated: Offboarded[];
}

/**
 * Of a required group: who leaves by this change and who joins. `leaving` and `joining` are ids; with `clear` everybody
 * leaves who does not join.
 */
export async function planMembership(
  tx: Tx,
  group: GroupOf,
  { base, joining, leaving }: { base: 'keep' | 'clear'; joining: readonly string[]; leaving: readonly string[] },
): Promise<MembershipPlan> {
  const here = sql`p.directory_id = ${group.directoryId}::uuid and p.deleted_at is null`;
  const named = await tx.execute<{ id: string; done: boolean }>(sql`
    select p.id, p.excluded and not ${isIn(group.id, sql`p.id`)} as done
    from people p where p.id in (${idsOf(leaving)}) and ${here} order by p.id`);
  const others = await tx.execute<{ id: string }>(sql`
    select m.person_id as id from group_members m
    where ${base === 'clear'}::boolean and m.group_id = ${group.id}::uuid and m.person_id not in (${idsOf(joining)})
    order by m.person_id`);
  const joiners = await tx.execute<{ id: string }>(sql`
    select p.id from people p
    where p.id in (${idsOf(joining)}) and ${here} and (p.excluded or not ${isIn(group.id, sql`p.id`)}) order by p.id`);
  const gone = named.filter(({ done }) => done).map(({ id }) => id);
  const receipts = await tx.execute<{ id: string }>(sql`
    select distinct on (person_id) id from offboardings where person_id in (${idsOf(gone)})
    order by person_id, committed_at desc`);
  const ids = (rows: Iterable<{ id: string }>): string[] => [...rows].map(({ id }) => id);
  return {
    leaving: [...new Set([...ids(named.filter(({ done }) => !done)), ...ids(others)])],
    joining: ids(joiners),
    repeated: ids(receipts).map((receipt) => ({ receipt, agents: null })),
  };
}

export interface MembershipMoves {
  added: string[];
  removed: string[];
  offboardings: Offboarded[];
}

/**
 * Does what was planned, person by person: whoever leaves has left once this returns, or it throws, and the same request
 * again does the rest. Of two requests at once about the same person the later one counts.
 */
export async function moveMembers(
  db: Db,
  act: Act,
  group: GroupOf,
  plan: MembershipPlan,
  request: LeaverRequest,
): Promise<MembershipMoves> {
  const moves: MembershipMoves = { added: [], removed: [], offboardings: [...plan.repeated] };
  await forEach(plan.leaving, async (id) => {
    const { removed, offboarding } = await removeMember(db, act, group, id, request);
    if (removed) moves.removed.push(id);
    if (offboarding !== null) moves.offboardings.push(offboarding);
  });
  moves.added = await addMembers(db, act, group, plan.joining);
  return moves;
}

/** How many would leave if the directory required this group. */
export async function countOutsiders(tx: Tx, group: GroupOf): Promise<number> {
  const [row] = await tx.execute<{ count: number }>(sql`
    select count(*)::int as count from people p
    where p.directory_id = ${group.directoryId}::uuid and p.live and not ${isIn(group.id, sql`p.id`)}`);
  return row?.count ?? 0;
}

const pageSize = 1_000;

/**
 * Makes `excluded` of everybody in the directory what the group that it requires now says. Each leaver leaves in a
 * transaction of their own; after a failure the same again does the rest. Answers how many have left.
 */
export async function applyRequiredGroup(
  db: Db,
  act: Act,
  directoryId: string,
  required: string | null,
  request: LeaverRequest,
): Promise<number> {
  const ofDirectory = sql`p.directory_id = ${directoryId}::uuid and p.deleted_at is null`;
  const member = required === null ? sql`true` : isIn(required, sql`p.id`);
  let departed = 0;
  for await (const ids of pagesOf(db, sql`${ofDirectory} and not p.excluded and not ${member}`)) {
    await forEach(ids, async (id) => {
      if (await excludeOutsider(db, act, { id: required ?? '', directoryId }, id, request)) departed += 1;
    });
  }
  for await (const ids of pagesOf(db, sql`${ofDirectory} and p.excluded and ${member}`)) {
    for (const chunk of chunksOf(ids)) {
      await changeOwners(db, chunk, async (tx) => readmit(tx, act, chunk, await holdRequiredGroup(tx, directoryId)));
    }
  }
  return departed;
}

async function* pagesOf(db: Db, condition: SQL): AsyncGenerator<string[]> {
  let after = '00000000-0000-0000-0000-000000000000';
  for (;;) {
    const rows = await db.execute<{ id: string }>(sql`
      select p.id from people p where ${condition} and p.id > ${after}::uuid order by p.id limit ${pageSize}`);
    if (rows.length === 0) return;
    yield [...rows].map(({ id }) => id);
    after = rows.at(-1)?.id ?? after;
  }
}

/** True: they were live, and have left. */
const excludeOutsider = (db: Db, act: Act, group: GroupOf, id: string, request: LeaverRequest): Promise<boolean> =>
  changeOwners(db, [id], async (tx) => {
    if ((await holdRequiredGroup(tx, group.directoryId)) !== group.id) return false;
    const members = await tx.execute(sql`select 1 where ${isIn(group.id, sql`${id}::uuid`)}`);
    const person = await readPerson(tx, group.directoryId, id);
    if (members.length > 0 || person === null || person.excluded) return false;
    await exclude(tx, act, person, request);
    return person.live;
  });
