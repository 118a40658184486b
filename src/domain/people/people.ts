/**
 * People: the humans that directories tell of. A person belongs to one directory for good, is found there by `userName`
 * without regard to case, and is live while active and not deleted. A deleted person stays as a tombstone: readable for
 * administrators and receipts, invisible to SCIM, its `userName` free again. Reads here; writes in `provisioning.ts`.
 */
import { and, asc, count, eq, isNull, type SQL, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Executor } from '../../platform/db/client.ts';
import { isAfter, microsOf } from '../../platform/db/creation.ts';
import { directories, people } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { type Page, type PageRequest, toPage } from '../../platform/http/page.ts';

/** What the directory decides about a person. */
export interface PersonState {
  userName: string;
  externalId: string | null;
  displayName: string | null;
  active: boolean;
  /** The rest of the SCIM resource, canonically spelled; never a password. */
  attributes: Record<string, unknown>;
}

export interface Person extends PersonState {
  id: string;
  directoryId: string;
  deletedAt: Date | null;
  /** Raised by every change. */
  version: number;
  createdAt: Date;
  updatedAt: Date;
}

/** A person as administrators see them. */
export interface PersonView {
  id: string;
  userName: string;
  displayName: string | null;
  externalId: string | null;
  directory: { id: string; name: string };
  active: boolean;
  /** Set: the directory has deleted this person. */
  deletedAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
}

/** One thing that has to hold of a person or group that is searched for. Values that cannot match match nothing. */
export type PersonCondition =
  | { field: 'id' | 'userName' | 'externalId' | 'displayName'; value: string }
  | { field: 'active'; value: boolean }
  /** One and the same e-mail address has to meet both. */
  | { field: 'email'; value: string | null; type: string | null };

/** Rows to skip, and rows to return at most; 0: only the total is wanted. */
export interface Window {
  offset: number;
  limit: number;
}

export interface PeopleFilter {
  userName?: string | undefined;
  /** A directory's id or name. */
  directory?: string | undefined;
  active?: boolean | undefined;
  /** Part of the user name or display name. */
  q?: string | undefined;
}

const equalsIgnoringCase = (column: SQL.Aliased | SQL | typeof people.userName, value: string): SQL =>
  sql`lower(${column}) = lower(${value})`;

/** `null`: nothing can meet it. */
function toCondition(condition: PersonCondition): SQL | null {
  switch (condition.field) {
    case 'id': {
      const id = canonicalId(condition.value);
      return id === null ? null : eq(people.id, id);
    }
    case 'userName':
      return equalsIgnoringCase(people.userName, condition.value);
    case 'externalId':
      return eq(people.externalId, condition.value);
    case 'displayName':
      return sql`lower(${people.displayName}) = lower(${condition.value})`;
    case 'active':
      return eq(people.active, condition.value);
    case 'email':
      // Without an index: IdPs match by userName or externalId unless an administrator configures otherwise.
      return sql`exists (
        select from jsonb_array_elements(coalesce(${people.attributes} -> 'emails', '[]')) as email
        where (${condition.value}::text is null or lower(email ->> 'value') = lower(${condition.value}))
          and (${condition.type}::text is null or lower(email ->> 'type') = lower(${condition.type})))`;
  }
}

/** One directory's people that meet all conditions, oldest first, and how many there are. */
export async function findPeople(
  executor: Executor,
  directoryId: string,
  conditions: readonly PersonCondition[],
  { offset, limit }: Window,
): Promise<{ total: number; people: Person[] }> {
  const wanted = conditions.map(toCondition);
  const met = wanted.filter((condition) => condition !== null);
  if (met.length < wanted.length) return { total: 0, people: [] };
  const where = and(eq(people.directoryId, directoryId), isNull(people.deletedAt), ...met);
  const [counted] = await executor.select({ total: count() }).from(people).where(where);
  const total = counted?.total ?? 0;
  if (limit === 0 || offset >= total) return { total, people: [] };
  const rows = await executor
    .select()
    .from(people)
    .where(where)
    .orderBy(asc(people.createdAt), asc(people.id))
    .offset(offset)
    .limit(limit);
  return { total, people: rows };
}

/** One of a directory's people; `null`: none with this id there, or deleted. */
export async function readPerson(executor: Executor, directoryId: string, id: string): Promise<Person | null> {
  const [person] = await executor
    .select()
    .from(people)
    .where(and(eq(people.id, id), eq(people.directoryId, directoryId), isNull(people.deletedAt)))
    .prepare('person')
    .execute();
  return person ?? null;
}

const viewColumns = {
  id: people.id,
  userName: people.userName,
  displayName: people.displayName,
  externalId: people.externalId,
  directory: { id: directories.id, name: directories.name },
  active: people.active,
  deletedAt: people.deletedAt,
  createdAt: people.createdAt,
  updatedAt: people.updatedAt,
};

/** Any person, a deleted one too. @throws WritError `not_found`. */
export async function getPerson(executor: Executor, id: string): Promise<PersonView> {
  const uuid = canonicalId(id);
  const [person] =
    uuid === null
      ? []
      : await executor
          .select(viewColumns)
          .from(people)
          .innerJoin(directories, eq(directories.id, people.directoryId))
          .where(eq(people.id, uuid));
  if (person === undefined) throw new WritError('not_found', 'no such person');
  return person;
}

/** A directory given by its id or its name. */
export function isDirectory(idOrName: string): SQL {
  const id = canonicalId(idOrName);
  return id === null ? eq(directories.name, idOrName) : eq(directories.id, id);
}

const escapeLike = (text: string): string => text.replace(/[\\%_]/g, (char) => `\\${char}`);

/** People of all directories, deleted ones too, oldest first. */
export async function listPeople(
  executor: Executor,
  filter: PeopleFilter,
  page: PageRequest,
): Promise<Page<PersonView>> {
  const conditions: (SQL | undefined)[] = [];
  if (filter.userName !== undefined) conditions.push(equalsIgnoringCase(people.userName, filter.userName));
  if (filter.directory !== undefined) conditions.push(isDirectory(filter.directory));
  if (filter.active !== undefined) conditions.push(eq(people.active, filter.active));
  if (filter.q !== undefined) {
    const pattern = `%${escapeLike(filter.q)}%`;
    conditions.push(sql`(${people.userName} ilike ${pattern} or ${people.displayName} ilike ${pattern})`);
  }
  if (page.cursor !== undefined) conditions.push(isAfter(page.cursor, people.createdAt, people.id));
  const rows = await executor
    .select({ ...viewColumns, position: microsOf(people.createdAt) })
    .from(people)
    .innerJoin(directories, eq(directories.id, people.directoryId))
    .where(and(...conditions))
    .orderBy(asc(people.createdAt), asc(people.id))
    .limit(page.limit + 1);
  const { items, nextCursor } = toPage(rows, page.limit, (row) => [row.position, row.id]);
  return { items: items.map(({ position: _, ...view }) => view), nextCursor };
}
