/**
 * Keeps a transaction whose connection is gone from touching the next one.
 *
 * postgres.js lets a transaction's statements follow the connection object, and that object reconnects for other
 * callers. A callback that goes on after the loss would run its statements, and the driver its own ROLLBACK or COMMIT,
 * in whatever runs there by then. Here a lost transaction refuses every further statement, and its callback is
 * never seen to settle, so that the driver sends nothing more for it; the caller gets the loss as a rejection.
 */
import type postgres from 'postgres';

type Begin = (...args: unknown[]) => Promise<unknown>;
type Callback = (scoped: postgres.TransactionSql) => unknown;
interface Loss {
  error: unknown;
}

const never = new Promise<never>(() => {});

/** How many transactions hold a connection now. */
export interface OpenTransactions {
  count: number;
}

/** Patches `sql.begin` and returns the same client. Counts in `open` what is under way. */
export function guardTransactions(sql: postgres.Sql, open: OpenTransactions = { count: 0 }): postgres.Sql {
  const begin = sql.begin.bind(sql) as Begin;
  const guarded: Begin = async (...args) => {
    const fn = args.pop() as Callback;
    const loss: Loss = { error: undefined };
    let held = 0;
    const run = async (scoped: postgres.TransactionSql): Promise<unknown> => {
      held = 1;
      open.count += 1;
      try {
        const result = await fn(guardStatements(scoped, loss));
        if (loss.error === undefined) return result;
      } catch (error) {
        if (loss.error === undefined) throw error;
      }
      return never;
    };
    try {
      return await begin(...args, run);
    } catch (error) {
      if (isConnectionLoss(error)) loss.error ??= error;
      throw error;
    } finally {
      open.count -= held;
    }
  };
  return Object.assign(sql, { begin: guarded });
}

function guardStatements(scoped: postgres.TransactionSql, loss: Loss): postgres.TransactionSql {
  const watch = (query: unknown): unknown => {
    if (loss.error !== undefined) throw loss.error;
    if (query instanceof Promise && 'reject' in query && typeof query.reject === 'function') {
      const reject = query.reject;
      // The driver calls this in the tick of the loss, before any code of the transaction can go on.
      query.reject = (error: unknown) => {
        if (isConnectionLoss(error)) loss.error ??= error;
        reject(error);
      };
    }
    return query;
  };
  const unsafe = (...args: Parameters<typeof scoped.unsafe>): unknown => watch(scoped.unsafe(...args));
  const savepoint = (...args: unknown[]): unknown => {
    if (loss.error !== undefined) throw loss.error;
    const fn = args.pop() as Callback;
    const nested = (inner: postgres.TransactionSql): unknown => fn(guardStatements(inner, loss));
    return Reflect.apply(scoped.savepoint, scoped, [...args, nested]);
  };
  return new Proxy(scoped, {
    apply: (target, self, args) => watch(Reflect.apply(target, self, args)),
    get: (target, key) => (key === 'unsafe' ? unsafe : key === 'savepoint' ? savepoint : Reflect.get(target, key)),
  });
}

/** Errors of the server carry a severity, mistakes of the caller other codes; what is left says the connection is gone. */
function isConnectionLoss(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || 'severity' in error || !('code' in error)) return false;
  return (
    typeof error.code === 'string' && /^(CONNECTION_|CONNECT_TIMEOUT|E[A-Z]+$|ERR_SOCKET_|ERR_STREAM_)/.test(error.code)
  );
}
