import postgres from 'postgres';
import { guardTransactions } from './begin.ts';
import type { Sql } from './client.ts';

export interface DedicatedOptions {
  applicationName: string;
  /** For work that may take long and wait long, such as a migration: none of the pool's time limits apply. */
  isUnhurried?: boolean;
  onnotify?: (channel: string, payload: string) => void;
  /** The connection is gone; the next statement opens another. */
  onclose?: () => void;
}

/** A client with one connection of its own, to the same place as the pool `sql`, opened with its first statement. */
export function openDedicated(sql: Sql, { applicationName, isUnhurried = false, ...events }: DedicatedOptions): Sql {
  const unhurried = { statement_timeout: 0, lock_timeout: 0, idle_in_transaction_session_timeout: 0 };
  const options = {
    ...sql.options,
    ...events,
    isUnhurried,
    max: 1,
    idle_timeout: null,
    max_lifetime: null,
    shared: { retries: 0, typeArrayMap: {} },
    connection: {
      ...sql.options.connection,
      ...(isUnhurried && unhurried),
      application_name: applicationName,
    },
  };
  // postgres.js takes options that it has parsed before, as its own `listen` does; its types only know the unparsed.
  return guardTransactions(postgres(options as unknown as postgres.Options<Record<string, never>>));
}
