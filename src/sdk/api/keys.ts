import { createPublicKey, type JsonWebKey, type KeyObject, verify } from 'node:crypto';
import { type Fetch, getObject, isObject, withDeadline } from './http.ts';
import type { ServerMetadata } from './metadata.ts';

/** JOSE names that a verifier can be told to accept. `EdDSA` is the older name of `Ed25519` (RFC 9864). */
export const knownAlgorithms = ['ES256', 'Ed25519', 'EdDSA', 'RS256'] as const;
export type VerifierAlgorithm = (typeof knownAlgorithms)[number];

export interface VerificationKey {
  key: KeyObject;
  algorithms: readonly VerifierAlgorithm[];
  /** The JWK it was made of: an unchanged key stays the same object, so that tokens verified with it stay verified. */
  source: string;
}

export interface Keys {
  /** Looks a key up; an unknown one makes the key set be read again, unless that was done a moment ago. */
  find(kid: string): VerificationKey | undefined | Promise<VerificationKey | undefined>;
  /** The key as it is known now; never waits. */
  peek(kid: string): VerificationKey | undefined;
  /** Why the last attempt to read failed; `undefined` when it did not. */
  lastProblem(): unknown;
  /** Whether the set was read at least once. */
  isRead(): boolean;
  /** Reads the set now, or joins who does; rejects when that fails. */
  read(): Promise<void>;
  /** The set has just changed: the next unknown key makes it be read at once. */
  expectChange(): void;
}

const maxBytes = 512 * 1024;
const maxKeys = 256;
const maxAgeMs = 300_000;
const cooldownMs = 1_000;
const timeoutMs = 5_000;

/**
 * The issuer's public keys, held by `kid`. Reads the set at most once a second (a flood of tokens with
 * invented key ids costs the issuer next to nothing), and again in the background when it is five minutes old. That a key is dead is learned
 * from the feed and not from its absence here.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7517#section-5 RFC 7517 §5}
 */
export function createKeys(options: {
  readMetadata: () => Promise<ServerMetadata>;
  fetch: Fetch;
  monotonic: () => number;
  closed: AbortSignal;
}): Keys {
  let keys = new Map<string, VerificationKey>();
  let readAt: number | undefined;
  let triedAt: number | undefined;
  let problem: unknown;
  let inFlight: Promise<void> | undefined;

  async function readOnce(): Promise<void> {
    triedAt = options.monotonic();
    try {
      const { jwksUri } = await options.readMetadata();
      const set = await withDeadline(options.closed, timeoutMs, (signal) =>
        getObject(options.fetch, jwksUri, { signal, maxBytes }),
      );
      if (!Array.isArray(set.keys)) throw new TypeError('The key set has no keys');
      keys = importKeys(set.keys.slice(0, maxKeys), keys);
      readAt = options.monotonic();
      problem = undefined;
    } catch (cause) {
      problem = cause;
      throw cause;
    }
  }

  function read(): Promise<void> {
    inFlight ??= readOnce().finally(() => {
      inFlight = undefined;
    });
    return inFlight;
  }

  const isOlderThan = (instant: number | undefined, ageMs: number): boolean =>
    instant === undefined || options.monotonic() - instant >= ageMs;

  async function findAfterReading(kid: string): Promise<VerificationKey | undefined> {
    // A failed attempt is in `problem`; the caller tells an unknown key from an unreadable set by it.
    await read().catch(() => undefined);
    return keys.get(kid);
  }

  return {
    read,
    expectChange: () => {
      triedAt = undefined;
    },
    isRead: () => readAt !== undefined,
    peek: (kid) => keys.get(kid),
    lastProblem: () => problem,
    find(kid) {
      const found = keys.get(kid);
      const mayRead = inFlight !== undefined || isOlderThan(triedAt, cooldownMs);
      if (found) {
        if (mayRead && isOlderThan(readAt, maxAgeMs)) read().catch(() => undefined);
        return found;
      }
      return mayRead ? findAfterReading(kid) : undefined;
    },
  };
}

function importKeys(jwks: unknown[], previous: Map<string, VerificationKey>): Map<string, VerificationKey> {
  const keys = new Map<string, VerificationKey>();
  for (const jwk of jwks) {
    if (!isObject(jwk) || typeof jwk.kid !== 'string' || keys.has(jwk.kid)) continue;
    const source = JSON.stringify(jwk);
    const known = previous.get(jwk.kid);
    const key = known?.source === source ? known : importKey(jwk, source);
    if (key) keys.set(jwk.kid, key);
  }
  return keys;
}

/** `undefined` for a key that is for something else, too weak, or of a kind not known here (RFC 7517 §5: ignored). */
function importKey(jwk: Record<string, unknown>, source: string): VerificationKey | undefined {
  if (jwk.use !== undefined && jwk.use !== 'sig') return undefined;
  if (jwk.key_ops !== undefined && !(Array.isArray(jwk.key_ops) && jwk.key_ops.includes('verify'))) return undefined;
  // Only public members of the three kinds are handed on: a symmetric key can never become one to verify with.
  const { kty, crv, x, y, n, e } = jwk;
  let members: Record<string, unknown>;
  let fitting: readonly VerifierAlgorithm[];
  if (kty === 'EC' && crv === 'P-256') [members, fitting] = [{ kty, crv, x, y }, ['ES256']];
  else if (kty === 'OKP' && crv === 'Ed25519') [members, fitting] = [{ kty, crv, x }, ['Ed25519', 'EdDSA']];
  else if (kty === 'RSA') [members, fitting] = [{ kty, n, e }, ['RS256']];
  else return undefined;
  // `EdDSA` and `Ed25519` are two names of one algorithm for such a key, whichever of them it is published under.
  if (jwk.alg !== undefined && !(fitting as readonly unknown[]).includes(jwk.alg)) return undefined;
  try {
    const key = createPublicKey({ key: members as JsonWebKey, format: 'jwk' });
    if (kty === 'RSA' && (key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048) return undefined;
    return { key, algorithms: fitting, source };
  } catch {
    return undefined;
  }
}

/** Whether `signature` (as in JWS, RFC 7518 §3) is that of `input`. The algorithm has to fit the key already. */
export function isSignatureValid(
  algorithm: VerifierAlgorithm,
  key: KeyObject,
  input: Buffer,
  signature: Buffer,
): boolean {
  switch (algorithm) {
    case 'ES256':
      // Node verifies a bare KeyObject with DER a third faster than `{ key, dsaEncoding: 'ieee-p1363' }`.
      return signature.length === 64 && verify('sha256', input, key, encodeDer(signature));
    case 'RS256':
      return verify('sha256', input, key, signature);
    case 'Ed25519':
    case 'EdDSA':
      return verify(null, input, key, signature);
  }
}

/** The 64 bytes r and s of an ES256 signature as an ASN.1 sequence of two integers (RFC 3279 §2.2.3). */
function encodeDer(signature: Buffer): Buffer {
  const r = encodeInteger(signature.subarray(0, 32));
  const s = encodeInteger(signature.subarray(32));
  return Buffer.concat([Buffer.from([0x30, r.length + s.length]), r, s]);
}

function encodeInteger(bytes: Buffer): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const value = bytes.subarray(start);
  const isNegative = ((value[0] ?? 0) & 0x80) !== 0;
  const head = isNegative ? [0x02, value.length + 1, 0] : [0x02, value.length];
  return Buffer.concat([Buffer.from(head), value]);
}
