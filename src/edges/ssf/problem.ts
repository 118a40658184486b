/** Errors of the feed on the wire: RFC 9457 problem details with a stable `code`. */
import { WritError } from '../../errors.ts';
import { isOutage } from '../../platform/db/client.ts';
import { respondProblem } from '../../platform/http/problem.ts';
import { RateLimited } from '../../platform/http/rate-limit.ts';

/** The answer to anything thrown. `isFault`: nobody threw it on purpose, so it belongs in the log. */
export function toProblem(error: unknown): { response: Response; isFault: boolean } {
  if (error instanceof RateLimited) return { response: respondProblem(error.code, {}, error.headers), isFault: false };
  if (error instanceof WritError) return { response: respond(error), isFault: false };
  return { response: respondProblem(isOutage(error) ? 'unavailable' : 'internal'), isFault: true };
}

/** A caller has authenticated before anything else is looked at: details go only to an API that is known. */
function respond({ code, detail }: WritError): Response {
  if (code === 'unavailable') return respondProblem(code);
  if (code !== 'unauthenticated') return respondProblem(code, { detail });
  const challenge = { 'www-authenticate': 'Basic realm="writ", charset="UTF-8"' };
  return respondProblem(code, { detail: 'The feed credentials of an API are needed.' }, challenge);
}
