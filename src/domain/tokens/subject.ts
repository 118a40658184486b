/** Reads an access token that Writ issued: form, signature, type, issuer and expiry; not yet whether it is alive. */
import { hash } from 'node:crypto';
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

/** What a signature was found good for: it stays so for as long as its key is not revoked. */
interface Verified {
  kid: string;
  claims: AccessTokenClaims;
}

const verifiedAtMost = 2_000;
/** By the token's hash. Agents exchange one token for several APIs, and APIs introspect what they are shown again. */
const verified = new WeakMap<Keyring, Map<string, Verified>>();

function verify(keyring: Keyring, token: string): Verified | undefined {
  const kept = verified.get(keyring) ?? new Map<string, Verified>();
  verified.set(keyring, kept);
  const id = hash('sha256', token, 'base64url');
  const known = kept.get(id);
  if (known !== undefined) return known;
  const [head, body, tail, ...rest] = token.split('.');
  const header = parsePart(head);
  if (header === undefined || tail === undefined || rest.length > 0 || !/^[A-Za-z0-9_-]+$/.test(tail)) return undefined;
  const { typ, kid, alg, crit } = header;
  if (typ !== jwtTypes.accessToken || typeof kid !== 'string' || crit !== undefined) return undefined;
  const key = keyring.verificationKey(kid);
  if (key === undefined || alg !== key.algorithm) return undefined;
  if (!isSigned(key.algorithm, key.publicKey, `${head}.${body}`, Buffer.from(tail, 'base64url'))) return undefined;
  // Signed by our own signer, whose argument is of this type.
  const claims = parsePart(body) as unknown as AccessTokenClaims | undefined;
  if (claims === undefined) return undefined;
  const [oldest] = kept.keys();
  if (kept.size >= verifiedAtMost && oldest !== undefined) kept.delete(oldest);
  kept.set(id, { kid, claims });
  return { kid, claims };
}

/**
 * The claims of a token of ours, or `undefined` for anything else: foreign, edited, another type, expired, a dead key.
 * Revocation is for `readLiveness` to decide.
 */
export function readToken(keyring: Keyring, issuer: string, token: string, now: Date): AccessTokenClaims | undefined {
  if (token.length > maxLength) return undefined;
  const found = verify(keyring, token);
  if (found === undefined) return undefined;
  const key = keyring.verificationKey(found.kid);
  if (key === undefined || key.revoked || found.claims.iss !== issuer) return undefined;
  return found.claims.exp > now.getTime() / 1000 ? found.claims : undefined;
}
