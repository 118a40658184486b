/**
 * SCIM's error form (RFC 7644 §3.12) and the one table from what is thrown to what is sent. Whatever is not a deliberate
 * refusal is a 5xx: an IdP takes a 4xx for an answer, and a 404 for "already gone".
 */
import { type ErrorCode, WritError } from '../../errors.ts';
import { isOutage } from '../../platform/db/client.ts';
import { RateLimited } from '../../platform/http/rate-limit.ts';
import { scimUrns } from '../../protocol.ts';

export type ScimType =
  | 'invalidFilter'
  | 'tooMany'
  | 'uniqueness'
  | 'mutability'
  | 'invalidSyntax'
  | 'invalidPath'
  | 'noTarget'
  | 'invalidValue'
  // RFC 9865 §2.1
  | 'invalidCursor'
  | 'expiredCursor'
  | 'invalidCount';

const maxDetailLength = 500;

/** A request that SCIM itself refuses with 400. */
export class ScimRefusal extends Error {
  override readonly name = 'ScimRefusal';
  readonly scimType: ScimType;
  readonly detail: string;

  /** A detail may quote what was sent: no more of it than helps is answered, logged and kept. */
  constructor(scimType: ScimType, detail: string) {
    const cut = detail.slice(0, maxDetailLength).toWellFormed();
    super(`${scimType}: ${cut}`);
    this.scimType = scimType;
    this.detail = cut;
  }
}

/** `If-Match` names a version that is not the current one (RFC 7644 §3.14). */
export class StaleVersion extends Error {
  override readonly name = 'StaleVersion';
}

/** A `bulkId:…` of which the Bulk has made no resource (RFC 7644 §3.7.1). */
export class UnresolvedReference extends Error {
  override readonly name = 'UnresolvedReference';
  readonly detail: string;

  constructor(references: Iterable<string>) {
    super('a reference was not resolved');
    const names = [...references].slice(0, 10).map((reference) => `bulkId:${reference.slice(0, 100)}`);
    this.detail = `There is no resource for ${names.join(', ')} in this request, or it could not be made.`;
  }
}

export interface ScimFailure {
  status: 400 | 401 | 403 | 404 | 405 | 409 | 412 | 413 | 415 | 429 | 500 | 501 | 503;
  scimType?: ScimType;
  detail: string;
  headers?: Record<string, string>;
}

const retryAfterSeconds = '5';

const answers: Record<ErrorCode, Omit<ScimFailure, 'detail'>> = {
  invalid_request: { status: 400, scimType: 'invalidValue' },
  unauthenticated: { status: 401, headers: { 'WWW-Authenticate': 'Bearer realm="Writ SCIM"' } },
  forbidden: { status: 403 },
  not_found: { status: 404 },
  conflict: { status: 409, scimType: 'uniqueness' },
  too_large: { status: 413 },
  unsupported_media_type: { status: 415 },
  method_not_allowed: { status: 405 },
  rate_limited: { status: 429 },
  unavailable: { status: 503, headers: { 'Retry-After': retryAfterSeconds } },
};

/** How anything that was thrown is answered. */
export function toFailure(error: unknown): ScimFailure {
  if (error instanceof ScimRefusal) return { status: 400, scimType: error.scimType, detail: error.detail };
  if (error instanceof RateLimited) return { status: 429, detail: error.detail, headers: error.headers };
  if (error instanceof WritError) return { ...answers[error.code], detail: error.detail };
  if (error instanceof StaleVersion) return { status: 412, detail: 'If-Match: the resource has changed since.' };
  if (error instanceof UnresolvedReference) return { status: 409, detail: error.detail };
  if (isOutage(error)) return { ...answers.unavailable, detail: 'The service is unavailable; try again later.' };
  return { status: 500, detail: 'The service has failed; nothing is known about the resource.' };
}

export const failureBody = ({ status, scimType, detail }: ScimFailure) => ({
  schemas: [scimUrns.error],
  status: String(status),
  ...(scimType === undefined ? {} : { scimType }),
  detail,
});
