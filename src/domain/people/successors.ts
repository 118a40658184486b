/** Who could take over a person's agents: whoever was named, then who works with them and answers for agents already. */
import { type SQL, sql } from 'drizzle-orm';
import type { Db } from '../../platform/db/client.ts';
import { scimUrns } from '../../protocol.ts';
import { managersOf, managerValue } from './managers.ts';
import type { Leaver } from './offboard.ts';

export interface Successor {
  id: string;
  userName: string;
  displayName: string | null;
  why: 'deputy' | 'manager' | 'same_manager' | 'same_group';
}

const successorsAtMost = 10;
/** A group of everybody says nothing of who works with whom. */
const membersAtMost = 1_000;
const groupsAtMost = 50;

type Found = Omit<Successor, 'why'> & Record<string, unknown>;

const columns = sql`p.id, p.user_name as "userName", p.display_name as "displayName"`;
const answersAlready = sql`exists (select from agents a where a.owner_id = p.id and a.status <> 'decommissioned')`;

/** Ten at most, all of them live; who is named for several reasons is there for the first. */
export async function findSuccessors(db: Db, person: Leaver): Promise<Successor[]> {
  const [deputies, manager, colleagues, companions] = await Promise.all([
    findDeputies(db, person.id),
    findManager(db, person),
    findColleagues(db, person),
    findCompanions(db, person.id),
  ]);
  const found = [
    ...toSuccessors(deputies, 'deputy'),
    ...toSuccessors(manager, 'manager'),
    ...toSuccessors(colleagues, 'same_manager'),
    ...toSuccessors(companions, 'same_group'),
  ];
  const first = new Map<string, Successor>();
  for (const one of found) if (one.id !== person.id && !first.has(one.id)) first.set(one.id, one);
  return [...first.values()].slice(0, successorsAtMost);
}

const toSuccessors = (found: readonly Found[], why: Successor['why']): Successor[] =>
  found.map(({ id, userName, displayName }) => ({ id, userName, displayName, why }));

/** Those of the most trees first. */
const findDeputies = (db: Db, personId: string) =>
  db.execute<Found>(sql`
    select ${columns}
    from (
      select deputy_id, count(*) as trees from agents
      where owner_id = ${personId}::uuid and deputy_id is not null and status <> 'decommissioned' group by deputy_id
    ) d join people p on p.id = d.deputy_id
    where p.live order by d.trees desc, p.user_name limit ${successorsAtMost}`);

async function findManager(db: Db, person: Leaver): Promise<Found[]> {
  const manager = (await managersOf(db, [person])).get(person.id);
  if (manager?.live !== true) return [];
  const { id, userName, displayName } = manager;
  return [{ id, userName, displayName }];
}

/** As the index `people_manager` has it. */
const managerColumn: SQL = sql`p.attributes -> ${sql.raw(`'${scimUrns.enterpriseUser}'`)} -> 'manager' ->> 'value'`;
const indexedLength = 256;

async function findColleagues(db: Db, { id, directoryId, attributes }: Leaver): Promise<Found[]> {
  const manager = managerValue(attributes);
  if (manager === null) return [];
  return db.execute<Found>(sql`
    select ${columns} from people p
    where p.directory_id = ${directoryId}::uuid and p.deleted_at is null and ${managerColumn} is not null
      and left(${managerColumn}, ${sql.raw(String(indexedLength))}) = left(${manager}, ${sql.raw(String(indexedLength))})
      and ${managerColumn} = ${manager}
      and p.live and p.id <> ${id}::uuid and ${answersAlready}
    order by p.user_name limit ${successorsAtMost}`);
}

/** Of the same groups, those who share the most first. */
const findCompanions = (db: Db, personId: string) =>
  db.execute<Found>(sql`
    with theirs as materialized (
      select m.group_id from (
        select group_id from group_members where person_id = ${personId}::uuid order by group_id limit ${groupsAtMost}
      ) m
      where (select count(*) from (
        select from group_members g where g.group_id = m.group_id limit ${membersAtMost + 1}) c) <= ${membersAtMost}
    )
    select ${columns}
    from (
      select g.person_id, count(*) as shared from theirs t join group_members g on g.group_id = t.group_id
      where g.person_id <> ${personId}::uuid group by g.person_id
    ) s join people p on p.id = s.person_id
    where p.live and ${answersAlready}
    order by s.shared desc, p.user_name limit ${successorsAtMost}`);
