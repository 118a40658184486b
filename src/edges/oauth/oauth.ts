/** The authorization server's routes: RFC 8414, 6749, 8693, 7662, 7009, 7517. */
import type { IncomingMessage } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type Context, Hono } from 'hono';
import { findClient } from '../../domain/agents/credentials.ts';
import type { Act } from '../../domain/audit/append.ts';
import { findApiClient } from '../../domain/intents/apis.ts';
import type { Issuer } from '../../domain/tokens/issue.ts';
import { WritError } from '../../errors.ts';
import type { Db } from '../../platform/db/client.ts';
import { parseForm, readBody } from '../../platform/http/body.ts';
import { withDeadline } from '../../platform/http/deadline.ts';
import { type Limits, RateLimited } from '../../platform/http/rate-limit.ts';
import { type BridgeParts, deadlineMs, headersOf, runEngine, stateOf, surround, toFailure } from './bridge.ts';
import { createCallers } from './callers.ts';
import { createEngine } from './engine.ts';
import { isHelpTopic, renderHelp } from './help-page.ts';
import { holdBack } from './hold-back.ts';
import { toMetadata } from './metadata.ts';
import { answerPlainRequest, type ShortPath } from './short-path.ts';
import { type Caller, claimedId, type RequestState } from './state.ts';
import { answerTokenRequest, type TokenEndpoint } from './token.ts';

export interface OAuthParts {
  db: Db;
  issuer: Issuer;
  /** The act of a request before its caller is known. */
  actOf(c: Context, by: Act['by']): Act;
  observe: TokenEndpoint['observe'];
  limits: Limits;
  report: BridgeParts['report'];
}

/** Longest form: an assertion, a subject token and details, with room. The engine reads no more. */
const maxFormBytes = 56 * 1024;
const tokenPath = '/oauth/token';
const endpoints = [tokenPath, '/oauth/introspect', '/oauth/revoke'];
/** What the engine is given to look for in its own, empty storage. */
const formType = 'application/x-www-form-urlencoded';
const standIn = 'held-by-writ';

async function findCaller(db: Db, clientId: string): Promise<Caller | null> {
  const agent = await findClient(db, clientId);
  if (agent !== null) return { type: 'agent', ...agent };
  const api = await findApiClient(db, clientId);
  return api === null ? null : { type: 'api', ...api };
}

/** The engine knows no JWT access tokens and would refuse them: it authenticates, Writ answers. */
function hideToken(bytes: Uint8Array, form: readonly (readonly [string, string])[]): Uint8Array {
  if (form.filter(([name]) => name === 'token').length !== 1) return bytes;
  const shown = form.map(([name, value]): [string, string] => [
    name,
    name === 'token' && value !== '' ? standIn : value,
  ]);
  return Buffer.from(new URLSearchParams(shown).toString());
}

/**
 * Whether the body is a form. The engine would decode it by a `charset` of the sender's choice and see other parameters
 * than `parseForm`; a form is UTF-8 (RFC 6749 appendix B), and the engine is told nothing else.
 */
function normaliseType(request: IncomingMessage): boolean {
  const [type = '', ...parameters] = (request.headers['content-type'] ?? '').toLowerCase().split(';');
  if (type.trim() !== formType) return false;
  const charsets = parameters.map((one) => one.trim()).filter((one) => one.startsWith('charset'));
  if (!charsets.every((one) => /^charset="?utf-8"?$/.test(one)))
    throw new WritError('invalid_request', 'a form is encoded in UTF-8');
  request.headers['content-type'] = formType;
  return true;
}

function errorOf(c: Context, error: WritError): Response {
  if (error instanceof RateLimited) {
    const { status, body, headers } = toFailure(error);
    return c.json(body, status, { 'Cache-Control': 'no-store', ...headers });
  }
  const status = error.code === 'too_large' ? 413 : 400;
  return c.json({ error: 'invalid_request', error_description: error.detail }, status, { 'Cache-Control': 'no-store' });
}

