/** A node that freezes while it holds something in the database, at a chosen point: SIGSTOP cannot choose. */
import type { Duplex } from 'node:stream';
import postgres, { type TransactionSql } from 'postgres';
import { connect } from '../../src/platform/db/client.ts';

/**
 * `between statements`: the server has answered and waits. `inside a statement`: it has parsed the next one and waits for
 * the values. `before its answer`: it is sending more than the connection takes.
 */
export type FrozenAt = 'between statements' | 'inside a statement' | 'before its answer';

/** Runs `hold` in a transaction as a node's pool would, and freezes. @returns what ends the connection */
export async function freezeHolder(
  databaseUrl: string,
  at: FrozenAt,
  hold: (tx: TransactionSql) => Promise<unknown>,
): Promise<() => void> {
  const model = connect({ url: databaseUrl });
  const { connection, socket: open } = model.sql.options as unknown as {
    connection: Record<string, string>;
    socket(target: object): Duplex;
  };
  const state: { socket?: Duplex; writesLeft: number } = { writesLeft: Number.POSITIVE_INFINITY };
  const frozenSocket = (target: object): Duplex => {
    // Without the watch over silence: a frozen process has no timers either.
    const socket = open({ ...target, isUnhurried: true });
    const write = socket.write.bind(socket);
    Object.assign(socket, { write: (chunk: Buffer) => state.writesLeft-- <= 0 || write(chunk) });
    state.socket = socket;
    return socket;
  };
  const options = { max: 1, fetch_types: false, ssl: false, onnotice: () => {}, connection, socket: frozenSocket };
  const sql = postgres(databaseUrl, options as object);
  const holding = Promise.withResolvers<void>();
  const work = sql.begin(async (tx) => {
    await hold(tx);
    if (at === 'inside a statement') {
      // The next write is the statement, the one after that would be its values.
      state.writesLeft = 1;
      tx`select ${1}::int`.catch(() => {});
    } else if (at === 'before its answer') {
      tx`select repeat('x', 1000) from generate_series(1, 50000)`.catch(() => {});
      state.socket?.pause();
    }
    holding.resolve();
    await new Promise(() => {});
  });
  work.catch(holding.reject);
  await holding.promise;
  // Neither client is closed: one has never connected, the other would wait for its transaction.
  return () => state.socket?.destroy();
}
