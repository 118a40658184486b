import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { Hono } from 'hono';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VerifyError, type VerifyErrorCode } from '../../src/sdk/api/errors.ts';
import { requireIntent } from '../../src/sdk/api/hono.ts';
import { createVerifier, type Requirement, type Verifier, type VerifierOptions } from '../../src/sdk/api/verify.ts';
import { audience, type FakeWrit, makeKey, signJws, startFakeWrit, until } from '../support/fake-writ.ts';

const credentials = { clientId: 'crm feed', clientSecret: 'a:b+c/ä' };
let fake: FakeWrit;
let verifier: Verifier;

const start = (options: Partial<VerifierOptions> = {}): Promise<Verifier> =>
  createVerifier({ issuer: fake.issuer, audience, credentials, ...options });

async function codeOf(attempt: Promise<unknown>): Promise<VerifyErrorCode | 'passed'> {
  try {
    await attempt;
    return 'passed';
  } catch (error) {
    expect(error).toBeInstanceOf(VerifyError);
    return (error as VerifyError).code;
  }
}

beforeAll(async () => {
  fake = await startFakeWrit();
  verifier = await start();
  await verifier.ready();
});

afterAll(async () => {
  await verifier.close();
  await fake[Symbol.asyncDispose]();
});

test('RFC 8414 §3.1: the well-known name is inserted before the path of an issuer', async () => {
  const tenant = await startFakeWrit({ path: '/tenants/one' });
  const one = await createVerifier({ issuer: tenant.issuer, audience, credentials });
  await one.ready();
  expect(tenant.seen('/.well-known/oauth-authorization-server/tenants/one').length).toBeGreaterThan(0);
  expect((await one.verify(tenant.token())).iss).toBe(tenant.issuer);
  await one.close();
  await tenant[Symbol.asyncDispose]();
});

test('RFC 6749 §2.3.1: id and secret are form-urlencoded before they are joined', () => {
  const sent = fake.seen('/revocations')[0]?.headers.authorization ?? '';
  expect(Buffer.from(sent.slice('Basic '.length), 'base64').toString()).toBe('crm+feed:a%3Ab%2Bc%2F%C3%A4');
});

describe('a token that is right', () => {
  test.each(['ES256', 'Ed25519', 'EdDSA', 'RS256'] as const)('%s', async (alg) => {
    const key = makeKey(`kind-${alg}`, alg);
    fake.keys.push(key);
    const fresh = await start();
    await fresh.ready();
    const claims = await fresh.verify(fake.token({}, {}, key));
    expect(claims.sub).toBe('agent-1');
    await fresh.close();
  });

  test('typ may be spelled out and in any case; aud may be an array that names this API', async () => {
    expect(await codeOf(verifier.verify(fake.token({}, { typ: 'application/AT+jwt' })))).toBe('passed');
    const claims = await verifier.verify(fake.token({ aud: ['https://other.example', audience] }));
    expect(claims.aud).toBe(audience);
  });

  test('is found in a Request, in Headers, and in an IncomingMessage', async () => {
    const authorization = `bearer ${fake.token()}`;
    const sources = [
      new Request(audience, { headers: { authorization } }),
      { headers: new Headers({ authorization }) },
      { headers: { authorization }, rawHeaders: ['Authorization', authorization] },
    ];
    for (const source of sources) expect((await verifier.verify(source)).sub).toBe('agent-1');
  });

  test('gives claims that nobody can change for the next caller', async () => {
    const claims = await verifier.verify(fake.token());
    expect(() => claims.authorization_details[0]?.actions.push('delete')).toThrow(TypeError);
  });
});

