/** Bearer secrets: 256 random bits, shown once, kept as SHA-256 (a slow hash protects passwords, not random bits). */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto';

/** A new secret. `prefix` names its kind, so that scanners find leaked ones. */
export const makeSecret = (prefix: 'writ_client' | 'writ_scim' | 'writ_feed' | 'writ_admin'): string =>
  `${prefix}_${randomBytes(32).toString('base64url')}`;

export const hashSecret = (secret: string): Buffer => hash('sha256', secret, 'buffer');

/** Whether `secret` hashes to `hash`, in constant time. */
export function secretMatches(secret: string, hash: Uint8Array): boolean {
  const actual = hashSecret(secret);
  return hash.length === actual.length && timingSafeEqual(actual, hash);
}
