/**
 * What Writ is compared with: oidc-provider as it comes, with JWT access tokens by ES256, and the least that a token
 * exchange needs. In memory with static clients, or with clients and used assertions in PostgreSQL (`DATABASE_URL`).
 */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { jwtVerify } from 'jose';
import { type Configuration, errors, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { connectStore } from './oidc-store.ts';

const {
  BENCH_ISSUER: issuer = '',
  BENCH_CLIENTS: clients = '[]',
  BENCH_API: audience = '',
  DATABASE_URL,
} = process.env;
const scope = 'read update';
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const publicKey = createPublicKey(privateKey);

const metadata = JSON.parse(clients).map((client: object) => ({
  ...client,
  grant_types: ['client_credentials', exchange],
  redirect_uris: [],
  response_types: [],
  scope,
}));
const store = DATABASE_URL ? await connectStore(DATABASE_URL, metadata) : undefined;

const resourceServer = {
  scope,
  audience,
  accessTokenTTL: 300,
  accessTokenFormat: 'jwt' as const,
  jwt: { sign: { alg: 'ES256' as const } },
};
const off = { enabled: false };
const configuration: Configuration = {
  ...(store === undefined ? { clients: metadata } : { adapter: store.adapter }),
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'signing' }] },
  clientAuthMethods: ['private_key_jwt', 'client_secret_basic'],
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  enabledJWA: { clientAuthSigningAlgValues: ['ES256'], idTokenSigningAlgValues: ['ES256'] },
  scopes: scope.split(' '),
  routes: { token: '/oauth/token' },
  features: {
    devInteractions: off,
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => resourceServer,
      defaultResource: () => audience,
    },
  },
  extraTokenClaims: (_ctx, token) => ('extra' in token ? (token.extra as Record<string, unknown>) : undefined),
};
const provider = new Provider(issuer, configuration);
if (store !== undefined) Object.assign(provider.ReplayDetection, { unique: store.unique });

/** Verifies the subject token, issued to the caller; answers with a token that has less scope and names the actor. */
async function answerExchange(ctx: KoaContextWithOIDC): Promise<void> {
  const { client, params = {} } = ctx.oidc;
  if (client === undefined) throw new errors.InvalidClient('no client');
  const verified = await jwtVerify(String(params.subject_token), publicKey, { issuer, audience }).catch(() => {
    throw new errors.InvalidGrant('the subject token is not valid');
  });
  const subject = verified.payload;
  if (subject.client_id !== client.clientId) throw new errors.InvalidGrant('the subject token was issued to another');
  const had = new Set(String(subject.scope).split(' '));
  const wanted = String(params.scope).split(' ');
  if (!wanted.every((one) => had.has(one)))
    throw new errors.InvalidScope('more than the subject token', String(params.scope));
  const token = new provider.ClientCredentials({ client, scope: wanted.join(' ') } as never);
  Object.assign(token, {
    resourceServer: new provider.ResourceServer(audience, resourceServer),
    extra: { act: { sub: client.clientId } },
  });
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: 'Bearer',
    expires_in: token.expiration,
    scope: token.scope,
  };
}
provider.registerGrantType(exchange, answerExchange, ['subject_token', 'subject_token_type', 'scope'], []);

createServer(provider.callback()).listen(Number(process.env.PORT), '127.0.0.1');
