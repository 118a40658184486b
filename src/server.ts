/**
 * The composition root: the only place that constructs, and one screen that shows the product. `start` returns when
 * Writ answers; the returned value stops it, in order: readiness off, drain, close.
 */
import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { type HttpBindings, type ServerType, serve } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { Config } from './config.ts';
import { expireAgents } from './domain/agents/lifecycle.ts';
import { type Act, type AuditNode, enlist } from './domain/audit/append.ts';
import { latestCheckpoint, sealBatchSize, sealEntries } from './domain/audit/seal-chain.ts';
import { authenticateApi } from './domain/intents/apis.ts';
import { createCatalogueCache } from './domain/intents/catalogue.ts';
import { sweepExpired } from './domain/revocation/sweep.ts';
import { sweep } from './domain/signals/feed.ts';
import { createCommitQueue } from './domain/tokens/commit.ts';
import { createAdmin } from './edges/admin/admin.ts';
import { ensureAdminToken } from './edges/admin/authenticate.ts';
import { createDocs } from './edges/admin/docs.ts';
import { createOAuth } from './edges/oauth/oauth.ts';
import { createScim } from './edges/scim/scim.ts';
import { createFeed } from './edges/ssf/feed.ts';
import { createBus } from './platform/bus/bus.ts';
import { connect } from './platform/db/client.ts';
import { refuseUnsafe } from './platform/db/durability.ts';
import { startEmbedded } from './platform/db/embedded.ts';
import { migrate } from './platform/db/migrate.ts';
import { createLogger, type Logger } from './platform/http/log.ts';
import { createOperations } from './platform/http/operations.ts';
import { recur } from './platform/http/recurring.ts';
import { createKeyring } from './platform/keys/keyring.ts';
import { deriveKey } from './platform/keys/seal.ts';
import { createMetrics } from './platform/metrics/metrics.ts';
import { resolveSecrets } from './secrets.ts';

export interface Surroundings {
  /** This node's clock. What decides compares the database's. */
  now(): Date;
  log?: Logger;
}

export interface Writ extends AsyncDisposable {
  issuer: string;
  port: number;
  /** Where the bootstrap bearer of the administration API stands, when it was not given in the environment. */
  adminTokenFile: string | undefined;
  /** Everything that is mounted, middleware included, as the router knows it. */
  routes: readonly { method: string; path: string }[];
  close(): Promise<void>;
}

type Env = { Bindings: HttpBindings; Variables: { requestId: string } };

const remoteAddress = (c: Context): string | null =>
  (c.env as Partial<HttpBindings> | undefined)?.incoming?.socket.remoteAddress ?? null;

/** Undoes, in reverse order, what was started: also when starting stops half-way. */
function createClosing(): { add(step: () => Promise<unknown>): void; close(): Promise<void> } {
  const steps: (() => Promise<unknown>)[] = [];
  let closing: Promise<void> | undefined;
  const run = async (): Promise<void> => {
    for (const step of steps.reverse()) await step();
  };
  return {
    add: (step) => steps.push(step),
    close: () => {
      closing ??= run();
      return closing;
    },
  };
}

/** Starts Writ. @throws when the configuration, the database or the keys are not what they have to be; nothing is left running. */
export async function start(config: Config, surroundings: Surroundings): Promise<Writ> {
  const closing = createClosing();
  try {
    return await compose(config, surroundings, closing);
  } catch (error) {
    await closing.close();
    throw error;
  }
}

