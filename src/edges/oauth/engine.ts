/**
 * oidc-provider, set up as Writ's protocol engine: it parses and authenticates, in the order and with the errors of the
 * RFCs. It stores nothing and signs nothing: clients come from the domains, tokens are made by domain/tokens.
 *
 * What is tightened, and why: the only audience of a client assertion is the issuer (RFC 10070; accepting the token
 * endpoint's URL lets a hostile server replay what it collected), its life is capped, its `jti` is used up by one atomic
 * statement, and secrets are compared with hashes.
 */
import { generateKeyPairSync } from 'node:crypto';
import { type Adapter, type Configuration, errors, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { WritError } from '../../errors.ts';
import { secretMatches } from '../../platform/keys/secret.ts';
import { grantTypes } from '../../protocol.ts';
import { assertionLifeSeconds, clockToleranceSeconds, toAssertion } from './assertion.ts';
import type { Caller, RequestState } from './state.ts';

export const assertionAlgorithms = ['ES256', 'Ed25519', 'EdDSA', 'RS256', 'PS256'] as const;
export const authenticationMethods = ['private_key_jwt', 'client_secret_basic', 'client_secret_post'] as const;

export interface EngineParts {
  issuer: string;
  /** The agent or API of this client id; `null`: none. */
  findCaller(clientId: string): Promise<Caller | null>;
  stateOf(ctx: unknown): RequestState;
  answerToken(ctx: KoaContextWithOIDC, state: RequestState): Promise<void>;
  now(): Date;
}

/** The client metadata that the engine needs in order to authenticate a caller. */
function toMetadata(caller: Caller): Record<string, unknown> {
  const common = {
    client_id: caller.type === 'agent' ? caller.id : caller.clientId,
    grant_types: Object.values(grantTypes),
  };
  if (caller.type === 'agent' && caller.credentialKind === 'jwks') {
    return { ...common, token_endpoint_auth_method: 'private_key_jwt', jwks: caller.jwks };
  }
  // The hash stands where the engine keeps a secret: `compareClientSecret` below knows.
  const hash = caller.secretHash?.toString('hex');
  return { ...common, token_endpoint_auth_method: 'client_secret_basic', client_secret: hash };
}

/** The engine's storage: it looks up clients, and has nothing else to keep. */
const createAdapter =
  (parts: EngineParts) =>
  (model: string): Adapter => {
    const refuse = async (): Promise<never> => {
      throw new Error(`the protocol engine tried to store a ${model}`);
    };
    const nothing = async () => undefined;
    return {
      find: async (id) => {
        if (model !== 'Client') return undefined;
        const caller = await parts.findCaller(id);
        if (caller === null) return undefined;
        parts.stateOf(Provider.ctx).caller = caller;
        return toMetadata(caller) as never;
      },
      findByUid: nothing,
      findByUserCode: nothing,
      upsert: refuse,
      consume: refuse,
      destroy: refuse,
      revokeByGrantId: refuse,
    };
  };

const soleAudience = 'the audience of a client assertion is the issuer alone';

/** RFC 10070 §3: the issuer, alone. A JWT that says it is something else is not a client assertion. */
function checkAssertion(
  issuer: string,
  now: Date,
  claims: Record<string, unknown>,
  header: Record<string, unknown>,
): void {
  const { aud, exp, jti } = claims;
  // RFC 7515 §4.1.11: nothing is understood here that would have to be.
  if ('crit' in header) throw new errors.InvalidClientAuth('the assertion has critical header parameters');
  const sole = Array.isArray(aud) && aud.length === 1 ? aud[0] : aud;
  if (sole !== issuer) throw new errors.InvalidClientAuth(soleAudience);
  const typ = header.typ ?? 'JWT';
  const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : '';
  if (type !== 'jwt' && type !== 'client-authentication+jwt') {
    throw new errors.InvalidClientAuth('the assertion is a JWT of another type');
  }
  if (typeof jti !== 'string' || jti.length > 512) throw new errors.InvalidClientAuth('jti is not a short string');
  const latest = now.getTime() / 1000 + assertionLifeSeconds + clockToleranceSeconds;
  if (typeof exp !== 'number' || exp > latest) {
    throw new errors.InvalidClientAuth(`an assertion lives at most ${assertionLifeSeconds} seconds`);
  }
}

function configure(parts: EngineParts): Configuration {
  const off = { enabled: false };
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    adapter: createAdapter(parts),
    // The engine insists on a key. It never signs with it, and nobody is told of it.
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256' }] },
    clientAuthMethods: [...authenticationMethods],
    clientDefaults: {
      grant_types: [],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: 'ES256',
    },
    clockTolerance: clockToleranceSeconds,
    enabledJWA: {
      clientAuthSigningAlgValues: [...assertionAlgorithms],
      idTokenSigningAlgValues: ['ES256'],
    },
    responseTypes: [],
    scopes: [],
    features: {
      devInteractions: off,
      rpInitiatedLogout: off,
      userinfo: off,
      dPoP: off,
      // Writ finds the API of a request itself; the engine would refuse details without `resource`.
      resourceIndicators: { enabled: false, defaultResource: () => 'urn:writ:found-by-writ' },
      introspection: { enabled: true },
      revocation: { enabled: true },
    },
    routes: { token: '/oauth/token', introspection: '/oauth/introspect', revocation: '/oauth/revoke' },
    renderError: (ctx, out) => {
      ctx.body = out;
    },
    assertJwtClientAuthClaimsAndHeader: (_ctx, claims, header) =>
      checkAssertion(parts.issuer, parts.now(), claims, header),
  } as Configuration;
}

