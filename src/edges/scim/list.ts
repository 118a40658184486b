/** Lists (RFC 7644 §3.4.2): the query's numbers, and the ListResponse message. */
import type { Window } from '../../domain/people/people.ts';
import { scimUrns } from '../../protocol.ts';
import { ScimRefusal } from './errors.ts';
import { type Comparison, parseFilter } from './filter.ts';
import type { Resource } from './resource.ts';

export const defaultCount = 100;
/** Okta and Entra ID ask for 100 at most. */
export const maxCount = 200;
const maxStartIndex = 2 ** 31 - 1;

function readInteger(query: URLSearchParams, name: string, fallback: number): number {
  const given = query.getAll(name);
  if (given.length > 1) throw new ScimRefusal('invalidValue', `${name}: given twice`);
  const [text = ''] = given;
  if (text === '') return fallback;
  if (!/^-?\d{1,15}$/.test(text)) throw new ScimRefusal('invalidValue', `${name}: an integer is expected`);
  return Number(text);
}

export interface ListRequest {
  comparisons: Comparison[];
  /** 1-based. */
  startIndex: number;
  window: Window;
}

/** @throws ScimRefusal `invalidFilter`, `invalidValue`. */
export function readListRequest(query: URLSearchParams): ListRequest {
  const filters = query.getAll('filter').filter((text) => text.trim() !== '');
  if (filters.length > 1) throw new ScimRefusal('invalidFilter', 'filter: given twice');
  const startIndex = Math.min(Math.max(readInteger(query, 'startIndex', 1), 1), maxStartIndex);
  const count = Math.min(Math.max(readInteger(query, 'count', defaultCount), 0), maxCount);
  return {
    comparisons: filters.flatMap(parseFilter),
    startIndex,
    window: { offset: startIndex - 1, limit: count },
  };
}

export const listResponse = (resources: Resource[], total: number, startIndex: number): Resource => ({
  schemas: [scimUrns.listResponse],
  totalResults: total,
  startIndex,
  itemsPerPage: resources.length,
  Resources: resources,
});

/** Splits `urn:…:User:userName` or `emails.value` into what a search knows: lower case, without the schema's URN. */
export function bareName(urn: string, name: string): string {
  const lower = name.toLowerCase();
  const prefix = `${urn.toLowerCase()}:`;
  return lower.startsWith(prefix) ? lower.slice(prefix.length) : lower;
}

export const unsupported = (name: string) =>
  new ScimRefusal('invalidFilter', `filter: ${name} cannot be searched for here in this way`);

/** A string to compare with. @throws ScimRefusal `invalidFilter`. */
export function stringOf({ attribute, value }: { attribute: string; value: unknown }): string {
  if (typeof value !== 'string') throw unsupported(attribute);
  return value;
}
