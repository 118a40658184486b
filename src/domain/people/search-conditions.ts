/**
 * What people and groups are searched by, and how that becomes SQL: pure, every value a parameter, what is special to
 * patterns escaped, no regular expression. A comparison with what is not there is unknown to SQL; `and` and `or` carry
 * that upwards as if it were false, and `not` asks `is not true`, so that in the end everything either holds or does not.
 *
 * Case is disregarded with PostgreSQL's `lower`, as by the index that keeps user names unique; order is that of code
 * points (`collate "C"`), the same on every server. Instants are compared as they are shown: in whole milliseconds.
 */
import { type SQL, sql } from 'drizzle-orm';
import { groupMembers, groups, people } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';

export type Kind = 'person' | 'group';

/** One value of a person or group, or of the element that is looked at. */
export type Field =
  | { column: 'id' | 'userName' | 'externalId' | 'displayName' | 'active' | 'createdAt' | 'updatedAt' | 'version' }
  /** Members of objects in `people.attributes`. */
  | { path: readonly string[] }
  /** A member of the element; `null`: the element itself. */
  | { member: string | null }
  | { constant: string }
  /** What ends with the id of the person or group. */
  | { locatedAt: string }
  /** As `locatedAt`, of the person or group that is the element. */
  | { memberAt: string };

/** Where the elements come from. */
export type Elements =
  /** A list of objects in `people.attributes`. */
  | { list: readonly string[] }
  /** Strings: `always`, and the names of those objects in `people.attributes` that are there. */
  | { names: readonly string[]; always: string }
  /** The groups of a person, the people of a group: `value`, `display`, `type`. */
  | 'groups'
  | 'members';

export type TextOperator = 'eq' | 'ne' | 'co' | 'sw' | 'ew' | 'gt' | 'ge' | 'lt' | 'le';
export type InstantOperator = 'eq' | 'ne' | 'gt' | 'ge' | 'lt' | 'le';

export type Condition =
  | { all: readonly Condition[] }
  | { any: readonly Condition[] }
  | { not: Condition }
  | { always: boolean }
  /** One element meets the whole condition. */
  | { some: Elements; meets: Condition }
  /** Has a value that is not empty. */
  | { field: Field; is: 'present' }
  | { field: Field; is: 'text'; op: TextOperator; value: string; isExact: boolean }
  /** What is not there counts as false (RFC 7643 §2.4: so does `primary`). */
  | { field: Field; is: 'boolean'; value: boolean }
  /** `isWhole`: the instant that is meant has no more digits than the milliseconds of `value`. */
  | { field: Field; is: 'instant'; op: InstantOperator; value: Date; isWhole: boolean };

/** Characters of a display name that an index holds: any number of them may be sent. */
const headLength = 256;

const member = (from: SQL, path: readonly string[]): SQL =>
  path.reduce(
    (scope, name, index) =>
      index === path.length - 1 ? sql`${scope} ->> ${name}::text` : sql`${scope} -> ${name}::text`,
    from,
  );
const attributes = sql`${people.attributes}`;

/** A list of objects; anything else counts as empty. */
function listAt(path: readonly string[]): SQL {
  const list = path.reduce((scope, name) => sql`${scope} -> ${name}::text`, attributes);
  return sql`case when jsonb_typeof(${list}) = 'array' then ${list} else '[]' end`;
}

const tableOf = (kind: Kind) => (kind === 'person' ? people : groups);
/** Of a person that is an element of a group, or the other way round: as `wire.ts` shows them. */
const displayOf = (kind: Kind): SQL =>
  kind === 'person' ? sql`coalesce(nullif(${people.displayName}, ''), ${people.userName})` : sql`${groups.displayName}`;

/** The element that a condition inside brackets is about. */
type Scope = { kind: Kind; element: 'object' | 'string' | Kind | null };

function uuidOf(field: Field, { kind, element }: Scope): SQL | null {
  if ('column' in field && field.column === 'id') return sql`${tableOf(kind).id}`;
  if ('member' in field && field.member === 'value' && (element === 'person' || element === 'group')) {
    return sql`${tableOf(element).id}`;
  }
  return null;
}

