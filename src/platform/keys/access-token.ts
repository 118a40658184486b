/**
 * The only place that makes `at+jwt` (RFC 9068). Only `domain/tokens/sign.ts` may import it: that is where a token is
 * allowed, and a test holds it.
 */
import { type AccessTokenClaims, jwtTypes, type SigningAlgorithm } from '../../protocol.ts';
import { type SigningKey, signInput } from './sign.ts';

// Encoded once for each key; a retired key's entry goes with the key.
const headers = new WeakMap<SigningKey, string>();

function headerOf(key: SigningKey): string {
  const known = headers.get(key);
  if (known !== undefined) return known;
  const header = { alg: key.algorithm, typ: jwtTypes.accessToken, kid: key.kid };
  const made = Buffer.from(JSON.stringify(header), 'utf8').toString('base64url');
  headers.set(key, made);
  return made;
}

/** A compact JWS by the newest active key of `algorithm`. Checks nothing: whoever calls has the proof. */
export function signAccessToken(
  keyring: { signingKey(algorithm: SigningAlgorithm): SigningKey },
  algorithm: SigningAlgorithm,
  claims: AccessTokenClaims,
): string {
  const key = keyring.signingKey(algorithm);
  const payload = Buffer.from(JSON.stringify(claims), 'utf8').toString('base64url');
  const input = `${headerOf(key)}.${payload}`;
  return `${input}.${signInput(key, input)}`;
}
