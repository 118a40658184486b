/**
 * What the feed has said, and how long ago. Owns: the highest epoch of each subject, the dead keys, the number of the last
 * event applied, and staleness. Invariants: an epoch never falls; neither does the checkpoint; staleness shrinks only when the feed
 * says that it was read up to a number that is applied here; an event of a known name that is not understood is never skipped
 * (it throws, and the connection ends), one of an unknown name says nothing to this version. Knows no network.
 */

import type { FeedHeartbeat, FeedRevocation, FeedSnapshot } from '../../protocol.ts';
import type { StreamEvent } from './event-stream.ts';
import { isObject } from './http.ts';
import { longestTokenLife } from './token.ts';

export interface Revocations {
  /** Applies one event of the feed. Throws when it cannot be understood, or shows that others are missing. */
  apply(event: StreamEvent): void;
  /** Number of the last event applied; `undefined` before the first snapshot. */
  appliedSeq(): number | undefined;
  /** Seconds since the feed was known to be complete here; `Infinity` before the first snapshot. */
  staleness(): number;
  /** The farthest signed checkpoint of the audit log that the feed has told (compact JWS, not verified here). */
  checkpoint(): string | null;
  isKeyDead(kid: string): boolean;
  /** Whether the token, or anything it depends on, has ended. */
  isRevoked(jti: string, epochs: readonly (readonly [subject: string, epoch: number])[]): boolean;
}

/** Seconds. Twice the longest life: room for a clock of this machine that is behind, at some kilobytes. */
const retentionSeconds = 2 * longestTokenLife;
/** Beyond this the feed counts as unreadable, so that requests are refused and memory is not exhausted. */
const maxSubjects = 1_000_000;

/** An event that cannot be understood, or shows that one before it never came. Only a snapshot mends that. */
export class UnusableEventError extends Error {
  override readonly name = 'UnusableEventError';
}

export function createRevocations(options: {
  monotonic: () => number;
  /** Called when a key has died: the one in its place is probably not known yet. */
  onDeadKey?: () => void;
}): Revocations {
  const epochs = createEpochs(options.monotonic);
  const deadKeys = new Set<string>();
  let checkpoint: Checkpoint | undefined;
  let seq: number | undefined;
  let readAt: number | undefined;

  function applySnapshot(snapshot: FeedSnapshot): void {
    if (snapshot.revocations.length > maxSubjects) throw new RangeError('The snapshot is larger than can be held');
    // What was told before stays told: a snapshot that knows less comes from a database that was set back, and what died
    // in the meantime must not live again.
    for (const { subject, epoch } of snapshot.revocations) epochs.raise(subject, epoch);
    for (const kid of snapshot.keys) deadKeys.add(kid);
    seq = snapshot.seq;
    readAt = options.monotonic();
    keepCheckpoint(snapshot.checkpoint);
  }

  function applyRevocation(revocation: FeedRevocation): void {
    // The feed's numbers have no gaps: a heartbeat could not tell later that one between two was lost.
    if (seq === undefined || revocation.seq > seq + 1) {
      throw new UnusableEventError('The feed left an event out');
    }
    if ('kid' in revocation) {
      deadKeys.add(revocation.kid);
      options.onDeadKey?.();
    } else epochs.raise(revocation.subject, revocation.epoch);
    seq = Math.max(seq, revocation.seq);
  }

  /**
   * Staleness counts from the instant at which the heartbeat came in, on this machine's monotonic clock. The read it
   * speaks of was earlier by the time of transit, but how much earlier could only be told by comparing two machines'
   * clocks, and a clock that is off by a minute would then hide a minute of revocations or refuse every write. Transit is
   * short whenever heartbeats keep coming, and when they stop the connection is dropped after a few seconds.
   */
  function applyHeartbeat(heartbeat: FeedHeartbeat): void {
    if (seq === undefined || heartbeat.seq > seq) throw new UnusableEventError('The feed is ahead of what it has sent');
    readAt = options.monotonic();
    keepCheckpoint(heartbeat.checkpoint);
    epochs.dropOld();
  }

  function keepCheckpoint(jws: unknown): void {
    const found = readCheckpoint(jws);
    if (found !== undefined && found.number >= (checkpoint?.number ?? 0)) checkpoint = found;
  }

  return {
    apply(event) {
      if (event.name === 'snapshot') applySnapshot(parseSnapshot(event.data));
      else if (event.name === 'revocation') applyRevocation(parseRevocation(event.data));
      else if (event.name === 'heartbeat') applyHeartbeat(parseHeartbeat(event.data));
    },
    appliedSeq: () => seq,
    checkpoint: () => checkpoint?.jws ?? null,
    staleness: () =>
      readAt === undefined ? Number.POSITIVE_INFINITY : Math.max(0, (options.monotonic() - readAt) / 1000),
    isKeyDead: (kid) => deadKeys.has(kid),
    isRevoked(jti, depends) {
      if (epochs.get(jti) !== undefined) return true;
      for (const [subject, epoch] of depends) {
        const known = epochs.get(subject);
        if (known !== undefined && known > epoch) return true;
      }
      return false;
    },
  };
}

