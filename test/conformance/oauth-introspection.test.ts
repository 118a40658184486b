import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  asApi,
  basic,
  createSecretAgent,
  introspectAs,
  introspectBy,
  revokeBy,
  send,
  withAssertion,
} from '../support/oauth.ts';
import {
  askToken,
  createWorld,
  decodeToken,
  exchangeToken,
  makeAssertion,
  must,
  postForm,
  readIntent,
  type World,
} from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let other: World['api'];
let token: string;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  const api = { identifier: 'https://other.example.com', name: 'Other', environment: 'production' };
  other = must(await writ.admin('POST', '/apis', api)).body;
});
beforeEach(async () => {
  token = must(await askToken(writ, world.triage, { scope: readIntent })).body.access_token;
});
afterAll(() => writ.close());

const asCrm = () => asApi(world.api);
const isActive = async (text: string): Promise<boolean> => {
  const answer = await introspectAs(writ, asCrm(), text);
  expect(answer.status).toBe(200);
  // RFC 7662 §2.2: nothing more is said of what is not active.
  if (answer.body.active !== true) expect(answer.body).toEqual({ active: false });
  return answer.body.active;
};
function expectError(answer: Answer, status: number, error: string): void {
  expect([answer.status, answer.body.error]).toEqual([status, error]);
  expect(answer.headers.get('cache-control')).toBe('no-store');
}

