/**
 * Groups as administrators see them: who gives what. A group that its directory has deleted is still listed as long as
 * an intent or a role is kept for it, so that somebody can take that away.
 */
import { type SQL, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Db, Executor } from '../../platform/db/client.ts';
import { isAfter, microsOf } from '../../platform/db/creation.ts';
import type { GroupRole } from '../../platform/db/schema.ts';
import { type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import type { Act } from '../audit/append.ts';
import { type GroupRights, rolesOf, setRights } from './group-rights.ts';
import { groupsOf } from './groups.ts';
import { getPerson, isDirectory, listPeople, type PeopleFilter, type PersonView } from './people.ts';

export interface GroupView {
  id: string;
  /** `null`: deleted. */
  displayName: string | null;
  externalId: string | null;
  /** `null`: deleted. */
  directory: { id: string; name: string } | null;
  memberCount: number;
  roles: GroupRole[];
  /** Names of the intents that are kept for its members. */
  intents: string[];
  /** The directory has deleted it. */
  deleted: boolean;
}

export interface GroupFilter {
  /** A directory's id or name. */
  directory?: string | undefined;
  /** Part of the display name. */
  q?: string | undefined;
}

type Row = GroupView & { micros: string } & Record<string, unknown>;

const known = sql`(
  select g.id, g.directory_id, g.display_name, g.external_id, g.created_at, false as deleted from groups g
  union all
  select r.group_id, null, null, null, min(r.created_at), true
  from (select group_id, created_at from group_roles union all select group_id, created_at from group_intents) r
  where not exists (select from groups g where g.id = r.group_id) group by r.group_id
) as k`;

const [createdAt, id] = [sql`k.created_at`, sql`k.id`];

/** The page is cut first, so that only its members are counted. */
async function readViews(executor: Executor, where: SQL, limit: number): Promise<Row[]> {
  return executor.execute<Row>(sql`
    with page as (
      select k.*, directories.name as directory_name, ${microsOf(createdAt)}::text as micros
      from ${known} left join directories on directories.id = k.directory_id
      where ${where} order by k.created_at, k.id limit ${limit}::int
    )
    select id, display_name as "displayName", external_id as "externalId", deleted, micros,
      case when directory_id is not null then json_build_object('id', directory_id, 'name', directory_name) end as directory,
      (select count(*)::int from group_members m join people p on p.id = m.person_id
        where m.group_id = page.id and p.deleted_at is null) as "memberCount",
      coalesce((select json_agg(r.role order by r.role) from group_roles r where r.group_id = page.id), '[]') as roles,
      coalesce((select json_agg(i.task_intent order by i.task_intent collate "C")
        from group_intents g join intents i on i.id = g.intent_id where g.group_id = page.id), '[]') as intents
    from page order by created_at, id`);
}

const toView = ({ micros: _, ...view }: Row): GroupView => view;

/** @throws WritError `not_found`. */
export async function getGroup(executor: Executor, groupId: string): Promise<GroupView> {
  const [row] = await readViews(executor, sql`k.id = ${groupId}::uuid`, 1);
  if (row === undefined) throw new WritError('not_found', 'no such group');
  return toView(row);
}

const escapeLike = (text: string): string => text.replace(/[\\%_]/g, (char) => `\\${char}`);

/** Of all directories, oldest first. */
export async function listGroups(executor: Executor, filter: GroupFilter, page: PageRequest): Promise<Page<GroupView>> {
  const conditions: SQL[] = [sql`true`];
  if (filter.directory !== undefined) conditions.push(isDirectory(filter.directory));
  if (filter.q !== undefined) conditions.push(sql`k.display_name ilike ${`%${escapeLike(filter.q)}%`}`);
  if (page.cursor !== undefined) conditions.push(isAfter(page.cursor, createdAt, id));
  const rows = await readViews(executor, sql.join(conditions, sql` and `), page.limit + 1);
  const { items, nextCursor } = toPage(rows, page.limit, (row) => [Number(row.micros), row.id]);
  return { items: items.map(toView), nextCursor };
}

/** Sets what a group gives, and shows it. @throws WritError as `setRights`. */
export async function changeGroupRights(db: Db, act: Act, groupId: string, rights: GroupRights): Promise<GroupView> {
  await setRights(db, act, groupId, rights);
  const [row] = await readViews(db, sql`k.id = ${groupId}::uuid`, 1);
  if (row !== undefined) return toView(row);
  // A deleted group of which nothing is left.
  const gone = { displayName: null, externalId: null, directory: null, memberCount: 0, deleted: true };
  return { id: groupId, ...gone, roles: [], intents: [] };
}

/** A person with the groups that the directory has put them in, and the roles that those give. */
export interface PersonWithGroups extends PersonView {
  groups: { id: string; name: string }[];
  roles: GroupRole[];
}

async function withGroups(executor: Executor, people: readonly PersonView[]): Promise<PersonWithGroups[]> {
  const ids = people.map((person) => person.id);
  const [groups, roles] = [await groupsOf(executor, ids), await rolesOf(executor, ids)];
  return people.map((person) => ({
    ...person,
    groups: (groups.get(person.id) ?? []).map(({ id, display: name }) => ({ id, name })),
    roles: roles.get(person.id) ?? [],
  }));
}

/** @throws WritError `not_found`. */
export async function getPersonWithGroups(executor: Executor, personId: string): Promise<PersonWithGroups> {
  const person = await getPerson(executor, personId);
  const [shown] = await withGroups(executor, [person]);
  return shown ?? { ...person, groups: [], roles: [] };
}

/** People as `listPeople` finds them. */
export async function listPeopleWithGroups(
  executor: Executor,
  filter: PeopleFilter,
  page: PageRequest,
): Promise<Page<PersonWithGroups>> {
  const { items, nextCursor } = await listPeople(executor, filter, page);
  return { items: await withGroups(executor, items), nextCursor };
}
