/**
 * The composition root: the only place that constructs, and one screen that shows the product. `start` returns when
 * Writ answers; the returned value stops it, in order: readiness off, drain, close.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Hono } from 'hono';
import { getPath } from 'hono/utils/url';
import type { Config } from './config.ts';
import { expireAgents } from './domain/agents/lifecycle.ts';
import { type Act, type AuditNode, enlist } from './domain/audit/append.ts';
import { latestCheckpoint, sealBatchSize, sealEntries } from './domain/audit/seal-chain.ts';
import { authenticateApi } from './domain/intents/apis.ts';
import { createCatalogueCache } from './domain/intents/catalogue.ts';
import { createDecider } from './domain/intents/decider.ts';
import { type DirectoryAlarms, watchDirectories } from './domain/people/directory-alarms.ts';
import { createRequestLog, type RequestLog } from './domain/people/scim-requests.ts';
import { sweepExpired } from './domain/revocation/sweep.ts';
import { sweep } from './domain/signals/feed.ts';
import { type CommitQueue, createCommitQueue } from './domain/tokens/commit.ts';
import { rewrapKeys } from './domain/tokens/key-lifecycle.ts';
import { createAdmin } from './edges/admin/admin.ts';
import { ensureAdminToken } from './edges/admin/authenticate.ts';
import { createDocs } from './edges/admin/docs.ts';
import { createOAuth, endpointPaths } from './edges/oauth/oauth.ts';
import { routedPath } from './edges/scim/path.ts';
import { createScim } from './edges/scim/scim.ts';
import { createFeed, type Feed } from './edges/ssf/feed.ts';
import { type Bus, createBus } from './platform/bus/bus.ts';
import { endAbandoned } from './platform/db/abandoned.ts';
import { connect, type Database } from './platform/db/client.ts';
import { refuseUnsafe } from './platform/db/durability.ts';
import { startEmbedded } from './platform/db/embedded.ts';
import { migrate } from './platform/db/migrate.ts';
import { createLogger, type Logger } from './platform/http/log.ts';
import type { ObservedEnv } from './platform/http/observe.ts';
import { createOperations, type Operations } from './platform/http/operations.ts';
import { createLimits } from './platform/http/rate-limit.ts';
import { recur } from './platform/http/recurring.ts';
import { remoteAddressOf } from './platform/http/remote-address.ts';
import { type Closing, createClosing, type Direct, drain, listen } from './platform/http/serving.ts';
import { joinMetrics } from './platform/http/workers.ts';
import { createKeyring, type Keyring } from './platform/keys/keyring.ts';
import { resolveSealedKey } from './platform/keys/sealed-key.ts';
import { createMetrics, type Metrics, refusalLabel } from './platform/metrics/metrics.ts';
import { resolveSecrets } from './secrets.ts';

export interface Surroundings {
  /** This node's clock. What decides compares the database's. */
  now(): Date;
  log?: Logger;
  /** This is one of several processes, for which the primary has prepared the database. */
  isWorker?: boolean;
}

export interface Writ extends AsyncDisposable {
  issuer: string;
  port: number;
  /** Where the bootstrap bearer of the administration API stands, when it was not given in the environment. */
  adminTokenFile: string | undefined;
  /** Everything that is mounted, middleware included, as the router knows it. */
  routes: readonly { method: string; path: string }[];
  /** Rejects when Writ cannot go on, with what an operator has to know; a supervisor is to start it again. */
  failure: Promise<never>;
  close(): Promise<void>;
}

