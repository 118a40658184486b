/**
 * The connection to PostgreSQL: one pool for each process.
 *
 * With the database gone every call fails within 10 seconds, whichever way it went: refused, silent, half open, or a
 * proxy that accepts and hangs up. The pool recovers by itself. Budget: connect 3 s, then at most 6.9 s of silence
 * (`socket.ts`); the server's own `statement_timeout` is shorter, so a slow statement ends with a clean error first.
 *
 * `sql` and `db` share one postgres.js client, and drizzle changes its type parsers. Raw results therefore hold
 * timestamps and dates as PostgreSQL's text (`2026-01-31 12:00:00.123456+00`), int8 and numeric as strings, jsonb
 * parsed, bytea as Buffer, arrays as arrays of these. Raw parameters may be `Date`, and arrays of strings, numbers and
 * null; for jsonb pass `JSON.stringify(value)`. Drizzle's columns of mode `date` are `Date` as ever.
 *
 * What nearly every request sends ends with `.prepare(name).execute()`, is run by `executePrepared`, or is written with the
 * template tag of `clientOf(tx)`: PostgreSQL then reads it once for each connection, and the driver goes one way less. Only for texts that
 * are always the same, and whose plan no parameter changes.
 */
import type { SQL } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import { drizzle, type PostgresJsDatabase, PostgresJsSession } from 'drizzle-orm/postgres-js';
import postgres from 'postgres';
import { inSpan } from '../http/tracing.ts';
import { registerArrays } from './array-types.ts';
import { guardTransactions } from './begin.ts';
import { createSocketFactory } from './socket.ts';
import { startupPadding } from './startup.ts';
import { parseTls } from './tls.ts';

export type Sql = postgres.Sql;
export type Db = PostgresJsDatabase & { $client: Sql };
export type Tx = Parameters<Parameters<Db['transaction']>[0]>[0];
/** What a read needs: the pool, or the transaction it has to be part of. */
export type Executor = Db | Tx;

export interface Database {
  db: Db;
  sql: Sql;
  /** Transactions that hold a connection now. */
  openTransactions(): number;
  /** Waits up to 5 seconds for what is running, then cuts it off. */
  close(): Promise<void>;
}

export interface ConnectOptions {
  /** `postgres://user:password@host:port/database?sslmode=…` */
  url: string;
  /** Connections at most; 10 by default. */
  poolSize?: number;
  applicationName?: string;
}

/** Session settings of every connection, in milliseconds. Explicit, so that a server's own defaults cannot weaken them. */
const session = {
  TimeZone: 'UTC',
  DateStyle: 'ISO',
  synchronous_commit: 'on',
  // Locks are taken in one statement and what they guard is read in a later one, which has to see what the lock waited for:
  // under any other level it sees what stood before.
  default_transaction_isolation: 'read committed' as const,
  statement_timeout: 6_000,
  lock_timeout: 3_000,
  idle_in_transaction_session_timeout: 9_000,
  client_min_messages: 'warning',
  // Short statements with subqueries look dear to the planner: compiling them took 200 ms each, measured.
  jit: 'off',
};

/** How long `transaction` may take from the call to the commit, waiting for a free connection included; a query by itself, too. */
const patienceMs = 9_000;

const silent = (): void => {};

/** Opens the pool. Nothing is sent before the first query, so this does not fail when the database is away. */
export function connect({ url: given, poolSize = 10, applicationName = 'writ' }: ConnectOptions): Database {
  const { url, tls } = parseTls(given);
  const options = {
    max: poolSize,
    connect_timeout: 3,
    idle_timeout: 60,
    max_lifetime: 1800,
    // The default backs off for up to 20 s while a query waits behind it.
    backoff: () => 0.1,
    fetch_types: false,
    onnotice: silent,
    connection: { ...session, application_name: applicationName, ...startupPadding },
    ssl: false,
    socket: createSocketFactory({ silenceMs: 6_500, idleMs: 75_000 }, tls),
  };
  const open = { count: 0 };
  const sql = limitQueries(guardTransactions(postgres(url, options), open));
  const db: Db = drizzle({ client: sql });
  acceptDates(sql);
  registerArrays(sql);
  return { db, sql, openTransactions: () => open.count, close: () => sql.end({ timeout: 5 }) };
}

/**
 * Gives up a query of drizzle's that is not part of a transaction: it may wait for a connection that never comes free, or
 * have been lost with one. Patches `sql.unsafe` and returns the same client.
 */
function limitQueries(sql: Sql): Sql {
  const unsafe = sql.unsafe.bind(sql);
  const limited = (...args: Parameters<typeof unsafe>): unknown => {
    const query = unsafe(...args);
    const resolve: unknown = Reflect.get(query, 'resolve');
    const reject: unknown = Reflect.get(query, 'reject');
    if (typeof resolve !== 'function' || typeof reject !== 'function') return query;
    const timer = setTimeout(() => reject(new DatabaseTimeout()), patienceMs);
    const settle = (how: (outcome: unknown) => unknown) => (outcome: unknown) => {
      clearTimeout(timer);
      return how(outcome);
    };
    return Object.assign(query, {
      resolve: settle((outcome) => resolve(outcome)),
      reject: settle((outcome) => reject(outcome)),
    });
  };
  return Object.assign(sql, { unsafe: limited });
}

