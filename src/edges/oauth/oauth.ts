/** The authorization server's routes: RFC 8414, 6749, 8693, 7662, 7009, 7517. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { Hono } from 'hono';
import { findClient } from '../../domain/agents/credentials.ts';
import type { Act } from '../../domain/audit/append.ts';
import { findApiClient } from '../../domain/intents/apis.ts';
import type { Issuer } from '../../domain/tokens/issue.ts';
import type { Db } from '../../platform/db/client.ts';
import type { Asked, CallAnswer, ObservedEnv } from '../../platform/http/observe.ts';
import type { Limits } from '../../platform/http/rate-limit.ts';
import { remoteAddressOf } from '../../platform/http/remote-address.ts';
import { type BridgeParts, stateOf, surround } from './bridge.ts';
import { createCallers } from './callers.ts';
import { createEndpoint, endpointPaths } from './endpoints.ts';
import { createEngine } from './engine.ts';
import { isHelpTopic, renderHelp } from './help-page.ts';
import { toMetadata } from './metadata.ts';
import type { ShortPath } from './short-path.ts';
import type { Caller } from './state.ts';
import { answerTokenRequest, type TokenEndpoint } from './token.ts';

export { endpointPaths } from './endpoints.ts';

export interface OAuth {
  app: Hono<ObservedEnv>;
  /** A POST to one of `endpointPaths`, past the router. */
  answer: CallAnswer;
}

export interface OAuthParts {
  db: Db;
  issuer: Issuer;
  /** The act of a request before its caller is known. */
  actOf(asked: Asked, by: Act['by']): Act;
  observe: TokenEndpoint['observe'];
  limits: Limits;
  report: BridgeParts['report'];
}

async function findCaller(db: Db, clientId: string): Promise<Caller | null> {
  const agent = await findClient(db, clientId);
  if (agent !== null) return { type: 'agent', ...agent };
  const api = await findApiClient(db, clientId);
  return api === null ? null : { type: 'api', ...api };
}

export function createOAuth(parts: OAuthParts): OAuth {
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

  const { limits, actOf, report } = parts;
  const short: ShortPath = { endpoint, callers: createCallers(load) };
  const answer = createEndpoint({ engine, short, limits, actOf, report });

  const app = new Hono<ObservedEnv>();
  for (const path of endpointPaths) {
    // However its address was spelled: the usual spelling does not come this way (`direct`).
    app.post(path, async (c) => {
      const { incoming, outgoing } = c.env;
      const asked = { requestId: c.get('requestId'), traceId: c.get('traceId'), from: remoteAddressOf(c) };
      await answer({ ...asked, path, incoming: incoming as IncomingMessage, outgoing: outgoing as ServerResponse });
      return RESPONSE_ALREADY_SENT;
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
  return { app, answer };
}