/** Starts Writ. @throws when the configuration, the database or the keys are not what they have to be; nothing is left running. */
export async function start(config: Config, surroundings: Surroundings): Promise<Writ> {
  const closing = createClosing();
  try {
    const log = surroundings.log ?? createLogger(config.logLevel);
    const failure = Promise.withResolvers<never>();
    failure.promise.catch(() => {});
    const ground = await layGround(config, { ...surroundings, log }, closing, failure.reject);
    const edges = createEdges(config, ground);
    const app = mount(ground, edges);
    recurAll(ground, edges, closing);
    closing.add(() => ground.queue.drain());
    // Again before it drains: open streams would hold it up. Here it is for when there is nothing to drain.
    closing.add(() => edges.feed.close());
    const direct = toDirect(edges);
    const server = await listen(app, direct, config);
    closing.add(() => drain(server));
    closing.add(() => edges.feed.close());
    closing.add(async () => {
      edges.operations.beReady(false);
      await sleep(config.drainSeconds * 1000);
    });
    edges.operations.beReady(true);
    const { port } = server.address() as AddressInfo;
    log.info({ issuer: config.issuer, port }, 'Writ is listening');
    const { close } = closing;
    return {
      issuer: config.issuer,
      port,
      adminTokenFile: ground.adminTokenFile,
      failure: failure.promise,
      routes: app.routes.map(({ method, path }) => ({ method, path })),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    // Why it did not start is told; that closing failed as well is not.
    await closing.close().catch(() => undefined);
    throw error;
  }
}

/** What everything stands on. */
interface Ground extends Pick<Database, 'db' | 'sql'> {
  issuer: string;
  now(): Date;
  log: Logger;
  bus: Bus;
  kek: Buffer;
  cursorKey: Buffer;
  keyring: Keyring;
  node: AuditNode;
  metrics: Metrics;
  readMetrics(): Promise<string>;
  queue: CommitQueue;
  requestLog: RequestLog;
  adminTokenFile: string | undefined;
}

/** The database, given or its own, when it runs, is safe to use and up to date. `onLost`: its own has ended for good. */
export async function prepareDatabase(
  config: Config,
  log: Logger,
  closing: Closing,
  onLost: (error: Error) => void,
): Promise<Database & { url: string }> {
  let url = config.databaseUrl;
  if (url === undefined) {
    const embedded = await startEmbedded({ dataDir: config.dataDir, log: (message) => log.info(message), onLost });
    closing.add(() => embedded.stop());
    url = embedded.url;
  }
  const database = open(url, config, closing);
  await refuseUnsafe(database.sql);
  await migrate(database.sql);
  return { ...database, url };
}

function open(url: string, { poolSize }: Config, closing: Closing): Database {
  const database = connect({ url, poolSize });
  closing.add(database.close);
  return database;
}

async function layGround(
  config: Config,
  { now, log, isWorker = false }: Surroundings & { log: Logger },
  closing: Closing,
  onLost: (error: Error) => void,
): Promise<Ground> {
  const { db, sql, openTransactions } =
    isWorker && config.databaseUrl !== undefined
      ? open(config.databaseUrl, config, closing)
      : await prepareDatabase(config, log, closing, onLost);
  const { kek, adminToken, adminTokenFile: file } = await resolveSecrets(config);
  // One that a node of several made up for itself must not end the one that the others were given.
  const replaces = config.adminToken !== undefined || config.databaseUrl === undefined;
  const isGood = await ensureAdminToken(db, adminToken, { replaces });
  if (!isGood) {
    log.warn({ file }, 'the database knows another administration token: set WRIT_ADMIN_TOKEN to replace it');
  }
  const adminTokenFile = isGood ? file : undefined;
  const bus = createBus(sql, log);
  closing.add(() => bus.close());
  const keks = { kek, previousKek: config.previousKek };
  const node: AuditNode = { id: randomUUID(), macKey: await resolveSealedKey(db, keks, 'audit-mac') };
  await enlist(db, node);
  const cursorKey = await resolveSealedKey(db, keks, 'scim-cursor');
  if (config.previousKek !== undefined) await rewrapKeys(db, systemAct(node), keks);
  const keyring = await createKeyring({ db, ...keks, bus, now, log });
  closing.add(async () => keyring.close());
  const common = { issuer: config.issuer, now, log, adminTokenFile };
  const metrics = createMetrics(readVersion());
  const queue = createCommitQueue(db, node, (size) => metrics.commitBatch.observe(size));
  const requestLog = createRequestLog({ db, act: systemAct(node), log });
  metrics.watch('writ_commit_queue_depth', queue.depth);
  metrics.watch('writ_scim_requests_unrecorded', requestLog.dropped);
  metrics.watch('writ_db_transactions_open', openTransactions);
  metrics.watch('writ_db_pool_size', () => config.poolSize);
  const readMetrics = isWorker ? joinMetrics(metrics.registry) : () => metrics.registry.metrics();
  return { ...common, db, sql, bus, kek, cursorKey, keyring, node, metrics, readMetrics, queue, requestLog };
}

/** What nobody outside asked for. */
const systemAct = (node: AuditNode): Act => ({
  node,
  by: { type: 'system', id: node.id },
  requestId: node.id,
  from: null,
});

/** The package's own, one folder up from the sources and from what is built alike. */
function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest ? `${manifest.version}` : 'unknown';
}

interface Edges {
  oauth: ReturnType<typeof createOAuth>;
  scim: ReturnType<typeof createScim>;
  admin: ReturnType<typeof createAdmin>;
  feed: Feed;
  operations: Operations;
}

