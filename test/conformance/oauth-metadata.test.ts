import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { basic, createSecretAgent, send, withAssertion } from '../support/oauth.ts';
import { askToken, createWorld, makeAssertion, must, postForm, readIntent, type World } from '../support/world.ts';
import { freePort, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

const inserted = '/.well-known/oauth-authorization-server';
const appended = '/.well-known/openid-configuration';

let writ: TestWrit;
let world: World;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
});
afterAll(() => writ.close());

const methods = ['private_key_jwt', 'client_secret_basic', 'client_secret_post'];
const algorithms = ['ES256', 'Ed25519', 'EdDSA', 'RS256', 'PS256'];
const documentOf = (issuer: string) => ({
  issuer,
  authorization_endpoint: `${issuer}/oauth/authorize`,
  token_endpoint: `${issuer}/oauth/token`,
  jwks_uri: `${issuer}/oauth/jwks`,
  introspection_endpoint: `${issuer}/oauth/introspect`,
  revocation_endpoint: `${issuer}/oauth/revoke`,
  response_types_supported: [],
  grant_types_supported: ['client_credentials', 'urn:ietf:params:oauth:grant-type:token-exchange'],
  token_endpoint_auth_methods_supported: methods,
  token_endpoint_auth_signing_alg_values_supported: algorithms,
  introspection_endpoint_auth_methods_supported: methods,
  introspection_endpoint_auth_signing_alg_values_supported: algorithms,
  revocation_endpoint_auth_methods_supported: methods,
  revocation_endpoint_auth_signing_alg_values_supported: algorithms,
  authorization_details_types_supported: ['agent_intent'],
  service_documentation: `${issuer}/api/docs`,
  writ_feed_endpoint: `${issuer}/revocations`,
});

/** A request whose Host header is of the caller's choice, which `fetch` does not allow. */
function sendWithHost(url: string, host: string, body?: URLSearchParams): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = { host, ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }) };
    const sent = request(url, { method: body === undefined ? 'GET' : 'POST', headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
    });
    sent.on('error', reject);
    sent.end(body?.toString());
  });
}

