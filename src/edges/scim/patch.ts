/**
 * PATCH (RFC 7644 §3.5.2) on a plain resource: pure, all or nothing, over the schema. Value filters are our own parser's;
 * a filter in a path is bounded like any other.
 */
import { isObject } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import { type Filter, parsePath } from './filter.ts';
import { describedBy, meets } from './filter-match.ts';
import {
  coerceElements,
  listAt,
  plainReading,
  type Reading,
  type Resource,
  setAt,
  setMembers,
  storeList,
  withoutEmptyScopes,
  withSub,
} from './resource.ts';
import { type Attribute, type Location, locate, type ResourceSchema } from './schema.ts';

export interface Operation {
  op: 'add' | 'remove' | 'replace';
  /** `null`: the resource itself. */
  path: string | null;
  value: unknown;
}

/** The operations of a PatchOp message, op in any case. @throws ScimRefusal `invalidSyntax`. */
export function readOperations(body: unknown, maxOperations: number): Operation[] {
  const refuse = (why: string) => new ScimRefusal('invalidSyntax', why);
  if (!isObject(body)) throw refuse('body: a JSON object is expected');
  const lists = Object.entries(body).filter(([name]) => name.toLowerCase() === 'operations');
  if (lists.length > 1) throw refuse('Operations: given twice');
  const list = lists[0]?.[1];
  if (!Array.isArray(list) || list.length === 0) throw refuse('Operations: a list of operations is expected');
  if (list.length > maxOperations) throw new ScimRefusal('tooMany', `Operations: at most ${maxOperations} at once`);
  return list.map((item) => {
    if (!isObject(item)) throw refuse('Operations: each has to be an object');
    const members = new Map(Object.entries(item).map(([name, value]) => [name.toLowerCase(), value]));
    const op = members.get('op');
    const word = typeof op === 'string' ? op.trim().toLowerCase() : '';
    if (word !== 'add' && word !== 'remove' && word !== 'replace')
      throw refuse('op: add, remove or replace is expected');
    const path = members.get('path') ?? null;
    if (path !== null && typeof path !== 'string') throw new ScimRefusal('invalidPath', 'path: a string is expected');
    return { op: word, path: path === null || path.trim() === '' ? null : path, value: members.get('value') };
  });
}

interface Target {
  location: Location & { attribute: Attribute };
  filter: Filter;
  sub: Attribute | null;
}

/** The elements of a multi-valued attribute that a value filter selects. */
function changeElements(
  scope: Resource,
  { location: { attribute }, filter, sub }: Target,
  { op, value }: Operation,
  { isLenient }: Reading,
): void {
  const existing = listAt(scope, attribute);
  const selected = new Set(existing.filter((element) => meets(element, attribute, filter)));
  const change = (element: unknown, isNew = op === 'add'): unknown => {
    if (sub !== null) return withSub(element, attribute, sub, op === 'remove' ? null : value);
    if (op === 'remove') return undefined;
    const members = Array.isArray(value) ? value[0] : value;
    if (!isObject(members)) throw new ScimRefusal('invalidValue', `${attribute.name}: an object is expected`);
    const [kept] = coerceElements(attribute, isNew ? { ...(isObject(element) ? element : {}), ...members } : members);
    return kept;
  };
  if (selected.size === 0) {
    if (op === 'replace' && !isLenient) throw new ScimRefusal('noTarget', 'path: no element meets the filter');
    if (op === 'remove') return;
    // Nothing is unassigned where nothing is.
    if (sub !== null && (value === null || value === '')) return;
    const created = change(coerceElements(attribute, describedBy(filter))[0], true);
    if (created === undefined) return;
    storeList(scope, attribute, [...existing, created], created);
    return;
  }
  let last: unknown;
  const changed = existing.map((element) => {
    if (!selected.has(element)) return element;
    last = change(element);
    return last;
  });
  storeList(
    scope,
    attribute,
    changed.filter((element) => element !== undefined),
    last,
  );
}

function remove(resource: Resource, { extension, attribute, sub }: Location, value: unknown): void {
  const scope = extension === null ? resource : resource[extension];
  if (!isObject(scope)) return;
  if (attribute === null) {
    if (extension !== null) delete resource[extension];
    return;
  }
  const current = scope[attribute.name];
  if (current === undefined) return;
  if (sub !== null) {
    const elements = (Array.isArray(current) ? current : [current]).map((one) => withSub(one, attribute, sub, null));
    const kept = elements.filter((element) => element !== undefined);
    if (kept.length === 0) delete scope[attribute.name];
    else scope[attribute.name] = Array.isArray(current) ? kept : kept[0];
  } else if (Array.isArray(current) && value !== undefined && value !== null) {
    // Some clients name the elements to remove in value instead of the path.
    const named = (Array.isArray(value) ? value : [value])
      .map((one) => Object.entries(isObject(one) ? one : { value: one }).flatMap(([name, part]) => toTerm(name, part)))
      .filter((terms) => terms.length > 0);
    const isNamed = (element: unknown) => named.some((terms) => meets(element, attribute, { op: 'and', terms }));
    storeList(
      scope,
      attribute,
      current.filter((element) => !isNamed(element)),
    );
  } else delete scope[attribute.name];
}