/** The driver below drizzle: of a transaction, what runs in it. What its template tag sends is prepared. */
export function clientOf(executor: Executor): Sql {
  const { session } = executor._;
  if (!(session instanceof PostgresJsSession)) throw new TypeError('drizzle has another driver than postgres.js');
  return session.client;
}

const dialect = new PgDialect();

/** Runs a raw text of drizzle's as a prepared statement. The same rule: always the same text, and a plan that fits all. */
export async function executePrepared<T extends Record<string, unknown>>(executor: Executor, query: SQL): Promise<T[]> {
  const { sql: text, params } = dialect.sqlToQuery(query);
  return clientOf(executor).unsafe<T[]>(text, params as postgres.ParameterOrJSON<never>[], { prepare: true });
}

/** Drizzle makes the date serializers pass values through, so that a `Date` in a raw query would throw. */
function acceptDates(sql: Sql): void {
  for (const oid of [1082, 1114, 1184]) {
    sql.options.serializers[oid] = (value: unknown) => (value instanceof Date ? value.toISOString() : value);
  }
}

/**
 * Runs `fn` in one transaction: all of it is committed, or nothing. Rejects with an outage (`isOutage`) when it has not
 * finished after 9 seconds; a transaction that is late never commits after that, unless its COMMIT was already sent.
 */
export const transaction = <T>(db: Db, fn: (tx: Tx) => Promise<T>): Promise<T> =>
  inSpan('transaction', {}, () => transact(db, fn));

async function transact<T>(db: Db, fn: (tx: Tx) => Promise<T>): Promise<T> {
  const late = { is: false };
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      late.is = true;
      reject(new DatabaseTimeout());
    }, patienceMs);
  });
  const work = db.transaction(async (tx) => {
    if (late.is) throw new DatabaseTimeout();
    const result = await fn(tx);
    if (late.is) throw new DatabaseTimeout();
    return result;
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
    work.catch(silent);
  }
}

class DatabaseTimeout extends Error {
  override readonly name = 'DatabaseTimeout';
  readonly code = 'CONNECT_TIMEOUT';
  constructor() {
    super(`the database did not answer within ${patienceMs} ms`);
  }
}

const unreachable = new Set([
  'CONNECT_TIMEOUT',
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOENT', // a unix socket that is not there
  'EADDRNOTAVAIL',
  'ERR_SOCKET_CLOSED',
  'ERR_STREAM_DESTROYED',
]);

/** SQLSTATE classes and codes that mean: ask again later, nothing was decided. */
const outageClasses = new Set(['08', '53', '57', '58', 'XX']);
const outageStates = new Set([
  '55P03', // lock_not_available
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '25006', // read_only_sql_transaction: a standby, or a primary that was demoted
  '25P03', // idle_in_transaction_session_timeout
  '25P04', // transaction_timeout
  '3D000', // no such database: not created yet, or restored at this moment
  '28P01', // our own password is refused: an operator's matter, not the caller's
  '28000',
]);

function* causes(error: unknown): Generator<object> {
  let current = error;
  for (let depth = 0; depth < 10 && typeof current === 'object' && current !== null; depth++) {
    yield current;
    if (current instanceof AggregateError) yield* causes(current.errors[0]);
    current = 'cause' in current ? current.cause : undefined;
  }
}

const stringOf = (value: object, key: string): string | undefined => {
  const member: unknown = Reflect.get(value, key);
  return typeof member === 'string' ? member : undefined;
};

/** The five-character SQLSTATE of the first error in the chain of causes that came from PostgreSQL. */
export function sqlState(error: unknown): string | undefined {
  for (const cause of causes(error)) {
    const code = stringOf(cause, 'code');
    // `severity` tells a server's answer from a system error of five letters, such as EPIPE.
    if (code !== undefined && /^[0-9A-Z]{5}$/.test(code) && ('severity' in cause || /^\d/.test(code))) return code;
  }
  return undefined;
}

/** The constraint that a write broke, if that is what the error is about. */
export function constraintName(error: unknown): string | undefined {
  for (const cause of causes(error)) {
    const name = stringOf(cause, 'constraint_name');
    if (name !== undefined) return name;
  }
  return undefined;
}

/** True when the database could not answer, so that the caller has to be told 503 and never 4xx. Looks through causes. */
export function isOutage(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== undefined) return outageStates.has(state) || outageClasses.has(state.slice(0, 2));
  for (const cause of causes(error)) {
    const code = stringOf(cause, 'code');
    if (code !== undefined && unreachable.has(code)) return true;
  }
  return false;
}
