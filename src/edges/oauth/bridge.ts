/**
 * Between Node and the engine. The body is read here, once and bounded, by the parser that all edges share; the engine
 * is handed the same bytes. After the engine has spoken, and before anything is sent, what it does not do is done here:
 * answers of introspection and revocation, the audit record of refusals, outages in their right form, headers.
 */
import { errors, type KoaContextWithOIDC, type Provider } from 'oidc-provider';
import { append } from '../../domain/audit/append.ts';
import { spendAssertion } from '../../domain/tokens/assertions.ts';
import { introspect, revokeToken, type TokenReader } from '../../domain/tokens/introspect.ts';
import { WritError } from '../../errors.ts';
import { isOutage, transaction } from '../../platform/db/client.ts';
import { withDeadline } from '../../platform/http/deadline.ts';
import type { Call } from '../../platform/http/observe.ts';
import { RateLimited } from '../../platform/http/rate-limit.ts';
import { findCredentialProblem } from './credentials.ts';
import { clientErrorPage } from './refusals.ts';
import { claimedId, formValue, type RequestState } from './state.ts';

/** Under the 10 seconds within which every call is answered. */
export const deadlineMs = 9_000;
const retryAfterSeconds = 2;

export interface BridgeParts {
  reader: TokenReader;
  /** Counts a refusal before any decision, for metrics. */
  observe(outcome: 'refused', reason: string): void;
  /** Counts a caller without a good credential; throws when it is one too many. */
  noteFailure(address: string | null): void;
  /** Faults go to the log with their cause; callers see none of it. */
  report(error: unknown, requestId: string): void;
}

const states = new WeakMap<object, RequestState>();

/** The state of the request that the engine is answering. */
export function stateOf(ctx: unknown): RequestState {
  const request = typeof ctx === 'object' && ctx !== null && 'req' in ctx ? ctx.req : undefined;
  const state = typeof request === 'object' && request !== null ? states.get(request) : undefined;
  if (state === undefined) throw new Error('the engine answers a request that did not come over the bridge');
  return state;
}

const isUnavailable = (error: unknown): boolean =>
  isOutage(error) || (error instanceof WritError && error.code === 'unavailable');

export interface FailureAnswer {
  status: 429 | 500 | 503;
  headers: Record<string, string>;
  body: object;
}

/** An outage is a 503 that says when to come back; any other fault a 500 that says nothing. */
export function toFailure(error: unknown): FailureAnswer {
  if (error instanceof RateLimited) {
    const body = { error: 'temporarily_unavailable', error_description: error.detail };
    return { status: 429, headers: error.headers, body };
  }
  if (!isUnavailable(error)) {
    const body = { error: 'server_error', error_description: 'the request could not be completed' };
    return { status: 500, headers: {}, body };
  }
  const body = { error: 'temporarily_unavailable', error_description: 'Writ cannot answer now; nothing was decided' };
  return { status: 503, headers: { 'Retry-After': String(retryAfterSeconds) }, body };
}

function refuse(ctx: KoaContextWithOIDC, state: RequestState, realm: string, error: errors.OIDCProviderError): void {
  ctx.status = error.statusCode;
  ctx.body = { error: error.error, error_description: error.error_description };
  if (error.error_detail !== undefined) state.detail = error.error_detail;
  if (error.statusCode === 401 && ctx.get('authorization') !== '') {
    ctx.set('WWW-Authenticate', `Basic realm="${realm}", error="${error.error}"`);
  }
}

/** A refusal before any decision: a bad request, or a client that did not prove itself. */
async function recordRefusal(parts: BridgeParts, ctx: KoaContextWithOIDC, state: RequestState): Promise<void> {
  const { error, error_description: description } = (ctx.body ?? {}) as Record<string, unknown>;
  parts.observe('refused', String(error));
  const claimed = claimedId(state.form);
  const caller = state.caller;
  await transaction(parts.reader.db, async (tx) => {
    // An assertion that was good is used up even if the request was not.
    if (state.assertion !== undefined) await spendAssertion(tx, state.assertion);
    await append(tx, state.act, [
      {
        kind: ctx.status === 401 ? 'client.refused' : 'token.refused',
        outcome: 'refused',
        ...(caller?.type === 'agent' ? { agent: caller.id, person: caller.ownerId } : {}),
        reason: String(error),
        details: {
          path: ctx.path,
          status: ctx.status,
          description,
          // Which check failed is for the log: a stranger is not told.
          ...(state.detail === undefined ? {} : { detail: state.detail }),
          ...(caller === undefined ? { claimed } : {}),
        },
      },
    ]);
  });
}

