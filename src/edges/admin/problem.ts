/**
 * From what was thrown to an RFC 9457 answer. The table is exhaustive: a new `ErrorCode` does not compile until it has
 * its line here. An outage is 503 and never a 404 or a 401; whatever else is unexpected is 500, logged with the request
 * id and shown to nobody.
 */
import type { Context } from 'hono';
import { type ErrorCode, WritError } from '../../errors.ts';
import { isOutage } from '../../platform/db/client.ts';

export interface ProblemIssue {
  /** Where: `credential.jwks.keys[0].kty`; a query parameter by its name; empty: the body as a whole. */
  path: string;
  message: string;
}

export interface Problem {
  type: 'about:blank';
  title: string;
  status: number;
  detail: string;
  code: ErrorCode | 'internal';
  errors?: ProblemIssue[];
  requestId: string;
}

/** `title` is the status phrase, as RFC 9457 §4.2.1 wants it for `about:blank`. */
export const problemKinds = {
  invalid_request: { status: 400, title: 'Bad Request' },
  unauthenticated: { status: 401, title: 'Unauthorized' },
  forbidden: { status: 403, title: 'Forbidden' },
  not_found: { status: 404, title: 'Not Found' },
  method_not_allowed: { status: 405, title: 'Method Not Allowed' },
  conflict: { status: 409, title: 'Conflict' },
  too_large: { status: 413, title: 'Content Too Large' },
  unsupported_media_type: { status: 415, title: 'Unsupported Media Type' },
  unavailable: { status: 503, title: 'Service Unavailable' },
} as const satisfies Record<ErrorCode, { status: number; title: string }>;

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
export function answerProblem(c: Context, error: unknown, requestId: string, log: Log): Response {
  const { problem, headers } = toProblem(error, requestId);
  if (problem.code === 'internal') log.error({ err: error, requestId }, 'administration call failed');
  if (problem.code === 'unavailable') log.warn({ err: error, requestId }, 'administration call met an outage');
  return c.body(JSON.stringify(problem), problem.status as 400, {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    'x-request-id': requestId,
    ...headers,
  });
}

/** Pure. `headers` are those that belong to this problem. */
export function toProblem(error: unknown, requestId: string): { problem: Problem; headers: Record<string, string> } {
  if (error instanceof WritError) {
    const { status, title } = problemKinds[error.code];
    const edge = error instanceof EdgeRefusal ? error : undefined;
    const errors = edge?.errors ?? issuesOf(error);
    return {
      problem: {
        type: 'about:blank',
        title,
        status,
        detail: error.code === 'unavailable' ? unavailable : error.detail,
        code: error.code,
        ...(errors.length === 0 ? {} : { errors }),
        requestId,
      },
      headers: { ...(status === 503 ? retryLater : {}), ...edge?.headers },
    };
  }
  if (isOutage(error)) return toProblem(new WritError('unavailable', unavailable), requestId);
  const detail = 'Something failed inside Writ. The log has it under this request id.';
  return {
    problem: { type: 'about:blank', title: 'Internal Server Error', status: 500, detail, code: 'internal', requestId },
    headers: {},
  };
}

/** Domains say which member broke a rule at the beginning of the detail: `credential.jwks.keys[0].crv: has to be P-256`. */
function issuesOf({ code, detail }: WritError): ProblemIssue[] {
  if (code !== 'invalid_request') return [];
  const [, path, message] = /^([A-Za-z][\w.[\]]*): (.+)$/s.exec(detail) ?? [];
  return path === undefined || message === undefined ? [] : [{ path, message }];
}

const unavailable = 'The database does not answer, or is busy. Nothing was changed; try again.';
const retryLater = { 'retry-after': '1' };
