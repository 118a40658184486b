/** Reads an access token that Writ issued: form, signature, type, issuer and expiry; not yet whether it is alive. */
import { isSigned } from '../../platform/keys/jws.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { type AccessTokenClaims, jwtTypes } from '../../protocol.ts';

const maxLength = 16 * 1024;

function parsePart(part: string | undefined): Record<string, unknown> | undefined {
  if (part === undefined || !/^[A-Za-z0-9_-]+$/.test(part)) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The claims of a token of ours, or `undefined` for anything else: foreign, edited, another type, expired, a dead key.
 * Revocation is for `readLiveness` to decide.
 */
export function readToken(keyring: Keyring, issuer: string, token: string, now: Date): AccessTokenClaims | undefined {
  if (token.length > maxLength) return undefined;
  const [head, body, tail, ...rest] = token.split('.');
  const header = parsePart(head);
  if (header === undefined || tail === undefined || rest.length > 0 || !/^[A-Za-z0-9_-]+$/.test(tail)) return undefined;
  if (header.typ !== jwtTypes.accessToken || typeof header.kid !== 'string' || header.crit !== undefined)
    return undefined;
  const key = keyring.verificationKey(header.kid);
  if (key === undefined || key.revoked || header.alg !== key.algorithm) return undefined;
  if (!isSigned(key.algorithm, key.publicKey, `${head}.${body}`, Buffer.from(tail, 'base64url'))) return undefined;
  // Signed by our own signer, whose argument is of this type.
  const claims = parsePart(body) as unknown as AccessTokenClaims | undefined;
  if (claims === undefined || claims.iss !== issuer) return undefined;
  return claims.exp > now.getTime() / 1000 ? claims : undefined;
}
