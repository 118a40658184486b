/**
 * Searching a directory's people and groups: the page of those that meet a condition, in an order, and how many there
 * are. A page begins after a number of rows or after a position (keyset), which rows that come and go do not shift.
 * Whatever has no value to be ordered by comes last, and first when descending (RFC 7644 §3.4.2.3); the id decides
 * between equals.
 *
 * How many there are is counted only when the page itself does not tell, and once for a walk by positions: whoever
 * walks hands the number back.
 */
import { and, eq, getTableColumns, inArray, isNull, type SQL, sql } from 'drizzle-orm';
import type { Executor } from '../../platform/db/client.ts';
import { groups, people } from '../../platform/db/schema.ts';
import { type Group, groupColumns } from './groups.ts';
import type { Person } from './people.ts';
import { type Condition, compile, type Field, isSelective, type Kind, textOf } from './search-conditions.ts';

export type SortKey =
  | { field: Field; is: 'text'; isExact: boolean }
  | { field: Field; is: 'boolean' | 'instant' }
  /** A member of the primary element of a list, else of its first. */
  | { primaryOf: readonly string[]; member: string; is: 'text'; isExact: boolean }
  | { primaryOf: readonly string[]; member: string; is: 'boolean' };

export interface Order {
  by: SortKey;
  isDescending: boolean;
}

/** Oldest first. */
export const byCreation: Order = { by: { field: { column: 'createdAt' }, is: 'instant' }, isDescending: false };

/** A row by what it is ordered by; `key` is PostgreSQL's text of it. */
export interface Position {
  key: string | null;
  id: string;
}

export interface Paging {
  order: Order;
  /** Rows to skip, or the position after which the page begins. */
  from: { offset: number } | { after: Position };
  /** Rows at most; 0: only the total is wanted. */
  limit: number;
  /** What was counted when the walk began. */
  total?: number | null | undefined;
  /** To how many to count; more are not told. Absent: to the end. */
  countAtMost?: number | undefined;
}

export interface Found<T> {
  /** `null`: more than were to be counted. */
  total: number | null;
  items: T[];
  /** The position of the last item, when there are more. */
  next: Position | null;
}

const tables = { person: people, group: groups };

/** Characters of a long value that decide the order; a position has to fit a URL. */
const keyLength = 256;
const types = { text: sql`text`, boolean: sql`boolean`, instant: sql`timestamptz` };

/** Columns whose length is bounded where they are written: their indexes hold them whole. */
const isBounded = (kind: Kind, by: SortKey): boolean =>
  'field' in by && 'column' in by.field && (kind === 'group' || by.field.column !== 'displayName');

function keyOf(kind: Kind, by: SortKey): SQL {
  const value = 'field' in by ? textOf(by.field, { kind, element: null }) : primaryOf(kind, by);
  if (value === null) return sql`null::${types[by.is]}`;
  if (by.is !== 'text') return sql`(${value})::${types[by.is]}`;
  const folded = by.isExact ? value : sql`lower(${value})`;
  const bounded = isBounded(kind, by) ? folded : sql`left(${folded}, ${sql.raw(`${keyLength}`)})`;
  return sql`(${bounded} collate "C")`;
}

function primaryOf(kind: Kind, { primaryOf: path, member }: Extract<SortKey, { primaryOf: unknown }>): SQL | null {
  if (kind !== 'person') return null;
  const list = path.reduce((scope, name) => sql`${scope} -> ${name}::text`, sql`${people.attributes}`);
  return sql`(
    select element.value ->> ${member}::text
    from jsonb_array_elements(case when jsonb_typeof(${list}) = 'array' then ${list} else '[]' end)
      with ordinality as element(value, place)
    order by (element.value ->> 'primary' = 'true') desc nulls last, element.place limit 1)`;
}

/** What is after the position in this order, in pieces that follow each other: an index serves each. */
function piecesAfter({ key, id }: Position, own: SQL, ownId: SQL, { by, isDescending }: Order): SQL[] {
  const after = isDescending ? sql`<` : sql`>`;
  const unset = sql`${own} is null`;
  if (key === null) {
    const rest = sql`${unset} and ${ownId} ${after} ${id}::uuid`;
    return isDescending ? [rest, sql`${own} is not null`] : [rest];
  }
  const rest = sql`(${own}, ${ownId}) ${after} (${key}::text::${types[by.is]}, ${id}::uuid)`;
  return isDescending ? [rest] : [rest, unset];
}

