/**
 * A resource as it is kept between the wire and the database: canonical names, values of the types that the schema asks
 * for, no read-only members, no password, nothing unassigned (RFC 7643 §2.5: `null` and `[]` mean unassigned).
 * Unknown members are ignored. All pure; what the schema does not allow is a `ScimRefusal` `invalidValue`.
 */
import { isDeepStrictEqual } from 'node:util';
import { isObject, readBoolean } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import { type Attribute, type Location, locate, type ResourceSchema } from './schema.ts';

export type Resource = Record<string, unknown>;

/** How a body is read, beside the schema. */
export interface Reading {
  /** Told of each part that is left aside, by name. */
  ignore(name: string): void;
  /**
   * What known IdPs send beyond RFC 7644 §3.5.2 is taken: a path that names nothing is left aside, and a `replace` of an
   * element that is not there makes it.
   */
  isLenient: boolean;
}

export const plainReading: Reading = { ignore: () => {}, isLenient: false };

/** Elements of one multi-valued attribute; comparing them pairwise has to stay cheap. */
const maxElements = 200;
/** Names by which people and groups are found: what fits an index of PostgreSQL in any script. */
export const maxNameLength = 500;

const wrongType = (attribute: Attribute, wanted: string) =>
  new ScimRefusal('invalidValue', `${attribute.name}: ${wanted} is expected`);

/** One value in the attribute's type; `undefined`: unassigned. */
function coerceOne(attribute: Attribute, value: unknown): unknown {
  if (value === null || value === undefined) return undefined;
  if (attribute.type === 'complex') return coerceComplex(attribute, value);
  if (attribute.type === 'boolean') {
    // Rippling sends empty strings for what is not set.
    if (value === '') return undefined;
    const said = readBoolean(value);
    if (said === null) throw wrongType(attribute, 'true or false');
    return said;
  }
  if (typeof value !== 'string') throw wrongType(attribute, 'a string');
  return value;
}

function coerceComplex(attribute: Attribute, value: unknown): Resource | undefined {
  // Entra ID sends manager as an object, as an array of one, and as the bare id.
  if (Array.isArray(value)) return value.length === 0 ? undefined : coerceComplex(attribute, value[0]);
  const members = typeof value === 'string' && attribute.subAttributes.has('value') ? { value } : value;
  if (!isObject(members)) throw wrongType(attribute, 'an object');
  const given = new Map(Object.entries(members).map(([name, member]) => [name.toLowerCase(), member]));
  if (isReference(attribute)) return coerceReference(attribute, given);
  const result: Resource = {};
  for (const [name, sub] of attribute.subAttributes) {
    const member = sub.isReadOnly ? undefined : coerceOne(sub, given.get(name));
    if (member !== undefined) result[sub.name] = member;
  }
  return Object.keys(result).length === 0 ? undefined : result;
}

/** A complex attribute that refers to a resource: the enterprise extension's `manager`. */
const isReference = ({ subAttributes }: Attribute): boolean => subAttributes.has('$ref') && subAttributes.has('value');

const saysTarget = (value: Resource): boolean =>
  Object.keys(value).some((name) => ['value', '$ref'].includes(name.toLowerCase()));

/**
 * What is kept of a reference is whom it means, in `value` or else as the last segment of `$ref`; the rest is told anew
 * whenever it is read. `""` unassigns: that is how some write "no manager".
 */
function coerceReference(attribute: Attribute, given: ReadonlyMap<string, unknown>): Resource | undefined {
  const target = given.get('value') ?? null;
  const ref = given.get('$ref');
  const value = target === null && typeof ref === 'string' ? ref.split('/').at(-1) : target;
  if (value === null || value === '' || value === undefined) return undefined;
  if (typeof value !== 'string') throw wrongType(attribute, 'the id of a resource');
  return { value };
}

