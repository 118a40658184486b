/**
 * How an agent proves who it is: public keys it registered (`private_key_jwt`), or a secret that was shown once.
 *
 * Keys are kept as the crypto library exports them, plus `kid`, `use` and `alg`: nothing else that a JWK may carry
 * (certificates, URLs) is ever read, so it is not stored. RFC 7517, 7518 §6, 8037.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { eq, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Executor } from '../../platform/db/client.ts';
import { agents, type PublicJwk, people } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';

/** What an authenticator needs of an agent. Says nothing about whether it is live. */
export interface Client {
  id: string;
  name: string;
  environment: string;
  ownerId: string;
  /** Rises with every change of the agent or of its owner's rights; what is cached of an agent is compared by it. */
  version: number;
  credentialKind: 'jwks' | 'secret';
  jwks?: { keys: PublicJwk[] };
  secretHash?: Buffer;
  /** Ids of the intents it holds a standing grant for; as of `version`. */
  intentIds: string[];
  /** Ids of those of its owner's groups that an intent is kept for; as of `version`. */
  ownerGroups: string[];
}

/** The agent of this client id, compared to the letter, whatever its state; `null`: none. One query on the primary key. */
export async function findClient(executor: Executor, clientId: string): Promise<Client | null> {
  if (canonicalId(clientId) !== clientId) return null;
  const [row] = await executor
    .select({
      id: agents.id,
      name: agents.name,
      environment: agents.environment,
      ownerId: agents.ownerId,
      version: sql`${agents.version} + ${people.rights}`.mapWith(agents.version),
      credentialKind: agents.credentialKind,
      jwks: agents.jwks,
      secretHash: agents.secretHash,
      intentIds: sql<string[]>`coalesce((
        select jsonb_agg(g.intent_id) from agent_intents g where g.agent_id = agents.id), '[]')`,
      ownerGroups: sql<string[]>`coalesce((
        select jsonb_agg(m.group_id) from group_members m where m.person_id = agents.owner_id
          and exists (select from group_intents i where i.group_id = m.group_id)), '[]')`,
    })
    .from(agents)
    .innerJoin(people, eq(people.id, agents.ownerId))
    .where(eq(agents.id, clientId))
    .prepare('client')
    .execute();
  if (row === undefined) return null;
  const { jwks, secretHash, ...client } = row;
  return { ...client, ...(jwks && { jwks }), ...(secretHash && { secretHash }) };
}

const maxKeys = 8;
const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

/** What each kind of key may be used with. */
const algorithms: Record<string, readonly string[]> = {
  EC: ['ES256'],
  OKP: ['Ed25519', 'EdDSA'],
  RSA: ['RS256', 'PS256'],
};

const refuse = (member: string, why: string): never => {
  throw new WritError('invalid_request', `credential.jwks${member}: ${why}`);
};

/**
 * The key set as it is stored: 1 to 8 public keys, each EC P-256, Ed25519, or RSA of 2048 to 8192 bits.
 * @throws WritError `invalid_request` naming the member; private key material is refused and never repeated.
 */
export function parseJwks(jwks: { keys: readonly unknown[] }): { keys: PublicJwk[] } {
  const given: unknown = jwks?.keys;
  if (!Array.isArray(given) || given.length === 0 || given.length > maxKeys) {
    return refuse('.keys', `has to hold 1 to ${maxKeys} keys`);
  }
  const keys = given.map(parseKey);
  const named = keys.flatMap(({ kid }) => (kid === undefined ? [] : [kid]));
  if (new Set(named).size < named.length) refuse('.keys', 'two keys have the same kid');
  return { keys };
}

function parseKey(jwk: unknown, index: number): PublicJwk {
  const at = `.keys[${index}]`;
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) return refuse(at, 'has to be an object');
  const given: Record<string, unknown> = { ...jwk };
  const secret = privateMembers.find((member) => member in given);
  if (secret !== undefined) {
    return refuse(`${at}.${secret}`, 'is part of a private key: register the public key only, and replace this one');
  }
  const allowed = typeof given.kty === 'string' ? algorithms[given.kty] : undefined;
  if (allowed === undefined) return refuse(`${at}.kty`, 'has to be EC, OKP or RSA');
  if (given.use !== undefined && given.use !== 'sig') return refuse(`${at}.use`, 'has to be sig');
  const alg = given.alg;
  if (alg !== undefined && !allowed.some((name) => name === alg)) {
    return refuse(`${at}.alg`, `has to be ${allowed.join(' or ')} for this kind of key`);
  }
  const { kid } = given;
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > 256 || !/^[^\p{C}]+$/u.test(kid))) {
    return refuse(`${at}.kid`, 'has to be a string of 1 to 256 printable characters');
  }
  return {
    ...exportKey(importKey(given, at), at),
    ...(kid !== undefined && { kid }),
    ...(alg !== undefined && { alg }),
    ...(given.use !== undefined && { use: 'sig' }),
  };
}

function importKey(given: Record<string, unknown>, at: string): KeyObject {
  // Only the members of the key itself: what else stands there is not ours to interpret.
  const { kty, crv, x, y, n, e } = given;
  try {
    const members = Object.entries({ kty, crv, x, y, n, e }).filter(([, value]) => value !== undefined);
    return createPublicKey({ key: Object.fromEntries(members), format: 'jwk' });
  } catch {
    return refuse(at, 'is not a valid public key');
  }
}

function exportKey(key: KeyObject, at: string): PublicJwk {
  const { namedCurve, modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec' && namedCurve !== 'prime256v1') refuse(`${at}.crv`, 'has to be P-256');
  if (key.asymmetricKeyType === 'rsa') {
    if (modulusLength < 2048 || modulusLength > 8192) refuse(`${at}.n`, 'has to have 2048 to 8192 bits');
    // With an exponent of 1 anybody can sign; FIPS 186-5 §5.1 wants more than 2^16. Large ones cost time to verify.
    if (publicExponent < 65537n || publicExponent >= 2n ** 64n) refuse(`${at}.e`, 'has to be 65537 or a little more');
  } else if (key.asymmetricKeyType !== 'ec' && key.asymmetricKeyType !== 'ed25519') {
    refuse(`${at}.crv`, 'has to be Ed25519');
  }
  const { kty, ...members } = key.export({ format: 'jwk' });
  if (kty === undefined) return refuse(at, 'is not a valid public key');
  return { kty, ...members };
}
