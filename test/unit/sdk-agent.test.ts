import {
  constants,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  verify,
  webcrypto,
} from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentError, type AgentOptions, createAgent, type TokenWish } from '../../src/sdk/agent/agent.ts';
import { audience, type FakeWrit, startFakeWrit, until } from '../support/fake-writ.ts';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const wish: TokenWish = { resource: audience, intent: 'incident.ticket', actions: ['update'], identifier: 'INC-1' };
const ownerInactive = {
  status: 400,
  body: { error: 'access_denied', reason: 'owner_inactive', error_uri: 'https://w' },
};
let fake: FakeWrit;

const make = (options: Partial<AgentOptions> = {}): ReturnType<typeof createAgent> =>
  createAgent({ issuer: fake.issuer, clientId: 'agent-1', key: privateKey, ...options } as AgentOptions);
const forms = (): URLSearchParams[] => fake.seen('/oauth/token').map(({ body }) => new URLSearchParams(body));
const decode = (part: string | undefined): Record<string, unknown> =>
  JSON.parse(Buffer.from(part ?? '', 'base64url').toString());

async function failureOf(attempt: Promise<unknown>): Promise<AgentError> {
  const error = await attempt.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(AgentError);
  return error as AgentError;
}

beforeEach(async () => {
  fake = await startFakeWrit();
});
afterEach(() => fake[Symbol.asyncDispose]());

describe('a request', () => {
  test('RFC 9396, RFC 8707: says what the token is for', async () => {
    const token = await make().token({ ...wish, datatypes: ['ticket'], scope: 'extra' });
    expect(token).toMatchObject({ tokenType: 'Bearer', expiresIn: 300, scope: 'incident.ticket' });
    expect(token.expiresAt.getTime()).toBeGreaterThan(Date.now() + 290_000);
    const [form = new URLSearchParams()] = forms();
    expect(form.get('grant_type')).toBe('client_credentials');
    expect(form.get('resource')).toBe(audience);
    expect(form.get('scope')).toBe('extra');
    expect(JSON.parse(form.get('authorization_details') ?? '')).toEqual([
      {
        type: 'agent_intent',
        task_intent: 'incident.ticket',
        locations: [audience],
        actions: ['update'],
        datatypes: ['ticket'],
        identifier: 'INC-1',
      },
    ]);
  });

  test('without an intent asks for none', async () => {
    await make().token({ resource: audience });
    expect([...(forms()[0]?.keys() ?? [])]).not.toContain('authorization_details');
    await expect(make().token({ resource: audience, actions: ['update'] })).rejects.toThrow(TypeError);
  });

  test('RFC 8693 §2.1: an exchange sends the subject token, and no actor token', async () => {
    await make().exchange({ subjectToken: 'abc', resource: audience, intent: 'incident.ticket' });
    const [form = new URLSearchParams()] = forms();
    expect(form.get('grant_type')).toBe('urn:ietf:params:oauth:grant-type:token-exchange');
    expect(form.get('subject_token')).toBe('abc');
    expect(form.get('subject_token_type')).toBe('urn:ietf:params:oauth:token-type:access_token');
    expect(form.has('actor_token')).toBe(false);
  });

  test('RFC 10070: the assertion is typed, short, for the issuer alone, and never the same twice', async () => {
    const agent = make({ keyId: 'my-key' });
    await agent.token(wish);
    await agent.token({ ...wish, fresh: true });
    const [first, second] = forms().map((form) => (form.get('client_assertion') ?? '').split('.'));
    expect(decode(first?.[0])).toEqual({ alg: 'ES256', typ: 'client-authentication+jwt', kid: 'my-key' });
    const claims = decode(first?.[1]);
    expect(claims).toMatchObject({ iss: 'agent-1', sub: 'agent-1', aud: fake.issuer });
    expect(Number(claims.exp) - Number(claims.iat)).toBe(60);
    expect(decode(second?.[1]).jti).not.toBe(claims.jti);
  });

  test('RFC 6749 §2.3.1: a secret goes in the header, each part form-urlencoded, and not in the body', async () => {
    await createAgent({ issuer: fake.issuer, clientId: 'a b', clientSecret: 'x:y+z' }).token(wish);
    const [request] = fake.seen('/oauth/token');
    expect(request?.headers.authorization).toBe(`Basic ${Buffer.from('a+b:x%3Ay%2Bz').toString('base64')}`);
    expect(request?.body).not.toMatch(/client_assertion|client_secret/);
  });
});

