/** Listening, being mounted, and stopping in order. */
import { type HttpBindings, type ServerType, serve } from '@hono/node-server';
import { type Env, Hono } from 'hono';

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
export function mountAt<E extends NodeEnv>(app: Hono<E>, issuer: string): Hono<E> {
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

/** Resolves once the port is open; rejects when it cannot be. */
export function listen<E extends NodeEnv>(app: Hono<E>, where: { port: number; host: string }): Promise<ServerType> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, port: where.port, hostname: where.host }, () => resolve(server));
    if ('keepAliveTimeout' in server) server.keepAliveTimeout = keepAliveMs;
    server.once('error', reject);
  });
}

/** Takes no new connection and lets what is being answered finish, for ten seconds at most. */
export function drain(server: ServerType): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => 'closeAllConnections' in server && server.closeAllConnections(), 10_000);
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    if ('closeIdleConnections' in server) server.closeIdleConnections();
  });
}