async function compose(
  config: Config,
  surroundings: Surroundings,
  closing: ReturnType<typeof createClosing>,
): Promise<Writ> {
  const { issuer } = config;
  const { now, log = createLogger(config.logLevel) } = surroundings;

  // What everything stands on.
  let databaseUrl = config.databaseUrl;
  if (databaseUrl === undefined) {
    const embedded = await startEmbedded({ dataDir: config.dataDir, log: (message) => log.info(message) });
    closing.add(() => embedded.stop());
    databaseUrl = embedded.url;
  }
  const { db, sql, close } = connect({ url: databaseUrl, poolSize: config.poolSize });
  closing.add(close);
  await refuseUnsafe(sql);
  await migrate(sql);
  const { kek, adminToken, adminTokenFile } = await resolveSecrets(config);
  await ensureAdminToken(db, adminToken);
  const bus = createBus(sql, log);
  closing.add(() => bus.close());
  const keyring = await createKeyring({ db, kek, bus, now, log });
  closing.add(async () => keyring.close());
  const node: AuditNode = { id: randomUUID(), macKey: deriveKey(kek, 'audit-mac') };
  await enlist(db, node);
  const metrics = createMetrics();
  const checkpoint = async () => (await latestCheckpoint(db))?.jws ?? null;
  const queue = createCommitQueue(db);

  // The edges.
  const actOf = (c: Context, by: Act['by']): Act => ({
    node,
    by,
    requestId: c.get('requestId'),
    from: remoteAddress(c),
  });
  const oauth = createOAuth({
    db,
    issuer: { issuer, queue, catalogue: createCatalogueCache(db), keyring, now, newId: randomUUID },
    actOf,
    observe: (outcome, reason) => {
      if (outcome === 'refused') metrics.refusals.inc({ reason: reason ?? 'unknown' });
      else metrics.tokensIssued.inc({ grant: outcome === 'issued' ? 'client_credentials' : 'token_exchange' });
    },
    report: (err, requestId) => log.error({ err, requestId }, 'a request could not be answered'),
  });
  const feed = createFeed({
    db,
    bus,
    authenticateApi: (clientId, secret) => authenticateApi(db, clientId, secret),
    latestCheckpoint: checkpoint,
    log,
  });
  const scim = createScim({ db, node, now, issuer, log });
  const admin = createAdmin({ db, node, kek, keyring, issuer, log, remoteAddress });
  const operations = createOperations({ sql, metrics, metricsToken: config.metricsToken, remoteAddress });

  const app = new Hono<Env>();
  app.use(operations.observe);
  app.route('/', operations.routes);
  app.route('/', oauth);
  app.route('/scim/v2', scim);
  app.route('/api/v1', admin);
  app.route('/api/docs', createDocs(admin, issuer));
  app.route('/revocations', feed.app);
  app.notFound(operations.notFound);
  app.onError((error, c) => operations.answerFault(error, c, log));

  // Recurring work, on every node: what must not be done twice takes its lock in the database.
  const system: Act = { node, by: { type: 'system', id: node.id }, requestId: node.id, from: null };
  const sealed = recur('seal', 500, log, async () => (await sealEntries(db, keyring, issuer)) === sealBatchSize);
  const expired = recur('expire', 1_000, log, async () => (await expireAgents(db, system)) > 0);
  const swept = recur('sweep', 30_000, log, async () => {
    await sweep(db);
    await sweepExpired(db);
  });
  const watched = recur('watch', 5_000, log, async () => {
    metrics.feedSubscribers.set(feed.subscribers());
    metrics.feedSeq.set(feed.position());
    await operations.watch();
  });
  closing.add(async () => {
    await Promise.all([expired(), swept(), watched()]);
    await sealed();
  });
  closing.add(() => queue.drain());

  const server = await listen(mountAt(app, issuer), config);
  closing.add(() => drain(server));
  closing.add(() => feed.close());
  closing.add(async () => operations.beReady(false));
  operations.beReady(true);
  const { port } = server.address() as AddressInfo;
  log.info({ issuer, port }, 'Writ is listening');
  const routes = app.routes.map(({ method, path }) => ({ method, path }));
  return { issuer, port, adminTokenFile, routes, close: closing.close, [Symbol.asyncDispose]: closing.close };
}

/** An issuer with a path (RFC 8414 §3.1): everything lies under it, but for the inserted well-known address. */
function mountAt(app: Hono<Env>, issuer: string): Hono<Env> {
  const path = new URL(issuer).pathname.replace(/\/$/, '');
  if (path === '') return app;
  const outer = new Hono<Env>();
  outer.route(path, app);
  outer.get(`/.well-known/oauth-authorization-server${path}`, (c) =>
    app.request('/.well-known/oauth-authorization-server', { headers: c.req.raw.headers }, c.env),
  );
  for (const probe of ['/livez', '/readyz', '/metrics']) outer.get(probe, (c) => app.request(probe, c.req.raw, c.env));
  outer.notFound((c) => app.fetch(c.req.raw, c.env));
  return outer;
}

function listen(app: Hono<Env>, config: Config): Promise<ServerType> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, port: config.port, hostname: config.host }, () => resolve(server));
    server.once('error', reject);
  });
}

/** Lets what is being answered finish, for ten seconds at most. */
function drain(server: ServerType): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => 'closeAllConnections' in server && server.closeAllConnections(), 10_000);
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    if ('closeIdleConnections' in server) server.closeIdleConnections();
  });
}
