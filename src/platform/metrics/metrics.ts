/**
 * What `/metrics` shows (Prometheus). One registry for each process, given to those who count. Labels have few values,
 * known beforehand: never an id, a name or a path as it was requested. Every series is there from the start, so that an
 * alert on it is an alert and not an absence.
 *
 * `aggregator` says what becomes of a gauge when the processes of one machine are shown as one (`workers.ts`): counts
 * add up; what all of them see of one database does not.
 */
import { type Aggregator, Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type RefusalReason, refusalReasons } from '../../protocol.ts';

export interface Metrics {
  registry: Registry;
  /** Access tokens that left, by grant type. */
  tokensIssued: Counter<'grant'>;
  /** Refusals at the OAuth endpoints; `reason` is a `RefusalReason` or the RFC's error code. */
  refusals: Counter<'reason'>;
  /** Seconds from the first byte to the answer, by route pattern. */
  httpDuration: Histogram<'route' | 'method' | 'status'>;
  /** Seconds from a leaver's request until its answer was sent, which is after its commit. */
  offboardSeconds: Histogram;
  /** Agents stopped by one departure. */
  offboardAgents: Histogram;
  offboardings: Counter;
  /** Issuances committed together. */
  commitBatch: Histogram;
  /** Shows what `read` answers when it is asked for; not a number: nothing is known, so nothing is shown. */
  watch(name: WatchedName, read: () => number): void;
}

const milliseconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What is looked at rather than counted. */
const watched = {
  writ_commit_queue_depth: ['sum', 'Token requests that wait for their commit.'],
  writ_feed_subscribers: ['sum', 'Verifiers connected to the revocation feed of this process.'],
  writ_feed_seq: ['max', 'Newest sequence number of the revocation feed read by this process.'],
  writ_feed_lag_seconds: ['max', 'Time since this process last read the feed to its end.'],
  writ_feed_acknowledgement_lag_seconds: [
    'max',
    'Age of the oldest departure that a connected verifier has not acknowledged; 0: none.',
  ],
  writ_audit_unsealed: ['max', 'Audit entries that are durable and not yet sealed.'],
  writ_audit_sealing_lag_seconds: ['max', 'Age of the oldest audit entry that is not sealed; 0: none.'],
  writ_directories_silent: ['max', 'Directories whose identity provider used to sync and has fallen silent.'],
  writ_directory_contact_age_seconds: [
    'max',
    'Time since the contact that lies longest back, of the directories whose silence is watched; 0: none.',
  ],
  writ_directory_tokens_expiring: ['max', 'SCIM tokens that are about to expire.'],
  writ_offboardings_unconfirmed: ['max', 'Departures of a mass that no administrator has confirmed or undone.'],
  writ_scim_requests_unrecorded: [
    'sum',
    'SCIM requests of this process that are missing from the list of the last ones, because the database was too slow.',
  ],
  writ_db_up: ['min', '1 while the database answers, else 0.'],
  writ_db_transactions_open: ['sum', 'Transactions of this process that hold a database connection.'],
  writ_db_pool_size: ['sum', 'Database connections of this process, at most.'],
} as const satisfies Record<string, [Aggregator, string]>;
export type WatchedName = keyof typeof watched;

/** What the engine and the grants refuse with, beside the reasons of decisions. */
const errorCodes = [
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
  'invalid_target',
  'invalid_authorization_details',
  'access_denied',
  'assertion_replayed',
] as const;
const otherRefusals = 'other';
const refusalLabels: readonly string[] = [...refusalReasons, ...errorCodes, otherRefusals];

/** Keeps the label closed, whatever a library comes to say. */
export const refusalLabel = (reason: RefusalReason | string | undefined): string =>
  reason !== undefined && refusalLabels.includes(reason) ? reason : otherRefusals;

/** `version`: of Writ. */
export function createMetrics(version: string): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'writ_build_info',
    help: 'Always 1; which Writ on which Node.',
    labelNames: ['version', 'node'],
    aggregator: 'first',
    registers,
  }).set({ version, node: process.version }, 1);
  const counted = createCounters(registers);
  for (const grant of ['client_credentials', 'token_exchange']) counted.tokensIssued.inc({ grant }, 0);
  for (const reason of refusalLabels) counted.refusals.inc({ reason }, 0);
  return { registry, ...counted, watch: createWatch(registers) };
}

function createWatch(registers: Registry[]): Metrics['watch'] {
  const readers = new Map<string, () => number>();
  for (const [name, [aggregator, help]] of Object.entries(watched)) {
    new Gauge({
      name,
      help,
      aggregator,
      registers,
      collect() {
        const value = readers.get(name)?.() ?? Number.NaN;
        // One that is unknown is left out: a NaN among the values of several processes would be the sum of all.
        if (Number.isFinite(value)) this.set(value);
        else this.remove();
      },
    });
  }
  return (name, read) => {
    readers.set(name, read);
  };
}

function createCounters(registers: Registry[]): Omit<Metrics, 'registry' | 'watch'> {
  return {
    tokensIssued: new Counter({
      name: 'writ_tokens_issued_total',
      help: 'Access tokens issued, after their audit record became durable.',
      labelNames: ['grant'],
      registers,
    }),
    refusals: new Counter({
      name: 'writ_refusals_total',
      help: 'Requests refused at the OAuth endpoints, by reason.',
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
      help: 'Time from a request that says a person is gone until its answer was sent, after the commit.',
      buckets: milliseconds,
      registers,
    }),
    offboardAgents: new Histogram({
      name: 'writ_offboard_agents',
      help: 'Agents stopped by one departure.',
      buckets: [0, 1, 3, 10, 30, 100, 300, 1_000, 10_000, 100_000],
      registers,
    }),
    offboardings: new Counter({ name: 'writ_offboardings_total', help: 'People offboarded.', registers }),
    commitBatch: new Histogram({
      name: 'writ_commit_batch_size',
      help: 'Issuances committed in one transaction.',
      buckets: [1, 2, 4, 8, 16, 32, 64, 128],
      registers,
    }),
  };
}
