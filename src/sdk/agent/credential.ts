import {
  constants,
  createPrivateKey,
  type JsonWebKey,
  KeyObject,
  randomUUID,
  sign as signBytes,
  webcrypto,
} from 'node:crypto';
import { clientAssertionType } from '../../protocol.ts';

/** Algorithms of a client assertion. `EdDSA` is the older name of `Ed25519` (RFC 9864). */
export const assertionAlgorithms = ['ES256', 'Ed25519', 'EdDSA', 'RS256', 'PS256'] as const;
export type AssertionAlgorithm = (typeof assertionAlgorithms)[number];

/** A private key: a JWK, a PEM (PKCS #8, SEC 1 or PKCS #1), a `KeyObject`, or a `CryptoKey` that may sign. */
export type AgentKey = PrivateJwk | string | KeyObject | webcrypto.CryptoKey;
export interface PrivateJwk extends JsonWebKey {
  kid?: string;
  alg?: string;
}

export interface KeyOptions {
  key: AgentKey;
  /** Default: the JWK's `alg`, or what fits the key: ES256, Ed25519, RS256. */
  algorithm?: AssertionAlgorithm | undefined;
  /** Default: the JWK's `kid`. */
  keyId?: string | undefined;
}

/** Adds the client's authentication to a token request: to its body, or to its headers. A fresh one each time. */
export type Authenticate = (form: URLSearchParams, headers: Headers) => Promise<void>;

const assertionLifeSeconds = 60;

/**
 * `private_key_jwt`. The audience is the issuer alone, so that an assertion is worth nothing at any other server, and each
 * request gets an assertion of its own, since the server accepts each only once.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7523#section-2.2 RFC 7523 §2.2}
 * @see {@link https://www.rfc-editor.org/rfc/rfc10070 RFC 10070}
 */
export function authenticateWithKey(options: {
  issuer: string;
  clientId: string;
  key: KeyOptions;
  now: () => Date;
}): Authenticate {
  const { sign, algorithm, keyId } = importSigner(options.key);
  const header = encodeJson({ alg: algorithm, typ: 'client-authentication+jwt', ...(keyId && { kid: keyId }) });
  return async (form) => {
    const iat = Math.floor(options.now().getTime() / 1000);
    const claims = {
      iss: options.clientId,
      sub: options.clientId,
      aud: options.issuer,
      jti: randomUUID(),
      iat,
      exp: iat + assertionLifeSeconds,
    };
    const input = `${header}.${encodeJson(claims)}`;
    const signature = await sign(Buffer.from(input, 'latin1'));
    form.set('client_id', options.clientId);
    form.set('client_assertion_type', clientAssertionType);
    form.set('client_assertion', `${input}.${Buffer.from(signature).toString('base64url')}`);
  };
}

/**
 * `client_secret_basic`. Id and secret are each form-urlencoded before they are joined.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1 RFC 6749 §2.3.1}
 */
export function authenticateWithSecret(clientId: string, clientSecret: string): Authenticate {
  const encode = (part: string): string => new URLSearchParams([['', part]]).toString().slice(1);
  const value = `Basic ${Buffer.from(`${encode(clientId)}:${encode(clientSecret)}`).toString('base64')}`;
  return async (_form, headers) => {
    headers.set('authorization', value);
  };
}

interface Signer {
  sign: (input: Buffer) => Promise<Uint8Array>;
  algorithm: AssertionAlgorithm;
  keyId: string | undefined;
}

function importSigner({ key, algorithm, keyId }: KeyOptions): Signer {
  if (isCryptoKey(key)) {
    const fitting = chooseAlgorithm(algorithmsOfCryptoKey(key), algorithm);
    return { sign: (input) => signWithCryptoKey(key, input), algorithm: fitting, keyId };
  }
  const isJwk = typeof key === 'object' && !(key instanceof KeyObject);
  const imported = key instanceof KeyObject ? key : importPrivateKey(key);
  if (imported.type !== 'private') throw new TypeError('key is not a private key');
  const wanted = algorithm ?? (isJwk ? key.alg : undefined);
  const fitting = chooseAlgorithm(algorithmsOfKeyObject(imported), wanted);
  const kid = keyId ?? (isJwk ? key.kid : undefined);
  return { sign: async (input) => signWithKeyObject(fitting, imported, input), algorithm: fitting, keyId: kid };
}

/** Throws without the key in it: Node's own message of a PEM that cannot be read never has it either. */
function importPrivateKey(key: PrivateJwk | string): KeyObject {
  try {
    return typeof key === 'string' ? createPrivateKey(key) : createPrivateKey({ key, format: 'jwk' });
  } catch {
    throw new TypeError('key is neither a private JWK nor a PEM of one');
  }
}

/** The first of those that fit the key, or the one that is wanted; throws when that one does not fit. */
function chooseAlgorithm(fitting: readonly AssertionAlgorithm[], wanted: string | undefined): AssertionAlgorithm {
  const chosen = wanted === undefined ? fitting[0] : fitting.find((name) => name === wanted);
  if (!chosen) throw new TypeError('the key is of a kind, or for an algorithm, that is not supported');
  return chosen;
}

function algorithmsOfKeyObject(key: KeyObject): readonly AssertionAlgorithm[] {
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1') return ['ES256'];
  if (key.asymmetricKeyType === 'ed25519') return ['Ed25519', 'EdDSA'];
  if (key.asymmetricKeyType === 'rsa' && modulusLength >= 2048) return ['RS256', 'PS256'];
  if (key.asymmetricKeyType === 'rsa-pss' && modulusLength >= 2048) return ['PS256'];
  return [];
}

function signWithKeyObject(algorithm: AssertionAlgorithm, key: KeyObject, input: Buffer): Buffer {
  switch (algorithm) {
    case 'ES256':
      return signBytes('sha256', input, { key, dsaEncoding: 'ieee-p1363' });
    case 'RS256':
      return signBytes('sha256', input, key);
    case 'PS256':
      return signBytes('sha256', input, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });
    case 'Ed25519':
    case 'EdDSA':
      return signBytes(null, input, key);
  }
}

function isCryptoKey(key: AgentKey): key is webcrypto.CryptoKey {
  return key instanceof CryptoKey;
}

function algorithmsOfCryptoKey(key: webcrypto.CryptoKey): readonly AssertionAlgorithm[] {
  if (key.type !== 'private' || !key.usages.includes('sign')) throw new TypeError('key may not sign');
  const {
    name,
    namedCurve,
    hash,
    modulusLength = 0,
  } = key.algorithm as Partial<webcrypto.EcKeyAlgorithm & webcrypto.RsaHashedKeyAlgorithm>;
  if (name === 'ECDSA' && namedCurve === 'P-256') return ['ES256'];
  if (name === 'Ed25519') return ['Ed25519', 'EdDSA'];
  if (modulusLength < 2048 || hash?.name !== 'SHA-256') return [];
  if (name === 'RSASSA-PKCS1-v1_5') return ['RS256'];
  return name === 'RSA-PSS' ? ['PS256'] : [];
}

/** A key that cannot be taken out of Web Cryptography signs there. */
async function signWithCryptoKey(key: webcrypto.CryptoKey, input: Buffer): Promise<Uint8Array> {
  const algorithm = { name: key.algorithm.name, hash: 'SHA-256', saltLength: 32 };
  return new Uint8Array(await webcrypto.subtle.sign(algorithm, key, new Uint8Array(input)));
}

const encodeJson = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
