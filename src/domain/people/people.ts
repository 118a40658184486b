/**
 * People: the humans that directories tell of. A person belongs to one directory for good, is found there by `userName`
 * without regard to case, and is live while active, not deleted, and in the group that the directory requires, if any. A
 * deleted person stays as a tombstone: readable for administrators and receipts, invisible to SCIM, its `userName` free
 * again. Reads here, searches in `search.ts`, writes in `provisioning.ts`.
 */
import { and, asc, eq, isNull, type SQL, sql } from 'drizzle-orm';
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
  /** The directory requires membership of a group that they are not in. */
  excluded: boolean;
  /** Active, not excluded, not deleted: who may answer for agents. */
  live: boolean;
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
  /** Not live although active: the directory requires membership of a group that they are not in. */
  excluded: boolean;
  /** Set: the directory has deleted this person. */
  deletedAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
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
  excluded: people.excluded,
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
