import type { Context, MiddlewareHandler } from 'hono';
import type { AccessTokenClaims } from '../../protocol.ts';
import { VerifyError } from './errors.ts';
import type { Requirement } from './requirement.ts';
import type { Verifier } from './verify.ts';

/**
 * Middleware for hono that lets a request pass only with a token that grants what is required; the claims are then at
 * `c.get('claims')`. Does **not** decide anything itself, and imports hono for its types only. A refusal is answered with
 * the status and the `WWW-Authenticate` challenge of the `VerifyError`.
 *
 * @param requirement what every request needs, or a function that reads it from the request (the object's id, mostly)
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750#section-3 RFC 6750 §3}
 */
export function requireIntent(
  verifier: Pick<Verifier, 'verify'>,
  requirement: Requirement | ((c: Context) => Requirement),
): MiddlewareHandler<{ Variables: { claims: AccessTokenClaims } }> {
  return async (c, next) => {
    let claims: AccessTokenClaims;
    try {
      const required = typeof requirement === 'function' ? requirement(c) : requirement;
      claims = await verifier.verify(c.req.raw, required);
    } catch (cause) {
      return respond(cause instanceof VerifyError ? cause : new VerifyError('verifier_fault', { cause }));
    }
    c.set('claims', claims);
    await next();
  };
}

function respond(refusal: VerifyError): Response {
  const headers = new Headers({ 'cache-control': 'no-store' });
  if (refusal.wwwAuthenticate !== undefined) headers.set('www-authenticate', refusal.wwwAuthenticate);
  if (refusal.retryAfterSeconds !== undefined) headers.set('retry-after', String(refusal.retryAfterSeconds));
  // As dull as the challenge: which of the checks a bad token failed is told to the log and not to who sent it.
  const error = refusal.error ?? (refusal.status < 500 ? 'invalid_token' : 'temporarily_unavailable');
  return Response.json({ error }, { status: refusal.status, headers });
}
