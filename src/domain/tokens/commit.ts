/**
 * The one queue through which every answer of the token endpoint passes, granted or refused: liveness, single use of
 * the client assertion and the audit record are one transaction, and nothing leaves before it is durable (promise 6).
 *
 * Group commit: one batch in flight; what arrives meanwhile is the next batch, flushed when the first returns; no
 * timer. A batch never waits for an owner's lock: whoever would have to wait leaves it for a lane of its own, so that
 * one owner's change of state does not hold up everybody. A batch that fails is split and retried singly, so that one
 * bad row refuses one request. What has gone stale is handed back undecided, and nothing of its batch is kept.
 */
import { WritError } from '../../errors.ts';
import { type Db, isOutage } from '../../platform/db/client.ts';
import { inSpan, type Link, linkHere } from '../../platform/http/tracing.ts';
import { type Act, type AuditEvent, type AuditNode, type AuditRecord, insertAt } from '../audit/append.ts';
import { type Assertion, type Dead, type Live, type Question, readLiveness } from './live.ts';

export type { Assertion } from './live.ts';

export interface Candidate {
  question: Question;
  assertion: Assertion | undefined;
  act: Act;
  /** What to record, given what was read under the locks. Pure; called once for each attempt. */
  record(found: Live | Dead | { state: 'replayed' }): AuditEvent;
}

export type Settled = Live | Dead | { state: 'replayed' } | { state: 'stale' };
/** Whoever has to wait for a lock, or met somebody who is stale. */
type Again = { state: 'busy' } | undefined;

export interface CommitQueue {
  commit(candidate: Candidate): Promise<Settled>;
  /** Waits for everything accepted so far. */
  drain(): Promise<void>;
  depth(): number;
}

interface Entry {
  candidate: Candidate;
  link: Link | undefined;
  resolve(settled: Settled): void;
  reject(error: unknown): void;
}

const maxBatch = 128;
const maxQueued = 4096;
const maxLanes = 4;

/** Settles a batch in one transaction. */
async function settle(
  db: Db,
  node: AuditNode,
  batch: readonly Candidate[],
  wait: boolean,
): Promise<(Settled | Again)[]> {
  const questions = batch.map((candidate) => candidate.question);
  const taking = { node, assertions: batch.map((candidate) => candidate.assertion) };
  const { outcome } = await db.$client.begin(async (tx) => {
    const { found, fresh, place } = await readLiveness(tx, questions, { wait, taking });
    const outcome = found.map((one, index): Settled | Again => {
      if (one.state === 'stale' || one.state === 'busy') return one;
      // Somebody else of the batch is stale: nothing was taken for anybody.
      if (place === undefined) return undefined;
      return fresh[index] === true ? one : { state: 'replayed' };
    });
    if (place === undefined) return { outcome };
    const records = batch.flatMap(({ act, record }, index): AuditRecord[] => {
      const one = outcome[index];
      return one === undefined || one.state === 'busy' || one.state === 'stale' ? [] : [{ act, event: record(one) }];
    });
    await insertAt(tx, place, records);
    return { outcome };
  });
  return outcome;
}

/** `node`: whose acts all candidates are. `observe` is told the size of each batch that was settled. */
export function createCommitQueue(db: Db, node: AuditNode, observe?: (size: number) => void): CommitQueue {
  const queued: Entry[] = [];
  let flying = false;
  let lanes = 0;
  let waiting: Entry[] = [];
  let open = 0;
  const idle: (() => void)[] = [];

  const finish = (deliver: () => void): void => {
    open -= 1;
    deliver();
    if (open === 0) for (const wake of idle.splice(0)) wake();
  };

  /** Runs one batch to its end; what is busy goes to a lane, a failure is retried singly. */
  async function run(batch: Entry[], wait: boolean): Promise<void> {
    try {
      const candidates = batch.map((entry) => entry.candidate);
      const links = batch.flatMap(({ link }) => link ?? []);
      const settled = await inSpan('issue', { root: true, attributes: { 'writ.batch': batch.length }, links }, () =>
        settle(db, node, candidates, wait),
      );
      observe?.(settled.filter((one) => one !== undefined && one.state !== 'busy' && one.state !== 'stale').length);
      for (const [index, entry] of batch.entries()) {
        const one = settled[index];
        if (one === undefined) (wait ? waiting : queued).push(entry);
        else if (one.state === 'busy') waiting.push(entry);
        else finish(() => entry.resolve(one));
      }
    } catch (error) {
      if (batch.length === 1 || isOutage(error)) {
        for (const entry of batch) finish(() => entry.reject(error));
      } else {
        for (const entry of batch) await run([entry], wait);
      }
    }
  }

  function pump(): void {
    if (!flying && queued.length > 0) {
      flying = true;
      const batch = queued.splice(0, maxBatch);
      void run(batch, false).finally(() => {
        flying = false;
        pump();
      });
    }
    while (lanes < maxLanes && waiting.length > 0) {
      const owner = waiting[0]?.candidate.question.ownerId;
      const batch = waiting.filter((entry) => entry.candidate.question.ownerId === owner).slice(0, maxBatch);
      waiting = waiting.filter((entry) => !batch.includes(entry));
      lanes += 1;
      void run(batch, true).finally(() => {
        lanes -= 1;
        pump();
      });
    }
  }

  return {
    commit: (candidate) =>
      new Promise<Settled>((resolve, reject) => {
        if (open >= maxQueued) {
          reject(new WritError('unavailable', 'too many requests are being answered'));
          return;
        }
        open += 1;
        queued.push({ candidate, link: linkHere(), resolve, reject });
        pump();
      }),
    drain: () => (open === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
    depth: () => open,
  };
}
