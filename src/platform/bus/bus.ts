/**
 * Tells the other nodes at once that there is something to read: PostgreSQL's LISTEN and NOTIFY. A hint, never the truth:
 * hints get lost with a connection, so whoever listens also polls, and reads the tables for what is new. After a
 * reconnect every listener is called once, so that what was missed is found without waiting for the poll.
 */
import { sql as statement } from 'drizzle-orm';
import type { Sql, Tx } from '../db/client.ts';
import { openDedicated } from '../db/dedicated.ts';

export interface Bus {
  /**
   * Calls `fn` with each hint on the channel, and with '' after a reconnect. Resolves when PostgreSQL listens; when it is
   * away, at once: it then listens, and calls, as soon as it is back. The returned function ends it.
   */
  listen(channel: string, fn: (payload: string) => void): Promise<() => void>;
  close(): Promise<void>;
}

/** What of a logger is used. */
export interface BusLog {
  warn(members: object, message: string): void;
}

const heartbeatMs = 5_000;
const retryMs = 500;

function call(fn: (payload: string) => void, payload: string, log: BusLog): void {
  try {
    fn(payload);
  } catch (err) {
    log.warn({ err }, 'a listener of the bus threw');
  }
}

/** `sql` is the pool's client: its address and limits are used for one connection of the bus's own, opened when needed. */
export function createBus(sql: Sql, log: BusLog): Bus {
  const channels = new Map<string, Set<(payload: string) => void>>();
  let isClosing = false;
  let isLost = false;
  let timer: NodeJS.Timeout | undefined;

  const schedule = (ms: number): void => {
    clearTimeout(timer);
    if (!isClosing && channels.size > 0) timer = setTimeout(() => void check(), ms).unref();
  };
  const client = openDedicated(sql, {
    applicationName: 'writ bus',
    onnotify: (channel, payload) => {
      for (const fn of channels.get(channel) ?? []) call(fn, payload, log);
    },
    onclose: () => {
      isLost = true;
      schedule(retryMs);
    },
  });

  /** A statement now and then, as a connection that is only listened to may be dead for hours without anybody noticing. */
  const check = async (): Promise<void> => {
    try {
      if (isLost) await listenAgain();
      else await client`select 1`;
      schedule(isLost ? retryMs : heartbeatMs);
    } catch (err) {
      if (isClosing) return;
      log.warn({ err }, 'the bus has no database connection');
      isLost = true;
      schedule(retryMs);
    }
  };
  const listenAgain = async (): Promise<void> => {
    isLost = false;
    for (const channel of channels.keys()) await client`listen ${client(channel)}`;
    if (isLost) return;
    for (const listeners of channels.values()) for (const fn of listeners) call(fn, '', log);
  };

  return {
    listen: async (channel, fn) => {
      const listeners = channels.get(channel) ?? new Set();
      const isFirst = listeners.size === 0;
      // One call of `listen`, one entry, even when a function listens twice.
      const entry = (payload: string): void => fn(payload);
      channels.set(channel, listeners.add(entry));
      try {
        if (isFirst) await client`listen ${client(channel)}`;
        if (!isLost) schedule(heartbeatMs);
      } catch (err) {
        log.warn({ err }, 'the bus has no database connection');
        isLost = true;
        schedule(retryMs);
      }
      return () => {
        listeners.delete(entry);
        if (listeners.size > 0 || channels.get(channel) !== listeners) return;
        channels.delete(channel);
        if (!isClosing) client`unlisten ${client(channel)}`.catch(() => {});
      };
    },
    close: async () => {
      isClosing = true;
      clearTimeout(timer);
      await client.end({ timeout: 1 });
    },
  };
}

/** Sends a hint when, and only when, the transaction commits. Identical hints of one transaction arrive once. */
export async function notify(tx: Tx, channel: string, payload = ''): Promise<void> {
  await tx.execute(statement`select pg_notify(${channel}, ${payload})`);
}