/** Rows of one query, with their positions. */
type Read<T, Piece = SQL> = (
  piece: Piece | undefined,
  window: { offset: number; limit: number },
) => Promise<(T & { at: Position })[]>;

async function findPage<T, Piece>(
  executor: Executor,
  { from, limit, total, countAtMost }: Paging,
  read: Read<T, Piece>,
  pieces: (after: Position) => Piece[],
  every: SQL,
): Promise<Found<T & { at: Position }>> {
  const count = () => (total === undefined ? countRows(executor, every, countAtMost) : total);
  if (limit === 0) return { total: await count(), items: [], next: null };
  const rows: (T & { at: Position })[] = [];
  if ('after' in from) {
    for (const piece of pieces(from.after)) {
      const missing = limit + 1 - rows.length;
      if (missing > 0) rows.push(...(await read(piece, { offset: 0, limit: missing })));
    }
  } else rows.push(...(await read(undefined, { offset: from.offset, limit: limit + 1 })));
  const items = rows.slice(0, limit);
  const next = rows.length > limit ? (items.at(-1)?.at ?? null) : null;
  // A last page that is not empty tells the number by itself.
  const isTold = 'offset' in from && next === null && (rows.length > 0 || from.offset === 0);
  const told = isTold && 'offset' in from ? from.offset + rows.length : undefined;
  return { total: told ?? (await count()), items, next };
}

async function countRows(executor: Executor, every: SQL, atMost: number | undefined): Promise<number | null> {
  const bound = atMost === undefined ? sql`` : sql`limit ${atMost + 1}`;
  const [row] = await executor.execute<{ total: string }>(
    sql`select count(*) as total from (select ${every} ${bound}) as counted`,
  );
  const total = Number(row?.total ?? 0);
  return atMost !== undefined && total > atMost ? null : total;
}

const orderBy = (own: SQL, ownId: SQL, { isDescending }: Order): SQL =>
  isDescending ? sql`${own} desc, ${ownId} desc` : sql`${own}, ${ownId}`;

/**
 * The key to sort by. The planner cannot tell that one name is one person, as it keeps no statistics of the expressions
 * of partial indexes, and would look for somebody along the index of the order, past everybody else; behind a subquery
 * it does not see that index.
 */
const sorted = (own: SQL, condition: Condition | null): SQL =>
  condition !== null && isSelective(condition) ? sql`(select ${own})` : own;

const scopeOf = (kind: Kind, directoryId: string, condition: Condition | null): SQL | undefined => {
  const met = condition === null ? undefined : compile(kind, condition);
  return kind === 'person'
    ? and(eq(people.directoryId, directoryId), isNull(people.deletedAt), met)
    : and(eq(groups.directoryId, directoryId), met);
};

/** One directory's people that meet the condition; `null`: all. */
export async function findPeople(
  executor: Executor,
  directoryId: string,
  condition: Condition | null,
  paging: Paging,
): Promise<Found<Person>> {
  const scope = scopeOf('person', directoryId, condition);
  const key = keyOf('person', paging.order.by);
  const order = orderBy(sorted(key, condition), sql`${people.id}`, paging.order);
  const read: Read<{ row: Person }> = async (piece, { offset, limit }) => {
    const met = and(scope, piece);
    // Rows that are skipped are not read: their ids are in the index.
    const skipped = executor.select({ id: people.id }).from(people).where(met).orderBy(order);
    const rows = await executor
      .select({ ...getTableColumns(people), key: sql<string | null>`${key}::text` })
      .from(people)
      .where(offset === 0 ? met : inArray(people.id, skipped.offset(offset).limit(limit)))
      .orderBy(order)
      .limit(limit);
    return rows.map(({ key: position, ...row }) => ({ row, at: { key: position, id: row.id } }));
  };
  const found = await findPage(
    executor,
    paging,
    read,
    (after) => piecesAfter(after, key, sql`${people.id}`, paging.order),
    sql`from ${people} where ${scope}`,
  );
  return { ...found, items: found.items.map(({ row }) => row) };
}

