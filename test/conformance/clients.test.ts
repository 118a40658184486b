/** The clients that people already use, as they come: nothing of Writ's in them, nothing of theirs in Writ. */
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { accessTokenType, createSecretAgent, exchangeGrant } from '../support/oauth.ts';
import { createWorld, crm, detail, must, readIntent, type World } from '../support/world.ts';
import { startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let secret: { id: string; secret: string };
/** Of one agent, one key for each algorithm a client may use. */
const keys = new Map<string, jose.CryptoKey>();
let agentId: string;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  secret = await createSecretAgent(writ, world);
  const jwks: jose.JWK[] = [];
  for (const alg of ['ES256', 'Ed25519', 'RS256', 'PS256']) {
    const { privateKey, publicKey } = await jose.generateKeyPair(alg, { extractable: true });
    keys.set(alg, privateKey);
    jwks.push({ ...(await jose.exportJWK(publicKey)), kid: alg, alg, use: 'sig' });
  }
  const agent = await writ.admin('POST', '/agents', {
    name: 'standard',
    owner: world.alice,
    environment: 'production',
    credential: { jwks: { keys: jwks } },
    intents: [readIntent],
  });
  agentId = must(agent).body.id;
});
afterAll(() => writ.close());

const keyOf = (alg: string): { key: jose.CryptoKey; kid: string } => {
  const key = keys.get(alg);
  if (key === undefined) throw new Error(`no key for ${alg}`);
  return { key, kid: alg };
};
const request = { resource: crm, scope: readIntent };

async function verify(token: string): Promise<jose.JWTPayload> {
  const jwks = jose.createRemoteJWKSet(new URL(`${writ.url}/oauth/jwks`));
  const { payload } = await jose.jwtVerify(token, jwks, {
    issuer: writ.url,
    audience: crm,
    typ: 'at+jwt',
    requiredClaims: ['sub', 'client_id', 'jti', 'exp', 'iat'],
  });
  return payload;
}

describe('RFC 8414, RFC 6749 §4.4: openid-client', () => {
  const discover = (
    id: string,
    authentication: openid.ClientAuth,
    algorithm: 'oidc' | 'oauth2',
  ): Promise<openid.Configuration> =>
    openid.discovery(new URL(writ.url), id, undefined, authentication, {
      algorithm,
      execute: [openid.allowInsecureRequests],
    });

  test.each(['ES256', 'Ed25519', 'RS256', 'PS256'])('private_key_jwt by %s', async (alg) => {
    const config = await discover(agentId, openid.PrivateKeyJwt(keyOf(alg)), 'oauth2');
    const tokens = await openid.clientCredentialsGrant(config, request);
    expect(tokens.scope).toBe(readIntent);
    expect((await verify(tokens.access_token)).sub).toBe(agentId);
  });

  test('secrets, both ways; both discovery documents', async () => {
    for (const authentication of [openid.ClientSecretBasic(secret.secret), openid.ClientSecretPost(secret.secret)]) {
      for (const algorithm of ['oidc', 'oauth2'] as const) {
        const config = await discover(secret.id, authentication, algorithm);
        const tokens = await openid.clientCredentialsGrant(config, request);
        expect(tokens.token_type).toBe('bearer');
        expect(tokens.expires_in).toBe(300);
      }
    }
  });

  test('RFC 9396, RFC 8693, RFC 7662, RFC 7009: details, exchange, introspection, revocation', async () => {
    const config = await discover(agentId, openid.PrivateKeyJwt(keyOf('ES256')), 'oauth2');
    const wide = await openid.clientCredentialsGrant(config, {
      resource: crm,
      authorization_details: detail(readIntent, { actions: ['read', 'list'] }),
    });
    const narrow = await openid.genericGrantRequest(config, exchangeGrant, {
      subject_token: wide.access_token,
      subject_token_type: accessTokenType,
      authorization_details: detail(readIntent, { actions: ['read'] }),
    });
    expect(narrow.issued_token_type).toBe(accessTokenType);
    expect((await openid.tokenIntrospection(config, narrow.access_token)).active).toBe(true);
    await openid.tokenRevocation(config, wide.access_token);
    expect(await openid.tokenIntrospection(config, narrow.access_token)).toEqual({ active: false });
  });

  test('an error is understood: code, description, and what Writ says beside them', async () => {
    const config = await discover(agentId, openid.PrivateKeyJwt(keyOf('ES256')), 'oauth2');
    const refused = await openid
      .clientCredentialsGrant(config, { resource: crm, scope: 'nothing' })
      .catch((error) => error);
    expect(refused).toBeInstanceOf(openid.ResponseBodyError);
    expect(refused).toMatchObject({ error: 'invalid_scope', status: 400 });
    expect(refused.cause.reason).toBe('intent_unknown');
    const wrong = await discover(secret.id, openid.ClientSecretBasic('wrong'), 'oauth2');
    const challenged = await openid.clientCredentialsGrant(wrong, request).catch((error) => error);
    expect(challenged).toBeInstanceOf(openid.WWWAuthenticateChallengeError);
    expect(challenged.cause[0].scheme).toBe('basic');
  });
});

