/**
 * The one queue through which every answer of the token endpoint passes, granted or refused; nothing leaves before its
 * record is durable (promise 6).
 *
 * Group commit: one batch is settled (`settle.ts`) at a time; what arrives meanwhile is the next, without a timer. A batch
 * never waits for an owner's lock: whoever would have to wait leaves it for a lane of its own, so that one owner's change of
 * state does not hold up everybody.
 */
import { WritError } from '../../errors.ts';
import type { Db } from '../../platform/db/client.ts';
import { linkHere } from '../../platform/http/tracing.ts';
import type { AuditNode } from '../audit/append.ts';
import { type Candidate, type Entry, land, type Parts, type Settled } from './settle.ts';

export type { Assertion } from './live.ts';
export type { Candidate, Settled } from './settle.ts';

export interface CommitQueue {
  commit(candidate: Candidate): Promise<Settled>;
  /** Waits for everything accepted so far. */
  drain(): Promise<void>;
  depth(): number;
}

const maxBatch = 128;
const maxQueued = 4096;
const maxLanes = 4;

/** Of those who wait, the first and who waits for the same owner. */
function firstOwners(waiting: readonly Entry[]): Entry[] {
  const owner = waiting[0]?.candidate.question.ownerId;
  return waiting.filter((entry) => entry.candidate.question.ownerId === owner).slice(0, maxBatch);
}

/** `node`: whose acts all candidates are. `observe` is told the size of each batch that was settled. */
export function createCommitQueue(db: Db, node: AuditNode, observe?: (size: number) => void): CommitQueue {
  const parts: Parts = { db, node, observe };
  const queued: Entry[] = [];
  let batches = 0;
  /** A transaction is open, or being opened, and has not taken its batch. */
  let isOpening = false;
  let before = Promise.resolve();
  let lanes = 0;
  let waiting: Entry[] = [];
  let open = 0;
  const idle: (() => void)[] = [];

  const answerAll = (answers: readonly (() => void)[]): void => {
    open -= answers.length;
    for (const answer of answers) answer();
    if (open === 0) for (const wake of idle.splice(0)) wake();
  };

  /**
   * One batch at a time. The transaction of the next is opened while this one is settled, and takes who has come by then:
   * BEGIN costs nobody's time. The answers of one are signed while the next is on its way.
   */
  function fly(): void {
    const previous = before;
    const landing = Promise.withResolvers<void>();
    before = landing.promise;
    batches += 1;
    isOpening = true;
    const take = async (): Promise<Entry[]> => {
      await previous;
      isOpening = false;
      return queued.splice(0, maxBatch);
    };
    void land(parts, take, false).then(({ answers, busy, again }) => {
      queued.push(...again);
      waiting.push(...busy);
      batches -= 1;
      landing.resolve();
      pump();
      setImmediate(answerAll, answers);
    });
  }

  /** For one owner's requests that have to wait for its lock. */
  function wait(): void {
    const batch = firstOwners(waiting);
    waiting = waiting.filter((entry) => !batch.includes(entry));
    lanes += 1;
    void land(parts, async () => batch, true).then(({ answers, busy, again }) => {
      waiting.push(...busy, ...again);
      lanes -= 1;
      pump();
      answerAll(answers);
    });
  }

  function pump(): void {
    if (queued.length > 0 && !isOpening && batches < 2) fly();
    while (lanes < maxLanes && waiting.length > 0) wait();
  }

  return {
    commit: (candidate) =>
      new Promise<Settled>((resolve, reject) => {
        if (open >= maxQueued) return reject(new WritError('unavailable', 'too many requests are being answered'));
        open += 1;
        queued.push({ candidate, link: linkHere(), resolve, reject });
        pump();
      }),
    drain: () => (open === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
    depth: () => open,
  };
}
