/** One authenticated SCIM request: who calls, what they sent, and how they are answered. */
import type { Context } from 'hono';
import type { Logger } from 'pino';
import type { Act, AuditNode } from '../../domain/audit/append.ts';
import type { ScimRequest } from '../../domain/people/scim-requests.ts';
import { WritError } from '../../errors.ts';
import type { Db } from '../../platform/db/client.ts';
import type { DirectoryKind } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { parseJson, readBody } from '../../platform/http/body.ts';
import type { Limits, RateLimited } from '../../platform/http/rate-limit.ts';
import { ScimRefusal, StaleVersion } from './errors.ts';
import type { Reading, Resource } from './resource.ts';
import { noteIgnored, type Trace } from './trace.ts';
import { etagOf } from './wire.ts';

export interface ScimDeps {
  db: Db;
  node: AuditNode;
  now: () => Date;
  issuer: string;
  log: Logger;
  /** Told of each departure once its answer was sent. */
  observe?(departure: { agents: number; seconds: number }): void;
  /** Told what each request of a directory was and did; neither waits nor throws. */
  noteRequest?(request: ScimRequest): void;
  limits: Limits;
  /** Signs the cursors of lists; the same on every node. */
  cursorKey: Uint8Array;
}

export interface Variables {
  /** Given by the server when it has numbered the request already. */
  requestId?: string;
  traceId?: string;
  act: Act;
  /** `null` until the bearer token was recognised. */
  directory: CallingDirectory | null;
  /** What is told of the request later; one for a whole Bulk. */
  trace: Trace;
  requestedAt: Date;
  /** The departures that this answer is the proof of. */
  offboardings: Offboarding[];
  /** By this request; `null`: it was none, or repeats one. */
  agentsStopped: number | null;
  /** Why nothing but departures may be done by this Bulk: there were too many requests. */
  heldBack?: RateLimited;
  /** Why this operation of a Bulk is not carried out. */
  refusal?: unknown;
}

export interface CallingDirectory {
  id: string;
  name: string;
  kind: DirectoryKind;
  /** Where agents that it creates live; `null`: `/Agents` is not there for it. */
  agentsEnvironment: string | null;
  /** The group without which nobody of it is live. */
  requiredGroupId: string | null;
  /** `null`: as the server has it. */
  requestsPerMinute: number | null;
}

export interface Offboarding {
  receipt: string;
  /** How many stopped; `null`: the receipt is that of an earlier request. */
  agents: number | null;
}

export type ScimContext = Context<{ Variables: Variables }>;

export const baseOf = ({ issuer }: ScimDeps): string => `${issuer.replace(/\/$/, '')}/scim/v2`;

/** The caller's directory: the scope of every read and write. */
export function directoryOf(c: ScimContext): CallingDirectory {
  const directory = c.get('directory');
  if (directory === null) throw new WritError('unauthenticated', 'no directory is authenticated');
  return directory;
}

/** How bodies are read: a known IdP may name what there is not, others are told so (a kind relaxes, and never demands more). */
export const readingOf = (c: ScimContext): Reading => ({
  ignore: (name) => noteIgnored(c.get('trace'), name),
  isLenient: directoryOf(c).kind !== 'generic',
});

/** The id in the path. What is no UUID is nobody's id. @throws WritError `not_found`. */
export function idOf(c: ScimContext): string {
  const id = canonicalId(c.req.param('id') ?? '');
  if (id === null) throw new WritError('not_found', 'no such resource');
  return id;
}

export const queryOf = (c: ScimContext): URLSearchParams => new URL(c.req.url).searchParams;

const jsonTypes = new Set(['application/scim+json', 'application/json']);

/** @throws WritError `unsupported_media_type`, `too_large`; ScimRefusal `invalidSyntax`. */
export async function readJson(c: ScimContext): Promise<unknown> {
  requireJson(c);
  return parseStrictly(await readBody(c.req.raw));
}

/**
 * A body that may say that somebody is gone: that has to be heard even of a body that is refused for anything else.
 * `refusal` is why nothing but a departure may be done by it; `body` is then what a lenient reader makes of it.
 * @throws WritError `too_large`.
 */