/** The value as text; `null`: this kind does not have it. */
export function textOf(field: Field, { kind, element }: Scope): SQL | null {
  if ('constant' in field) return sql`${field.constant}::text`;
  if ('locatedAt' in field) return sql`(${field.locatedAt}::text || ${tableOf(kind).id}::text)`;
  if ('path' in field) return kind === 'person' ? sql`(${member(attributes, field.path)})` : null;
  if ('column' in field) return columnText(field.column, kind);
  if (element === 'person' || element === 'group') {
    const { id } = tableOf(element);
    if ('memberAt' in field) return sql`(${field.memberAt}::text || ${id}::text)`;
    if (field.member === 'value') return sql`${id}::text`;
    if (field.member === 'display') return displayOf(element);
    return field.member === 'type' ? sql`${element === 'person' ? 'User' : 'direct'}::text` : null;
  }
  if (!('member' in field)) return null;
  return field.member === null ? sql`element` : sql`(${member(sql`element`, [field.member])})`;
}

function columnText(column: Extract<Field, { column: string }>['column'], kind: Kind): SQL | null {
  const table = tableOf(kind);
  switch (column) {
    case 'id':
      return sql`${table.id}::text`;
    case 'version':
      return sql`('W/"' || ${table.version} || '"')`;
    case 'externalId':
      return sql`${table.externalId}`;
    case 'displayName':
      return sql`${table.displayName}`;
    case 'createdAt':
    case 'updatedAt':
      return sql`${table[column]}`;
    case 'userName':
    case 'active':
      return kind === 'person' ? sql`${people[column]}` : null;
  }
}

/** The condition about one person or one group of its table. */
export const compile = (kind: Kind, condition: Condition): SQL => compileIn({ kind, element: null }, condition);

function compileIn(scope: Scope, condition: Condition): SQL {
  if ('always' in condition) return condition.always ? sql`true` : sql`false`;
  if ('all' in condition) return join(scope, condition.all, sql` and `, sql`true`);
  if ('any' in condition) return join(scope, condition.any, sql` or `, sql`false`);
  if ('not' in condition) return sql`((${compileIn(scope, condition.not)}) is not true)`;
  if ('some' in condition) return compileSome(scope, condition.some, condition.meets);
  const value = textOf(condition.field, scope);
  if (value === null) return compileAbsent(condition);
  switch (condition.is) {
    case 'present':
      // A column of another type than text is never empty, only null.
      return sql`(nullif(${value}::text, '') is not null)`;
    case 'boolean':
      return 'column' in condition.field
        ? sql`(${value} = ${condition.value})`
        : sql`(coalesce(${value}, 'false') = ${String(condition.value)})`;
    case 'instant':
      return compileInstant(value, condition);
    case 'text':
      return compileText(value, condition, scope);
  }
}

const join = (scope: Scope, conditions: readonly Condition[], word: SQL, empty: SQL): SQL =>
  conditions.length === 0
    ? empty
    : sql`(${sql.join(
        conditions.map((condition) => compileIn(scope, condition)),
        word,
      )})`;

/** What holds of a value that nobody of this kind has. */
const compileAbsent = (condition: Extract<Condition, { field: Field }>): SQL =>
  'op' in condition && condition.op === 'ne' ? sql`true` : sql`false`;

const comparators = { gt: sql`>`, ge: sql`>=`, lt: sql`<`, le: sql`<=` } as const;

function compileText(value: SQL, test: Extract<Condition, { is: 'text' }>, scope: Scope): SQL {
  const { op, isExact } = test;
  const uuid = op === 'eq' ? uuidOf(test.field, scope) : null;
  if (uuid !== null) {
    const id = canonicalId(test.value);
    return id === null || (isExact && id !== test.value) ? sql`false` : sql`(${uuid} = ${id}::uuid)`;
  }
  const own = isExact ? value : sql`lower(${value})`;
  const given = isExact ? sql`${test.value}::text` : sql`lower(${test.value}::text)`;
  // Of what may be long the beginning is what the index holds.
  const isLong = 'column' in test.field && test.field.column === 'displayName' && scope.kind === 'person';
  const head = sql`left(lower(${value}), ${sql.raw(`${headLength}`)}) collate "C"`;
  const givenHead = sql`left(${given}, ${sql.raw(`${headLength}`)})`;
  switch (op) {
    case 'eq':
      return isLong ? sql`(${head} = ${givenHead} and ${own} = ${given})` : sql`(${own} = ${given})`;
    case 'ne':
      return sql`(${own} is distinct from ${given})`;
    case 'co':
      return sql`(strpos(${own}, ${given}) > 0)`;
    case 'sw': {
      const starts = sql`${own} collate "C" like ${patternOf(test.value, isExact)}`;
      const beginning = [...test.value].slice(0, safePrefix).join('');
      return isLong ? sql`(${head} like ${patternOf(beginning, isExact)} and ${starts})` : sql`(${starts})`;
    }
    case 'ew':
      return sql`(right(${own}, length(${given})) = ${given})`;
    default:
      return sql`(${own} collate "C" ${comparators[op]} ${given})`;
  }
}

