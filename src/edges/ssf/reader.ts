/**
 * The one reader of the feed in a process: reads what is new on NOTIFY, and every `pollMs` in any case, and hands it to
 * whoever sends it on. NOTIFY only makes it sooner; nothing depends on its arrival.
 *
 * Its position moves only by what was read. With the database away it stays where it is, says nothing (so that
 * verifiers know they are stale), and goes on from there. A heartbeat is the word that everything up to `seq` was read
 * at `readAt`; it is given only right after that read, because verifiers count their staleness from its arrival.
 */
import type { Logger } from 'pino';
import { type FeedRead, feedChannel, readFeed } from '../../domain/signals/feed.ts';
import type { Bus } from '../../platform/bus/bus.ts';
import type { Db } from '../../platform/db/client.ts';
import type { FeedHeartbeat, FeedRevocation } from '../../protocol.ts';

export interface FeedReaderOptions {
  db: Db;
  bus: Pick<Bus, 'listen'>;
  latestCheckpoint: (db: Db) => Promise<string | null>;
  log: Pick<Logger, 'info' | 'warn'>;
  pollMs: number;
  heartbeatMs: number;
  onEntries: (entries: readonly FeedRevocation[]) => void;
  onHeartbeat: (heartbeat: FeedHeartbeat) => void;
  /** What lies behind the reader is not what it read: entries were swept unread, or another history was restored. */
  onLost: () => void;
}

export interface FeedReader {
  /** The last number read; undefined until the first read has succeeded. */
  position(): number | undefined;
  /** When the last read that reached the end of the feed was asked for, in monotonic milliseconds. */
  currentAt(): number | undefined;
  /** Resolves with the first successful read. */
  started: Promise<void>;
  close(): Promise<void>;
}

const batchSize = 1_000;
const closeMs = 500;

export function startReader(options: FeedReaderOptions): FeedReader {
  const { db, log } = options;
  const alarm = createAlarm(options.pollMs);
  const heart = createHeart(options);
  const started = Promise.withResolvers<void>();
  let position: number | undefined;
  let currentAt: number | undefined;
  let isClosed = false;
  let isAway = false;

  /** Reads once. True when there is more to read at once. */
  async function readOnce(): Promise<boolean> {
    const askedAt = performance.now();
    const read = await readFeed(db, position ?? 0, position === undefined ? 0 : batchSize);
    if (isClosed) return false;
    position = advance(options, position, read);
    started.resolve();
    if (position < read.head) return true;
    currentAt = askedAt;
    heart.beat({ seq: position, readAt: read.readAt }, askedAt);
    return false;
  }

  async function run(): Promise<void> {
    while (!isClosed) {
      alarm.reset();
      try {
        if (await readOnce()) alarm.ring();
        if (isAway) log.info({ position }, 'feed: reading again');
        isAway = false;
      } catch (error) {
        if (!isAway && !isClosed) log.warn({ err: error, position }, 'feed: cannot read, heartbeats stop');
        isAway = true;
        // Notifications that came meanwhile must not turn retries into a busy loop.
        if (!isClosed) alarm.reset();
      }
      await alarm.wait();
    }
  }

  const listening = options.bus.listen(feedChannel, alarm.ring).catch((error: unknown) => {
    log.warn({ err: error }, 'feed: no notifications, polling only');
  });
  const running = heart.refreshCheckpoint().then(run);

  return {
    position: () => position,
    currentAt: () => currentAt,
    started: started.promise,
    async close() {
      isClosed = true;
      alarm.ring();
      void listening.then((stopListening) => stopListening?.());
      await Promise.race([running, new Promise((resolve) => setTimeout(resolve, closeMs).unref())]);
    },
  };
}

/** Hands on what was read and returns the new position. The first read only finds out where the feed stands. */
function advance(options: FeedReaderOptions, position: number | undefined, read: FeedRead): number {
  if (position === undefined) return read.head;
  if (read.swept > position || read.head < position) {
    const { swept, head } = read;
    options.log.warn({ position, swept, head }, 'feed: lost the thread, verifiers get snapshots');
    options.onLost();
    return read.head;
  }
  if (read.entries.length > 0) options.onEntries(read.entries);
  return read.seq;
}

/** Sleeps until the next poll is due or it rings; a ring before the sleep is not lost. */
function createAlarm(pollMs: number) {
  let hasRung = false;
  let wakeUp: (() => void) | undefined;
  return {
    ring(): void {
      hasRung = true;
      wakeUp?.();
    },
    reset(): void {
      hasRung = false;
    },
    async wait(): Promise<void> {
      if (hasRung) return;
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        wakeUp = resolve;
        timer = setTimeout(resolve, pollMs);
      });
      clearTimeout(timer);
      wakeUp = undefined;
    },
  };
}

function createHeart({ db, log, pollMs, heartbeatMs, latestCheckpoint, onHeartbeat }: FeedReaderOptions) {
  let checkpoint: string | null = null;
  let beatAt = Number.NEGATIVE_INFINITY;

  /** Beside the reading, never before it: a checkpoint may be a second old, a revocation may not. */
  async function refreshCheckpoint(): Promise<void> {
    try {
      checkpoint = await latestCheckpoint(db);
    } catch (error) {
      log.warn({ err: error }, 'feed: the latest checkpoint could not be read');
    }
  }

  return {
    refreshCheckpoint,
    /** Gives the word about a read that was asked for at `askedAt` (monotonic milliseconds), if it is time to. */
    beat(read: { seq: number; readAt: string }, askedAt: number): void {
      const time = performance.now();
      // Due already when the next poll would be too late.
      const isDue = time - beatAt >= heartbeatMs - pollMs;
      // A read that hung on its way is no word about the present.
      if (!isDue || time - askedAt > heartbeatMs) return;
      beatAt = time;
      onHeartbeat({ ...read, checkpoint });
      void refreshCheckpoint();
    },
  };
}