describe('RFC 7662 §2', () => {
  test('§2.2: the API that is the audience, and the agent, see all of it', async () => {
    const { claims } = decodeToken(token);
    for (const answer of [await introspectAs(writ, asCrm(), token), await introspectBy(writ, world.triage, token)]) {
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect(answer.body).toEqual({ active: true, token_type: 'Bearer', ...claims });
    }
    const form = {
      token,
      client_id: world.api.feedCredentials.clientId,
      client_secret: world.api.feedCredentials.clientSecret,
    };
    expect((await postForm(`${writ.url}/oauth/introspect`, form)).body.active).toBe(true);
  });

  test('§2.1: a hint is a hint, and unknown parameters are ignored', async () => {
    for (const hint of ['access_token', 'refresh_token', 'unknown', '']) {
      const form = { token, token_type_hint: hint, foo: 'bar' };
      expect((await postForm(`${writ.url}/oauth/introspect`, form, asCrm())).body.active).toBe(true);
    }
  });

  test('§2.2, §4: everybody else learns nothing', async () => {
    const secret = await createSecretAgent(writ, world);
    const callers = [
      await introspectAs(writ, asApi(other), token),
      await introspectAs(writ, basic(secret.id, secret.secret), token),
      await introspectBy(writ, world.billing, token),
      await introspectBy(writ, world.helper, token),
    ];
    for (const answer of callers) expect([answer.status, answer.body]).toEqual([200, { active: false }]);
  });

  test('§2.2: what is no token of ours is not active', async () => {
    const [header, claims, signature] = token.split('.');
    for (const text of [
      'garbage',
      'a.b.c',
      '..',
      randomUUID(),
      `${token}.`,
      `${token}A`,
      `${header}.${claims}.`,
      `${header}.${Buffer.from('{}').toString('base64url')}.${signature}`,
      'x'.repeat(40_000),
      '\u{1F600}',
      ' ',
      makeAssertion(writ, world.triage),
    ]) {
      expect([text.slice(0, 40), await isActive(text)]).toEqual([text.slice(0, 40), false]);
    }
    expectError(await introspectAs(writ, asCrm(), ''), 400, 'invalid_request');
    expectError(
      await postForm(`${writ.url}/oauth/introspect`, { token: [token, token] }, asCrm()),
      400,
      'invalid_request',
    );
    expectError(await postForm(`${writ.url}/oauth/introspect`, { token: '%00\0' }, asCrm()), 400, 'invalid_request');
  });

  test('§2.1: no caller, no answer', async () => {
    const introspect = (headers: Record<string, string>, form = {}) =>
      postForm(`${writ.url}/oauth/introspect`, { token, ...form }, headers);
    const { clientId } = world.api.feedCredentials;
    for (const headers of [
      basic(clientId, 'wrong'),
      basic(world.api.id, world.api.feedCredentials.clientSecret),
      basic(clientId, other.feedCredentials.clientSecret),
      basic(randomUUID(), 'x'),
      { authorization: `Bearer ${token}` },
      { authorization: `Bearer test-administrator-token` },
    ] as Record<string, string>[]) {
      const answer = await introspect(headers);
      expectError(answer, 401, 'invalid_client');
      expect(answer.headers.get('www-authenticate')).toMatch(/^Basic realm="/);
    }
    expectError(await introspect({}), 401, 'invalid_client');
    expectError(await introspect({}, { client_id: clientId }), 401, 'invalid_client');
    for (const method of ['GET', 'PUT']) {
      const answer = await send(`${writ.url}/oauth/introspect?token=${token}`, { method, headers: asCrm() });
      expect(answer.status).toBe(405);
    }
  });

  test('revoked, suspended, transferred, without an owner: dead, and dead for good', async () => {
    const { admin } = writ;
    const agent = await world.createAgent({ owner: world.bob, environment: 'production' });
    const fresh = async () => must(await askToken(writ, agent, { scope: readIntent })).body.access_token;
    const act = async (verb: string, body: object = {}) =>
      must(await admin('POST', `/agents/${agent.id}/${verb}`, { reason: 'test', ...body }));

    const revoked = await fresh();
    expect(await isActive(revoked)).toBe(true);
    must(await revokeBy(writ, agent, revoked));
    expect(await isActive(revoked)).toBe(false);

    const suspended = await fresh();
    await act('suspend');
    expect(await isActive(suspended)).toBe(false);
    await act('activate');
    expect(await isActive(suspended)).toBe(false);

    const transferred = await fresh();
    await act('transfer', { owner: world.alice });
    expect(await isActive(transferred)).toBe(false);
    await act('transfer', { owner: world.bob });
    expect(await isActive(transferred)).toBe(false);

    const left = await fresh();
    expect(await isActive(left)).toBe(true);
    const patch = (active: boolean) =>
      world.scim('PATCH', `/Users/${world.bob}`, {
        schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
        Operations: [{ op: 'replace', value: { active } }],
      });
    must(await patch(false));
    expect(await isActive(left)).toBe(false);
    expect((await introspectBy(writ, agent, left)).body).toEqual({ active: false });
    must(await patch(true));
    expect(await isActive(left)).toBe(false);
  });

  test('an ancestor that is suspended ends what is below it', async () => {
    const root = await world.createAgent({ owner: world.alice, environment: 'production' });
    const child = await world.createAgent({ parent: root.id, environment: 'production' });
    const below = must(await askToken(writ, child, { scope: readIntent })).body.access_token;
    must(await writ.admin('POST', `/agents/${root.id}/suspend`, { reason: 'test' }));
    expect(await isActive(below)).toBe(false);
    must(await writ.admin('POST', `/agents/${root.id}/activate`, { reason: 'test' }));
    expect(await isActive(below)).toBe(false);
  });

  test('an expired token is not active: the clock of the node is asked', async () => {
    const { claims } = decodeToken(token);
    const issuer = writ.url;
    await using later = await startWrit({
      databaseUrl: writ.databaseUrl,
      issuer,
      now: () => new Date((claims.exp + 1) * 1000),
    });
    expect((await introspectAs(later, asCrm(), token)).body).toEqual({ active: false });
    expect(await isActive(token)).toBe(true);
  });

  test('a revoked signing key ends every token it signed', async () => {
    const alg = {
      identifier: 'https://rsa.example.com',
      name: 'RSA',
      environment: 'production',
      signingAlgorithm: 'RS256',
    };
    const { body: api } = must(await writ.admin('POST', '/apis', alg));
    const intent = {
      taskIntent: 'rsa.read',
      description: 'x',
      apis: [alg.identifier],
      actions: ['read'],
      datatypes: ['x'],
    };
    must(await writ.admin('POST', '/intents', { ...intent, risk: 'read' }));
    const agent = await world.createAgent({ owner: world.alice, environment: 'production', intents: ['rsa.read'] });
    const form = { resource: alg.identifier, scope: 'rsa.read' };
    const signed = must(await askToken(writ, agent, form)).body.access_token;
    expect((await introspectAs(writ, asApi(api), signed)).body.active).toBe(true);
    must(await writ.admin('POST', `/keys/${decodeToken(signed).header.kid}/revoke`, { reason: 'test' }));
    expect((await introspectAs(writ, asApi(api), signed)).body).toEqual({ active: false });
    expect((await exchangeToken(writ, agent, signed)).body.reason).toBe('subject_token_invalid');
  });
});

describe('RFC 7009 §2', () => {
  test('§2.2: its own token is dead afterwards; saying so again changes nothing', async () => {
    expect(await isActive(token)).toBe(true);
    const answer = await revokeBy(writ, world.triage, token);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(await isActive(token)).toBe(false);
    expect((await revokeBy(writ, world.triage, token)).status).toBe(200);
    expect((await exchangeToken(writ, world.triage, token)).body.reason).toBe('subject_token_invalid');
    // The next token is another subject.
    const next = must(await askToken(writ, world.triage, { scope: readIntent })).body.access_token;
    expect(await isActive(next)).toBe(true);
  });

  test('§2.2: an unknown token is a success, whatever the hint', async () => {
    for (const text of ['garbage', 'a.b.c', randomUUID(), `${token}x`]) {
      for (const hint of ['access_token', 'refresh_token', 'foo']) {
        expect((await revokeBy(writ, world.triage, text, { token_type_hint: hint })).status).toBe(200);
      }
    }
    expect(await isActive(token)).toBe(true);
    expect((await revokeBy(writ, world.triage, token, { token_type_hint: 'refresh_token' })).status).toBe(200);
    expect(await isActive(token)).toBe(false);
  });

  test('§2.1: a token of another client is refused, and stays alive', async () => {
    for (const agent of [world.billing, world.helper])
      expectError(await revokeBy(writ, agent, token), 400, 'invalid_request');
    expectError(await postForm(`${writ.url}/oauth/revoke`, { token }, asCrm()), 400, 'invalid_request');
    expect(await isActive(token)).toBe(true);
  });

  test('§2.1: unauthenticated, malformed', async () => {
    expectError(await postForm(`${writ.url}/oauth/revoke`, { token }), 401, 'invalid_client');
    expectError(
      await postForm(`${writ.url}/oauth/revoke`, { token, client_id: world.triage.id }),
      401,
      'invalid_client',
    );
    const forged = withAssertion(makeAssertion(writ, { ...world.billing, id: world.triage.id }));
    expectError(await postForm(`${writ.url}/oauth/revoke`, { token, ...forged }), 401, 'invalid_client');
    expectError(await revokeBy(writ, world.triage, ''), 400, 'invalid_request');
    expectError(await revokeBy(writ, world.triage, token, { token: [token, token] }), 400, 'invalid_request');
    const get = await send(`${writ.url}/oauth/revoke?token=${token}`, {});
    expect(get.status).toBe(405);
    expect(await isActive(token)).toBe(true);
  });

  test('an agent that is suspended may still give its tokens back', async () => {
    const agent = await world.createAgent({ owner: world.alice, environment: 'production' });
    const own = must(await askToken(writ, agent, { scope: readIntent })).body.access_token;
    must(await writ.admin('POST', `/agents/${agent.id}/suspend`, { reason: 'test' }));
    expect((await revokeBy(writ, agent, own)).status).toBe(200);
  });

  test('each revocation is recorded once, with who did it', async () => {
    await Promise.all(Array.from({ length: 5 }, () => revokeBy(writ, world.triage, token)));
    const { jti } = decodeToken(token).claims;
    const found = await writ.admin('GET', `/audit?jti=${jti}&kind=token.revoked`);
    expect(found.body.items.length).toBeGreaterThanOrEqual(1);
    for (const item of found.body.items) expect(item).toMatchObject({ agent: world.triage.id, outcome: 'done' });
    const sql = postgres(writ.databaseUrl, { max: 1 });
    try {
      const rows = await sql`select epoch from subjects where id = ${jti}`;
      expect(rows).toHaveLength(1);
    } finally {
      await sql.end();
    }
  });
});
