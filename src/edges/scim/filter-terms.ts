/**
 * What the names of a filter and of `sortBy` mean (RFC 7644 §3.4.2.2, §3.4.2.3), by the schema: the tree of `filter.ts`
 * to a condition of the domain, with the type and the case rule of each attribute. Pure.
 *
 * A name that the schema does not have is refused: it would match nobody, and an IdP would create people anew. In a
 * search across types (§3.4.2.1) what only another type has counts as having no value.
 */

import type { SortKey } from '../../domain/people/search.ts';
import type { Condition, Elements, Field, TextOperator } from '../../domain/people/search-conditions.ts';
import { readBoolean } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import type { Filter, Literal, Operator } from './filter.ts';
import { type Attribute, type Location, locate, type ResourceSchema } from './schema.ts';

export interface Meaning {
  schema: ResourceSchema;
  /** The types that are searched along with this one. */
  others: readonly ResourceSchema[];
  /** The absolute URL of `/scim/v2`. */
  base: string;
}

const refuse = (detail: string) => new ScimRefusal('invalidFilter', `filter: ${detail}`);

/** One value that is compared: where it is, its type and its case rule. */
interface Value {
  name: string;
  field: Field;
  type: string;
  isExact: boolean;
}

/** `null`: this type does not have it, and another one does. @throws what `otherwise` makes when none has it. */
function find({ schema, others }: Meaning, name: string, otherwise: (why: string) => Error): Location | null {
  const location = locate(schema, name);
  if (location !== null && location.attribute?.name !== 'password') return location;
  if (others.some((other) => locate(other, name) !== null)) return null;
  throw otherwise(`${[schema, ...others].map((one) => one.name).join(' and ')} have no attribute ${name}`);
}

const columns: Record<string, Extract<Field, { column: string }>['column']> = {
  id: 'id',
  userName: 'userName',
  externalId: 'externalId',
  displayName: 'displayName',
  active: 'active',
  'meta.created': 'createdAt',
  'meta.lastModified': 'updatedAt',
  'meta.version': 'version',
};

/** Read of another person for each that is answered: no index could find by it. */
const elsewhere = new Set(['manager.displayName', 'manager.$ref']);

/** Where a single value of the resource itself is. */
function fieldOf({ schema, base }: Meaning, extension: string | null, path: readonly string[]): Field {
  if (elsewhere.has(path.join('.'))) throw refuse(`${path.join('.')} cannot be searched for; use manager.value`);
  if (extension !== null) return { path: [extension, ...path] };
  const name = path.join('.');
  const column = columns[name];
  if (column !== undefined) return { column };
  if (name === 'meta.resourceType') return { constant: schema.name };
  if (name === 'meta.location') return { locatedAt: `${base}/${schema.name}s/` };
  return { path };
}

/** Where the elements of a multi-valued attribute are. */
function elementsOf({ schema }: Meaning, extension: string | null, attribute: Attribute): Elements {
  if (extension === null && (attribute.name === 'groups' || attribute.name === 'members')) return attribute.name;
  if (attribute.name === 'schemas') return { always: schema.urn, names: schema.extensions.map(({ urn }) => urn) };
  return { list: extension === null ? [attribute.name] : [extension, attribute.name] };
}

function memberOf({ base }: Meaning, attribute: Attribute, sub: Attribute): Field {
  if (sub.name === '$ref' && attribute.name === 'groups') return { memberAt: `${base}/Groups/` };
  if (sub.name === '$ref' && attribute.name === 'members') return { memberAt: `${base}/Users/` };
  return { member: sub.name };
}

const toValue = (name: string, field: Field, { type, isCaseExact }: Attribute): Value => ({
  name,
  field,
  type,
  isExact: isCaseExact,
});

/** The values of an element, or of a complex attribute, that are compared when none of them is named. */
function defaultSub(name: string, attribute: Attribute): Attribute {
  const sub = attribute.subAttributes.get('value');
  if (sub === undefined) throw refuse(`${name} is complex; name one of its sub-attributes`);
  return sub;
}

export function toCondition(meaning: Meaning, filter: Filter): Condition {
  switch (filter.op) {
    case 'and':
      return { all: filter.terms.map((term) => toCondition(meaning, term)) };
    case 'or':
      return { any: filter.terms.map((term) => toCondition(meaning, term)) };
    case 'not':
      return { not: toCondition(meaning, filter.term) };
    case 'some':
      return toSome(meaning, filter);
    default:
      return toTest(meaning, filter);
  }
}

