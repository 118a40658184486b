/**
 * The one queue through which every answer of the token endpoint passes, granted or refused: liveness, single use of
 * the client assertion and the audit record are one transaction, and nothing leaves before it is durable (promise 6).
 *
 * Group commit: one batch in flight; what arrives meanwhile is the next batch, flushed when the first returns; no
 * timer. A batch never waits for an owner's lock: whoever would have to wait leaves it for a lane of its own, so that
 * one owner's change of state does not hold up everybody. A batch that fails is split and retried singly, so that one
 * bad row refuses one request. What has gone stale is handed back undecided, and nothing of its batch is kept.
 */
import type { TransactionSql } from 'postgres';
import { WritError } from '../../errors.ts';
import { type Db, isOutage } from '../../platform/db/client.ts';
import { inSpan, type Link, linkHere } from '../../platform/http/tracing.ts';
import { type Act, type AuditEvent, type AuditNode, insertAt, takePlace } from '../audit/append.ts';
import { type Dead, type Live, type Question, readLiveness } from './live.ts';

/** A client assertion to be used up: SHA-256 of `iss` and `jti`, kept until it has expired. */
export interface Assertion {
  id: Buffer;
  expiresAt: Date;
}

export interface Candidate {
  question: Question;
  assertion: Assertion | undefined;
  act: Act;
  /** What to record, given what was read under the locks. Pure; called once for each attempt. */
  record(found: Live | Dead | { state: 'replayed' }): AuditEvent;
}

export type Settled = Live | Dead | { state: 'replayed' } | { state: 'stale' };

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

/** Uses up the assertions, each once; says which of the candidates were first. */
async function spend(tx: TransactionSql, candidates: readonly Candidate[]): Promise<Set<Candidate>> {
  const using = candidates.flatMap((candidate) =>
    candidate.assertion === undefined
      ? []
      : [{ candidate, ...candidate.assertion, hex: candidate.assertion.id.toString('hex') }],
  );
  if (using.length === 0) return new Set();
  // In one order: two nodes that are shown the same assertions must not wait for each other.
  using.sort((a, b) => (a.hex < b.hex ? -1 : a.hex > b.hex ? 1 : 0));
  const rows = await tx<{ id: string }[]>`
    insert into assertions (id, expires_at)
    select decode(id, 'hex'), until
    from unnest(${using.map(({ hex }) => hex)}::text[], ${using.map(({ expiresAt }) => expiresAt.toISOString())}::timestamptz[])
      as a (id, until)
    on conflict do nothing returning encode(id, 'hex') as id`;
  const fresh = new Set(rows.map((row) => row.id));
  // Two of the same assertion in one batch: the first takes it.
  return new Set(using.filter(({ hex }) => fresh.delete(hex)).map(({ candidate }) => candidate));
}

/** Thrown to undo a transaction that met something stale. */
class Stale extends Error {}

interface Read {
  index: number;
  candidate: Candidate;
  found: Live | Dead;
}

/** Settles a batch in one transaction. `undefined`: busy, to be tried again where waiting is allowed. */
async function settle(
  db: Db,
  node: AuditNode,
  batch: readonly Candidate[],
  wait: boolean,
): Promise<(Settled | undefined)[]> {
  const outcome: (Settled | undefined)[] = batch.map(() => undefined);
  try {
    await db.$client.begin(async (tx) => {
      const questions = batch.map((candidate) => candidate.question);
      const all = await readLiveness(tx, questions, { wait });
      for (const [index, one] of all.entries()) if (one.state === 'stale') outcome[index] = one;
      if (outcome.some((one) => one !== undefined)) throw new Stale();
      const read = batch.flatMap((candidate, index): Read[] => {
        const found = all[index];
        return found?.state === 'live' || found?.state === 'dead' ? [{ index, candidate, found }] : [];
      });
      if (read.length === 0) return;
      const free = read.map(({ candidate }) => candidate);
      const [first, place] = await Promise.all([spend(tx, free), takePlace(tx, node, free.length)]);
      const records = read.map(({ index, candidate, found }) => {
        const isReplay = candidate.assertion !== undefined && !first.has(candidate);
        const settled = isReplay ? { state: 'replayed' as const } : found;
        outcome[index] = settled;
        return { act: candidate.act, event: candidate.record(settled) };
      });
      await insertAt(tx, place, records);
    });
  } catch (error) {
    // Stale ones are answered, the others start again; nothing of this transaction was kept.
    if (!(error instanceof Stale)) throw error;
    return outcome.map((one) => (one?.state === 'stale' ? one : undefined));
  }
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
      observe?.(settled.filter((one) => one !== undefined && one.state !== 'stale').length);
      const someStale = settled.some((one) => one?.state === 'stale');
      for (const [index, entry] of batch.entries()) {
        const one = settled[index];
        if (one !== undefined) finish(() => entry.resolve(one));
        else if (someStale && !wait) queued.push(entry);
        else waiting.push(entry);
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
