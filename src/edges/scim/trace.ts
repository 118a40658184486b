/**
 * What is kept of a request for the administrator who asks later what the IdP sent and what became of it: method, path,
 * outcome, what was left aside. Never a value: of a path the ids stay, of a filter its shape; of a message what stands in
 * quotes goes. What is not plainly a name is not kept.
 */
import type { ScimRequest } from '../../domain/people/scim-requests.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import type { ScimFailure } from './errors.ts';
import { groupSchema, locate, type ResourceSchema, userSchema } from './schema.ts';

/** What a request did. Of a Bulk: each operation. */
export type Effect =
  | 'created'
  | 'changed'
  | 'nothing'
  | 'offboarded'
  | 'returned'
  | 'deleted'
  | 'read'
  | 'refused'
  | 'failed';

/** Gathers, while a request is answered; one for a whole Bulk. */
export interface Trace {
  startedAt: number;
  ignored: Set<string>;
  effects: Map<Effect, number>;
  /** Why the first thing that was refused was: the request, one of its operations, or all of it but the departure. */
  refusal: ScimFailure | null;
}

const maxNames = 50;
const maxNameLength = 120;
const maxPathLength = 500;
const maxDetailLength = 300;
const maxAgentLength = 200;
const hidden = '…';

export const openTrace = (): Trace => ({
  startedAt: performance.now(),
  ignored: new Set(),
  effects: new Map(),
  refusal: null,
});

export function noteEffect({ effects }: Trace, effect: Effect): void {
  effects.set(effect, (effects.get(effect) ?? 0) + 1);
}

export function noteRefusal(trace: Trace, failure: ScimFailure): void {
  trace.refusal ??= failure;
}

export function noteIgnored({ ignored }: Trace, name: string): void {
  if (ignored.size < maxNames) ignored.add(/^[\w$\-:.]{1,200}$/.test(name) ? name.slice(0, maxNameLength) : hidden);
}

/** `created`; of several `changed 12, created 3`. */
const describe = (effects: ReadonlyMap<Effect, number>): string | null =>
  effects.size === 0
    ? null
    : [...effects].map(([effect, count]) => (count === 1 ? effect : `${effect} ${count}`)).join(', ');

const isRead = (method: string, url: URL): boolean =>
  method === 'GET' || method === 'HEAD' || url.pathname.endsWith('/.search');

interface Answered {
  directoryId: string;
  requestId: string;
  method: string;
  /** Below the base of SCIM, query included. */
  url: URL;
  base: string;
  status: number;
  userAgent: string | undefined;
}

export function closeTrace(trace: Trace, answered: Answered): ScimRequest {
  const { directoryId, requestId, method, url, base, status, userAgent } = answered;
  const detail = trace.refusal?.detail;
  return {
    directoryId,
    requestId: requestId.slice(0, 200),
    method,
    path: redactPath(url, base),
    status,
    scimType: trace.refusal?.scimType ?? null,
    detail: detail === undefined ? null : redactText(detail),
    ignored: [...trace.ignored],
    effect: describe(trace.effects) ?? (isRead(method, url) ? 'read' : null),
    tookMs: Math.round((performance.now() - trace.startedAt) * 100) / 100,
    userAgent: userAgent === undefined ? null : userAgent.slice(0, maxAgentLength),
  };
}

/** Whatever is in quotes may be somebody's, an unfinished string as well; so may the word that stands where an operator should. */
export const redactText = (text: string): string =>
  text
    .slice(0, 2 * maxDetailLength)
    .replace(/"(?:\\.|[^"\\])*(?:"|$)/g, `"${hidden}"`)
    .replace(/\S{1,200}(?= is no operator)/, hidden)
    .slice(0, maxDetailLength);

const segments = new Set(
  [
    'Users',
    'Groups',
    'Agents',
    'Me',
    'Bulk',
    '.search',
    'ServiceProviderConfig',
    'ResourceTypes',
    'Schemas',
    'User',
    'Group',
    'Agent',
  ].map((one) => one.toLowerCase()),
);
const isKeptSegment = (segment: string): boolean =>
  segment === '' || segments.has(segment.toLowerCase()) || canonicalId(segment) !== null || isKnownName(segment);

/** The path and query of a request, without what may be somebody's. */
export function redactPath(url: URL, base: string): string {
  const below = url.pathname.startsWith(base) ? url.pathname.slice(base.length) : url.pathname;
  const path = below
    .split('/')
    .map((segment) => (isKeptSegment(segment) ? segment : hidden))
    .join('/');
  const query = [...url.searchParams].map(([name, value]) => redactParameter(name, value)).join('&');
  return (query === '' ? path : `${path}?${query}`).slice(0, maxPathLength);
}

function redactParameter(name: string, value: string): string {
  switch (name) {
    case 'filter':
      return `filter=${redactFilter(value)}`;
    case 'startIndex':
    case 'count':
      return `${name}=${/^-?\d{1,9}$/.test(value) ? value : hidden}`;
    case 'sortBy':
    case 'attributes':
    case 'excludedAttributes':
      return `${name}=${value.slice(0, maxPathLength).split(',').map(redactWord).join(',')}`;
    case 'sortOrder':
      return `${name}=${/^(ascending|descending)$/i.test(value) ? value : hidden}`;
    case 'cursor':
      return `${name}=${value === '' ? '' : hidden}`;
    default:
      return `${hidden}=${hidden}`;
  }
}

const keywords = new Set('and or not pr eq ne co sw ew gt ge lt le true false null'.split(' '));
const schemas: readonly ResourceSchema[] = [userSchema, groupSchema];
const subNames = new Set(
  schemas.flatMap(({ attributes }) => [...attributes.values()].flatMap((one) => [...one.subAttributes.keys()])),
);

function isKnownName(word: string): boolean {
  const name = word.replace(/^\./, '');
  return subNames.has(name.toLowerCase()) || schemas.some((schema) => locate(schema, name) !== null);
}

const redactWord = (word: string): string =>
  keywords.has(word.toLowerCase()) || isKnownName(word.trim()) || word.trim() === '' ? word : hidden;

/** A filter's shape: operators, brackets and names of the schemas stay, all else goes, whether it is a filter or not. */
export const redactFilter = (filter: string): string =>
  (filter.slice(0, 2 * maxPathLength).match(/"(?:\\.|[^"\\])*(?:"|$)|[()[\]]|\s+|[^\s()[\]"]+/g) ?? [])
    .map((token) => (token.startsWith('"') ? `"${hidden}"` : /^[()[\]\s]/.test(token) ? token : redactWord(token)))
    .join('');
