/**
 * `attributes` and `excludedAttributes` (RFC 7644 §3.9): which members of a resource are sent. `id` and `schemas` always
 * are. Names that mean nothing here select nothing; when both parameters are given, `attributes` decides.
 */
import { isObject } from './departure.ts';
import type { Resource } from './resource.ts';
import { type Location, locate, type ResourceSchema } from './schema.ts';

export interface Projection {
  mode: 'all' | 'only' | 'without';
  names: Location[];
}

const always = new Set(['id', 'schemas']);
const maxNames = 100;

const split = (schema: ResourceSchema, lists: readonly string[]): Location[] =>
  lists
    .join(',')
    .split(',', maxNames)
    .map((name) => locate(schema, name.trim()))
    .filter((location) => location !== null);

/** Which members of a resource of this type the two lists select. */
export function toProjection(
  schema: ResourceSchema,
  { attributes, excludedAttributes }: { attributes: readonly string[]; excludedAttributes: readonly string[] },
): Projection {
  if (attributes.length > 0) return { mode: 'only', names: split(schema, attributes) };
  if (excludedAttributes.length > 0) return { mode: 'without', names: split(schema, excludedAttributes) };
  return { mode: 'all', names: [] };
}

const given = (query: URLSearchParams, name: string): string[] =>
  query.getAll(name).filter((list) => list.trim() !== '');

export const readProjection = (schema: ResourceSchema, query: URLSearchParams): Projection =>
  toProjection(schema, {
    attributes: given(query, 'attributes'),
    excludedAttributes: given(query, 'excludedAttributes'),
  });

/** Will this core attribute be sent, whole or in part? Lets the reader leave out what is costly to read. */
export function sends({ mode, names }: Projection, attribute: string): boolean {
  if (mode === 'all') return true;
  const named = names.filter((name) => name.extension === null && name.attribute?.name === attribute);
  if (mode === 'without') return !named.some(({ sub }) => sub === null);
  return named.length > 0 || names.some((name) => name.extension === null && name.attribute === null);
}

const onlySub = (value: unknown, sub: string): unknown => {
  if (Array.isArray(value)) return value.map((element) => onlySub(element, sub));
  return isObject(value) && sub in value ? { [sub]: value[sub] } : {};
};

const withoutSub = (value: unknown, sub: string): unknown => {
  if (Array.isArray(value)) return value.map((element) => withoutSub(element, sub));
  return isObject(value) ? Object.fromEntries(Object.entries(value).filter(([name]) => name !== sub)) : value;
};

function merge(one: unknown, other: unknown): unknown {
  if (Array.isArray(one) && Array.isArray(other)) return one.map((element, index) => merge(element, other[index]));
  return isObject(one) && isObject(other) ? { ...one, ...other } : other;
}

function include(source: Resource, target: Resource, { extension, attribute, sub }: Location): void {
  if (attribute === null) {
    if (extension === null) Object.assign(target, source);
    else if (source[extension] !== undefined) target[extension] = source[extension];
    return;
  }
  const from = extension === null ? source : source[extension];
  if (!isObject(from) || from[attribute.name] === undefined) return;
  const value = sub === null ? from[attribute.name] : onlySub(from[attribute.name], sub.name);
  const existing = extension === null ? target : (target[extension] ?? {});
  if (!isObject(existing)) return;
  const merged = { ...existing, [attribute.name]: merge(existing[attribute.name], value) };
  if (extension === null) Object.assign(target, merged);
  else target[extension] = merged;
}

function exclude(target: Resource, { extension, attribute, sub }: Location): void {
  if (attribute === null) {
    if (extension !== null) delete target[extension];
    return;
  }
  const scope = extension === null ? target : target[extension];
  if (!isObject(scope) || (extension === null && always.has(attribute.name))) return;
  const copy = { ...scope };
  if (sub === null) delete copy[attribute.name];
  else if (copy[attribute.name] !== undefined) copy[attribute.name] = withoutSub(copy[attribute.name], sub.name);
  if (extension !== null) target[extension] = copy;
  else {
    delete target[attribute.name];
    if (copy[attribute.name] !== undefined) target[attribute.name] = copy[attribute.name];
  }
}

/** The resource with the members that are to be sent. */
export function project(resource: Resource, { mode, names }: Projection): Resource {
  if (mode === 'all') return resource;
  if (mode === 'without') {
    const rest = { ...resource };
    for (const name of names) exclude(rest, name);
    return rest;
  }
  const target: Resource = Object.fromEntries(Object.entries(resource).filter(([name]) => always.has(name)));
  for (const name of names) include(resource, target, name);
  return target;
}
