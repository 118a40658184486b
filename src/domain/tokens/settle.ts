/**
 * Settles one batch of token requests: liveness, single use of the client assertion and the audit record are one
 * transaction. A batch that fails is split and retried singly, so that one bad row refuses one request. What has gone
 * stale is handed back undecided, and nothing of its batch is kept.
 */
import { type Db, isOutage } from '../../platform/db/client.ts';
import { inSpan, type Link } from '../../platform/http/tracing.ts';
import { type Act, type AuditEvent, type AuditNode, type AuditRecord, insertAt } from '../audit/append.ts';
import { type Assertion, type Dead, type Live, type Question, readLiveness } from './live.ts';

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

export interface Entry {
  candidate: Candidate;
  link: Link | undefined;
  resolve(settled: Settled): void;
  reject(error: unknown): void;
}

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
    // Not awaited here, so that COMMIT travels right behind it. If it fails, PostgreSQL makes that a ROLLBACK; what is
    // wrong with the records themselves is thrown here.
    written = insertAt(tx, place, records);
    written.catch(() => {});
    return { outcome };
  });
  await written;
  return outcome;
}

/** What came of a batch. */
export interface Landed {
  /** To be called once the next batch is on its way. */
  answers: (() => void)[];
  busy: Entry[];
  /** Met somebody who is stale. */
  again: Entry[];
}

export interface Parts {
  db: Db;
  node: AuditNode;
  observe: ((size: number) => void) | undefined;
}

/** Settles one batch to its end; a failure is retried singly. Never rejects. */
export async function land(parts: Parts, take: () => Promise<Entry[]>, wait: boolean): Promise<Landed> {
  let batch: Entry[] = [];
  // Once, also when the connection is lost while it waits for its turn: what it takes has to be answered by somebody.
  let taking: Promise<Entry[]> | undefined;
  const takeOnce = (): Promise<Entry[]> => {
    taking ??= take();
    return taking;
  };
  try {
    const outcomes = await inSpan('issue', { root: true }, (note, link) => {
      const taken = async (): Promise<Candidate[]> => {
        batch = await takeOnce();
        note({ 'writ.batch': batch.length });
        link(batch.flatMap((entry) => entry.link ?? []));
        return batch.map((entry) => entry.candidate);
      };
      return settle(parts.db, parts.node, taken, wait);
    });
    const landed: Landed = { answers: [], busy: [], again: [] };
    for (const [index, entry] of batch.entries()) {
      const one = outcomes[index];
      if (one === undefined) landed.again.push(entry);
      else if (one.state === 'busy') landed.busy.push(entry);
      else landed.answers.push(() => entry.resolve(one));
    }
    parts.observe?.(
      outcomes.filter((one) => one !== undefined && one.state !== 'busy' && one.state !== 'stale').length,
    );
    return landed;
  } catch (error) {
    // There was not even a BEGIN: whoever would have been in the batch is told.
    batch = await takeOnce();
    const all = batch.map((entry) => () => entry.reject(error));
    if (batch.length <= 1 || isOutage(error)) return { answers: all, busy: [], again: [] };
    const singly: Landed[] = [];
    for (const entry of batch) singly.push(await land(parts, async () => [entry], wait));
    const of = <K extends keyof Landed>(name: K) => singly.flatMap((one) => one[name] as Landed[K][number][]);
    return { answers: of('answers'), busy: of('busy'), again: of('again') };
  }
}
