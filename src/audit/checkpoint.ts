/** A signed checkpoint, read with nothing but published keys. RFC 7515, compact; always ES256. */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { jwtTypes } from '../protocol.ts';

/** The issuer's keys by `kid`. */
export type PublicKeys = ReadonlyMap<string, KeyObject>;

export interface ReadCheckpoint {
  issuer: unknown;
  number: number;
  /** base64url */
  hash: string;
  /** `unknown`: by a key that is not among those given, so nothing is known of who made it. */
  signature: 'good' | 'bad' | 'unknown';
}

/** What can be used of a JWK Set (RFC 7517 §5): the keys that sign checkpoints. */
export function readKeys(jwks: unknown): PublicKeys {
  const keys = new Map<string, KeyObject>();
  const listed = typeof jwks === 'object' && jwks !== null && 'keys' in jwks ? jwks.keys : undefined;
  for (const jwk of Array.isArray(listed) ? listed : []) {
    const { kid, kty, crv, x, y } = jwk ?? {};
    if (typeof kid !== 'string' || kty !== 'EC' || crv !== 'P-256') continue;
    keys.set(kid, createPublicKey({ format: 'jwk', key: { kty, crv, x, y } }));
  }
  return keys;
}

function decode(part: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : null;
  } catch {
    return null;
  }
}

/** `null`: it is no checkpoint, whoever made it. */
export function readCheckpoint(jws: string, keys: PublicKeys): ReadCheckpoint | null {
  const [head = '', payload = '', signature = '', ...more] = jws.split('.');
  const header = decode(head);
  const claims = decode(payload);
  if (header === null || claims === null || more.length > 0) return null;
  const { number, hash, iss } = claims;
  if (header.typ !== jwtTypes.checkpoint || header.alg !== 'ES256') return null;
  if (typeof number !== 'number' || typeof hash !== 'string') return null;
  const key = typeof header.kid === 'string' ? keys.get(header.kid) : undefined;
  const input = Buffer.from(`${head}.${payload}`, 'ascii');
  const isGood = (by: KeyObject): boolean =>
    verify('sha256', input, { key: by, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url'));
  const found = key === undefined ? 'unknown' : isGood(key) ? 'good' : 'bad';
  return { issuer: iss, number, hash, signature: found };
}