/** The highest epoch of each subject. Only what was told lately is kept: the tokens it ends do not live longer. */
function createEpochs(monotonic: () => number) {
  // Insertion order is age: an entry is removed and added again when it rises, and the oldest are dropped from the front.
  const entries = new Map<string, { epoch: number; seenAt: number }>();
  return {
    get: (subject: string): number | undefined => entries.get(subject)?.epoch,
    raise(subject: string, epoch: number): void {
      const known = entries.get(subject);
      entries.delete(subject);
      entries.set(subject, { epoch: Math.max(epoch, known?.epoch ?? 0), seenAt: monotonic() });
      if (entries.size > maxSubjects) throw new RangeError('The feed names more subjects than can be held');
    },
    dropOld(): void {
      const oldest = monotonic() - retentionSeconds * 1000;
      for (const [subject, { seenAt }] of entries) {
        if (seenAt >= oldest) return;
        entries.delete(subject);
      }
    },
  };
}

interface Checkpoint {
  number: number;
  jws: string;
}

/** How far a checkpoint reaches; `undefined` for what is none. */
function readCheckpoint(jws: unknown): Checkpoint | undefined {
  if (typeof jws !== 'string') return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString('utf8'));
    return isObject(claims) && isSeq(claims.number) ? { number: claims.number, jws } : undefined;
  } catch {
    return undefined;
  }
}

function parseJson(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch (cause) {
    throw new UnusableEventError('The feed sent an event that is not JSON', { cause });
  }
}

function parseSnapshot(data: string): FeedSnapshot {
  const value = parseJson(data);
  if (
    !isObject(value) ||
    !isSeq(value.seq) ||
    !Array.isArray(value.revocations) ||
    !value.revocations.every(isSubjectEpoch) ||
    !Array.isArray(value.keys) ||
    !value.keys.every((kid) => typeof kid === 'string')
  ) {
    throw new UnusableEventError('The feed sent a snapshot that cannot be read');
  }
  return value as unknown as FeedSnapshot;
}

function parseRevocation(data: string): FeedRevocation {
  const value = parseJson(data);
  // One or the other: of an event that names both, one half would be lost.
  const isReadable =
    isObject(value) &&
    ('kid' in value ? typeof value.kid === 'string' && !('subject' in value) : isSubjectEpoch(value));
  if (!isReadable || !isSeq(value.seq)) {
    throw new UnusableEventError('The feed sent a revocation that cannot be read');
  }
  return value as unknown as FeedRevocation;
}

function parseHeartbeat(data: string): FeedHeartbeat {
  const value = parseJson(data);
  if (!isObject(value) || !isSeq(value.seq))
    throw new UnusableEventError('The feed sent a heartbeat that cannot be read');
  return value as unknown as FeedHeartbeat;
}

const isSeq = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const isSubjectEpoch = (value: unknown): value is { subject: string; epoch: number } =>
  isObject(value) && typeof value.subject === 'string' && value.subject !== '' && isSeq(value.epoch);