const toTerm = (attribute: string, value: unknown): Filter[] =>
  typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number'
    ? [{ op: 'eq', attribute, value }]
    : [];

/** Names that may be meant to say whether somebody is there: a 200 that drops them would be no answer. */
const maySayActive = /(?:^|[:.$])(?:is)?active(?:\.value)?$|^enabled$/i;

/** What a path names is not in the schema. */
export function leaveAside({ isLenient, ignore }: Reading, name: string, why: string): void {
  if (!isLenient || maySayActive.test(name)) throw new ScimRefusal('invalidPath', `path: ${why}`);
  ignore(name);
}

const namesIn = (filter: Filter): string[] =>
  'terms' in filter ? filter.terms.flatMap(namesIn) : 'term' in filter ? namesIn(filter.term) : [filter.attribute];

function applyOperation(schema: ResourceSchema, resource: Resource, operation: Operation, reading: Reading): void {
  const { op, path, value } = operation;
  if (path === null) {
    if (op === 'remove') throw new ScimRefusal('noTarget', 'path: remove needs one');
    for (const members of Array.isArray(value) ? value : [value])
      setMembersByPath(schema, resource, members, op, reading);
    return;
  }
  const parsed = parsePath(path);
  const location = locate(schema, parsed.attribute);
  if (location === null) {
    leaveAside(reading, parsed.attribute, `${schema.name} has no such attribute`);
    return;
  }
  const { extension, attribute } = location;
  if (attribute !== null) {
    if (attribute.isReadOnly) throw new ScimRefusal('mutability', `${attribute.name}: is read-only`);
    if (op === 'remove' && attribute.isRequired) throw new ScimRefusal('mutability', `${attribute.name}: is required`);
    if (location.sub?.isReadOnly) {
      if (!reading.isLenient) throw new ScimRefusal('mutability', `${location.sub.name}: is read-only`);
      reading.ignore(parsed.attribute);
      return;
    }
  }
  if (parsed.within !== undefined) {
    if (attribute === null || !attribute.isMultiValued || location.sub !== null) {
      throw new ScimRefusal('invalidPath', 'path: a value filter needs a multi-valued attribute');
    }
    const sub = parsed.sub === undefined ? null : attribute.subAttributes.get(parsed.sub.toLowerCase());
    const unknown = [...(sub === undefined ? [parsed.sub] : []), ...namesIn(parsed.within)].find(
      (one) => one !== undefined && !attribute.subAttributes.has(one.toLowerCase()),
    );
    if (sub === undefined || unknown !== undefined) {
      leaveAside(reading, `${attribute.name}.${unknown}`, `${attribute.name} has no ${unknown}`);
      return;
    }
    const scope = extension === null ? resource : resource[extension];
    if (isObject(scope))
      changeElements(scope, { location: { ...location, attribute }, filter: parsed.within, sub }, operation, reading);
  } else if (op === 'remove') remove(resource, location, value);
  else if (value === undefined) throw new ScimRefusal('invalidValue', 'value: is missing');
  else setAt(schema, resource, location, value, op, reading);
}

/** Members of a value without a path. Entra ID also writes whole paths, filter included, as member names. */
function setMembersByPath(
  schema: ResourceSchema,
  resource: Resource,
  members: unknown,
  op: 'add' | 'replace',
  reading: Reading,
): void {
  if (!isObject(members)) throw new ScimRefusal('invalidValue', 'value: an object is expected');
  const filtered = Object.entries(members).filter(([name]) => name.includes('['));
  const plain = Object.fromEntries(Object.entries(members).filter(([name]) => !name.includes('[')));
  setMembers(schema, resource, plain, op, null, reading);
  for (const [path, value] of filtered) applyOperation(schema, resource, { op, path, value }, reading);
}

/** The resource after all operations. The given one is left as it is. @throws ScimRefusal, then nothing is applied. */
export function applyPatch(
  schema: ResourceSchema,
  resource: Resource,
  operations: readonly Operation[],
  reading: Reading = plainReading,
): Resource {
  const patched = structuredClone(resource);
  for (const operation of operations) applyOperation(schema, patched, operation, reading);
  return withoutEmptyScopes(schema, patched);
}