function createEdges({ metricsToken, rates }: Config, ground: Ground): Edges {
  const { db, sql, bus, issuer, keyring, kek, cursorKey, node, now, log, metrics, readMetrics, queue, requestLog } =
    ground;
  const limits = createLimits(rates, () => performance.now());
  const { noteFailure } = limits;
  return {
    oauth: createOAuth({
      db,
      issuer: {
        issuer,
        queue,
        catalogue: createCatalogueCache(db),
        decide: createDecider(),
        keyring,
        now,
        newId: randomUUID,
      },
      actOf: ({ requestId, from, traceId }, by): Act => ({ node, by, requestId, from, traceId }),
      observe: (outcome, reason) => {
        if (outcome === 'refused') metrics.refusals.inc({ reason: refusalLabel(reason) });
        else metrics.tokensIssued.inc({ grant: outcome === 'issued' ? 'client_credentials' : 'token_exchange' });
      },
      limits,
      report: (err, requestId) => log.error({ err, requestId }, 'a request could not be answered'),
    }),
    scim: createScim({
      db,
      limits,
      node,
      now,
      issuer,
      log,
      cursorKey,
      noteRequest: requestLog.note,
      observe: ({ agents, seconds }) => {
        metrics.offboardings.inc();
        metrics.offboardAgents.observe(agents);
        metrics.offboardSeconds.observe(seconds);
      },
    }),
    admin: createAdmin({ db, node, kek, keyring, issuer, log, remoteAddress: remoteAddressOf, noteFailure }),
    feed: createFeed({
      db,
      node: node.id,
      bus,
      log,
      noteFailure,
      authenticateApi: (clientId, secret) => authenticateApi(db, clientId, secret),
      latestCheckpoint: async () => (await latestCheckpoint(db))?.jws ?? null,
    }),
    operations: createOperations({ sql, metrics, readMetrics, metricsToken }),
  };
}

/** What does not go by the router: there, its way through it would be half of its time. */
const toDirect = ({ oauth, operations }: Edges): Direct => ({
  paths: endpointPaths,
  answer: (call) => operations.observer.direct(call, oauth.answer),
});

/** Every mount there is. */
function mount({ issuer, log }: Ground, { oauth, scim, admin, feed, operations }: Edges): Hono<ObservedEnv> {
  const app = new Hono<ObservedEnv>({ getPath: (request) => routedPath(getPath(request)) });
  app.use(operations.observer.middleware);
  app.route('/', operations.routes);
  app.route('/', oauth.app);
  app.route('/scim/v2', scim);
  app.route('/api/v1', admin);
  app.route('/api/docs', createDocs(admin, issuer));
  app.route('/revocations', feed.app);
  app.notFound(operations.notFound);
  app.onError((error, c) => operations.answerFault(error, c, log));
  return app;
}

/** Work that recurs on every node: what must not be done twice takes its lock in the database. */
function recurAll(ground: Ground, { feed, operations }: Edges, closing: Closing) {
  const { db, sql, log, node, keyring, issuer, metrics, requestLog } = ground;
  const system = systemAct(node);
  let acknowledgementLag = Number.NaN;
  let alarms: DirectoryAlarms | undefined;
  metrics.watch('writ_feed_subscribers', feed.subscribers);
  metrics.watch('writ_feed_seq', feed.position);
  metrics.watch('writ_feed_lag_seconds', feed.lagSeconds);
  metrics.watch('writ_feed_acknowledgement_lag_seconds', () => acknowledgementLag);
  metrics.watch('writ_directories_silent', () => alarms?.silent ?? Number.NaN);
  metrics.watch('writ_directory_contact_age_seconds', () => alarms?.contactAge ?? Number.NaN);
  metrics.watch('writ_directory_tokens_expiring', () => alarms?.expiring ?? Number.NaN);
  metrics.watch('writ_offboardings_unconfirmed', () => alarms?.unconfirmed ?? Number.NaN);
  const sealed = recur('seal', 500, log, async () => (await sealEntries(db, keyring, issuer)) >= sealBatchSize);
  const others = [
    recur('record SCIM requests', 1_000, log, requestLog.write),
    recur('watch directories', 5_000, log, async () => {
      // What was seen before says nothing of now.
      alarms = undefined;
      alarms = await watchDirectories(db, system, (members, message) => log.warn(members, message));
    }),
    recur('note followers', 1_000, log, feed.noteFollowers),
    recur('end abandoned', 1_000, log, async () => {
      const ended = await endAbandoned(sql);
      if (ended > 0) log.warn({ ended }, 'transactions of a node that does not go on were ended');
    }),
    recur('expire', 1_000, log, async () => (await expireAgents(db, system)) > 0),
    recur('sweep', 30_000, log, async () => {
      await sweep(db);
      await sweepExpired(db);
    }),
    recur('watch', 2_000, log, async () => {
      await operations.watch();
      acknowledgementLag = await feed.measureAcknowledgementLag().catch(() => Number.NaN);
    }),
  ];
  closing.add(async () => {
    await Promise.all(others.map((stop) => stop()));
    await requestLog.flush();
    // What the last answers have recorded is sealed before the process ends.
    await sealed();
    await sealEntries(db, keyring, issuer);
  });
}
