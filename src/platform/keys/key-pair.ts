/**
 * One signing key: made, sealed, and opened again. A key is believed only because its private half opens under the KEK
 * for its `kid`, and everything else about it (algorithm, public half, `kid`) is derived from that private half: a row
 * that somebody without the KEK has put into `signing_keys` is therefore never used and never published.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { SigningAlgorithm } from '../../protocol.ts';
import { open, seal } from './seal.ts';

/** A key as published (RFC 7517): public members only. */
export type PublicJwk = {
  kid: string;
  alg: SigningAlgorithm;
  use: 'sig';
  kty: string;
} & { [member in 'crv' | 'x' | 'y' | 'n' | 'e']?: string };

export interface KeyPair {
  kid: string;
  algorithm: SigningAlgorithm;
  privateKey: KeyObject;
  publicKey: KeyObject;
  publicJwk: PublicJwk;
}

const generate = promisify(generateKeyPair);

/** A new key pair. RSA takes a few hundred milliseconds, on another thread. */
export async function makeKeyPair(algorithm: SigningAlgorithm): Promise<KeyPair> {
  return toKeyPair(await generatePrivate(algorithm));
}

async function generatePrivate(algorithm: SigningAlgorithm): Promise<KeyObject> {
  switch (algorithm) {
    case 'ES256':
      return (await generate('ec', { namedCurve: 'P-256' })).privateKey;
    case 'Ed25519':
      return (await generate('ed25519')).privateKey;
    case 'RS256':
      return (await generate('rsa', { modulusLength: 2048 })).privateKey;
  }
}

/** The private half, for `signing_keys.private_key`. */
export const sealKeyPair = (kek: Uint8Array, pair: KeyPair): Buffer =>
  seal(kek, pair.kid, pair.privateKey.export({ type: 'pkcs8', format: 'der' }));

/** @throws Error when the KEK is another one, the row was changed, or `kid` is another key's. */
export function openKeyPair(kek: Uint8Array, kid: string, sealed: Uint8Array): KeyPair {
  const pair = toKeyPair(createPrivateKey({ key: open(kek, kid, sealed), type: 'pkcs8', format: 'der' }));
  if (pair.kid !== kid) throw new Error(`${kid}: the sealed key is another one`);
  return pair;
}

function toKeyPair(privateKey: KeyObject): KeyPair {
  const publicKey = createPublicKey(privateKey);
  const { kty, crv, x, y, n, e } = publicKey.export({ format: 'jwk' });
  const members = requiredMembers({ kty, crv, x, y, n, e });
  const kid = createHash('sha256').update(JSON.stringify(members)).digest('base64url');
  const algorithm = algorithmOf(privateKey);
  return { kid, algorithm, privateKey, publicKey, publicJwk: { kid, alg: algorithm, use: 'sig', ...members } };
}

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): SigningAlgorithm {
  if (asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'ES256';
  if (asymmetricKeyType === 'ed25519') return 'Ed25519';
  if (asymmetricKeyType === 'rsa') return 'RS256';
  throw new Error(`no algorithm for a key of type ${asymmetricKeyType}`);
}

/** Exactly what the thumbprint covers, in its order (RFC 7638 §3.2, RFC 8037 §2). */
function requiredMembers(jwk: { [member in 'kty' | 'crv' | 'x' | 'y' | 'n' | 'e']: string | undefined }) {
  const { kty = '', crv = '', x = '', y = '', n = '', e = '' } = jwk;
  if (kty === 'EC') return { crv, kty, x, y };
  if (kty === 'OKP') return { crv, kty, x };
  return { e, kty, n };
}