/** The elements of a multi-valued attribute; one that is not in a list is a list of one. */
export function coerceElements(attribute: Attribute, value: unknown): unknown[] {
  const list = Array.isArray(value) ? value : [value];
  if (list.length > maxElements) throw wrongType(attribute, `a list of at most ${maxElements}`);
  return list.map((element) => coerceOne(attribute, element)).filter((element) => element !== undefined);
}

/** RFC 7643 §2.4: at most one element is primary; the one set last stays so. */
function keepOnePrimary(list: unknown[], preferred: unknown): unknown[] {
  const primaries = list.filter((element) => isObject(element) && element.primary === true);
  if (primaries.length < 2) return list;
  const kept = primaries.includes(preferred) ? preferred : primaries.at(-1);
  return list.map((element) =>
    isObject(element) && element.primary === true && element !== kept ? { ...element, primary: false } : element,
  );
}

const isIgnored = (attribute: Attribute): boolean =>
  attribute.isReadOnly || attribute.name === 'schemas' || attribute.name === 'password';

/** The object that holds the attributes of this scope. */
function scopeOf(resource: Resource, extension: string | null): Resource {
  if (extension === null) return resource;
  const existing = resource[extension];
  if (isObject(existing)) return existing;
  const created: Resource = {};
  resource[extension] = created;
  return created;
}

export const listAt = (scope: Resource, attribute: Attribute): unknown[] => {
  const list = scope[attribute.name];
  return Array.isArray(list) ? list : [];
};

function store(scope: Resource, attribute: Attribute, value: unknown): void {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) delete scope[attribute.name];
  else scope[attribute.name] = value;
}

export function storeList(scope: Resource, attribute: Attribute, list: unknown[], preferred?: unknown): void {
  if (list.length > maxElements) throw wrongType(attribute, `a list of at most ${maxElements}`);
  store(scope, attribute, keepOnePrimary(list, preferred));
}

/** Equal for equal elements, whatever the order of their members: jsonb keeps its own. */
const fingerprint = (element: unknown): string =>
  JSON.stringify(
    isObject(element) ? Object.entries(element).sort(([one], [other]) => (one < other ? -1 : 1)) : element,
  );

function addElements(existing: unknown[], incoming: unknown[]): unknown[] {
  const known = new Set(existing.map(fingerprint));
  return [...existing, ...incoming.filter((element) => !known.has(fingerprint(element)))];
}

/** Sets one sub-attribute of a complex value; `undefined` when nothing is left. */
export function withSub(element: unknown, attribute: Attribute, sub: Attribute, value: unknown): Resource | undefined {
  // Whom a reference means is kept in its value, which another $ref takes the place of.
  const isRetargeted = isReference(attribute) && sub.name === '$ref' && value !== null;
  return coerceComplex(attribute, { ...(isObject(element) && !isRetargeted ? element : {}), [sub.name]: value });
}

/**
 * Gives what `location` names the value. `add` appends to a multi-valued attribute, `replace` replaces its elements; a
 * complex value is merged either way (RFC 7644 §3.5.2.1, §3.5.2.3). Read-only members and the password are ignored.
 */
export function setAt(
  schema: ResourceSchema,
  resource: Resource,
  { extension, attribute, sub }: Location,
  value: unknown,
  mode: 'add' | 'replace',
  reading: Reading = plainReading,
): void {
  if (attribute === null) {
    if (value === null && extension !== null) delete resource[extension];
    else setMembers(schema, resource, value, mode, extension, reading);
    return;
  }
  if (attribute.name === 'password') reading.ignore('password');
  if (isIgnored(attribute)) return;
  if (sub === null) for (const name of unknownSubs(attribute, value)) reading.ignore(`${attribute.name}.${name}`);
  const scope = scopeOf(resource, extension);
  if (attribute.isMultiValued) {
    const existing = listAt(scope, attribute);
    if (sub !== null) {
      const elements = existing.length === 0 ? [{}] : existing;
      const changed = elements.map((element) => withSub(element, attribute, sub, value));
      storeList(
        scope,
        attribute,
        changed.filter((element) => element !== undefined),
      );
      return;
    }
    const incoming = coerceElements(attribute, value);
    storeList(scope, attribute, mode === 'add' ? addElements(existing, incoming) : incoming, incoming.at(-1));
    return;
  }
  const current = scope[attribute.name];
  if (sub !== null) store(scope, attribute, withSub(current, attribute, sub, value));
  else if (isReference(attribute) && isObject(value) && !saysTarget(value)) return;
  else if (attribute.type === 'complex' && !isReference(attribute) && isObject(current) && isObject(value)) {
    store(scope, attribute, coerceComplex(attribute, { ...current, ...coercePartly(attribute, value) }));
  } else store(scope, attribute, coerceOne(attribute, value));
}

