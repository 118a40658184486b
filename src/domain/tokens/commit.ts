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

type Outcome = Settled | Again;

/**
 * Settles, in one transaction, what `take` gives once that is open: who comes while BEGIN is on its way is part of it.
 * The outcome is in the order of what was taken.
 */
async function settle(db: Db, node: AuditNode, take: () => Promise<Candidate[]>, wait: boolean): Promise<Outcome[]> {
  let written: Promise<void> | undefined;
  const { outcome } = await db.$client.begin(async (tx) => {
    const batch = await take();
    const questions = batch.map((candidate) => candidate.question);
    const taking = { node, assertions: batch.map((candidate) => candidate.assertion) };
    const { found, fresh, place } = await readLiveness(tx, questions, { wait, taking });
    const outcome = found.map((one, index): Outcome => {
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
    // Not awaited here, so that COMMIT travels right behind it. If it fails, PostgreSQL makes that a ROLLBACK.
    written = insertAt(tx, place, records);
    written.catch(() => {});
    return { outcome };
  });
  await written;
  return outcome;
}

const inTurn = (all: readonly (() => void)[]) => (): void => {
  for (const one of all) one();
};

/** `node`: whose acts all candidates are. `observe` is told the size of each batch that was settled. */
export function createCommitQueue(db: Db, node: AuditNode, observe?: (size: number) => void): CommitQueue {
  const queued: Entry[] = [];
  let batches = 0;
  /** A transaction is open, or being opened, and has not taken its batch. */
  let isOpening = false;
  let landed = Promise.resolve();
  let lanes = 0;
  let waiting: Entry[] = [];
  let open = 0;
  const idle: (() => void)[] = [];

  const finish = (deliver: () => void): void => {
    open -= 1;
    deliver();
    if (open === 0) for (const wake of idle.splice(0)) wake();
  };

  /** Settles one batch; what is busy goes to a lane, a failure is retried singly. Returns what delivers the answers. */
  async function run(take: () => Promise<Entry[]>, wait: boolean): Promise<() => void> {
    let batch: Entry[] = [];
    try {
      const settled = await inSpan('issue', { root: true }, (note, link) =>
        settle(
          db,
          node,
          async () => {
            batch = await take();
            note({ 'writ.batch': batch.length });
            link(batch.flatMap((entry) => entry.link ?? []));
            return batch.map((entry) => entry.candidate);
          },
          wait,
        ),
      );
      observe?.(settled.filter((one) => one !== undefined && one.state !== 'busy' && one.state !== 'stale').length);
      const answered = batch.flatMap((entry, index) => {
        const one = settled[index];
        if (one !== undefined && one.state !== 'busy') return [() => finish(() => entry.resolve(one))];
        (one === undefined && !wait ? queued : waiting).push(entry);
        return [];
      });
      return inTurn(answered);
    } catch (error) {
      // There was not even a BEGIN: whoever would have been in the batch is told.
      if (batch.length === 0) batch = await take();
      const all = batch.map((entry) => () => finish(() => entry.reject(error)));
      if (batch.length <= 1 || isOutage(error)) return inTurn(all);
      const singly: (() => void)[] = [];
      for (const entry of batch) singly.push(await run(async () => [entry], wait));
      return inTurn(singly);
    }
  }

  /**
   * One batch at a time. The transaction of the next is opened while this one is settled, and takes who has come by then:
   * BEGIN costs nobody's time. The answers of one are signed while the next is on its way.
   */
  function fly(): void {
    const before = landed;
    const landing = Promise.withResolvers<void>();
    landed = landing.promise;
    batches += 1;
    isOpening = true;
    const take = async (): Promise<Entry[]> => {
      await before;
      isOpening = false;
      return queued.splice(0, maxBatch);
    };
    void run(take, false).then((deliver) => {
      batches -= 1;
      landing.resolve();
      pump();
      setImmediate(deliver);
    });
  }

  function pump(): void {
    if (queued.length > 0 && !isOpening && batches < 2) fly();
    while (lanes < maxLanes && waiting.length > 0) {
      const owner = waiting[0]?.candidate.question.ownerId;
      const batch = waiting.filter((entry) => entry.candidate.question.ownerId === owner).slice(0, maxBatch);
      waiting = waiting.filter((entry) => !batch.includes(entry));
      lanes += 1;
      void run(async () => batch, true).then((deliver) => {
        lanes -= 1;
        pump();
        deliver();
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