/** RFC 7662 and RFC 7009, once the engine has authenticated the caller. */
async function answerAboutToken(parts: BridgeParts, ctx: KoaContextWithOIDC, state: RequestState): Promise<void> {
  const { caller, assertion } = state;
  const token = formValue(state, 'token');
  if (caller === undefined || token === undefined) throw new Error('authenticated without a caller or a token');
  const no = (error: errors.OIDCProviderError) => refuse(ctx, state, parts.reader.issuer, error);
  const replayed = new errors.InvalidClientAuth('client assertion was used before');
  delete state.assertion;
  state.act = { ...state.act, by: { type: caller.type, id: caller.id } };
  if (ctx.oidc.route === 'introspection') {
    const fresh =
      assertion === undefined || (await transaction(parts.reader.db, (tx) => spendAssertion(tx, assertion)));
    if (!fresh) return no(replayed);
    ctx.body = await introspect(parts.reader, caller, token);
    return;
  }
  if (caller.type !== 'agent') return no(new errors.InvalidRequest('only the agent it was issued to revokes a token'));
  const spend = async (tx: Parameters<typeof spendAssertion>[0]) =>
    assertion === undefined || spendAssertion(tx, assertion);
  const outcome = await revokeToken(parts.reader, state.act, caller, token, spend);
  if (outcome === 'stopped') return no(replayed);
  if (outcome === 'foreign') return no(new errors.InvalidRequest('the token was issued to another client'));
  state.recorded = true;
}

async function complete(parts: BridgeParts, ctx: KoaContextWithOIDC, state: RequestState): Promise<void> {
  if (state.failure !== undefined) throw state.failure;
  const aboutToken = ctx.oidc?.route === 'introspection' || ctx.oidc?.route === 'revocation';
  if (aboutToken && ctx.status === 200) await answerAboutToken(parts, ctx, state);
  // The same page whatever the check: what all of them ask for is no secret.
  if (ctx.status === 401) ctx.body = { ...(ctx.body as object), error_uri: clientErrorPage(parts.reader.issuer) };
  if (ctx.status < 400 || ctx.status >= 500 || state.recorded === true) return;
  if (state.proven !== true) parts.noteFailure(state.act.from);
  await recordRefusal(parts, ctx, state);
}

/** Without a body there is no type, and an empty form. */
const isForm = (ctx: KoaContextWithOIDC): boolean =>
  /^(application\/x-www-form-urlencoded)?$/.test(ctx.get('content-type'));

/** What every answer carries. */
export const headersOf = (requestId: string): Record<string, string> => ({
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'X-Request-ID': requestId,
});

/** Installs the work around the engine's own. */
export function surround(engine: Provider, parts: BridgeParts): void {
  engine.use(async (context, next) => {
    const ctx = context as KoaContextWithOIDC;
    const state = stateOf(ctx);
    try {
      await withDeadline(deadlineMs, async () => {
        const problem = isForm(ctx) ? findCredentialProblem(state, ctx.headers.authorization) : undefined;
        if (problem === undefined) await next();
        else refuse(ctx, state, parts.reader.issuer, new errors.InvalidClientAuth(problem));
        await complete(parts, ctx, state);
      });
    } catch (error) {
      if (error instanceof RateLimited) ctx.remove('WWW-Authenticate');
      else parts.report(error, state.act.requestId);
      const failure = toFailure(error);
      ctx.status = failure.status;
      ctx.set(failure.headers);
      ctx.body = failure.body;
    }
    // The engine opens its endpoints to every web page. Agents are no web pages, and neither way invites them.
    for (const name of ['Vary', 'Access-Control-Allow-Origin', 'Access-Control-Expose-Headers']) ctx.remove(name);
    ctx.set(headersOf(state.act.requestId));
  });
}

/** Lets the engine answer a call whose body was already read. */
export async function runEngine(
  engine: Provider,
  { path, incoming, outgoing }: Call,
  bytes: Uint8Array,
  state: RequestState,
): Promise<void> {
  states.set(incoming, state);
  // The engine reads its request as a stream: here it is again, from the bytes.
  async function* iterator() {
    yield Buffer.from(bytes);
  }
  Object.defineProperties(incoming, {
    readable: { value: true },
    iterator: { value: iterator },
  });
  incoming.headers['content-length'] = String(bytes.length);
  // Under an issuer with a path, too, the engine knows its routes from the root.
  incoming.url = path;
  await engine.callback()(incoming, outgoing);
}