/** One directory's groups that meet the condition; `null`: all. */
export async function findGroups(
  executor: Executor,
  directoryId: string,
  condition: Condition | null,
  paging: Paging,
): Promise<Found<Group>> {
  const scope = scopeOf('group', directoryId, condition);
  const key = keyOf('group', paging.order.by);
  const read: Read<{ row: Group }> = async (piece, { offset, limit }) => {
    const rows = await executor
      .select({ ...groupColumns, key: sql<string | null>`${key}::text` })
      .from(groups)
      .where(and(scope, piece))
      .orderBy(orderBy(sorted(key, condition), sql`${groups.id}`, paging.order))
      .offset(offset)
      .limit(limit);
    return rows.map(({ key: position, ...row }) => ({ row, at: { key: position, id: row.id } }));
  };
  const found = await findPage(
    executor,
    paging,
    read,
    (after) => piecesAfter(after, key, sql`${groups.id}`, paging.order),
    sql`from ${groups} where ${scope}`,
  );
  return { ...found, items: found.items.map(({ row }) => row) };
}

export type Either = { kind: 'person'; person: Person } | { kind: 'group'; group: Group };

/** People and groups in one order, each by its own condition. Whoever is gone between the two reads is left out. */
export async function findBoth(
  executor: Executor,
  directoryId: string,
  conditions: { person: Condition | null; group: Condition | null },
  paging: Paging,
): Promise<Found<Either>> {
  const scopes = {
    person: scopeOf('person', directoryId, conditions.person),
    group: scopeOf('group', directoryId, conditions.group),
  };
  const keys = { person: keyOf('person', paging.order.by), group: keyOf('group', paging.order.by) };
  const ids = { person: sql`${people.id}`, group: sql`${groups.id}` };
  // Each half by its own index, and only as far as the page may reach into it.
  const half = (kind: Kind, piece: SQL | undefined, limit: number) => sql`(
    select ${kind}::text as kind, ${ids[kind]} as id, ${keys[kind]} as key from ${tables[kind]}
    where ${and(scopes[kind], piece)}
    order by ${orderBy(sorted(keys[kind], conditions[kind]), ids[kind], paging.order)} limit ${limit})`;
  const read: Read<{ kind: string }, Record<Kind, SQL>> = async (piece, { offset, limit }) => {
    const rows = await executor.execute<{ kind: string; id: string; key: string | null }>(sql`
      select kind, id, key::text as key
      from (${half('person', piece?.person, offset + limit)} union all ${half('group', piece?.group, offset + limit)}) as every
      order by ${orderBy(sql`every.key`, sql`every.id`, paging.order)} offset ${offset} limit ${limit}`);
    return rows.map(({ kind, id, key }) => ({ kind, at: { key, id } }));
  };
  const pieces = (after: Position): Record<Kind, SQL>[] => {
    const ofGroups = piecesAfter(after, keys.group, ids.group, paging.order);
    return piecesAfter(after, keys.person, ids.person, paging.order).map((person, index) => ({
      person,
      group: ofGroups[index] ?? sql`false`,
    }));
  };
  const every = sql`
    from (select from ${people} where ${scopes.person} union all select from ${groups} where ${scopes.group}) as every`;
  const found = await findPage(executor, paging, read, pieces, every);
  return { ...found, items: await readEither(executor, found.items) };
}

async function readEither(executor: Executor, rows: { kind: string; at: Position }[]): Promise<Either[]> {
  const ids = (kind: Kind) => rows.filter((row) => row.kind === kind).map(({ at }) => at.id);
  const [persons, teams] = [ids('person'), ids('group')];
  const read: Either[] = [];
  if (persons.length > 0) {
    const found = await executor
      .select()
      .from(people)
      .where(and(inArray(people.id, persons), isNull(people.deletedAt)));
    read.push(...found.map((person): Either => ({ kind: 'person', person })));
  }
  if (teams.length > 0) {
    const found = await executor.select(groupColumns).from(groups).where(inArray(groups.id, teams));
    read.push(...found.map((group): Either => ({ kind: 'group', group })));
  }
  const byId = new Map(read.map((one) => [one.kind === 'person' ? one.person.id : one.group.id, one]));
  return rows.map(({ at }) => byId.get(at.id)).filter((one) => one !== undefined);
}
