/**
 * The BulkRequest message (RFC 7644 §3.7), read and not yet carried out. Pure. What is wrong with one operation is its
 * own refusal; what is wrong with the message refuses all of them, except that a departure is heard in either.
 */
import { WritError } from '../../errors.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { readSuspension } from './agents-wire.ts';
import { isObject, readDeparture } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import { endpointOf } from './path.ts';

export const maxBulkOperations = 1_000;

export interface BulkOperation {
  /** In upper case, as it is answered; empty when none was given. */
  method: string;
  bulkId: string | null;
  /** `Users`, and the id or `bulkId:…` after it. */
  endpoint: string;
  target: string | null;
  version: string | null;
  data: unknown;
  departs: Departs;
  /** Why it is not even tried. */
  refusal: ScimRefusal | null;
}

/**
 * `alone`: it says that somebody is gone, whatever else it says. `whole`: it may take somebody out of the group without
 * which nobody is there. `null`: neither.
 */
export type Departs = 'alone' | 'whole' | null;

export interface BulkRequest {
  operations: BulkOperation[];
  /** Errors after which no more is begun; `null`: never. */
  failOnErrors: number | null;
  /** Why nothing but departures may be done. */
  refusal: ScimRefusal | null;
}

const methods = ['POST', 'PUT', 'PATCH', 'DELETE'];
/** A query would shape an answer that a Bulk does not repeat. */
const pathPattern = /^\/?([A-Za-z]+)(?:\/([^/?#]+))?\/?(?:\?.*)?$/s;
/** What fits a header. */
const versionPattern = /^[\x20-\x7e]{1,1000}$/;

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Some give the path as it stands in `location`, or from the host on. */
const belowBase = (path: string): string => /(?:^|\/)scim\/v2(\/.*)$/is.exec(path)?.[1] ?? path;

/** Members without regard to case; of two that differ only in case the last. */
const membersOf = (item: Record<string, unknown>): ReadonlyMap<string, unknown> =>
  new Map(Object.entries(item).map(([name, value]) => [name.toLowerCase(), value]));

const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);

function readOperation(item: unknown, requiredGroupId: string | null): BulkOperation {
  const members = membersOf(isObject(item) ? item : {});
  const method = textOf(members.get('method'))?.trim().toUpperCase() ?? '';
  const path = belowBase(textOf(members.get('path'))?.trim() ?? '');
  const [, word = '', segment] = pathPattern.exec(path) ?? [];
  const endpoint = endpointOf(word);
  const named = segment === undefined ? null : decode(segment);
  const target = named === null ? null : (canonicalId(named) ?? named);
  const version = textOf(members.get('version'));
  const operation: Omit<BulkOperation, 'refusal'> = {
    method,
    bulkId: textOf(members.get('bulkid')),
    endpoint,
    target,
    version: version !== null && versionPattern.test(version) ? version : null,
    data: members.get('data'),
    departs: target === null ? null : readDeparts(method, endpoint, members.get('data'), target === requiredGroupId),
  };
  return { ...operation, refusal: judge(operation, members) };
}

/** Nobody leaves by a POST: it makes somebody, or is refused. */
function readDeparts(method: string, endpoint: string, data: unknown, isRequiredGroup: boolean): Departs {
  if (!['PUT', 'PATCH', 'DELETE'].includes(method)) return null;
  if (endpoint === 'Users') return readDeparture(method, data) === 'leaves' ? 'alone' : null;
  if (endpoint === 'Agents') return readSuspension(method, data) === 'leaves' ? 'alone' : null;
  return endpoint === 'Groups' && isRequiredGroup && (method !== 'PATCH' || takesAway(data)) ? 'whole' : null;
}

function takesAway(data: unknown): boolean {
  const lists = isObject(data) ? Object.entries(data).filter(([name]) => name.toLowerCase() === 'operations') : [];
  const operations: unknown[] = lists.flatMap(([, list]) => list);
  return operations
    .filter(isObject)
    .some((operation) => /remove|replace/i.test(textOf(membersOf(operation).get('op')) ?? ''));
}

function judge(
  { method, bulkId, endpoint, target, version, data }: Omit<BulkOperation, 'refusal'>,
  members: ReadonlyMap<string, unknown>,
): ScimRefusal | null {
  const isGiven = (name: string) => (members.get(name) ?? null) !== null;
  if (!methods.includes(method)) {
    return new ScimRefusal('invalidSyntax', `method: one of ${methods.join(', ')} is expected`);
  }
  if (endpoint === '' || target?.startsWith('.')) {
    return new ScimRefusal('invalidValue', 'path: that of a resource is expected, such as /Users or /Users/{id}');
  }
  if (bulkId === null && (method === 'POST' || isGiven('bulkid'))) {
    return new ScimRefusal('invalidValue', 'bulkId: a string is expected, and for POST one has to be given');
  }
  if (version === null && isGiven('version')) return new ScimRefusal('invalidValue', 'version: an ETag is expected');
  if (method !== 'DELETE' && !isObject(data)) return new ScimRefusal('invalidSyntax', 'data: an object is expected');
  return null;
}

const positiveInteger = (value: unknown): number | null =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 ? Math.max(value, 1) : null;

/**
 * `requiredGroupId`: of the group without which nobody of the directory is there.
 * @throws ScimRefusal when there are no operations in it; WritError `too_large` when there are too many.
 */
export function readBulk(body: unknown, requiredGroupId: string | null): BulkRequest {
  if (!isObject(body)) throw new ScimRefusal('invalidSyntax', 'body: a JSON object is expected');
  const lists = Object.entries(body).filter(([name]) => name.toLowerCase() === 'operations');
  const items: unknown[] = lists.flatMap(([, list]) => list);
  if (items.length === 0) throw new ScimRefusal('invalidSyntax', 'Operations: a list of operations is expected');
  if (items.length > maxBulkOperations) {
    throw new WritError('too_large', `maxOperations: a Bulk has at most ${maxBulkOperations} operations`);
  }
  const operations = items.map((item) => readOperation(item, requiredGroupId));
  const limit = membersOf(body).get('failonerrors') ?? null;
  const failOnErrors = positiveInteger(limit);
  const made = operations.filter(({ method, bulkId }) => method === 'POST' && bulkId !== null);
  let refusal: ScimRefusal | null = null;
  if (lists.length > 1 || !Array.isArray(lists[0]?.[1])) {
    refusal = new ScimRefusal('invalidSyntax', 'Operations: one list of operations is expected');
  } else if (limit !== null && failOnErrors === null) {
    refusal = new ScimRefusal('invalidValue', 'failOnErrors: a positive integer is expected');
  } else if (new Set(made.map(({ bulkId }) => bulkId)).size < made.length) {
    refusal = new ScimRefusal('invalidValue', 'bulkId: of two resources, one is expected for each');
  }
  return { operations, failOnErrors, refusal };
}
