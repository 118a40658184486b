/** What is asked of a list, in the query (RFC 7644 §3.4.2, RFC 9865) or in a SearchRequest (§3.4.3), and its answer. */
import { scimUrns } from '../../protocol.ts';
import { isObject } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import type { Resource } from './resource.ts';

export const defaultCount = 100;
/** Okta and Entra ID ask for 100 at most. */
export const maxCount = 200;
const maxStartIndex = 2 ** 31 - 1;

/** As it was asked, in either way. */
export interface ListRequest {
  filter: string | null;
  sortBy: string | null;
  isDescending: boolean;
  /** 1-based. */
  startIndex: number;
  count: number;
  /** `null`: pages by index; empty: the first page of a walk by cursor. */
  cursor: string | null;
  attributes: string[];
  excludedAttributes: string[];
}

const invalid = (detail: string) => new ScimRefusal('invalidValue', detail);

/** The one value of a parameter; `null`: not given. */
function readOne(query: URLSearchParams, name: string): string | null {
  const given = query.getAll(name);
  if (given.length > 1)
    throw new ScimRefusal(name === 'filter' ? 'invalidFilter' : 'invalidValue', `${name}: given twice`);
  return given[0] ?? null;
}

function readInteger(query: URLSearchParams, name: string): number | null {
  const text = readOne(query, name);
  if (text === null || text === '') return null;
  if (!/^-?\d{1,15}$/.test(text)) throw invalid(`${name}: an integer is expected`);
  return Number(text);
}

interface Given {
  filter: string | null;
  sortBy: string | null;
  sortOrder: string | null;
  startIndex: number | null;
  count: number | null;
  cursor: string | null;
  attributes: string[];
  excludedAttributes: string[];
}

function toRequest(given: Given): ListRequest {
  const { cursor, startIndex, count, sortBy } = given;
  const order = (given.sortOrder ?? '').trim().toLowerCase();
  if (order !== '' && order !== 'ascending' && order !== 'descending') {
    throw invalid('sortOrder: ascending or descending is expected');
  }
  if (cursor !== null && startIndex !== null) throw invalid('startIndex: not together with cursor');
  // RFC 9865 §2.1: by cursor what is too large is refused; by index it has always been cut.
  if (cursor !== null && count !== null && count > maxCount) {
    throw new ScimRefusal('invalidCount', `count: at most ${maxCount} at once`);
  }
  const blankAsNull = (text: string | null) => (text === null || text.trim() === '' ? null : text);
  return {
    filter: blankAsNull(given.filter),
    sortBy: blankAsNull(sortBy)?.trim() ?? null,
    isDescending: order === 'descending',
    startIndex: Math.min(Math.max(startIndex ?? 1, 1), maxStartIndex),
    count: Math.min(Math.max(count ?? defaultCount, 0), maxCount),
    cursor,
    attributes: given.attributes.filter((name) => name.trim() !== ''),
    excludedAttributes: given.excludedAttributes.filter((name) => name.trim() !== ''),
  };
}

/** @throws ScimRefusal `invalidFilter`, `invalidValue`, `invalidCount`. */
export const readListRequest = (query: URLSearchParams): ListRequest =>
  toRequest({
    filter: readOne(query, 'filter'),
    sortBy: readOne(query, 'sortBy'),
    sortOrder: readOne(query, 'sortOrder'),
    startIndex: readInteger(query, 'startIndex'),
    count: readInteger(query, 'count'),
    cursor: readOne(query, 'cursor'),
    attributes: query.getAll('attributes'),
    excludedAttributes: query.getAll('excludedAttributes'),
  });

const isText = (value: unknown): value is string => typeof value === 'string' && !value.includes('\0');
const known = [
  ...(['schemas', 'attributes', 'excludedAttributes', 'filter', 'sortBy', 'sortOrder'] as const),
  ...(['startIndex', 'count', 'cursor'] as const),
] as const;

/** The message of `.search`: its members, each at most once, and no others. @throws ScimRefusal */
export function readSearchRequest(body: unknown): ListRequest {
  const malformed = (detail: string) => new ScimRefusal('invalidSyntax', detail);
  if (!isObject(body)) throw malformed('body: a JSON object is expected');
  const given = new Map<string, unknown>();
  for (const [name, value] of Object.entries(body)) {
    const member = known.find((one) => one.toLowerCase() === name.toLowerCase());
    if (member === undefined) throw malformed(`${name}: a SearchRequest has no such member`);
    if (given.has(member)) throw malformed(`${name}: given twice`);
    // RFC 7643 §2.5: null is not given.
    if (value !== null) given.set(member, value);
  }
  const schemas = given.get('schemas');
  const isSearch = (urn: unknown) => isText(urn) && urn.toLowerCase() === scimUrns.searchRequest.toLowerCase();
  if (!Array.isArray(schemas) || schemas.length !== 1 || !isSearch(schemas[0])) {
    throw malformed(`schemas: ["${scimUrns.searchRequest}"] is expected`);
  }
  const text = (name: (typeof known)[number]): string | null => {
    const value = given.get(name) ?? null;
    if (value !== null && !isText(value)) throw invalid(`${name}: a string is expected`);
    return value;
  };
  const integer = (name: (typeof known)[number]): number | null => {
    const value = given.get(name) ?? null;
    if (value !== null && !Number.isSafeInteger(value)) throw invalid(`${name}: an integer is expected`);
    return value === null ? null : Number(value);
  };
  const names = (name: (typeof known)[number]): string[] => {
    const value = given.get(name) ?? [];
    const list: unknown[] = Array.isArray(value) ? value : [value];
    if (!list.every(isText)) throw invalid(`${name}: a list of attribute names is expected`);
    return list;
  };
  return toRequest({
    filter: text('filter'),
    sortBy: text('sortBy'),
    sortOrder: text('sortOrder'),
    startIndex: integer('startIndex'),
    count: integer('count'),
    cursor: text('cursor'),
    attributes: names('attributes'),
    excludedAttributes: names('excludedAttributes'),
  });
}

/** A page by index. */
export const listResponse = (resources: Resource[], total: number, startIndex: number): Resource => ({
  schemas: [scimUrns.listResponse],
  totalResults: total,
  startIndex,
  itemsPerPage: resources.length,
  Resources: resources,
});

/** Of a walk by cursor more are not counted: RFC 9865 lets `totalResults` be left out, and no page gets slower. */
export const countedAtMost = 10_000;

/** A page of a walk by cursor; the last one has no `nextCursor`. */
export const cursorResponse = (resources: Resource[], total: number | null, nextCursor: string | null): Resource => ({
  schemas: [scimUrns.listResponse],
  ...(total === null ? {} : { totalResults: total }),
  itemsPerPage: resources.length,
  ...(nextCursor === null ? {} : { nextCursor }),
  Resources: resources,
});

/** Splits `urn:…:Group:members` into the bare name: lower case, without the schema's URN. */
export function bareName(urn: string, name: string): string {
  const lower = name.toLowerCase();
  const prefix = `${urn.toLowerCase()}:`;
  return lower.startsWith(prefix) ? lower.slice(prefix.length) : lower;
}
