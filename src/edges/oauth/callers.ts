/**
 * Agents that asked lately, with their keys ready to verify. A copy cannot outlive a change of the agent: the statement
 * that issues compares the version it carries, and a request that met another version reads the agent again
 * (`domain/tokens/commit.ts`, "stale"). So there is no expiry by time. Only agents are kept: of an API nothing is compared.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import type { PublicJwk } from '../../platform/db/schema.ts';
import type { JwsAlgorithm } from '../../platform/keys/jws.ts';
import type { Caller } from './state.ts';

export interface CallerKey {
  key: KeyObject;
  kid: unknown;
  algorithms: readonly JwsAlgorithm[];
}

export interface KnownAgent {
  caller: Extract<Caller, { type: 'agent' }>;
  keys: readonly CallerKey[];
}

export interface Callers {
  /** The copy at hand, or as read now; `undefined`: there is no agent of this id. */
  find(clientId: string): Promise<KnownAgent | undefined>;
  /** As read now, and kept. */
  refresh(clientId: string): Promise<KnownAgent | undefined>;
}

const maxKept = 20_000;

const algorithmsOf: Record<string, readonly JwsAlgorithm[]> = {
  EC: ['ES256'],
  OKP: ['Ed25519', 'EdDSA'],
  RSA: ['RS256', 'PS256'],
};

/** A key registered for one algorithm is used with that one alone. */
function importKey(jwk: PublicJwk): CallerKey {
  const { kid, alg, ...members } = jwk;
  const fitting = algorithmsOf[jwk.kty] ?? [];
  const algorithms = alg === undefined ? fitting : fitting.filter((name) => name === alg);
  return { key: createPublicKey({ key: members, format: 'jwk' }), kid, algorithms };
}

/** Bytes of their own: small buffers lie together in slabs, and one that is kept keeps a slab of 64 KiB. */
function copyAlone(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}

export function createCallers(read: (clientId: string) => Promise<Caller | null>): Callers {
  const kept = new Map<string, KnownAgent>();

  async function refresh(clientId: string): Promise<KnownAgent | undefined> {
    kept.delete(clientId);
    const caller = await read(clientId);
    if (caller?.type !== 'agent') return undefined;
    if (caller.secretHash !== undefined) caller.secretHash = copyAlone(caller.secretHash);
    const known = { caller, keys: (caller.jwks?.keys ?? []).map(importKey) };
    const [oldest] = kept.keys();
    if (kept.size >= maxKept && oldest !== undefined) kept.delete(oldest);
    kept.set(clientId, known);
    return known;
  }

  return { refresh, find: async (clientId) => kept.get(clientId) ?? refresh(clientId) };
}
