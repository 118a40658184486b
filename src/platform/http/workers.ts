/**
 * Several processes on one port (`WRIT_WORKERS`), for a machine with several cores. All accept from
 * one listening socket; the primary serves nothing itself. Each worker is a whole node: its own pool, feed, and counter in the
 * audit log. A worker that ends, however, is replaced, later and later when that happens at once; workers end with the
 * primary. Workers share nothing but the database, so what holds between machines holds between them.
 */
import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import type { Logger } from 'pino';
import { AggregatorRegistry, type Registry } from 'prom-client';

export class WorkersError extends Error {
  override readonly name = 'WorkersError';
}

export interface WorkersOptions {
  count: number;
  /** Added to this process's own environment. */
  env: Record<string, string>;
  log: Pick<Logger, 'info' | 'error'>;
  /** How long a worker that is told to stop answers on. */
  drainSeconds: number;
}

export interface Workers {
  /** Lets all of them finish what they are at, and resolves when they have ended. */
  close(): Promise<void>;
}

const firstDelayMs = 100;
const maxDelayMs = 5_000;
/** A worker that lived this long did not fail by starting. */
const goodAfterMs = 10_000;
/** Longer than a worker takes to close once it has answered on. */
const closeMs = 30_000;
const metricsMs = 8_000;

/** Forks this program `count` times. Resolves when all listen. @throws WorkersError when one ends before that; none is left. */
export async function startWorkers({ count, env, log, drainSeconds }: WorkersOptions): Promise<Workers> {
  // Not in turn, by the primary: a connection that it hands to a worker which dies at that moment is never answered nor
  // closed (measured). From one socket the system hands out each connection once, and ends those of a process with it.
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  const state = { closing: false, failures: 0 };
  const timers = new Set<NodeJS.Timeout>();
  const stopSharing = shareMetrics();

  function fork(): Worker {
    const worker = cluster.fork(env);
    const bornAt = performance.now();
    worker.once('exit', (code, signal) => {
      if (state.closing) return;
      state.failures = performance.now() - bornAt >= goodAfterMs ? 0 : state.failures + 1;
      const delayMs = Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(state.failures, 10));
      log.error({ pid: worker.process.pid, code, signal, delayMs }, 'a worker has ended, another takes its place');
      const timer = setTimeout(() => {
        timers.delete(timer);
        fork();
      }, delayMs);
      timers.add(timer);
    });
    return worker;
  }

  async function close(): Promise<void> {
    state.closing = true;
    for (const timer of timers) clearTimeout(timer);
    await Promise.all(
      Object.values(cluster.workers ?? {}).map((worker) => worker && endWorker(worker, closeMs + drainSeconds * 1000)),
    );
    stopSharing();
  }

  try {
    await Promise.all(Array.from({ length: count }, () => becomesReady(fork())));
  } catch (error) {
    await close();
    throw error;
  }
  log.info({ workers: count }, 'all workers are listening');
  return { close };
}

async function becomesReady(worker: Worker): Promise<void> {
  const given = new AbortController();
  const { signal } = given;
  const ends = async (): Promise<never> => {
    await once(worker, 'exit', { signal });
    throw new WorkersError('a worker did not start; what it said stands above');
  };
  try {
    await Promise.race([once(worker, 'listening', { signal }), ends()]);
  } finally {
    given.abort();
  }
}

async function endWorker(worker: Worker, ms: number): Promise<void> {
  if (worker.isDead()) return;
  const ended = once(worker, 'exit');
  const timer = setTimeout(() => worker.process.kill('SIGKILL'), ms);
  worker.process.kill('SIGTERM');
  await ended;
  clearTimeout(timer);
}

interface MetricsQuestion {
  type: 'writ:metrics';
  id: number;
}
interface MetricsAnswer extends MetricsQuestion {
  /** Absent: not all workers answered. */
  text?: string;
}

const isAboutMetrics = (message: unknown): message is MetricsAnswer =>
  typeof message === 'object' && message !== null && 'type' in message && message.type === 'writ:metrics';

/** In the primary: answers workers that ask for the metrics of all. */
function shareMetrics(): () => void {
  const aggregator = new AggregatorRegistry();
  const answer = async (worker: Worker, message: unknown): Promise<void> => {
    if (!isAboutMetrics(message)) return;
    const { type, id } = message;
    // A worker that ends while it is asked fails the first attempt.
    const text = await aggregator.clusterMetrics().catch(() => undefined);
    if (worker.isConnected()) worker.send({ type, id, ...(text === undefined ? {} : { text }) });
  };
  const listener = (worker: Worker, message: unknown): void => void answer(worker, message);
  cluster.on('message', listener);
  return () => {
    cluster.off('message', listener);
  };
}

/**
 * In a worker: makes `registry` part of what all show together, and returns how to read that. Gauges are put together by
 * their `aggregator`. Rejects when a worker does not answer: a sum that lacks one would look like a fall.
 */
export function joinMetrics(registry: Registry): () => Promise<string> {
  AggregatorRegistry.setRegistries([registry]);
  new AggregatorRegistry();
  const waiting = new Map<number, (text: string | undefined) => void>();
  process.on('message', (message: unknown) => {
    if (isAboutMetrics(message)) waiting.get(message.id)?.(message.text);
  });
  let asked = 0;
  return async () => {
    const id = ++asked;
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    const timer = setTimeout(() => resolve(undefined), metricsMs);
    waiting.set(id, resolve);
    process.send?.({ type: 'writ:metrics', id } satisfies MetricsQuestion);
    const text = await promise;
    clearTimeout(timer);
    waiting.delete(id);
    if (text === undefined) throw new WorkersError('a worker did not say its metrics');
    return text;
  };
}