describe('each refusal has its code, status and challenge', () => {
  const now = (): number => Math.floor(Date.now() / 1000);
  const withRequest = (headers: Record<string, string>, url = audience): Request => new Request(url, { headers });
  const hmac = (): string => {
    const input = fake.token({}, { alg: 'HS256' }).split('.').slice(0, 2).join('.');
    const secret = fake.keys[0]?.publicKey.export({ type: 'spki', format: 'pem' }) ?? '';
    return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
  };
  const unsigned = (): string => `${fake.token({}, { alg: 'none' }).split('.').slice(0, 2).join('.')}.`;
  const rebased = (): string => {
    // The last character of a 64-byte signature has four bits to spare: another text of the same bytes.
    const token = fake.token();
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    return token.slice(0, -1) + alphabet[alphabet.indexOf(token.at(-1) ?? '') + 1];
  };
  type Case = [name: string, VerifyErrorCode, status: number, () => Parameters<Verifier['verify']>[0], Requirement?];
  const cases: Case[] = [
    ['no token', 'token_missing', 401, () => withRequest({})],
    ['an empty token', 'token_missing', 401, () => ''],
    ['another scheme', 'token_missing', 401, () => withRequest({ authorization: 'Basic YTpi' })],
    ['a scheme without token', 'request_malformed', 400, () => withRequest({ authorization: 'Bearer' })],
    ['two tokens', 'request_malformed', 400, () => withRequest({ authorization: 'Bearer a, Bearer b' })],
    [
      'two headers in Node',
      'request_malformed',
      400,
      () => ({
        headers: { authorization: 'Bearer a' },
        rawHeaders: ['authorization', 'Bearer a', 'Authorization', 'b'],
      }),
    ],
    [
      'one in the header and one in the query',
      'request_malformed',
      400,
      () => withRequest({ authorization: 'Bearer a' }, `${audience}/?access_token=b`),
    ],
    ['one in the query alone', 'token_missing', 401, () => withRequest({}, `${audience}/?access_token=b`)],
    ['not a JWS', 'token_malformed', 401, () => 'abc'],
    ['too large', 'token_malformed', 401, () => fake.token({ scope: 'x'.repeat(20_000) })],
    ['a critical extension', 'token_malformed', 401, () => fake.token({}, { crit: ['b64'], b64: false })],
    ['another text of the same signature', 'token_malformed', 401, rebased],
    ['an ID token', 'token_type_wrong', 401, () => fake.token({}, { typ: 'JWT' })],
    ['no typ', 'token_type_wrong', 401, () => fake.token({}, { typ: undefined })],
    ['alg none', 'algorithm_refused', 401, unsigned],
    ['HS256 with the public key as the secret', 'algorithm_refused', 401, hmac],
    ['an algorithm of another kind of key', 'algorithm_refused', 401, () => fake.token({}, { alg: 'RS256' })],
    ['no kid', 'key_unknown', 401, () => fake.token({}, { kid: undefined })],
    ['an unknown key', 'key_unknown', 401, () => fake.token({}, { kid: 'nobody' })],
    ['signed by another key', 'signature_invalid', 401, () => fake.token({}, {}, makeKey('key-1', 'ES256'))],
    ['another issuer', 'issuer_wrong', 401, () => fake.token({ iss: `${fake.issuer}/` })],
    ['another audience', 'audience_wrong', 401, () => fake.token({ aud: `${audience}/` })],
    ['no audience', 'audience_wrong', 401, () => fake.token({ aud: undefined })],
    ['expired', 'token_expired', 401, () => fake.token({ iat: now() - 400, exp: now() - 6 })],
    ['not yet valid', 'token_not_yet_valid', 401, () => fake.token({ nbf: now() + 60 })],
    ['no expiry', 'claims_invalid', 401, () => fake.token({ exp: undefined })],
    ['a life longer than any of Writ', 'claims_invalid', 401, () => fake.token({ exp: now() + 86_400 })],
    ['no epochs', 'claims_invalid', 401, () => fake.token({ epochs: undefined })],
    ['empty epochs', 'claims_invalid', 401, () => fake.token({ epochs: {} })],
    ['a negative epoch', 'claims_invalid', 401, () => fake.token({ epochs: { 'person-1': -1 } })],
    ['an epoch as text', 'claims_invalid', 401, () => fake.token({ epochs: { 'person-1': '3' } })],
    ['no owner', 'claims_invalid', 401, () => fake.token({ human_owner_id: undefined })],
    ['details of another type', 'claims_invalid', 401, () => fake.token({ authorization_details: [{ type: 'x' }] })],
    ['a broken actor', 'claims_invalid', 401, () => fake.token({ act: { act: { sub: 'a' } } })],
    ['bound to a key that is not asked for', 'claims_invalid', 401, () => fake.token({ cnf: { jkt: 'x' } })],
    ['another intent', 'intent_missing', 403, () => fake.token(), { intent: 'incident.close' }],
    ['another action', 'action_not_granted', 403, () => fake.token(), { intent: 'incident.ticket', action: 'delete' }],
    ['another data type', 'datatype_not_granted', 403, () => fake.token(), { action: 'update', datatype: 'person' }],
    ['a requirement that is none', 'verifier_fault', 500, () => fake.token(), { identifier: undefined } as never],
    ['a misspelt requirement', 'verifier_fault', 500, () => fake.token(), { actions: 'update' } as never],
  ];

  test.each(cases)('%s: %s, %i', async (_name, code, status, source, requirement) => {
    const error = await verifier.verify(source(), requirement).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(VerifyError);
    const refusal = error as VerifyError;
    expect(refusal.code).toBe(code);
    expect(refusal.status).toBe(status);
    const { wwwAuthenticate = '' } = refusal;
    if (status >= 500) expect(refusal.wwwAuthenticate).toBeUndefined();
    else expect(wwwAuthenticate).toMatch(/^Bearer realm="https:\/\/crm\.example\.com"/);
    // RFC 6750 §3.1: no credentials, no error attribute.
    expect(wwwAuthenticate.includes('error=')).toBe(code !== 'token_missing' && status < 500);
    if (status === 403) expect(wwwAuthenticate).toContain('error="insufficient_scope"');
    if (status === 400) expect(wwwAuthenticate).toContain('error="invalid_request"');
  });

  test('the intent that would do is named in the challenge, and nothing can break out of it', async () => {
    const refuse = async (intent: string): Promise<string | undefined> =>
      verifier.verify(fake.token(), { intent }).then(
        () => undefined,
        (error: VerifyError) => error.wwwAuthenticate,
      );
    expect(await refuse('incident.close')).toContain('scope="incident.close"');
    expect(await refuse('x", error="none\r\nSet-Cookie: a')).not.toContain('none');
  });
});

