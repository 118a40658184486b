/**
 * Who is whose manager. An IdP says it in the enterprise extension's `manager.value`, which is kept as it came: it may be
 * a person's id here, or what the IdP knows them by, and may name somebody who has not come yet. So it is resolved when
 * it is asked for, and within the person's own directory only.
 */
import { and, eq, inArray, isNull, sql } from 'drizzle-orm';
import type { Executor } from '../../platform/db/client.ts';
import { people } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { scimUrns } from '../../protocol.ts';

export interface Manager {
  id: string;
  /** `null`: the directory has given them none. */
  displayName: string | null;
  userName: string;
  /** Only who is live can take anything over. */
  live: boolean;
}

/** A person, as far as it says who their manager is. */
interface Report {
  id: string;
  directoryId: string;
  attributes: Record<string, unknown>;
}

type Row = Manager & { person: string; way: number } & Record<string, unknown>;

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined;

/** What the directory wrote as the manager's `value`; `null`: nothing. */
export function managerValue(attributes: Record<string, unknown>): string | null {
  const value = memberOf(memberOf(attributes[scimUrns.enterpriseUser], 'manager'), 'value');
  return typeof value === 'string' && value !== '' ? value : null;
}

/**
 * The manager of each of these people, by the person's id: whoever the value names by id, else by `externalId`, else by
 * `userName`. No entry: nobody is named, nobody here is meant by it, more than one is, or the person themselves.
 */
export async function managersOf(executor: Executor, reports: readonly Report[]): Promise<Map<string, Manager>> {
  const wanted = reports.flatMap(({ id, directoryId, attributes }) => {
    const value = managerValue(attributes);
    return value === null ? [] : [{ person: id, directory: directoryId, value, id: canonicalId(value) }];
  });
  if (wanted.length === 0) return new Map();
  // Each way by its own index; two of a kind are enough to know that it is not clear who is meant.
  const rows = await executor.execute<Row>(sql`
    select w.person, m.way, m.id, m.display_name as "displayName", m.user_name as "userName", m.live
    from jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb)
      as w (person uuid, directory uuid, value text, id uuid)
    cross join lateral (
      (select 1 as way, p.id, p.display_name, p.user_name, p.live from people p
        where p.id = w.id and p.directory_id = w.directory and p.deleted_at is null)
      union all
      (select 2, p.id, p.display_name, p.user_name, p.live from people p
        where p.directory_id = w.directory and p.external_id = w.value and p.deleted_at is null limit 2)
      union all
      (select 3, p.id, p.display_name, p.user_name, p.live from people p
        where p.directory_id = w.directory and lower(p.user_name) = lower(w.value) and p.deleted_at is null)
    ) m
    order by m.way`);
  const found = new Map<string, { way: number; managers: Manager[] }>();
  for (const { person, way, id, displayName, userName, live } of rows) {
    const manager = { id, displayName, userName, live };
    const best = found.get(person);
    if (best === undefined) found.set(person, { way, managers: [manager] });
    else if (best.way === way) best.managers.push(manager);
  }
  return new Map(
    [...found].flatMap(
      ([
        person,
        {
          managers: [manager, ...others],
        },
      ]) => (manager === undefined || others.length > 0 || manager.id === person ? [] : [[person, manager]]),
    ),
  );
}

/** How those of these values are called that are ids of people of this directory. */
export async function namesOf(
  executor: Executor,
  directoryId: string,
  values: readonly string[],
): Promise<Map<string, string>> {
  const ids = [...new Set(values.map(canonicalId))].filter((id) => id !== null);
  if (ids.length === 0) return new Map();
  const query = executor
    .select({ id: people.id, name: sql<string>`coalesce(nullif(${people.displayName}, ''), ${people.userName})` })
    .from(people)
    .where(and(inArray(people.id, ids), eq(people.directoryId, directoryId), isNull(people.deletedAt)));
  const rows = await (ids.length === 1 ? query.prepare('name_of_person').execute() : query);
  return new Map(rows.map(({ id, name }) => [id, name]));
}
