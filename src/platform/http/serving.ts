/** Listening, being mounted, and stopping in order. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { type Env, Hono } from 'hono';
import type { Call } from './observe.ts';

type NodeEnv = Env & { Bindings: HttpBindings };

export interface Closing {
  /** What undoes the step that was just taken. */
  add(step: () => Promise<unknown>): void;
  /** Undoes everything, the last first, each to its end even when one fails; rejects with the first failure. */
  close(): Promise<void>;
}

/** Collects how to undo what is started, so that also a start that stops half-way leaves nothing behind. */
export function createClosing(): Closing {
  const steps: (() => Promise<unknown>)[] = [];
  let closing: Promise<void> | undefined;
  const run = async (): Promise<void> => {
    const failures: unknown[] = [];
    for (const step of steps.reverse()) await step().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  };
  return {
    add: (step) => {
      steps.push(step);
    },
    close: () => {
      closing ??= run();
      return closing;
    },
  };
}

/**
 * An issuer with a path: everything lies under it and nothing at the root, so that a proxy which admits only the path
 * admits only Writ; but for the probes, and the well-known address that RFC 8414 §3.1 inserts between host and path.
 */
function mountAt<E extends NodeEnv>(app: Hono<E>, issuer: string): Hono<E> {
  const path = new URL(issuer).pathname.replace(/\/$/, '');
  if (path === '') return app;
  const outer = new Hono<E>();
  outer.route(path, app);
  const metadata = '/.well-known/oauth-authorization-server';
  const aliases: Record<string, string> = {
    [`${metadata}${path}`]: metadata,
    [`/.well-known/openid-configuration${path}`]: metadata,
    '/livez': '/livez',
    '/readyz': '/readyz',
    '/metrics': '/metrics',
  };
  for (const [alias, target] of Object.entries(aliases)) {
    outer.get(alias, (c) => app.request(target, { headers: c.req.raw.headers }, c.env));
  }
  return outer;
}

/**
 * Longer than balancers and clients keep an idle connection (most of them 60 s), so that it is they who close it: with
 * Node's five seconds a request on its way meets a connection that is just being closed, and nobody knows its fate.
 */
const keepAliveMs = 75_000;

/** POSTs that go past the router, to those who answer on Node's own objects. */
export interface Direct {
  paths: readonly string[];
  /** Never rejects. */
  answer(call: Pick<Call, 'path' | 'incoming' | 'outgoing'>): Promise<void>;
}

/** A host, with a port or without; what is odder is for the router to refuse. */
const plainHost = /^[\w.-]+(:\d+)?$/;

/** Whatever is not exactly a POST to one of the paths is for the router, which knows every spelling of them as well. */
function directing({ paths, answer }: Direct, issuer: string, otherwise: RequestListener): RequestListener {
  const base = new URL(issuer).pathname.replace(/\/$/, '');
  const routes = new Map(paths.map((path) => [`${base}${path}`, path]));
  const routeOf = ({ method, url = '', headers: { host = '' } }: IncomingMessage) =>
    method === 'POST' && plainHost.test(host) ? routes.get(url) : undefined;
  return (incoming, outgoing) => {
    const path = routeOf(incoming);
    if (path === undefined) otherwise(incoming, outgoing);
    else void answer({ path, incoming, outgoing });
  };
}

export interface Listening {
  port: number;
  host: string;
  issuer: string;
}

/** Resolves once the port is open; rejects when it cannot be. */
export function listen<E extends NodeEnv>(app: Hono<E>, direct: Direct, where: Listening): Promise<Server> {
  const routed = getRequestListener(mountAt(app, where.issuer).fetch, { hostname: where.host });
  const server = createServer(directing(direct, where.issuer, routed as RequestListener));
  server.keepAliveTimeout = keepAliveMs;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where.port, where.host, () => resolve(server));
  });
}

/** Takes no new connection and lets what is being answered finish, for ten seconds at most. */
export function drain(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => server.closeAllConnections(), 10_000);
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    server.closeIdleConnections();
  });
}