describe('every kind of key signs what its public half verifies', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const ed = generateKeyPairSync('ed25519');
  const jwkOf = (key: KeyObject, more: object = {}): JsonWebKey => ({ ...key.export({ format: 'jwk' }), ...more });
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
  test.each<[string, string, Partial<AgentOptions>, object]>([
    ['KeyObject', 'ES256', { key: privateKey }, { key: publicKey, dsaEncoding: 'ieee-p1363' }],
    ['JWK', 'ES256', { key: jwkOf(privateKey, { kid: 'k' }) }, { key: publicKey, dsaEncoding: 'ieee-p1363' }],
    ['PEM', 'RS256', { key: String(rsa.privateKey.export({ type: 'pkcs8', format: 'pem' })) }, { key: rsa.publicKey }],
    ['JWK with alg', 'PS256', { key: jwkOf(rsa.privateKey, { alg: 'PS256' }) }, { key: rsa.publicKey, ...pss }],
    ['Ed25519', 'Ed25519', { key: ed.privateKey }, { key: ed.publicKey }],
    ['the older name', 'EdDSA', { key: ed.privateKey, algorithm: 'EdDSA' }, { key: ed.publicKey }],
  ])('%s, %s', async (_name, alg, options, verifying) => {
    await make(options).token(wish);
    const [header, claims, signature = ''] = (forms()[0]?.get('client_assertion') ?? '').split('.');
    expect(decode(header).alg).toBe(alg);
    const digest = alg.startsWith('Ed') ? null : 'sha256';
    const input = Buffer.from(`${header}.${claims}`);
    expect(verify(digest, input, verifying as never, Buffer.from(signature, 'base64url'))).toBe(true);
  });

  test.each([
    ['ES256', { name: 'ECDSA', namedCurve: 'P-256' }],
    ['Ed25519', { name: 'Ed25519' }],
    ['PS256', { name: 'RSA-PSS', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' }],
  ])('CryptoKey that cannot be taken out, %s', async (alg, parameters) => {
    const usages: webcrypto.KeyUsage[] = ['sign', 'verify'];
    const pair = (await webcrypto.subtle.generateKey(parameters, false, usages)) as webcrypto.CryptoKeyPair;
    await make({ key: pair.privateKey }).token(wish);
    const [header, claims, signature = ''] = (forms()[0]?.get('client_assertion') ?? '').split('.');
    expect(decode(header).alg).toBe(alg);
    const algorithm = { ...parameters, hash: 'SHA-256', saltLength: 32 };
    const bytes = Buffer.from(signature, 'base64url');
    const input = Buffer.from(`${header}.${claims}`);
    expect(await webcrypto.subtle.verify(algorithm, pair.publicKey, bytes, input)).toBe(true);
  });

  test('what cannot sign is refused, without a word of it', () => {
    const secret = 'MIIEvSecretSecret';
    for (const key of [secret, publicKey, createPublicKey(rsa.privateKey), { kty: 'oct', k: secret }]) {
      expect(() => make({ key })).toThrow(TypeError);
      expect(() => make({ key })).not.toThrow(secret);
    }
    expect(() => make({ key: privateKey, algorithm: 'RS256' })).toThrow(TypeError);
    expect(() => createAgent({ issuer: fake.issuer, clientId: 'a' } as AgentOptions)).toThrow(TypeError);
    expect(() => make({ issuer: 'http://writ.example' })).toThrow(TypeError);
  });
});

describe('tokens are kept', () => {
  test('equal wishes are one request, also at once; others are others', async () => {
    fake.tokenDelayMs = 50;
    const agent = make();
    const tokens = await Promise.all(Array.from({ length: 20 }, () => agent.token({ ...wish })));
    expect(new Set(tokens.map(({ accessToken }) => accessToken)).size).toBe(1);
    await agent.token(wish);
    expect(forms()).toHaveLength(1);
    await agent.token({ ...wish, identifier: 'INC-2' });
    await agent.token({ ...wish, fresh: true });
    expect(forms()).toHaveLength(3);
  });

  test.each([
    [300, 269, 1],
    [300, 271, 2],
    [60, 53, 1],
    [60, 55, 2],
    [300, -10, 2],
  ])('of %i s: %i s later there were %i requests', async (life, later, count) => {
    fake.tokenLifeSeconds = life;
    let now = Date.now();
    const agent = make({ now: () => new Date(now) });
    await agent.token(wish);
    now += later * 1000;
    await agent.token(wish);
    expect(forms()).toHaveLength(count);
  });

  test('a caller that gives up leaves the others alone; when all have, the request ends', async () => {
    fake.tokenDelayMs = 100;
    const agent = make();
    const [one, two] = [new AbortController(), new AbortController()];
    const given = agent.token({ ...wish, signal: one.signal });
    const waiting = agent.token({ ...wish, signal: two.signal });
    one.abort(new Error('enough'));
    await expect(given).rejects.toThrow('enough');
    expect((await waiting).expiresIn).toBe(300);
    const alone = new AbortController();
    const last = agent.token({ ...wish, fresh: true, signal: alone.signal });
    await until(() => forms().length === 2);
    alone.abort();
    await expect(last).rejects.toThrow();
    expect((await agent.token({ ...wish, fresh: true })).expiresIn).toBe(300);
  });
});

describe('failures', () => {
  test.each(['owner_inactive', 'agent_inactive'])('%s: stops for good, and asks nothing again', async (reason) => {
    const agent = make();
    await agent.token({ ...wish, identifier: 'kept' });
    fake.answers.push({ ...ownerInactive, body: { ...ownerInactive.body, reason } });
    const first = await failureOf(agent.token(wish));
    expect(first).toMatchObject({
      code: 'stopped',
      error: 'access_denied',
      reason,
      status: 400,
      errorUri: 'https://w',
    });
    expect(await failureOf(agent.token(wish))).toBe(first);
    expect(await failureOf(agent.token({ ...wish, identifier: 'kept' }))).toBe(first);
    expect(await failureOf(agent.exchange({ subjectToken: 'abc' }))).toBe(first);
    expect(forms()).toHaveLength(2);
  });

  test('a stop ends the other requests that are under way', async () => {
    const agent = make();
    fake.tokenDelayMs = 20;
    fake.answers.push({ status: 503, headers: { 'retry-after': '1' } }, ownerInactive);
    const retrying = failureOf(agent.token({ ...wish, identifier: 'a' }));
    await until(() => forms().length === 1);
    const stopped = await failureOf(agent.token(wish));
    expect(await retrying).toBe(stopped);
    expect(forms()).toHaveLength(2);
  });

  test.each<[number, { error: string; reason?: string; error_uri?: string }]>([
    [400, { error: 'access_denied', reason: 'approval_required', error_uri: 'https://w/a' }],
    [400, { error: 'invalid_scope', reason: 'intent_not_granted' }],
    [401, { error: 'invalid_client' }],
    [400, { error: 'access_denied' }],
    [400, { error: 'invalid_grant', reason: 'owner_inactive' }],
  ])('%i %j is final for this request and no other', async (status, body) => {
    const agent = make();
    fake.answers.push({ status, body });
    const refusal = await failureOf(agent.token(wish));
    expect(refusal).toMatchObject({ code: 'refused', status, error: body.error, reason: body.reason });
    expect(refusal.errorUri).toBe(body.error_uri);
    expect(forms()).toHaveLength(1);
    expect((await agent.token(wish)).tokenType).toBe('Bearer');
  });

  test('an outage is waited out as long as the server asks, with a new assertion each time', async () => {
    fake.answers.push({ status: 503, headers: { 'retry-after': '1' } }, { status: 429 }, { status: 0, hangUp: true });
    const startedAt = performance.now();
    expect((await make().token(wish)).tokenType).toBe('Bearer');
    expect(performance.now() - startedAt).toBeGreaterThan(1_000);
    const assertions = forms().map((form) => form.get('client_assertion'));
    expect(new Set(assertions).size).toBe(4);
  });

  test('attempts are bounded, and so is patience', async () => {
    const outage = { status: 502 };
    fake.answers.push(outage, outage, outage, outage, outage);
    expect(await failureOf(make().token(wish))).toMatchObject({ code: 'unavailable', status: 502 });
    expect(forms()).toHaveLength(4);
    fake.answers.splice(0);
    fake.answers.push({ status: 503, headers: { 'retry-after': '3600' } });
    expect(await failureOf(make().token(wish))).toMatchObject({ code: 'unavailable', retryAfterSeconds: 3600 });
    fake.answers.push({ status: 500 });
    expect(await failureOf(make().token(wish))).toMatchObject({ code: 'unavailable', status: 500 });
    expect(forms()).toHaveLength(6);
  });

  test('no answer in time is an outage', async () => {
    fake.tokenDelayMs = 400;
    const error = await failureOf(make({ timeoutSeconds: 0.05 }).token(wish));
    expect(error.code).toBe('unavailable');
  });

  test.each<[string, object | string]>([
    ['no JSON', '<html>'],
    ['no token', { token_type: 'Bearer', expires_in: 300 }],
    ['another type of token', { access_token: 'a', token_type: 'N_A', expires_in: 300 }],
    ['no life', { access_token: 'a', token_type: 'Bearer' }],
  ])('an answer that breaks the protocol: %s', async (_name, body) => {
    fake.answers.push({ status: 200, body });
    expect((await failureOf(make().token(wish))).code).toBe('protocol');
    expect(forms()).toHaveLength(1);
  });

  test('RFC 8414 §3.3: metadata of another issuer, or of an insecure endpoint, sends no credential anywhere', async () => {
    fake.metadata.issuer = `${fake.issuer}/`;
    expect((await failureOf(make().token(wish))).code).toBe('protocol');
    fake.metadata.issuer = fake.issuer;
    fake.metadata.token_endpoint = 'http://elsewhere.example/token';
    expect((await failureOf(make().token(wish))).code).toBe('protocol');
    expect(forms()).toHaveLength(0);
  });
});