type Test = Extract<Filter, { op: 'pr' | Operator; attribute: string }>;

const literalOf = (test: Test): Literal => (test.op === 'pr' ? null : test.value);
/** `eq null` asks for what is not present, `ne null` and `pr` for what is. */
const asksPresence = (test: Test): boolean => test.op === 'pr' || literalOf(test) === null;

function toTest(meaning: Meaning, test: Test): Condition {
  const location = find(meaning, test.attribute, (why) => refuse(why));
  if (location === null) return { always: test.op === 'ne' ? literalOf(test) !== null : isAbsence(test) };
  const { extension, attribute, sub } = location;
  if (asksPresence(test)) {
    requirePresenceOperator(test);
    const presence = toPresence(meaning, location);
    return isAbsence(test) ? { not: presence } : presence;
  }
  if (attribute === null) throw refuse(`${test.attribute} is a schema; only pr can be asked of it`);
  if (attribute.isMultiValued) {
    const inner = attribute.type === 'complex' ? (sub ?? defaultSub(test.attribute, attribute)) : null;
    const field: Field = inner === null ? { member: null } : memberOf(meaning, attribute, inner);
    const meets = compare(toValue(test.attribute, field, inner ?? attribute), test.op, literalOf(test));
    return { some: elementsOf(meaning, extension, attribute), meets };
  }
  const inner = attribute.type === 'complex' ? (sub ?? defaultSub(test.attribute, attribute)) : null;
  const path = inner === null ? [attribute.name] : [attribute.name, inner.name];
  const value = toValue(test.attribute, fieldOf(meaning, extension, path), inner ?? attribute);
  return compare(value, test.op, literalOf(test));
}

const isAbsence = (test: Test): boolean => test.op === 'eq' && test.value === null;

function requirePresenceOperator({ op, attribute }: Test): void {
  if (op !== 'pr' && op !== 'eq' && op !== 'ne') throw refuse(`${attribute} ${op} null: only eq and ne take null`);
}

/** A complex value is present when one of its sub-attributes is. */
function toPresence(meaning: Meaning, { extension, attribute, sub }: Location): Condition {
  if (attribute === null) {
    if (extension === null) return { always: true };
    const own = meaning.schema.extensions.find(({ urn }) => urn === extension)?.attributes.values() ?? [];
    return { any: [...own].map((one) => toPresence(meaning, { extension, attribute: one, sub: null })) };
  }
  if (attribute.isMultiValued) {
    const elements = elementsOf(meaning, extension, attribute);
    const subs = sub === null ? [...attribute.subAttributes.values()] : [sub];
    const members = subs.map((one): Condition => ({ field: memberOf(meaning, attribute, one), is: 'present' }));
    return {
      some: elements,
      meets: members.length === 0 ? { field: { member: null }, is: 'present' } : { any: members },
    };
  }
  const every = [...attribute.subAttributes.values()].filter(({ name }) => !elsewhere.has(`${attribute.name}.${name}`));
  const subs = sub === null ? every : [sub];
  const paths = subs.length === 0 ? [[attribute.name]] : subs.map((one) => [attribute.name, one.name]);
  return { any: paths.map((path): Condition => ({ field: fieldOf(meaning, extension, path), is: 'present' })) };
}

function toSome(meaning: Meaning, { attribute: name, filter }: Extract<Filter, { op: 'some' }>): Condition {
  const location = find(meaning, name, (why) => refuse(why));
  if (location === null) return { always: false };
  const { extension, attribute, sub } = location;
  if (attribute === null || attribute.type !== 'complex' || sub !== null) {
    throw refuse(`${name} has no sub-attributes to be filtered by`);
  }
  if (attribute.isMultiValued) {
    const within = toInner(filter, attribute, (one) => memberOf(meaning, attribute, one));
    return { some: elementsOf(meaning, extension, attribute), meets: within };
  }
  // A single complex value is its own only element.
  return toInner(filter, attribute, (one) => fieldOf(meaning, extension, [attribute.name, one.name]));
}

/** The condition inside brackets, whose names are sub-attributes. */
function toInner(filter: Filter, attribute: Attribute, fieldFor: (sub: Attribute) => Field): Condition {
  const recur = (term: Filter) => toInner(term, attribute, fieldFor);
  switch (filter.op) {
    case 'and':
      return { all: filter.terms.map(recur) };
    case 'or':
      return { any: filter.terms.map(recur) };
    case 'not':
      return { not: recur(filter.term) };
    case 'some':
      throw refuse(`${filter.attribute} has no elements`);
    default:
      return toInnerTest(filter, attribute, fieldFor);
  }
}