describe('a requirement', () => {
  const detail = (overrides: object): object => ({
    type: 'agent_intent',
    task_intent: 'incident.ticket',
    actions: ['read'],
    locations: [audience],
    datatypes: ['ticket'],
    ...overrides,
  });
  const check = (details: object[], requirement: Requirement): Promise<string> =>
    codeOf(verifier.verify(fake.token({ authorization_details: details }), requirement));

  test('identifier: any when the grant names none, else the same', async () => {
    expect(await check([detail({})], { identifier: 'INC-1' })).toBe('passed');
    expect(await check([detail({ identifier: 'INC-1' })], { identifier: 'INC-1' })).toBe('passed');
    expect(await check([detail({ identifier: 'INC-2' })], { identifier: 'INC-1' })).toBe('identifier_not_granted');
  });

  test('has to hold in one grant: two halves are not a whole', async () => {
    const halves = [
      detail({ actions: ['update'], datatypes: ['note'] }),
      detail({ actions: ['read'], datatypes: ['ticket'] }),
    ];
    expect(await check(halves, { action: 'update', datatype: 'ticket' })).toBe('datatype_not_granted');
    const elsewhere = [detail({ locations: ['https://other.example'], actions: ['update'] }), detail({})];
    expect(await check(elsewhere, { action: 'update' })).toBe('action_not_granted');
  });

  test('property: passes exactly when one grant has it all', async () => {
    const some = <T>(values: T[]): fc.Arbitrary<T[]> => fc.uniqueArray(fc.constantFrom(...values));
    const arbitraryDetail = fc.record({
      type: fc.constant('agent_intent'),
      task_intent: fc.constantFrom('a.x', 'a.y'),
      actions: some(['read', 'update']),
      locations: some([audience, 'https://other.example']),
      datatypes: some(['ticket', 'note']),
      identifier: fc.option(fc.constantFrom('1', '2'), { nil: undefined }),
    });
    const requirement = { intent: 'a.x', action: 'update', datatype: 'ticket', identifier: '1' };
    await fc.assert(
      fc.asyncProperty(fc.array(arbitraryDetail, { maxLength: 4 }), async (details) => {
        const isGranted = details.some(
          (one) =>
            one.task_intent === 'a.x' &&
            one.actions.includes('update') &&
            one.locations.includes(audience) &&
            one.datatypes.includes('ticket') &&
            one.identifier !== '2',
        );
        expect((await check(details, requirement)) === 'passed').toBe(isGranted);
      }),
      { numRuns: 200 },
    );
  });
});

test('property: no token with any byte changed verifies', async () => {
  const token = fake.token();
  expect(await codeOf(verifier.verify(token))).toBe('passed');
  await fc.assert(
    fc.asyncProperty(fc.nat(token.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
      const bytes = Buffer.from(token, 'latin1');
      bytes[at] = (bytes[at] ?? 0) ^ mask;
      expect(await codeOf(verifier.verify(bytes.toString('latin1')))).not.toBe('passed');
    }),
    { numRuns: 1_000 },
  );
});

