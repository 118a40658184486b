/**
 * References of a Bulk's operations to resources that the same Bulk makes (RFC 7644 §3.7.2): `bulkId:…` as a value, at
 * the end of a URI, or quoted in a PATCH path. Pure.
 */
import { isObject } from './departure.ts';
import type { Resource } from './resource.ts';
import { locate, userSchema } from './schema.ts';

const prefix = 'bulkId:';
const embedded = /(?<=[/"])bulkId:([^/"]+)/g;

/** Tells each reference in the text, and puts what it is told in its place. */
function replaceIn(text: string, replace: (reference: string) => string | undefined): string {
  if (text.startsWith(prefix)) return replace(text.slice(prefix.length)) ?? text;
  return text.replace(embedded, (found, reference: string) => replace(reference) ?? found);
}

/** The same with each reference that has an id in its place; bounded by the depth that the parser allows. */
export function resolveIn(data: unknown, ids: ReadonlyMap<string, string>): unknown {
  if (typeof data === 'string') return replaceIn(data, (reference) => ids.get(reference));
  if (Array.isArray(data)) return data.map((element) => resolveIn(element, ids));
  if (!isObject(data)) return data;
  return Object.fromEntries(Object.entries(data).map(([name, value]) => [name, resolveIn(value, ids)]));
}

export function referencesIn(data: unknown, found: Set<string> = new Set()): Set<string> {
  if (typeof data === 'string') {
    replaceIn(data, (reference) => {
      found.add(reference);
      return undefined;
    });
  } else if (Array.isArray(data)) for (const element of data) referencesIn(element, found);
  else if (isObject(data)) for (const value of Object.values(data)) referencesIn(value, found);
  return found;
}

export interface Deferral {
  op: 'add';
  path: string;
  value: unknown;
}

function isExtension(name: string): boolean {
  const location = locate(userSchema, name);
  return location !== null && location.extension !== null && location.attribute === null;
}

/**
 * A resource that refers to one that refers to it: what can be made of it now, and the PATCH operations that add the rest
 * when the other is there. Of a list the elements without references stay.
 */
export function splitCircle(resource: Resource, within = ''): { now: Resource; later: Deferral[] } {
  const now: Resource = {};
  const later: Deferral[] = [];
  for (const [name, value] of Object.entries(resource)) {
    if (referencesIn(value).size === 0) now[name] = value;
    else if (isObject(value) && isExtension(name)) {
      const inner = splitCircle(value, `${name}:`);
      now[name] = inner.now;
      later.push(...inner.later);
    } else if (Array.isArray(value)) {
      now[name] = value.filter((element) => referencesIn(element).size === 0);
      later.push({
        op: 'add',
        path: `${within}${name}`,
        value: value.filter((element) => referencesIn(element).size > 0),
      });
    } else later.push({ op: 'add', path: `${within}${name}`, value });
  }
  return { now, later };
}