describe('RFC 8414 §3', () => {
  test('both documents say the same, and exactly this', async () => {
    for (const path of [inserted, appended]) {
      const answer = await send(`${writ.url}${path}`, {});
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
      expect(answer.body).toEqual(documentOf(writ.url));
    }
  });

  test('§2: the authorization endpoint refuses whatever is asked, and leads nowhere', async () => {
    for (const query of ['', '?response_type=code&client_id=x&redirect_uri=https://evil.example']) {
      for (const method of ['GET', 'POST']) {
        const answer = await send(`${writ.url}/oauth/authorize${query}`, { method, redirect: 'manual' });
        expect(answer.status).toBe(400);
        expect(answer.body.error).toBe('unsupported_response_type');
        expect(answer.headers.get('location')).toBeNull();
      }
    }
  });

  test('§2: every grant type that is not listed is unsupported', async () => {
    for (const grant of ['authorization_code', 'refresh_token', 'implicit', 'password', 'urn:x', 'constructor']) {
      const answer = await askToken(writ, world.triage, { grant_type: grant });
      expect([grant, answer.status, answer.body.error]).toEqual([grant, 400, 'unsupported_grant_type']);
    }
  });

  test('§2: every listed endpoint answers, and nothing of the engine lies beside them', async () => {
    const jwks = await send(`${writ.url}/oauth/jwks`, {});
    expect(jwks.headers.get('content-type')).toMatch(/^application\/jwk-set\+json/);
    const kinds = jwks.body.keys.map((key: { alg: string }) => key.alg);
    expect(kinds).toEqual(expect.arrayContaining(['ES256', 'Ed25519', 'RS256']));
    for (const key of jwks.body.keys) {
      expect(Object.keys(key).filter((name) => ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'].includes(name))).toEqual([]);
    }
    for (const path of ['/jwks', '/auth', '/token', '/me', '/session/end', '/request', '/reg', '/oauth/register']) {
      for (const method of ['GET', 'POST']) {
        expect((await send(`${writ.url}${path}`, { method })).status).toBe(404);
      }
    }
  });

  test('the Host header decides nothing', async () => {
    for (const host of ['evil.example', 'evil.example:8080', 'localhost']) {
      const answer = await sendWithHost(`${writ.url}${inserted}`, host);
      expect(JSON.parse(answer.body)).toEqual(documentOf(writ.url));
      for (const [aud, status] of [
        [`http://${host}`, 401],
        [`http://${host}/oauth/token`, 401],
        [writ.url, 200],
      ] as const) {
        const form = new URLSearchParams({
          grant_type: 'client_credentials',
          resource: 'https://crm.example.com',
          scope: readIntent,
          ...(withAssertion(makeAssertion(writ, world.triage, { aud })) as Record<string, string>),
        });
        expect((await sendWithHost(`${writ.url}/oauth/token`, host, form)).status).toBe(status);
      }
    }
  });

  test('a Host header that would make another path of the address is refused', async () => {
    for (const host of ['a/oauth/authorize?', `${new URL(writ.url).host}/oauth/jwks#`, 'x@y', 'a b', '[::1']) {
      expect((await sendWithHost(`${writ.url}/oauth/token`, host, new URLSearchParams())).status).toBe(400);
    }
  });
});

describe('RFC 8414 §3.1: an issuer with a path', () => {
  let tenant: TestWrit;
  let issuer: string;
  beforeAll(async () => {
    const port = await freePort();
    issuer = `http://localhost:${port}/tenant`;
    const started = await startWrit({ issuer, env: { PORT: String(port) } });
    tenant = { ...started, url: `http://localhost:${port}/tenant` };
  });
  afterAll(() => tenant.close());

  test('the well-known part is inserted before the path, and appended for OpenID', async () => {
    const origin = new URL(issuer).origin;
    for (const url of [`${origin}${inserted}/tenant`, `${origin}${appended}/tenant`, `${issuer}${appended}`]) {
      const answer = await send(url, {});
      expect([url, answer.status]).toEqual([url, 200]);
      expect(answer.body).toEqual(documentOf(issuer));
    }
  });

  test('nothing answers at the root, but for the probes', async () => {
    const origin = new URL(issuer).origin;
    for (const path of ['/oauth/token', '/oauth/jwks', '/api/v1/agents', '/scim/v2/Users', '/revocations', inserted]) {
      expect([path, (await send(`${origin}${path}`, {})).status]).toEqual([path, 404]);
    }
    expect((await send(`${origin}/readyz`, {})).status).toBe(200);
  });

  test('everything that is advertised works under the path', async () => {
    const admin: TestWrit['admin'] = async (method, path, body) =>
      readAnswer(
        await fetch(`${issuer}/api/v1${path}`, {
          method,
          headers: { authorization: 'Bearer test-administrator-token', 'content-type': 'application/json' },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      );
    const there = { ...tenant, admin };
    const inside = await createWorld(there);
    const { body } = must(await askToken(there, inside.triage, { scope: readIntent }));
    const jwks = await send(`${issuer}/oauth/jwks`, {});
    expect(jwks.body.keys.length).toBeGreaterThan(0);
    const secret = await createSecretAgent(there, inside);
    const headers = basic(secret.id, secret.secret);
    const introspected = await postForm(`${issuer}/oauth/introspect`, { token: body.access_token }, headers);
    expect(introspected).toMatchObject({ status: 200, body: { active: false } });
    expect((await postForm(`${issuer}/oauth/revoke`, { token: 'x' }, headers)).status).toBe(200);
    const refused = await askToken(there, inside.triage, { scope: 'nothing' });
    expect(refused.body.error_uri).toBe(`${issuer}/oauth/errors/intent_unknown`);
    expect((await send(refused.body.error_uri, {})).status).toBe(200);
    const outside = await askToken(
      there,
      inside.triage,
      withAssertion(makeAssertion(there, inside.triage, { aud: new URL(issuer).origin })),
    );
    expect(outside.status).toBe(401);
  });
});
