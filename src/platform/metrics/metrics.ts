/**
 * What `/metrics` shows (Prometheus). One registry for each process, given to those who count. Labels have few values,
 * known beforehand: never an id, a name or a path as it was requested.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { RefusalReason } from '../../protocol.ts';

export interface Metrics {
  registry: Registry;
  /** Access tokens that left, by grant type. */
  tokensIssued: Counter<'grant'>;
  /** Refusals at the token endpoint; `reason` is a `RefusalReason` or the RFC's error code. */
  refusals: Counter<'reason'>;
  /** Seconds from the first byte to the answer, by route pattern. */
  httpDuration: Histogram<'route' | 'method' | 'status'>;
  /** Seconds from a leaver's request to the answer that is sent after its commit. */
  offboardSeconds: Histogram;
  offboardings: Counter;
  /** Verifiers connected to this process's feed. */
  feedSubscribers: Gauge;
  /** Newest sequence number of the feed that this process has read. */
  feedSeq: Gauge;
  /** Audit rows that are durable and not yet sealed in the chain. */
  auditUnsealed: Gauge;
  /** Issuances committed together. */
  commitBatch: Histogram;
  poolInUse: Gauge;
  databaseUp: Gauge;
}

const milliseconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers });
  return {
    registry,
    tokensIssued: new Counter({
      name: 'writ_tokens_issued_total',
      help: 'Access tokens issued, after their audit record became durable.',
      labelNames: ['grant'],
      registers,
    }),
    refusals: new Counter({
      name: 'writ_refusals_total',
      help: 'Refused token requests, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    httpDuration: new Histogram({
      name: 'writ_http_request_duration_seconds',
      help: 'Time to answer, by route pattern, method and status.',
      labelNames: ['route', 'method', 'status'],
      buckets: milliseconds,
      registers,
    }),
    offboardSeconds: new Histogram({
      name: 'writ_offboard_seconds',
      help: 'Time from a request that says a person is gone to the answer after its commit.',
      buckets: milliseconds,
      registers,
    }),
    offboardings: new Counter({ name: 'writ_offboardings_total', help: 'People offboarded.', registers }),
    feedSubscribers: gauge('writ_feed_subscribers', 'Verifiers connected to the revocation feed of this process.'),
    feedSeq: gauge('writ_feed_seq', 'Newest sequence number of the revocation feed read by this process.'),
    auditUnsealed: gauge('writ_audit_unsealed', 'Audit entries that are durable and not yet sealed.'),
    commitBatch: new Histogram({
      name: 'writ_commit_batch_size',
      help: 'Issuances committed in one transaction.',
      buckets: [1, 2, 4, 8, 16, 32, 64, 128],
      registers,
    }),
    poolInUse: gauge('writ_db_transactions_open', 'Transactions of this process that hold a database connection.'),
    databaseUp: gauge('writ_db_up', '1 while the database answers, else 0.'),
  };
}

/** Keeps the label closed: what is not in the list of reasons counts under the RFC's error code it was sent with. */
export const refusalLabel = (error: string, reason: RefusalReason | undefined): string => reason ?? error;