export async function readChange(c: ScimContext): Promise<{ body: unknown; refusal: unknown }> {
  const bytes = await readBody(c.req.raw);
  try {
    requireJson(c);
    return { body: parseStrictly(bytes), refusal: null };
  } catch (refusal) {
    return { body: parseLeniently(bytes), refusal };
  }
}

function requireJson(c: ScimContext): void {
  const type = (c.req.header('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (!jsonTypes.has(type)) throw new WritError('unsupported_media_type', 'application/scim+json is expected');
}

/** `undefined`: no JSON by any reading. */
export function parseLeniently(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

function parseStrictly(bytes: Uint8Array): unknown {
  try {
    return parseJson(bytes);
  } catch (error) {
    if (!(error instanceof WritError) || error.code !== 'invalid_request') throw error;
    throw new ScimRefusal('invalidSyntax', error.detail);
  }
}

/** RFC 7644 §3.14; weak comparison, `*` matches what exists. @throws StaleVersion. */
export function checkVersion(c: ScimContext, resource: { version: number }): void {
  const given = c.req.header('if-match');
  if (given === undefined || given.trim() === '*') return;
  const current = etagOf(resource).slice(2);
  const isCurrent = given.split(',').some((tag) => tag.trim().replace(/^W\//, '') === current);
  if (!isCurrent) throw new StaleVersion();
}

/**
 * RFC 7644 §3.14: whether the caller has this version already. The version counts what the directory has written; the
 * groups of a user, which their own versions tell of, do not raise it.
 */
export function isKnown(c: ScimContext, resource: { version: number }): boolean {
  const given = c.req.header('if-none-match');
  if (given === undefined) return false;
  const current = etagOf(resource).slice(2);
  return given.trim() === '*' || given.split(',').some((tag) => tag.trim().replace(/^W\//, '') === current);
}

export function notModified(c: ScimContext, resource: { version: number }): Response {
  c.header('ETag', etagOf(resource));
  return c.body(null, 304);
}

export const scimType = { 'Content-Type': 'application/scim+json' } as const;

/** How much a caller wants a media type, 0 to 1, by the most specific range that names it. */
function weigh(accept: string, type: string): number {
  let best = { specificity: 0, weight: 0 };
  for (const range of accept.toLowerCase().split(',')) {
    const [name = '', ...parameters] = range.split(';').map((part) => part.trim());
    const specificity = name === type ? 3 : name === 'application/*' ? 2 : name === '*/*' ? 1 : 0;
    const q = Number(parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? 1);
    if (specificity > best.specificity) best = { specificity, weight: Number.isNaN(q) ? 1 : q };
  }
  return best.weight;
}

/**
 * RFC 7644 §3.8: `application/json` for whoever wants that and not `application/scim+json`; the latter for everybody
 * else, also for whoever wants neither: an answer that an IdP may understand beats a refusal.
 */
export function typeFor(c: ScimContext): { 'Content-Type': string } {
  const accept = c.req.header('accept') ?? '*/*';
  const isPlain = weigh(accept, 'application/json') > weigh(accept, 'application/scim+json');
  return { 'Content-Type': isPlain ? 'application/json' : 'application/scim+json' };
}

export function answer(c: ScimContext, body: Resource, status: 200 | 201 = 200): Response {
  return c.body(JSON.stringify(body), status, typeFor(c));
}

/** The request, as the receipts of those who leave by it name it. */
export const leaverRequest = (c: ScimContext) => ({
  method: c.req.method,
  requestedAt: c.get('requestedAt'),
  observe: (agents: number) => c.set('agentsStopped', agents),
});

/** Receipts in one header, at most: proxies refuse an answer whose head is too long. */
const maxNamed = 50;

/** Names the departures in the answer, which is their proof: all of them, or how many and the first. */
export function noteOffboardings(c: ScimContext, offboardings: readonly Offboarding[]): void {
  if (offboardings.length === 0) return;
  c.get('offboardings').push(...offboardings);
  const named = offboardings.slice(0, maxNamed).map(({ receipt }) => receipt);
  c.header('Writ-Offboarding', named.join(', '));
  if (offboardings.length > named.length) c.header('Writ-Offboarding-Count', String(offboardings.length));
}
