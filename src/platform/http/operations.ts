/**
 * What operators and load balancers see: `/livez` (the process runs), `/readyz` (it can answer: the database does, and
 * it is not stopping), `/metrics`; and what becomes of faults and unknown paths.
 */
import { timingSafeEqual } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { WritError } from '../../errors.ts';
import { isOutage, type Sql } from '../db/client.ts';
import { hashSecret } from '../keys/secret.ts';
import type { Metrics } from '../metrics/metrics.ts';
import { withDeadline } from './deadline.ts';
import type { Logger } from './log.ts';
import { createObserver, type ObservedEnv, type Observer } from './observe.ts';
import { respondProblem } from './problem.ts';
import { remoteAddressOf } from './remote-address.ts';

export interface OperationsParts {
  sql: Sql;
  metrics: Metrics;
  /** In the Prometheus text format. */
  readMetrics(): Promise<string>;
  /** Absent: `/metrics` answers callers on this machine only. */
  metricsToken: string | undefined;
}

export interface Operations {
  routes: Hono<ObservedEnv>;
  observer: Observer;
  notFound(c: Context): Response;
  answerFault(error: unknown, c: Context, log: Logger): Response;
  beReady(ready: boolean): void;
  /** Looks at the database for what cannot be counted here. */
  watch(): Promise<void>;
}

const probeMs = 3_000;
const loopback = /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/;

function mayReadMetrics(c: Context, parts: OperationsParts): boolean {
  const given = /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
  if (given !== undefined && parts.metricsToken !== undefined) {
    return timingSafeEqual(hashSecret(given), hashSecret(parts.metricsToken));
  }
  return loopback.test(remoteAddressOf(c) ?? '');
}

export function createOperations(parts: OperationsParts): Operations {
  const { sql, metrics } = parts;
  let ready = false;
  const seen = { up: Number.NaN, unsealed: Number.NaN, sealingLag: Number.NaN };
  metrics.watch('writ_db_up', () => seen.up);
  metrics.watch('writ_audit_unsealed', () => seen.unsealed);
  metrics.watch('writ_audit_sealing_lag_seconds', () => seen.sealingLag);
  const isAnswering = async (): Promise<boolean> => {
    try {
      // A primary that was demoted still answers, but can record nothing and so decide nothing.
      const [row] = await withDeadline(
        probeMs,
        async () => sql<{ writes: boolean }[]>`select current_setting('transaction_read_only') = 'off' as writes`,
      );
      return row?.writes === true;
    } catch {
      return false;
    }
  };

  const routes = new Hono<ObservedEnv>();
  routes.get('/livez', (c) => c.text('live\n'));
  routes.get('/readyz', async (c) => {
    const database = await isAnswering();
    return c.json({ ready: ready && database, database }, ready && database ? 200 : 503);
  });
  routes.get('/metrics', async (c) => {
    if (!mayReadMetrics(c, parts)) {
      c.header('WWW-Authenticate', 'Bearer realm="metrics"');
      return c.text('set WRIT_METRICS_TOKEN, and send it as a bearer\n', 401);
    }
    return c.body(await parts.readMetrics(), 200, { 'Content-Type': metrics.registry.contentType });
  });

  return {
    routes,
    observer: createObserver(metrics, () => ready),
    notFound: () => respondProblem('not_found'),
    answerFault: (error, c, log) => {
      const requestId: unknown = c.get('requestId');
      log.error({ err: error, requestId }, 'a request could not be answered');
      const away = isOutage(error) || (error instanceof WritError && error.code === 'unavailable');
      return respondProblem(away ? 'unavailable' : 'internal', { requestId });
    },
    beReady: (now) => {
      ready = now;
    },
    watch: async () => {
      seen.up = (await isAnswering()) ? 1 : 0;
      // What was seen before says nothing of now.
      seen.unsealed = seen.sealingLag = Number.NaN;
      if (seen.up === 0) return;
      const [row] = await sql<{ unsealed: number; lag: number }[]>`
        select count(*)::float8 as unsealed,
          coalesce(greatest(extract(epoch from clock_timestamp() - min(at)), 0), 0)::float8 as lag
        from audit_nodes n left join audit_sealed s on s.node = n.node
        join audit_entries e on e.node = n.node and e.counter > coalesce(s.counter, 0)
        where n.counter > coalesce(s.counter, 0)`;
      seen.unsealed = row?.unsealed ?? Number.NaN;
      seen.sealingLag = row?.lag ?? Number.NaN;
    },
  };
}
