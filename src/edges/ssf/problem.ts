/** Errors of the feed on the wire: RFC 9457 problem details with a stable `code`. */
import { type ErrorCode, WritError } from '../../errors.ts';
import { isOutage } from '../../platform/db/client.ts';

const problems: Record<ErrorCode, { status: number; title: string; headers?: Record<string, string> }> = {
  invalid_request: { status: 400, title: 'The request is malformed' },
  unauthenticated: {
    status: 401,
    title: 'The feed credentials of an API are needed',
    headers: { 'www-authenticate': 'Basic realm="writ", charset="UTF-8"' },
  },
  forbidden: { status: 403, title: 'Not allowed' },
  not_found: { status: 404, title: 'There is nothing here' },
  conflict: { status: 409, title: 'The state has changed' },
  too_large: { status: 413, title: 'The request is too large' },
  unsupported_media_type: { status: 415, title: 'The body has to be application/json' },
  method_not_allowed: { status: 405, title: 'The method is not allowed here' },
  unavailable: { status: 503, title: 'Unavailable, try again', headers: { 'retry-after': '1' } },
};

/** The answer to anything thrown. `isFault`: nobody threw it on purpose, so it belongs in the log. */
export function toProblem(error: unknown): { response: Response; isFault: boolean } {
  if (error instanceof WritError) {
    // A caller has authenticated before anything else is looked at: details go only to an API that is known.
    const isTold = error.code !== 'unauthenticated' && error.code !== 'unavailable';
    return { response: respond(error.code, isTold ? error.detail : undefined), isFault: false };
  }
  if (isOutage(error)) return { response: respond('unavailable'), isFault: true };
  const body = { type: 'about:blank', title: 'Internal error', status: 500, code: 'internal' };
  return { response: problemResponse(500, body, {}), isFault: true };
}

function respond(code: ErrorCode, detail?: string): Response {
  const { status, title, headers = {} } = problems[code];
  const body = { type: 'about:blank', title, status, code, ...(detail === undefined ? {} : { detail }) };
  return problemResponse(status, body, headers);
}

const problemResponse = (status: number, body: object, headers: Record<string, string>): Response =>
  new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...headers },
  });
