/** One authenticated SCIM request: who calls, what they sent, and how they are answered. */
import type { Context } from 'hono';
import type { Logger } from 'pino';
import type { Act, AuditNode } from '../../domain/audit/append.ts';
import { WritError } from '../../errors.ts';
import type { Db } from '../../platform/db/client.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { parseJson, readBody } from '../../platform/http/body.ts';
import type { Limits } from '../../platform/http/rate-limit.ts';
import { ScimRefusal, StaleVersion } from './errors.ts';
import type { Resource } from './resource.ts';
import { etagOf } from './wire.ts';

export interface ScimDeps {
  db: Db;
  node: AuditNode;
  now: () => Date;
  issuer: string;
  log: Logger;
  /** Told of each departure once its answer was sent. */
  observe?(departure: { agents: number; seconds: number }): void;
  limits: Limits;
}

export interface Variables {
  /** Given by the server when it has numbered the request already. */
  requestId?: string;
  traceId?: string;
  act: Act;
  /** `null` until the bearer token was recognised. */
  directory: { id: string; name: string } | null;
  requestedAt: Date;
  /** The receipt that this answer is the proof of. */
  offboarding: string | null;
  /** By this request; `null`: it was none, or repeats one. */
  agentsStopped: number | null;
}

export type ScimContext = Context<{ Variables: Variables }>;

export const baseOf = ({ issuer }: ScimDeps): string => `${issuer.replace(/\/$/, '')}/scim/v2`;

/** The caller's directory: the scope of every read and write. */
export function directoryOf(c: ScimContext): { id: string; name: string } {
  const directory = c.get('directory');
  if (directory === null) throw new WritError('unauthenticated', 'no directory is authenticated');
  return directory;
}

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

export const scimType = { 'Content-Type': 'application/scim+json' } as const;

export function answer(c: ScimContext, body: Resource, status: 200 | 201 = 200): Response {
  return c.body(JSON.stringify(body), status, scimType);
}
