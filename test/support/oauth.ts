/** Callers of the authorization server beyond the plain ones of `world.ts`: other keys, secrets, bytes as they are sent. */
import { generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { type Form, type KeyedAgent, makeAssertion, must, postForm, readIntent, type World } from './world.ts';
import { type Answer, readAnswer, type TestWrit } from './writ.ts';

export const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';
export const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';

export type Algorithm = 'ES256' | 'Ed25519' | 'EdDSA' | 'RS256' | 'PS256';

const makeKeys = {
  EC: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  OKP: () => generateKeyPairSync('ed25519'),
  RSA: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
const kindOf: Record<Algorithm, keyof typeof makeKeys> = {
  ES256: 'EC',
  Ed25519: 'OKP',
  EdDSA: 'OKP',
  RS256: 'RSA',
  PS256: 'RSA',
};

function signBytes(algorithm: Algorithm, key: KeyObject, input: Buffer): Buffer {
  if (algorithm === 'ES256') return sign('sha256', input, { key, dsaEncoding: 'ieee-p1363' });
  if (algorithm === 'RS256') return sign('sha256', input, key);
  // RSA_PKCS1_PSS_PADDING, with a salt as long as the hash (RFC 7518 §3.5).
  if (algorithm === 'PS256') return sign('sha256', input, { key, padding: 6, saltLength: 32 });
  return sign(null, input, key);
}

const encode = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A compact JWS; header and claims are sent as they are, claims that are text even when they are no JSON. */
export function signAs(algorithm: Algorithm, key: KeyObject, claims: unknown, header: object = {}): string {
  const input = `${encode({ alg: algorithm, typ: 'client-authentication+jwt', ...header })}.${encode(claims)}`;
  return `${input}.${signBytes(algorithm, key, Buffer.from(input)).toString('base64url')}`;
}

/** Good claims of a client assertion, changed. A member that is `undefined` is left out. */
export function assertionClaims(writ: TestWrit, id: string, changes: object = {}, issuer = writ.url): object {
  const now = Math.floor(Date.now() / 1000);
  return { iss: id, sub: id, aud: issuer, jti: randomUUID(), iat: now, exp: now + 60, ...changes };
}

/** An agent of Alice's that is registered with a key for `algorithm`. */
export async function createAgentWith(
  writ: TestWrit,
  world: World,
  algorithm: Algorithm,
): Promise<KeyedAgent & { publicKey: KeyObject }> {
  const { privateKey, publicKey } = makeKeys[kindOf[algorithm]]();
  const { body } = must(
    await writ.admin('POST', '/agents', {
      name: `agent with ${algorithm}`,
      owner: world.alice,
      environment: 'production',
      credential: { jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'first' }] } },
      intents: [readIntent],
    }),
  );
  return { id: body.id, privateKey, publicKey };
}

/** An agent of Alice's that has a secret. */
export async function createSecretAgent(writ: TestWrit, world: World): Promise<{ id: string; secret: string }> {
  const { body } = must(
    await writ.admin('POST', '/agents', {
      name: 'agent with a secret',
      owner: world.alice,
      environment: 'production',
      credential: { secret: true },
      intents: [readIntent],
    }),
  );
  return { id: body.id, secret: body.clientSecret };
}

export const basic = (id: string, secret: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`,
});

/** Feed credentials of an API, as it uses them at introspection. */
export const asApi = (api: World['api']): Record<string, string> =>
  basic(api.feedCredentials.clientId, api.feedCredentials.clientSecret);

export const withAssertion = (assertion: string): Form => ({
  client_assertion_type: assertionType,
  client_assertion: assertion,
});

/** Any method, bytes and headers. */
export async function send(url: string, init: RequestInit): Promise<Answer> {
  return readAnswer(await fetch(url, init));
}

/** A form as text, sent as it is. */
export const sendForm = (writ: TestWrit, text: string, headers: Record<string, string> = {}): Promise<Answer> =>
  send(`${writ.url}/oauth/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    body: text,
  });

export const introspectAs = (writ: TestWrit, headers: Record<string, string>, token: string): Promise<Answer> =>
  postForm(`${writ.url}/oauth/introspect`, { token }, headers);

/** Introspection by an agent, of a token that may be its own. */
export const introspectBy = (writ: TestWrit, agent: KeyedAgent, token: string): Promise<Answer> =>
  postForm(`${writ.url}/oauth/introspect`, { token, ...withAssertion(makeAssertion(writ, agent)) });

export const revokeBy = (writ: TestWrit, agent: KeyedAgent, token: string, form: Form = {}): Promise<Answer> =>
  postForm(`${writ.url}/oauth/revoke`, { token, ...withAssertion(makeAssertion(writ, agent)), ...form });