/** Members that the elements of a complex value have and its schema does not. */
const unknownSubs = ({ type, subAttributes }: Attribute, value: unknown): string[] =>
  type !== 'complex'
    ? []
    : (Array.isArray(value) ? value.slice(0, maxElements) : [value])
        .flatMap((one) => (isObject(one) ? Object.keys(one) : []))
        .filter((name) => !subAttributes.has(name.toLowerCase()));

/** The members of a partial complex value by their canonical names, `null` where one is to be unassigned. */
function coercePartly(attribute: Attribute, value: Resource): Resource {
  const result: Resource = {};
  for (const [name, member] of Object.entries(value)) {
    const sub = attribute.subAttributes.get(name.toLowerCase());
    if (sub !== undefined) result[sub.name] = member;
  }
  return result;
}

/** Sets each member of an object, as PATCH without a path and the whole body of POST and PUT do. */
export function setMembers(
  schema: ResourceSchema,
  resource: Resource,
  members: unknown,
  mode: 'add' | 'replace',
  extension: string | null = null,
  reading: Reading = plainReading,
): void {
  if (!isObject(members)) throw new ScimRefusal('invalidValue', 'value: an object is expected');
  const seen = new Set<string>();
  for (const [name, value] of Object.entries(members)) {
    const location = locate(schema, extension === null ? name : `${extension}:${name}`);
    if (location === null) {
      reading.ignore(extension === null ? name : `${extension}:${name}`);
      continue;
    }
    const spelled = `${location.extension}|${location.attribute?.name}|${location.sub?.name}`;
    if (seen.has(spelled)) throw new ScimRefusal('invalidSyntax', `${name}: given twice`);
    seen.add(spelled);
    setAt(schema, resource, location, value, mode, reading);
  }
}

/** The resource that the body of a POST or PUT describes. */
export function readResource(schema: ResourceSchema, body: unknown, reading?: Reading): Resource {
  if (!isObject(body)) throw new ScimRefusal('invalidSyntax', 'body: a JSON object is expected');
  const resource: Resource = {};
  setMembers(schema, resource, body, 'replace', null, reading);
  return withoutEmptyScopes(schema, resource);
}

/** Drops an extension object that has no members left. */
export function withoutEmptyScopes(schema: ResourceSchema, resource: Resource): Resource {
  const empty = schema.extensions.filter(({ urn }) => isDeepStrictEqual(resource[urn], {})).map(({ urn }) => urn);
  return Object.fromEntries(Object.entries(resource).filter(([name]) => !empty.includes(name)));
}

/** A name that has to be there and to fit its index. */
export function requireName(resource: Resource, name: string): string {
  const value = resource[name];
  if (typeof value !== 'string' || value.trim() === '') {
    throw new ScimRefusal('invalidValue', `${name}: a non-empty string is expected`);
  }
  if (value.length > maxNameLength) {
    throw new ScimRefusal('invalidValue', `${name}: at most ${maxNameLength} characters are kept`);
  }
  return value;
}

/** As `requireName`, of one that may be missing. */
export const optionalName = (resource: Resource, name: string): string | null =>
  resource[name] === undefined || resource[name] === '' ? null : requireName(resource, name);
