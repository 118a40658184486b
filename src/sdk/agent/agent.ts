/**
 * Gets access tokens for one agent. Owns: the tokens got and not yet about to expire, the requests in flight, and whether
 * the agent was stopped. Invariants: one request in flight for the same token; each request is authenticated anew; after a
 * final refusal no request is ever sent again. States: working → stopped. Runs on Node 20 or later and needs no other package.
 */

import { accessTokenType, agentIntentType, grantTypes } from '../../protocol.ts';
import { parseSecureUrl } from '../issuer.ts';
import { type AgentKey, type AssertionAlgorithm, authenticateWithKey, authenticateWithSecret } from './credential.ts';
import { AgentError } from './errors.ts';
import { createTokenKeeper, type Token } from './token-keeper.ts';
import { createTokenRequester, type Fetch } from './transport.ts';

export type { AgentIntent } from '../../protocol.ts';
export type { AgentKey, AssertionAlgorithm, PrivateJwk } from './credential.ts';
export { AgentError, type AgentErrorCode, type Refusal } from './errors.ts';
export type { Token } from './token-keeper.ts';

interface CommonOptions {
  /** Issuer identifier of Writ, exactly as it calls itself. */
  issuer: string;
  /** The agent's id. */
  clientId: string;
  /** Seconds that one attempt may take. Default 10. */
  timeoutSeconds?: number;
  fetch?: Fetch;
  now?: () => Date;
}

/** An agent authenticates with a key (`private_key_jwt`) or, where it must, with a secret (`client_secret_basic`). */
export type AgentOptions = CommonOptions &
  (
    | {
        key: AgentKey;
        /** Default: the JWK's `alg`, or what fits the key: ES256, Ed25519, RS256. */
        algorithm?: AssertionAlgorithm;
        /** Default: the JWK's `kid`. */
        keyId?: string;
        clientSecret?: never;
      }
    | { clientSecret: string; key?: never; algorithm?: never; keyId?: never }
  );

/** What the token should be good for. Without `intent` and `scope`: the agent's read-only intents at that API. */
export interface Wish {
  /** Name of the intent, `task_intent`. */
  intent?: string;
  /** These narrow the intent; what is left out is as the catalogue has it. */
  actions?: readonly string[];
  datatypes?: readonly string[];
  /** The one object that the task is about. */
  identifier?: string;
  scope?: string;
  /** Ask for a new token also when one is kept: after an API refused it with `invalid_token`. */
  fresh?: boolean;
  /** Ends the waiting of this caller, and the request when nobody else waits for it. */
  signal?: AbortSignal;
}

export interface TokenWish extends Wish {
  /** Identifier of the API. */
  resource: string;
}

export interface ExchangeWish extends Wish {
  /** An access token of Writ that names this agent, or is its own. */
  subjectToken: string;
  /** Identifier of the API. Default: that of the subject token. */
  resource?: string;
}

export interface Agent {
  /**
   * Gets a token for the agent itself. Does **not** check the token or what was granted (that is for the API), and does not
   * retry a refusal. The same wish gets the same token until shortly before it expires.
   *
   * Rejects with `AgentError`: `refused` (with `reason`, and `errorUri` for `approval_required`), `stopped` for good when the
   * agent or its owner is no longer active, `unavailable`, `protocol`; with `TypeError` for a wish that says nothing; with
   * the signal's reason.
   *
   * @see {@link https://www.rfc-editor.org/rfc/rfc6749#section-4.4 RFC 6749 §4.4}
   * @see {@link https://www.rfc-editor.org/rfc/rfc8707#section-2 RFC 8707 §2}
   * @see {@link https://www.rfc-editor.org/rfc/rfc9396#section-6 RFC 9396 §6}
   */
  token(wish: TokenWish): Promise<Token>;
  /**
   * Trades a token for one with no more rights and no longer life, that names this agent as the actor. Does **not** send an
   * actor token: the actor is whoever authenticates. Rejects as `token` does.
   *
   * @see {@link https://www.rfc-editor.org/rfc/rfc8693#section-2.1 RFC 8693 §2.1}
   */
  exchange(wish: ExchangeWish): Promise<Token>;
}

