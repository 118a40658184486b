/** Around every request, whichever way it came in: its id, its span, its time, and what every answer carries. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import type { Context, MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { Metrics } from '../metrics/metrics.ts';
import { createRequestId } from './log.ts';
import { traceRequest } from './tracing.ts';

/** What is known of a request before it is read. */
export interface Asked {
  requestId: string;
  /** Of the caller's trace, when it sent a valid one (W3C Trace Context). */
  traceId?: string | undefined;
  /** The remote address. */
  from: string | null;
}

export type ObservedEnv = { Bindings: HttpBindings; Variables: { requestId: string; traceId?: string } };

/** A POST to one of a few paths, on Node's own objects. */
export interface Call extends Asked {
  path: string;
  incoming: IncomingMessage;
  outgoing: ServerResponse;
}
/** Never rejects. */
export type CallAnswer = (call: Call) => Promise<void>;

export interface Observer {
  middleware: MiddlewareHandler<ObservedEnv>;
  /** The same around a request that goes past the router. */
  direct(call: Pick<Call, 'path' | 'incoming' | 'outgoing'>, answer: CallAnswer): Promise<void>;
}

/** The pattern that fits best. A catch-all, which also stands behind what is known, only where nothing else fits. */
function routeOf(c: Context): string {
  const patterns = matchedRoutes(c).map(({ path }) => path);
  return patterns.findLast((path) => !path.endsWith('*')) ?? patterns.at(-1) ?? '';
}

/** What was answered on Node's response stands there. */
const statusOf = ({ res: { status }, env }: Context<ObservedEnv>): number =>
  status === 200 ? (env.outgoing?.statusCode ?? status) : status;

const addressOf = ({ socket }: IncomingMessage): string | null => socket.remoteAddress ?? null;
const headerOf = ({ headers }: IncomingMessage, name: string): string | undefined => {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
};

/** `isReady`: false while Writ is stopping. */
export function createObserver({ httpDuration }: Metrics, isReady: () => boolean): Observer {
  // Stopping: whoever is connected connects anew, elsewhere, and no idle connection is left to be closed on them.
  const letGo = (outgoing: ServerResponse | undefined): void => {
    if (!isReady() && outgoing !== undefined) outgoing.shouldKeepAlive = false;
  };

  return {
    middleware: async (c, next) => {
      const requestId = createRequestId();
      c.set('requestId', requestId);
      const stop = httpDuration.startTimer();
      letGo(c.env.outgoing as ServerResponse | undefined);
      const describe = () => ({ route: routeOf(c), status: statusOf(c) });
      const [traceparent, tracestate] = [c.req.header('traceparent'), c.req.header('tracestate')];
      const answer = async (traceId: string | undefined) => {
        if (traceId !== undefined) c.set('traceId', traceId);
        await next();
      };
      await traceRequest({ method: c.req.method, traceparent, tracestate }, answer, describe);
      const { route, status } = describe();
      stop({ route, method: c.req.method, status: String(status) });
      c.res.headers.set('X-Request-ID', requestId);
      c.res.headers.set('X-Content-Type-Options', 'nosniff');
    },

    direct: async ({ path, incoming, outgoing }, answer) => {
      const stop = httpDuration.startTimer();
      letGo(outgoing);
      const call: Call = { path, incoming, outgoing, requestId: createRequestId(), from: addressOf(incoming) };
      const [traceparent, tracestate] = [headerOf(incoming, 'traceparent'), headerOf(incoming, 'tracestate')];
      await traceRequest(
        { method: 'POST', traceparent, tracestate },
        (traceId) => answer(traceId === undefined ? call : { ...call, traceId }),
        () => ({ route: path, status: outgoing.statusCode }),
      );
      stop({ route: path, method: 'POST', status: String(outgoing.statusCode) });
    },
  };
}