test('property: whatever is given, nothing but VerifyError comes out', async () => {
  const source = fc.oneof(fc.anything(), fc.record({ headers: fc.anything() }), fc.string());
  await fc.assert(
    fc.asyncProperty(source, async (given) => {
      expect(await codeOf(verifier.verify(given as string))).not.toBe('passed');
    }),
    { numRuns: 500 },
  );
});

describe('keys', () => {
  test('a weak RSA key and a symmetric one are not taken', async () => {
    const weak = makeKey('weak', 'RS256', 1024);
    fake.keys.push(weak);
    const fresh = await start();
    await fresh.ready();
    expect(await codeOf(fresh.verify(fake.token({}, {}, weak)))).toBe('key_unknown');
    await fresh.close();
  });

  test('a new key is found, once in the cooldown however many tokens name unknown ones', async () => {
    let clock = 0;
    const fresh = await start({ monotonic: () => performance.now() + clock });
    await fresh.ready();
    clock += 6_000;
    const before = fake.seen('/oauth/jwks').length;
    const key = makeKey('rotated', 'ES256');
    fake.keys.push(key);
    const flood = Array.from({ length: 20 }, (_, n) => codeOf(fresh.verify(fake.token({}, { kid: `invented-${n}` }))));
    expect(await codeOf(fresh.verify(fake.token({}, {}, key)))).toBe('passed');
    expect(new Set(await Promise.all(flood))).toEqual(new Set(['key_unknown']));
    expect(fake.seen('/oauth/jwks').length).toBe(before + 1);
    await fresh.close();
  });

  test('keys that cannot be read are an outage and no refusal', async () => {
    fake.keysStatus = 500;
    const fresh = await start({ firstReadTimeoutSeconds: 1 });
    await until(() => fresh.staleness() < 10);
    const error = await fresh.verify(fake.token()).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'keys_unavailable', status: 503, retryAfterSeconds: 2 });
    fake.keysStatus = 200;
    await fresh.ready();
    expect(await codeOf(fresh.verify(fake.token()))).toBe('passed');
    await fresh.close();
  });

  test('a remembered token is verified anew when its key was replaced', async () => {
    let clock = 0;
    const fresh = await start({ monotonic: () => performance.now() + clock });
    await fresh.ready();
    const token = fake.token();
    expect(await codeOf(fresh.verify(token))).toBe('passed');
    const original = fake.keys[0] ?? makeKey('key-1', 'ES256');
    fake.keys[0] = makeKey('key-1', 'ES256');
    clock += 301_000;
    // The age of the set is noticed when a key is looked up, and the set is then read beside the request.
    await codeOf(fresh.verify(fake.token()));
    await until(async () => (await codeOf(fresh.verify(token))) === 'signature_invalid');
    fake.keys[0] = original;
    await fresh.close();
  });
});

describe('options that cannot work are refused at once', () => {
  test.each([
    ['an insecure issuer', { issuer: 'http://writ.example' }],
    ['no audience', { audience: '' }],
    ['no credentials', { credentials: { clientId: 'a' } as never }],
    ['an unknown algorithm', { algorithms: ['HS256'] as never }],
    ['a bound that is no number', { maxStalenessSeconds: { write: Number.NaN } }],
    ['a feed that would get the secret in the clear', { feedUrl: 'http://feed.example/revocations' }],
  ])('%s', async (_name, options) => {
    await expect(start(options)).rejects.toThrow(TypeError);
  });
});

test('hono: a request passes with its claims, or is answered with the challenge', async () => {
  const app = new Hono();
  app.get('/tickets/:id', requireIntent(verifier, { intent: 'incident.ticket', action: 'read' }), (c) =>
    c.json({ sub: c.get('claims').sub }),
  );
  app.delete(
    '/tickets/:id',
    requireIntent(verifier, (c) => ({ action: 'delete', identifier: c.req.param('id') ?? '' })),
    (c) => c.body(null, 204),
  );
  const headers = { authorization: `Bearer ${signJws(fake.keys[0] ?? makeKey('x', 'ES256'), fake.claims())}` };
  const passed = await app.request('/tickets/1', { headers });
  expect([passed.status, await passed.json()]).toEqual([200, { sub: 'agent-1' }]);
  const refused = await app.request('/tickets/1', { method: 'DELETE', headers });
  expect(refused.status).toBe(403);
  expect(refused.headers.get('www-authenticate')).toContain('insufficient_scope');
  const anonymous = await app.request('/tickets/1');
  expect([anonymous.status, anonymous.headers.get('www-authenticate')]).toEqual([401, `Bearer realm="${audience}"`]);
});