/**
 * Makes the client of one agent. Does **not** send anything yet. Throws `TypeError` for options that cannot work, with
 * neither the key nor the secret in its message.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8414 RFC 8414}
 * @see {@link https://www.rfc-editor.org/rfc/rfc7523#section-2.2 RFC 7523 §2.2}
 * @see {@link https://www.rfc-editor.org/rfc/rfc10070 RFC 10070}
 */
export function createAgent(options: AgentOptions): Agent {
  const { issuer, clientId } = options;
  parseSecureUrl(issuer, 'issuer');
  if (!isText(clientId)) throw new TypeError('clientId is not a string');
  const timeoutSeconds = options.timeoutSeconds ?? 10;
  if (!(Number.isFinite(timeoutSeconds) && timeoutSeconds > 0)) throw new TypeError('timeoutSeconds is not positive');
  const now = options.now ?? (() => new Date());
  const request = createTokenRequester({
    issuer,
    authenticate: chooseAuthentication(options, now),
    fetch: options.fetch ?? globalThis.fetch,
    timeoutSeconds,
  });
  const keeper = createTokenKeeper({
    now,
    async request(form, signal) {
      // Life counts from before the request was sent: the token is at most as old as that.
      const askedAt = now();
      return readToken(await request(form, signal), askedAt);
    },
  });
  return {
    async token(wish) {
      if (!isText(wish.resource)) throw new TypeError('resource is not a string');
      const form = new URLSearchParams({ grant_type: grantTypes.clientCredentials });
      addWish(form, wish, wish.resource);
      return keeper.get(form, wish);
    },
    async exchange(wish) {
      if (!isText(wish.subjectToken)) throw new TypeError('subjectToken is not a string');
      if (wish.resource !== undefined && !isText(wish.resource)) throw new TypeError('resource is not a string');
      const form = new URLSearchParams({
        grant_type: grantTypes.tokenExchange,
        subject_token: wish.subjectToken,
        subject_token_type: accessTokenType,
      });
      addWish(form, wish, wish.resource);
      return keeper.get(form, wish);
    },
  };
}

function chooseAuthentication(options: AgentOptions, now: () => Date): ReturnType<typeof authenticateWithKey> {
  const { issuer, clientId, key, clientSecret, algorithm, keyId } = options;
  if (key !== undefined && clientSecret === undefined) {
    return authenticateWithKey({ issuer, clientId, key: { key, algorithm, keyId }, now });
  }
  if (key !== undefined || !isText(clientSecret)) throw new TypeError('either key or clientSecret is needed');
  return authenticateWithSecret(clientId, clientSecret);
}

function addWish(form: URLSearchParams, wish: Wish, resource: string | undefined): void {
  const { intent, actions, datatypes, identifier, scope } = wish;
  if (resource !== undefined) form.set('resource', resource);
  if (scope !== undefined) form.set('scope', scope);
  if (intent === undefined) {
    if (actions ?? datatypes ?? identifier) throw new TypeError('actions, datatypes and identifier need an intent');
    return;
  }
  const detail = {
    type: agentIntentType,
    task_intent: intent,
    ...(resource === undefined ? {} : { locations: [resource] }),
    ...(actions && { actions }),
    ...(datatypes && { datatypes }),
    ...(identifier === undefined ? {} : { identifier }),
  };
  form.set('authorization_details', JSON.stringify([detail]));
}

/** The token response of RFC 6749 §5.1, of which Writ always sends `expires_in`. */
function readToken(answer: Record<string, unknown>, askedAt: Date): Token {
  const { access_token: accessToken, token_type: type, expires_in: expiresIn, scope } = answer;
  const isBearer = typeof type === 'string' && type.toLowerCase() === 'bearer';
  if (!isText(accessToken) || !isBearer || typeof expiresIn !== 'number' || !(expiresIn > 0)) {
    throw new AgentError('protocol', 'The token endpoint answered no bearer token', { cause: type });
  }
  const token: Token = {
    accessToken,
    tokenType: 'Bearer',
    expiresIn,
    expiresAt: new Date(askedAt.getTime() + expiresIn * 1000),
  };
  if (typeof scope === 'string') token.scope = scope;
  if (Array.isArray(answer.authorization_details)) token.authorizationDetails = answer.authorization_details;
  if (typeof answer.issued_token_type === 'string') token.issuedTokenType = answer.issued_token_type;
  return token;
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
