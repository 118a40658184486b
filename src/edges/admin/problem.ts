/**
 * From what was thrown to an RFC 9457 answer. An outage is 503 and never a 404 or a 401; whatever else is unexpected is
 * 500, logged with the request id and shown to nobody.
 */
import { type ErrorCode, WritError } from '../../errors.ts';
import { isOutage } from '../../platform/db/client.ts';
import { respondProblem } from '../../platform/http/problem.ts';
import { RateLimited } from '../../platform/http/rate-limit.ts';

export interface ProblemIssue {
  /** Where: `credential.jwks.keys[0].kty`; a query parameter by its name; empty: the body as a whole. */
  path: string;
  message: string;
}

/** A refusal that this edge itself makes, with what only HTTP knows: header fields, and every problem of the input. */
export class EdgeRefusal extends WritError {
  readonly headers: Record<string, string>;
  readonly errors: ProblemIssue[];

  constructor(
    code: ErrorCode,
    detail: string,
    more: { headers?: Record<string, string>; errors?: ProblemIssue[] } = {},
  ) {
    super(code, detail);
    this.headers = more.headers ?? {};
    this.errors = more.errors ?? [];
  }
}

/** What this edge needs of the log. */
export interface Log {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** The answer to a request that failed. */
export function answerProblem(error: unknown, requestId: string, log: Log): Response {
  if (error instanceof WritError && error.code !== 'unavailable') {
    const errors = error instanceof EdgeRefusal ? error.errors : issuesOf(error);
    const headers = error instanceof EdgeRefusal || error instanceof RateLimited ? error.headers : {};
    const members = { detail: error.detail, ...(errors.length === 0 ? {} : { errors }), requestId };
    return respondProblem(error.code, members, { 'x-request-id': requestId, ...headers });
  }
  const isAway = error instanceof WritError || isOutage(error);
  if (isAway) log.warn({ err: error, requestId }, 'administration call met an outage');
  else log.error({ err: error, requestId }, 'administration call failed');
  const members = { detail: isAway ? unavailable : failed, requestId };
  return respondProblem(isAway ? 'unavailable' : 'internal', members, { 'x-request-id': requestId });
}

/** Domains say which member broke a rule at the beginning of the detail: `credential.jwks.keys[0].crv: has to be P-256`. */
function issuesOf({ code, detail }: WritError): ProblemIssue[] {
  if (code !== 'invalid_request') return [];
  const [, path, message] = /^([A-Za-z][\w.[\]]*): (.+)$/s.exec(detail) ?? [];
  return path === undefined || message === undefined ? [] : [{ path, message }];
}

const unavailable = 'The database does not answer, or is busy. Nothing was changed; try again.';
const failed = 'Something failed inside Writ. The log has it under this request id.';