function toInnerTest(filter: Test, attribute: Attribute, fieldFor: (sub: Attribute) => Field): Condition {
  const sub = attribute.subAttributes.get(filter.attribute.toLowerCase());
  if (sub === undefined) throw refuse(`${attribute.name} has no sub-attribute ${filter.attribute}`);
  const field = fieldFor(sub);
  if (!asksPresence(filter)) {
    return compare(toValue(`${attribute.name}.${sub.name}`, field, sub), filter.op, literalOf(filter));
  }
  requirePresenceOperator(filter);
  const presence: Condition = { field, is: 'present' };
  return isAbsence(filter) ? { not: presence } : presence;
}

function compare({ name, field, type, isExact }: Value, op: Operator | 'pr', literal: Literal): Condition {
  const unsupported = () => refuse(`${name} is ${type}; ${op} ${JSON.stringify(literal)} cannot be asked of it`);
  if (op === 'pr') throw unsupported();
  if (type === 'boolean') {
    const value = readBoolean(literal);
    if (value === null || (op !== 'eq' && op !== 'ne')) throw unsupported();
    return { field, is: 'boolean', value: op === 'eq' ? value : !value };
  }
  if (typeof literal !== 'string') throw unsupported();
  if (type === 'dateTime') {
    const instant = readInstant(literal);
    if (instant === null || op === 'co' || op === 'sw' || op === 'ew') throw unsupported();
    return { field, is: 'instant', op, ...instant };
  }
  const isOrder = op === 'gt' || op === 'ge' || op === 'lt' || op === 'le';
  if (type === 'binary' && isOrder) throw unsupported();
  const textOperator: TextOperator = op;
  return { field, is: 'text', op: textOperator, value: literal, isExact };
}

const dateTime = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,12}))?(Z|[+-]\d\d:\d\d)?$/i;

/** An xsd:dateTime (RFC 7643 §2.3.5), UTC where it does not say; `null`: none, or of a year that is not kept. */
function readInstant(text: string): { value: Date; isWhole: boolean } | null {
  const [, day = '', time = '', fraction = '', zone = 'Z'] = dateTime.exec(text) ?? [];
  const value = new Date(`${day}T${time}.${fraction.slice(0, 3).padEnd(3, '0')}${zone.toUpperCase()}`);
  const isDay = !Number.isNaN(Date.parse(day)) && new Date(day).toISOString().startsWith(day);
  const year = value.getUTCFullYear();
  if (day === '' || !isDay || Number.isNaN(year) || year < 1 || year > 9999) return null;
  return { value, isWhole: /^0*$/.test(fraction.slice(3)) };
}

const sortRefusal = (why: string) => new ScimRefusal('invalidValue', `sortBy: ${why}`);

/** What `sortBy` names: a single value, or of a multi-valued attribute the primary one, else the first. */
export function toSortKey(meaning: Meaning, name: string): SortKey {
  const own = find(meaning, name, sortRefusal);
  const owner = own === null ? meaning.others.find((other) => locate(other, name) !== null) : undefined;
  const location = own ?? (owner === undefined ? null : locate(owner, name));
  if (location === null || location.attribute === null) throw sortRefusal(`${name} is a schema`);
  const { extension, attribute, sub } = location;
  const inner = attribute.type === 'complex' ? (sub ?? attribute.subAttributes.get('value')) : null;
  if (inner === undefined) throw sortRefusal(`${name} is complex; name one of its sub-attributes`);
  const { type, isCaseExact: isExact } = inner ?? attribute;
  if (attribute.isMultiValued) {
    const elements = elementsOf(meaning, extension, attribute);
    if (typeof elements === 'string' || !('list' in elements) || inner === null) {
      throw sortRefusal(`${name} has no primary value`);
    }
    const primary = { primaryOf: elements.list, member: inner.name };
    return type === 'boolean' ? { ...primary, is: 'boolean' } : { ...primary, is: 'text', isExact };
  }
  const field = fieldOf(meaning, extension, inner === null ? [attribute.name] : [attribute.name, inner.name]);
  if (type === 'boolean') return { field, is: 'boolean' };
  return type === 'dateTime' ? { field, is: 'instant' } : { field, is: 'text', isExact };
}
