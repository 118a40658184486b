import { createRemoteJWKSet, decodeProtectedHeader, type JWTVerifyOptions, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { accessTokenType, basic, createSecretAgent } from '../support/oauth.ts';
import {
  askToken,
  createWorld,
  crm,
  decodeToken,
  detail,
  must,
  postForm,
  readIntent,
  type World,
} from '../support/world.ts';
import { startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
const identifierOf = (algorithm: string) => `https://${algorithm.toLowerCase()}.example.com`;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  for (const algorithm of ['Ed25519', 'RS256', 'ES256']) {
    const identifier = identifierOf(algorithm);
    const tokenTtlSeconds = algorithm === 'RS256' ? 30 : 900;
    const api = {
      identifier,
      name: algorithm,
      environment: 'production',
      signingAlgorithm: algorithm,
      tokenTtlSeconds,
    };
    must(await writ.admin('POST', '/apis', api));
    const intent = {
      taskIntent: `use.${algorithm.toLowerCase()}`,
      description: 'x',
      apis: [identifier],
      actions: ['read'],
      datatypes: ['x'],
    };
    must(await writ.admin('POST', '/intents', { ...intent, risk: 'read' }));
  }
  const intents = [readIntent, 'use.ed25519', 'use.rs256', 'use.es256'];
  must(await writ.admin('PATCH', `/agents/${world.triage.id}`, { intents }));
});
afterAll(() => writ.close());

const verify = (token: string, options: JWTVerifyOptions) =>
  jwtVerify(token, createRemoteJWKSet(new URL(`${writ.url}/oauth/jwks`)), {
    issuer: writ.url,
    typ: 'at+jwt',
    ...options,
  });

describe('RFC 9068 §2', () => {
  test('§2.1: the header; §2.2: every required claim, and nothing that was not agreed', async () => {
    const before = Math.floor(Date.now() / 1000);
    const { body } = must(await askToken(writ, world.triage, { scope: readIntent }));
    const { header, claims } = decodeToken(body.access_token);
    expect(Object.keys(header).sort()).toEqual(['alg', 'kid', 'typ']);
    expect(header).toMatchObject({ typ: 'at+jwt', alg: 'ES256' });
    expect(Object.keys(claims).sort()).toEqual(
      [
        'agent',
        'aud',
        'authorization_details',
        'client_id',
        'epochs',
        'exp',
        'human_owner_id',
        'iat',
        'iss',
        'jti',
        'scope',
        'sub',
        'task_intent',
      ].sort(),
    );
    expect(claims).toMatchObject({
      iss: writ.url,
      aud: crm,
      sub: world.triage.id,
      client_id: world.triage.id,
      scope: readIntent,
    });
    expect(claims.jti).toMatch(/^[0-9a-f-]{36}$/);
    expect(Number.isInteger(claims.iat) && Number.isInteger(claims.exp)).toBe(true);
    expect(claims.iat).toBeGreaterThanOrEqual(before - 1);
    expect(claims.exp - claims.iat).toBe(300);
    expect(body.expires_in).toBe(300);
  });

  test.each(['ES256', 'Ed25519', 'RS256'])(
    '§2.1: an API that chose %s gets it, and jose verifies it',
    async (algorithm) => {
      const form = { resource: identifierOf(algorithm), scope: `use.${algorithm.toLowerCase()}` };
      const { body } = must(await askToken(writ, world.triage, form));
      const { payload, protectedHeader } = await verify(body.access_token, {
        audience: identifierOf(algorithm),
        algorithms: [algorithm],
      });
      expect(protectedHeader.alg).toBe(algorithm);
      expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(algorithm === 'RS256' ? 30 : 900);
    },
  );

  test('§4: a verifier of another API, another issuer or another type refuses it', async () => {
    const { access_token: token } = must(await askToken(writ, world.triage, { scope: readIntent })).body;
    await expect(verify(token, { audience: identifierOf('ES256') })).rejects.toThrow(/aud/);
    await expect(verify(token, { audience: crm, issuer: 'https://evil.example' })).rejects.toThrow(/iss/);
    await expect(verify(token, { audience: crm, typ: 'JWT' })).rejects.toThrow(/typ/);
    const [header, , signature] = token.split('.');
    const other = must(await askToken(writ, world.billing, { scope: readIntent })).body.access_token.split('.')[1];
    await expect(verify(`${header}.${other}.${signature}`, { audience: crm })).rejects.toThrow(/signature/);
  });

  test('§2.2: two tokens are never the same one', async () => {
    const all = await Promise.all(
      Array.from({ length: 20 }, () => askToken(writ, world.triage, { scope: readIntent })),
    );
    expect(new Set(all.map((answer) => decodeToken(answer.body.access_token).claims.jti)).size).toBe(20);
  });

  test('a shared secret is trusted less than a key', async () => {
    const agent = await createSecretAgent(writ, world);
    const form = { grant_type: 'client_credentials', resource: crm, scope: readIntent };
    const { body } = must(await postForm(`${writ.url}/oauth/token`, form, basic(agent.id, agent.secret)));
    expect(decodeToken(body.access_token).claims.agent).toEqual({
      name: 'agent with a secret',
      environment: 'production',
      trust: 1,
    });
  });

  test('a token ends with its agent', async () => {
    const expiresAt = new Date(Date.now() + 100_000);
    const agent = await world.createAgent({
      owner: world.bob,
      environment: 'production',
      expiresAt: expiresAt.toISOString(),
    });
    const { claims } = decodeToken(must(await askToken(writ, agent, { scope: readIntent })).body.access_token);
    expect(claims.exp).toBe(Math.floor(expiresAt.getTime() / 1000));
  });
});

test('no other signed statement of Writ passes for an access token', async () => {
  const gone = await world.scim('POST', '/Users', {
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
    userName: 'carol@example.com',
    active: true,
  });
  must(await world.scim('DELETE', `/Users/${gone.body.id}`));
  const { body } = must(await writ.admin('GET', `/offboardings?person=${gone.body.id}`));
  const receipt = must(await writ.admin('GET', `/offboardings/${body.items[0].id}`)).body.jws;
  expect(decodeProtectedHeader(receipt).typ).toBe('writ-receipt+jwt');
  await expect(verify(receipt, {})).rejects.toThrow(/typ/);
  const asSubject = await askToken(writ, world.triage, {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: receipt,
    subject_token_type: accessTokenType,
    authorization_details: detail(readIntent),
  });
  expect(asSubject.body).toMatchObject({ error: 'invalid_request', reason: 'subject_token_invalid' });
});
