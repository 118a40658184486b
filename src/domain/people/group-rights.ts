/**
 * What membership of a group is worth: roles in Writ, and the intents that are kept for its members. An intent that
 * stands in `group_intents` may be used only by agents whose owner is in one of its groups; one that stands there nowhere
 * is anybody's. A group that its directory deletes keeps its rows here, so that its intents do not become everybody's.
 *
 * Owns `group_roles`, `group_intents` and `people.rights`. Whatever changes which groups with rights a person is in raises
 * `rights`, by which each copy of their agents is compared. Where a right ends, the epoch of its owners is raised as well,
 * which all tokens of their agents carry.
 *
 * No owner's lock is needed for that: `standing` reads versions and epochs in one statement. What it settles before this
 * commit carries the old epoch and is ended by the feed; what it settles after meets another version and is decided again.
 *
 * Locks, in this order: the catalogue (when the rights change), the group, people by their ids, the tables of agents. Who
 * becomes the owner of agents meanwhile shares the person's row (`agents/locking.ts`): either the agents are seen here, or
 * they begin with the new rights.
 */
import { type SQL, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { type Db, type Executor, executePrepared, type Tx, transaction } from '../../platform/db/client.ts';
import type { GroupRole } from '../../platform/db/schema.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';
import { revoke } from '../revocation/revoke.ts';

export const groupRoles = ['admin', 'auditor', 'security_reviewer'] as const satisfies readonly GroupRole[];

/** One parameter, however many ids. */
export const uuidArray = (ids: readonly string[]): SQL => sql`string_to_array(${ids.join(',')}::text, ',')::uuid[]`;

const none = sql`select null::uuid where false`;

/** Ends the tokens of these people's agents; the last call of its transaction. */
export async function endTokensOf(tx: Tx, owners: readonly string[]): Promise<void> {
  if (owners.length > 0)
    await revoke(
      tx,
      owners.map((id) => ({ id })),
    );
}

/** The roles that groups give these people, by the person's id; nobody who has left has any. */
export async function rolesOf(executor: Executor, personIds: readonly string[]): Promise<Map<string, GroupRole[]>> {
  const rows = await executor.execute<{ id: string; roles: GroupRole[] }>(sql`
    select m.person_id as id, json_agg(distinct r.role) as roles
    from group_members m join people p on p.id = m.person_id join group_roles r on r.group_id = m.group_id
    where m.person_id = any (${uuidArray(personIds)}) and p.live
    group by m.person_id`);
  return new Map(rows.map(({ id, roles }) => [id, roles]));
}

/** Locks the people whom `who` selects, in the order of their ids. `joins`: who of them is not in the group. */
async function lockPeople(tx: Tx, groupId: string, who: SQL): Promise<{ id: string; joins: boolean }[]> {
  return tx.execute<{ id: string; joins: boolean }>(sql`
    select p.id, not exists (select from group_members m where m.group_id = ${groupId}::uuid and m.person_id = p.id) as joins
    from people p where p.id in (${who}) order by p.id for no key update of p`);
}

const raiseRights = (tx: Tx, ids: readonly string[]): Promise<unknown> =>
  tx.execute(sql`update people set rights = rights + 1 where id = any (${uuidArray(ids)})`);

/** Those who own agents: nobody else has tokens to end. Only under the locks of their rows. */
async function ownersAmong(tx: Tx, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  const rows = await tx.execute<{ id: string }>(sql`
    select p.id from unnest(${uuidArray(ids)}) as p (id) where exists (select from agents a where a.owner_id = p.id)`);
  return rows.map(({ id }) => id);
}

/**
 * To be called before members of a group change, under the lock of its row. `joining` and `leaving` select ids of people;
 * who is in the group already joins nothing.
 *
 * @returns whose tokens end: for `endTokensOf`, after the audit record
 */
export async function changeRightsOf(
  tx: Tx,
  groupId: string,
  { joining = none, leaving = none }: { joining?: SQL; leaving?: SQL },
): Promise<string[]> {
  const [worth] = await executePrepared<{ roles: boolean; intents: boolean }>(
    tx,
    sql`select exists (select from group_roles where group_id = ${groupId}::uuid) as roles,
      exists (select from group_intents where group_id = ${groupId}::uuid) as intents`,
  );
  if (worth === undefined || (!worth.roles && !worth.intents)) return [];
  const people = await lockPeople(
    tx,
    groupId,
    sql`${leaving} union all select j.id from (${joining}) as j (id)
      where not exists (select from group_members m where m.group_id = ${groupId}::uuid and m.person_id = j.id)`,
  );
  if (people.length === 0) return [];
  await raiseRights(
    tx,
    people.map(({ id }) => id),
  );
  // A role is read when it is used, and no token of an agent carries one.
  if (!worth.intents) return [];
  return ownersAmong(
    tx,
    people.filter(({ joins }) => !joins).map(({ id }) => id),
  );
}

/**
 * The same for a person who is deleted, and so leaves all groups: under their owner's lock, with their row changed.
 * @returns whether tokens of theirs end by it
 */
export async function endRightsOf(tx: Tx, personId: string): Promise<boolean> {
  const [row] = await tx.execute(sql`
    select 1 as one from group_members m join group_intents i on i.group_id = m.group_id
    where m.person_id = ${personId}::uuid and exists (select from agents a where a.owner_id = m.person_id) limit 1`);
  await raiseRights(tx, [personId]);
  return row !== undefined;
}

export interface GroupRights {
  roles: GroupRole[];
  /** Names. */
  intents: string[];
}

/** What a group gives now, in order. */
export async function readRights(executor: Executor, groupId: string): Promise<GroupRights> {
  const [row] = await executor.execute<{ roles: GroupRole[]; intents: string[] }>(sql`
    select coalesce((select json_agg(role order by role) from group_roles where group_id = ${groupId}::uuid), '[]') as roles,
      coalesce((select json_agg(i.task_intent order by i.task_intent collate "C")
        from group_intents g join intents i on i.id = g.intent_id where g.group_id = ${groupId}::uuid), '[]') as intents`);
  if (row === undefined) throw new Error('the select returned no row');
  return { roles: row.roles, intents: row.intents };
}

interface ChangedIntents {
  /** Were anybody's, and are kept for this group from now on. */
  reserved: string[];
  /** Are kept for others, and not for this group any more. */
  withdrawn: string[];
}

/** Writes the intents' rows, and tells which changes take something from somebody. */
async function writeIntents(tx: Tx, groupId: string, names: readonly string[]): Promise<ChangedIntents> {
  const rows = await tx.execute<{ id: string; kept: boolean; others: boolean; wanted: boolean }>(sql`
    select i.id, i.task_intent = any (${sql.param(names)}::text[]) as wanted,
      exists (select from group_intents g where g.intent_id = i.id and g.group_id = ${groupId}::uuid) as kept,
      exists (select from group_intents g where g.intent_id = i.id and g.group_id <> ${groupId}::uuid) as others
    from intents i
    where i.task_intent = any (${sql.param(names)}::text[])
      or i.id in (select intent_id from group_intents where group_id = ${groupId}::uuid)`);
  const added = rows.filter(({ wanted, kept }) => wanted && !kept);
  const removed = rows.filter(({ wanted, kept }) => !wanted && kept);
  const ids = (of: { id: string }[]): string[] => of.map(({ id }) => id);
  // Each of these statements makes every node read the catalogue again.
  if (added.length > 0) {
    await tx.execute(sql`
      insert into group_intents (group_id, intent_id) select ${groupId}::uuid, id from unnest(${uuidArray(ids(added))}) as id`);
  }
  if (removed.length > 0) {
    await tx.execute(sql`
      delete from group_intents where group_id = ${groupId}::uuid and intent_id = any (${uuidArray(ids(removed))})`);
  }
  return {
    reserved: ids(added.filter(({ others }) => !others)),
    withdrawn: ids(removed.filter(({ others }) => others)),
  };
}

async function writeRoles(tx: Tx, groupId: string, roles: readonly GroupRole[]): Promise<void> {
  await tx.execute(sql`
    delete from group_roles where group_id = ${groupId}::uuid and role <> all (${sql.param(roles)}::text[])`);
  await tx.execute(sql`
    insert into group_roles (group_id, role) select ${groupId}::uuid, role from unnest(${sql.param(roles)}::text[]) as role
    on conflict do nothing`);
}

/**
 * Who has lost an intent, as the tables stand now: of what was reserved, whoever has agents that hold it, or that answer
 * at an API where it is done and so may have got it by exchange; of what was withdrawn, the group's members with agents.
 * Nobody who is in another of the intent's groups.
 */
async function findLosers(tx: Tx, groupId: string, { reserved, withdrawn }: ChangedIntents): Promise<string[]> {
  // Nobody gets such an agent between this read and the commit. What gets one after it meets the new catalogue.
  if (reserved.length > 0) await tx.execute(sql`lock table agents, agent_intents in share mode`);
  const rows = await tx.execute<{ id: string }>(sql`
    with lost as (
      select a.owner_id, g.intent_id from agent_intents g join agents a on a.id = g.agent_id
      where g.intent_id = any (${uuidArray(reserved)})
      union
      select a.owner_id, d.intent_id from intent_apis d join apis on apis.id = d.api_id join agents a on a.id = apis.agent_id
      where d.intent_id = any (${uuidArray(reserved)})
      union
      select m.person_id, w.id from group_members m, unnest(${uuidArray(withdrawn)}) as w (id)
      where m.group_id = ${groupId}::uuid and exists (select from agents a where a.owner_id = m.person_id)
    )
    select distinct l.owner_id as id from lost l where not exists (
      select from group_intents g join group_members m on m.group_id = g.group_id
      where g.intent_id = l.intent_id and m.person_id = l.owner_id)`);
  return rows.map(({ id }) => id);
}

async function requireKnown(tx: Tx, names: readonly string[]): Promise<void> {
  const rows = await tx.execute<{ name: string }>(sql`
    select name from unnest(${sql.param(names)}::text[]) as name
    where not exists (select from intents where task_intent = name) order by name`);
  if (rows.length === 0) return;
  throw new WritError('invalid_request', `intents: not in the catalogue: ${rows.map(({ name }) => name).join(', ')}`);
}

const isSame = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((item) => other.includes(item));
const isWithin = (part: readonly string[], whole: readonly string[]): boolean =>
  part.every((item) => whole.includes(item));

/**
 * Says what a group gives, whole: what is not named is taken away. The same again changes and records nothing.
 * @throws WritError `not_found`; `invalid_request` naming unknown intents; `conflict` when a deleted group should get more.
 */
export async function setRights(db: Db, act: Act, groupId: string, wanted: GroupRights): Promise<void> {
  await transaction(db, async (tx) => {
    // One change of rights after the other: each sees which groups the others have left an intent to.
    await tx.execute(sql`select version from catalogue for update`);
    const [group] = await tx.execute<{ display_name: string; directory_id: string }>(sql`
      select display_name, directory_id from groups where id = ${groupId}::uuid for update`);
    const before = await readRights(tx, groupId);
    if (group === undefined && before.roles.length === 0 && before.intents.length === 0) {
      throw new WritError('not_found', 'no such group');
    }
    await requireKnown(tx, wanted.intents);
    if (isSame(wanted.roles, before.roles) && isSame(wanted.intents, before.intents)) return;
    if (group === undefined && !(isWithin(wanted.roles, before.roles) && isWithin(wanted.intents, before.intents))) {
      throw new WritError('conflict', 'the directory has deleted this group: its rights can only be taken away');
    }
    const members = await lockPeople(
      tx,
      groupId,
      sql`select person_id from group_members where group_id = ${groupId}::uuid`,
    );
    await raiseRights(
      tx,
      members.map(({ id }) => id),
    );
    await writeRoles(tx, groupId, wanted.roles);
    const owners = await findLosers(tx, groupId, await writeIntents(tx, groupId, wanted.intents));
    const details = {
      group: groupId,
      directory: group?.directory_id ?? null,
      displayName: group?.display_name ?? null,
      before,
      after: await readRights(tx, groupId),
      // Of these owners the agents' tokens have ended.
      withdrawnFrom: owners.length,
    };
    await audit.append(tx, act, [{ kind: 'group.rights_changed', outcome: 'done', details }]);
    await endTokensOf(tx, owners);
  });
}