/** Parts of the engine that it offers no setting for. A conformance test holds each of them. */
function tighten(provider: Provider, parts: EngineParts): void {
  Object.assign(provider.OIDCContext.prototype, { clientJwtAuthExpectedAudience: () => new Set([parts.issuer]) });
  Object.assign(provider.Client.prototype, {
    compareClientSecret(this: { clientSecret: string }, secret: string): boolean {
      const matches = secretMatches(secret, Buffer.from(this.clientSecret, 'hex'));
      if (matches) parts.stateOf(Provider.ctx).proven = true;
      return matches;
    },
  });
  // Noted here, used up in the transaction of the answer: one statement, which also decides between two at once.
  Object.assign(provider.ReplayDetection, {
    unique: async (iss: string, jti: string, exp: number): Promise<boolean> => {
      Object.assign(parts.stateOf(Provider.ctx), { assertion: toAssertion(iss, jti, exp), proven: true });
      return true;
    },
  });
}

export function createEngine(parts: EngineParts): Provider {
  const provider = new Provider(parts.issuer, configure(parts));
  tighten(provider, parts);
  const answer = (ctx: KoaContextWithOIDC) => parts.answerToken(ctx, parts.stateOf(ctx));
  // Not `scope`: the engine would refuse its characters before a dead agent hears that it is dead.
  const common = ['resource', 'authorization_details'];
  provider.registerGrantType(grantTypes.clientCredentials, answer, common, ['resource']);
  provider.registerGrantType(
    grantTypes.tokenExchange,
    answer,
    [
      ...common,
      'audience',
      'subject_token',
      'subject_token_type',
      'actor_token',
      'actor_token_type',
      'requested_token_type',
    ],
    ['resource', 'audience'],
  );
  provider.on('server_error', (ctx, error) => {
    parts.stateOf(ctx).failure = error;
  });
  provider.on('grant.error', (ctx, error) => noteRefusal(parts.stateOf(ctx), error));
  provider.on('introspection.error', (ctx, error) => noteRefusal(parts.stateOf(ctx), error));
  provider.on('revocation.error', (ctx, error) => noteRefusal(parts.stateOf(ctx), error));
  return provider;
}

/** The engine takes what a domain throws for a fault of its own; `WritError` keeps its meaning. */
function noteRefusal(state: RequestState, error: unknown): void {
  if (error instanceof WritError) state.failure = error;
  if (!(error instanceof errors.OIDCProviderError) || error.error_detail === undefined) return;
  // The engine's own words name audiences that it is not let accept, to an administrator who looks for the cause.
  state.detail = error.error_detail.startsWith('audience (aud) must equal') ? soleAudience : error.error_detail;
}