/** Characters that lower case does not make more than `headLength` of. */
const safePrefix = 64;

/** What begins with the text: the one form of it that an index in the order of code points serves on every PostgreSQL. */
function patternOf(text: string, isExact: boolean): SQL {
  const escaped = text.replace(/[\\%_]/g, (char) => `\\${char}`);
  return isExact ? sql`${`${escaped}%`}::text` : sql`lower(${`${escaped}%`}::text)`;
}

/** On the column as it is, so that its index serves: `t` is shown as `floor(t)`, and `floor(t) > v` is `t >= next(v)`. */
function compileInstant(column: SQL, { op, value, isWhole }: Extract<Condition, { is: 'instant' }>): SQL {
  const from = sql`${value.toISOString()}::timestamptz`;
  const next = sql`${from} + interval '1 millisecond'`;
  const notBefore = isWhole ? from : next;
  switch (op) {
    case 'eq':
      return isWhole ? sql`(${column} >= ${from} and ${column} < ${next})` : sql`false`;
    case 'ne':
      return isWhole ? sql`(${column} < ${from} or ${column} >= ${next})` : sql`true`;
    case 'gt':
      return sql`(${column} >= ${next})`;
    case 'ge':
      return sql`(${column} >= ${notBefore})`;
    case 'lt':
      return sql`(${column} < ${notBefore})`;
    case 'le':
      return sql`(${column} < ${next})`;
  }
}

function compileSome({ kind }: Scope, elements: Elements, meets: Condition): SQL {
  if (elements === 'groups') {
    if (kind !== 'person') return sql`false`;
    return sql`exists (
      select from ${groupMembers} join ${groups} on ${groups.id} = ${groupMembers.groupId}
      where ${groupMembers.personId} = ${people.id} and ${compileIn({ kind, element: 'group' }, meets)})`;
  }
  if (elements === 'members') {
    if (kind !== 'group') return sql`false`;
    return sql`exists (
      select from ${groupMembers} join ${people} on ${people.id} = ${groupMembers.personId}
      where ${groupMembers.groupId} = ${groups.id} and ${people.deletedAt} is null
        and ${compileIn({ kind, element: 'person' }, meets)})`;
  }
  if ('names' in elements) {
    const inner = compileIn({ kind, element: 'string' }, meets);
    const there = kind === 'person' ? elements.names : [];
    const names = there.map((name) => sql`case when ${attributes} -> ${name}::text is not null then ${name}::text end`);
    const list = sql.join([sql`${elements.always}::text`, ...names], sql`, `);
    return sql`exists (select from unnest(array[${list}]) as element where element is not null and ${inner})`;
  }
  if (kind !== 'person') return sql`false`;
  const exists = sql`exists (
    select from jsonb_array_elements(${listAt(elements.list)}) as element
    where ${compileIn({ kind, element: 'object' }, meets)})`;
  const indexed = elements.list.join() === 'emails' ? addressesOf(meets) : null;
  return indexed === null ? exists : sql`(${indexed} and ${exists})`;
}

/** What the addresses of one who meets it have to be among, for the index; `null`: nothing is known of them. */
function addressesOf(meets: Condition): SQL | null {
  if ('all' in meets) {
    return meets.all.map(addressesOf).find((known) => known !== null) ?? null;
  }
  if ('any' in meets) {
    const known = meets.any.map(addressesOf).filter((one) => one !== null);
    return known.length === meets.any.length && known.length > 0 ? sql`(${sql.join(known, sql` or `)})` : null;
  }
  if (!('field' in meets) || meets.is !== 'text' || meets.op !== 'eq') return null;
  if (!('member' in meets.field) || meets.field.member !== 'value') return null;
  return sql`(person_emails(${people.attributes}) @> array[left(lower(${meets.value}::text), ${sql.raw(`${headLength}`)})])`;
}

const identifying = new Set(['id', 'userName', 'externalId', 'displayName']);

/** Whether few can meet it, and an index finds them: whatever the order, they are found first and sorted then. */
export function isSelective(condition: Condition): boolean {
  if ('all' in condition) return condition.all.some(isSelective);
  if ('any' in condition) return condition.any.length > 0 && condition.any.every(isSelective);
  if ('some' in condition) {
    const { some, meets } = condition;
    if (typeof some !== 'string') return 'list' in some && some.list.join() === 'emails' && addressesOf(meets) !== null;
    return false;
  }
  if (!('field' in condition) || condition.is !== 'text' || condition.op !== 'eq') return false;
  return 'column' in condition.field && identifying.has(condition.field.column);
}