describe('RFC 8414, RFC 6749 §4.4: oauth4webapi', () => {
  const insecure = { [oauth.allowInsecureRequests]: true };
  const discover = async (algorithm: 'oidc' | 'oauth2'): Promise<oauth.AuthorizationServer> => {
    const issuer = new URL(writ.url);
    return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm, ...insecure }));
  };

  const getToken = async (as: oauth.AuthorizationServer, id: string, by: oauth.ClientAuth): Promise<string> => {
    const client = { client_id: id };
    const response = await oauth.clientCredentialsGrantRequest(as, client, by, request, insecure);
    return (await oauth.processClientCredentialsResponse(as, client, response)).access_token;
  };

  test('discovery, client credentials, exchange, introspection, revocation', async () => {
    const as = await discover('oauth2');
    expect(await discover('oidc')).toEqual(as);
    const client: oauth.Client = { client_id: agentId };
    const authentication = oauth.PrivateKeyJwt(keyOf('Ed25519'));
    const token = await getToken(as, agentId, authentication);
    const exchange = { subject_token: token, subject_token_type: accessTokenType, scope: readIntent };
    const narrow = await oauth.processGenericTokenEndpointResponse(
      as,
      client,
      await oauth.genericTokenEndpointRequest(as, client, authentication, exchangeGrant, exchange, insecure),
    );
    expect(narrow.issued_token_type).toBe(accessTokenType);
    const look = async () =>
      oauth.processIntrospectionResponse(
        as,
        client,
        await oauth.introspectionRequest(as, client, authentication, narrow.access_token, insecure),
      );
    expect(await look()).toMatchObject({ active: true, sub: agentId, aud: crm, scope: readIntent });
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, authentication, token, insecure));
    expect(await look()).toEqual({ active: false });
  });

  test('RFC 9068 §4: as a resource server, it takes the token for what it is', async () => {
    const as = await discover('oauth2');
    const token = await getToken(as, secret.id, oauth.ClientSecretBasic(secret.secret));
    const call = new Request(`${crm}/tickets`, { headers: { authorization: `Bearer ${token}` } });
    const claims = await oauth.validateJwtAccessToken(as, call, crm, insecure);
    expect(claims).toMatchObject({ sub: secret.id, client_id: secret.id, human_owner_id: world.alice });
    await expect(
      oauth.validateJwtAccessToken(as, call.clone(), 'https://other.example.com', insecure),
    ).rejects.toThrow();
  });

  test('RFC 7662: the API introspects with its feed credentials', async () => {
    const as = await discover('oauth2');
    const token = await getToken(as, secret.id, oauth.ClientSecretPost(secret.secret));
    const { clientId, clientSecret } = world.api.feedCredentials;
    const api: oauth.Client = { client_id: clientId };
    const answer = await oauth.introspectionRequest(as, api, oauth.ClientSecretBasic(clientSecret), token, insecure);
    expect(await oauth.processIntrospectionResponse(as, api, answer)).toMatchObject({
      active: true,
      client_id: secret.id,
    });
  });
});