/** The answer of the short path, or of its failure; `undefined`: it is for the engine. */
async function answerShortly(
  short: ShortPath,
  { report }: OAuthParts,
  c: Context,
  state: RequestState,
): Promise<Response | undefined> {
  const write = (status: 200 | 400 | 401 | 429 | 500 | 503, body: object, headers = {}): Response =>
    c.body(JSON.stringify(body), status, {
      'Content-Type': 'application/json; charset=utf-8',
      ...headersOf(state),
      ...headers,
    });
  try {
    const answer = await withDeadline(deadlineMs, () =>
      answerPlainRequest(short, state, c.req.header('authorization')),
    );
    return answer === undefined ? undefined : write(answer.status, answer.body);
  } catch (error) {
    report(error, state.act.requestId);
    const { status, body, headers } = toFailure(error);
    return write(status, body, headers);
  }
}

export function createOAuth(parts: OAuthParts): Hono<{ Bindings: HttpBindings }> {
  const { db, issuer } = parts;
  const endpoint: TokenEndpoint = { issuer, observe: parts.observe };
  const load = (clientId: string) => findCaller(db, clientId);
  const engine = createEngine({
    issuer: issuer.issuer,
    now: issuer.now,
    stateOf,
    findCaller: load,
    answerToken: async (ctx, state) => {
      Object.assign(ctx, await answerTokenRequest(endpoint, state, String(ctx.oidc.params?.grant_type), load));
    },
  });
  surround(engine, {
    reader: { db, keyring: issuer.keyring, issuer: issuer.issuer, now: issuer.now },
    observe: parts.observe,
    noteFailure: parts.limits.noteFailure,
    report: parts.report,
  });

  const short: ShortPath = { endpoint, callers: createCallers(load) };

  const app = new Hono<{ Bindings: HttpBindings }>();
  for (const path of endpoints) {
    app.post(path, async (c) => {
      try {
        const bytes = await readBody(c.req.raw, maxFormBytes);
        const isForm = normaliseType(c.env.incoming);
        const form = isForm ? parseForm(bytes) : [];
        const by = { type: 'agent', id: claimedId(form) ?? 'unauthenticated' } as const;
        const state: RequestState = { act: parts.actOf(c, by), form };
        const charge = holdBack(parts.limits, state, c.env);
        const answer = path === tokenPath ? await answerShortly(short, parts, c, state) : undefined;
        if (answer === undefined)
          await runEngine(engine, c, path === tokenPath ? bytes : hideToken(bytes, form), state);
        if (answer !== undefined || state.proven === true) charge();
        return answer ?? RESPONSE_ALREADY_SENT;
      } catch (error) {
        if (error instanceof WritError && error.code !== 'unavailable') return errorOf(c, error);
        throw error;
      }
    });
    app.all(path, (c) =>
      c.json({ error: 'invalid_request', error_description: 'use POST' }, 405, {
        Allow: 'POST',
        'Cache-Control': 'no-store',
      }),
    );
  }

  const metadata = toMetadata(issuer.issuer);
  const cached = { 'Cache-Control': 'public, max-age=300' };
  for (const path of ['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration']) {
    app.get(path, (c) => c.json(metadata, 200, cached));
  }
  app.get('/oauth/jwks', (c) => {
    c.header('Content-Type', 'application/jwk-set+json');
    c.header('Cache-Control', 'public, max-age=60');
    return c.body(JSON.stringify({ keys: issuer.keyring.publicJwks() }));
  });
  app.all('/oauth/authorize', (c) =>
    c.json({ error: 'unsupported_response_type', error_description: 'there is no interactive flow here' }, 400),
  );
  app.get('/oauth/errors/:reason', (c) => {
    const reason = c.req.param('reason');
    if (!isHelpTopic(reason)) return c.notFound();
    c.header('Content-Security-Policy', "default-src 'none'; style-src 'unsafe-inline'");
    return c.html(renderHelp(reason));
  });
  return app;
}
