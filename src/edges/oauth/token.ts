/**
 * The grants of the token endpoint, once the client is authenticated: RFC 6749 §4.4 (client credentials) and RFC 8693
 * (token exchange). They read parameters and word answers; the domain decides.
 */
import { errors } from 'oidc-provider';
import { trustOf } from '../../domain/policy/trust.ts';
import { type Issuer, issueToken, type Requester, type TokenRequest } from '../../domain/tokens/issue.ts';
import { accessTokenType, grantTypes, jwtTokenType } from '../../protocol.ts';
import { clientErrorPage, toRefusalBody } from './refusals.ts';
import { type Caller, formValue, formValues, type RequestState } from './state.ts';

export interface TokenEndpoint {
  issuer: Issuer;
  /** Counts what happened, for metrics. */
  observe(outcome: 'issued' | 'exchanged' | 'refused', reason?: string): void;
}

// Of a caller that was read once and asks again.
const requesters = new WeakMap<Caller, Requester>();

function toRequester(caller: Caller | null | undefined): Requester | null {
  if (caller?.type !== 'agent') return null;
  const known = requesters.get(caller);
  if (known !== undefined) return known;
  const { intentIds, ownerGroups, id, name, ownerId, environment, version } = caller;
  const sets = { intentIds: new Set(intentIds), ownerGroups: new Set(ownerGroups) };
  const made = { id, name, ownerId, environment, version, ...sets, trust: trustOf(caller) };
  requesters.set(caller, made);
  return made;
}

/** What a caller proves itself with, comparable. */
function credentialOf(caller: Caller | null | undefined): string | undefined {
  if (caller?.type !== 'agent') return undefined;
  return JSON.stringify([caller.jwks, caller.secretHash?.toString('hex')]);
}

const isTokenType = (type: string | undefined): boolean => type === accessTokenType || type === jwtTokenType;

/** RFC 8693 §2.1. The engine has refused repeated parameters where they may not repeat. */
function readSubject(state: RequestState): Pick<TokenRequest, 'subjectToken' | 'actorToken'> {
  const subjectToken = formValue(state, 'subject_token');
  const type = formValue(state, 'subject_token_type');
  if (subjectToken === undefined) throw new errors.InvalidRequest("missing required parameter 'subject_token'");
  if (!isTokenType(type)) {
    throw new errors.InvalidRequest(`subject_token_type has to be ${accessTokenType}`);
  }
  const wanted = formValue(state, 'requested_token_type');
  if (wanted !== undefined && !isTokenType(wanted)) {
    throw new errors.InvalidRequest(`requested_token_type has to be ${accessTokenType}`);
  }
  const actorToken = formValue(state, 'actor_token');
  const actorType = formValue(state, 'actor_token_type');
  if ((actorToken === undefined) !== (actorType === undefined)) {
    throw new errors.InvalidRequest('actor_token and actor_token_type go together');
  }
  if (actorType !== undefined && !isTokenType(actorType)) {
    throw new errors.InvalidRequest(`actor_token_type has to be ${accessTokenType}`);
  }
  return { subjectToken, ...(actorToken === undefined ? {} : { actorToken }) };
}

function readRequest(state: RequestState, requester: Requester, exchange: boolean, loadAgent: LoadAgent): TokenRequest {
  if (state.form.filter(([name]) => name === 'scope').length > 1) {
    throw new errors.InvalidRequest("'scope' parameter must not be provided twice");
  }
  // Both name the target (RFC 8693 §2.1); that it is one API is for the domain to hold.
  const targets = [...formValues(state, 'resource'), ...(exchange ? formValues(state, 'audience') : [])];
  return {
    requester,
    reload: async () => {
      const again = await loadAgent(requester.id);
      // What authenticated the request may be what was just taken away from the agent.
      if (credentialOf(again) !== credentialOf(state.caller)) {
        throw new errors.InvalidClientAuth('the credential of the agent was changed meanwhile');
      }
      return toRequester(again);
    },
    parameters: {
      resource: [...new Set(targets)],
      authorizationDetails: formValue(state, 'authorization_details'),
      scope: formValue(state, 'scope'),
    },
    assertion: state.assertion,
    ...(exchange ? readSubject(state) : {}),
  };
}

/** Reads an agent again; `null`: there is none of this id. */
export type LoadAgent = (id: string) => Promise<Caller | null>;

/** Status and body of an answer. */
export interface TokenAnswerBody {
  status: 200 | 400 | 401;
  body: object;
}

const used = new errors.InvalidClientAuth('client assertion was used before');

/** Answers an authenticated token request. @throws the engine's errors for malformed ones, before anything is written. */
export async function answerTokenRequest(
  endpoint: TokenEndpoint,
  state: RequestState,
  grantType: string,
  loadAgent: LoadAgent,
): Promise<TokenAnswerBody> {
  const requester = toRequester(state.caller);
  if (requester === null) throw new errors.UnauthorizedClient('these credentials are for the feed and introspection');
  const exchange = grantType === grantTypes.tokenExchange;
  const request = readRequest(state, requester, exchange, loadAgent);
  state.act = { ...state.act, by: { type: 'agent', id: requester.id } };
  const answer = await issueToken(endpoint.issuer, state.act, request);
  delete state.assertion;
  state.recorded = true;
  if (answer.state === 'replayed') {
    endpoint.observe('refused', 'assertion_replayed');
    const error_uri = clientErrorPage(endpoint.issuer.issuer);
    return { status: 401, body: { error: used.error, error_description: used.error_description, error_uri } };
  }
  if (answer.state === 'refused') {
    endpoint.observe('refused', answer.refusal.reason);
    return { status: 400, body: toRefusalBody(answer.refusal, endpoint.issuer.issuer) };
  }
  const { token, claims } = answer;
  endpoint.observe(exchange ? 'exchanged' : 'issued');
  const body = {
    access_token: token,
    ...(exchange ? { issued_token_type: accessTokenType } : {}),
    token_type: 'Bearer',
    expires_in: claims.exp - claims.iat,
    ...(claims.scope === undefined ? {} : { scope: claims.scope }),
    authorization_details: claims.authorization_details,
  };
  return { status: 200, body };
}
