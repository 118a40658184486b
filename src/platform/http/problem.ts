/** Problem details: what an error looks like on every edge that has no format of its own. RFC 9457. */
import type { ErrorCode } from '../../errors.ts';

/** Exhaustive. `title` is the status phrase, as RFC 9457 §4.2.1 wants it for `about:blank`. */
export const problemKinds = {
  invalid_request: { status: 400, title: 'Bad Request' },
  unauthenticated: { status: 401, title: 'Unauthorized' },
  forbidden: { status: 403, title: 'Forbidden' },
  not_found: { status: 404, title: 'Not Found' },
  method_not_allowed: { status: 405, title: 'Method Not Allowed' },
  conflict: { status: 409, title: 'Conflict' },
  too_large: { status: 413, title: 'Content Too Large' },
  unsupported_media_type: { status: 415, title: 'Unsupported Media Type' },
  rate_limited: { status: 429, title: 'Too Many Requests' },
  unavailable: { status: 503, title: 'Service Unavailable' },
  internal: { status: 500, title: 'Internal Server Error' },
} as const satisfies Record<ErrorCode | 'internal', { status: number; title: string }>;

/** The answer to what failed. Without `members` it says no more than its code. */
export function respondProblem(
  code: ErrorCode | 'internal',
  members: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Response {
  const { status, title } = problemKinds[code];
  return new Response(JSON.stringify({ type: 'about:blank', title, status, code, ...members }), {
    status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      ...(status === 503 ? { 'retry-after': '1' } : {}),
      ...headers,
    },
  });
}
