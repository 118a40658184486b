/**
 * Transactions whose node does not go on: stopped, out of reach, its machine frozen. What they hold, an owner's lock for
 * one, is wanted by others, and the server's own limits do not end all of them. Between a statement that is parsed and
 * its values (the driver asks for the types in between, with a Flush) no `statement_timeout` and no
 * `idle_in_transaction_session_timeout` runs, and an answer that nobody reads blocks its backend without end.
 */
import type { Sql } from './client.ts';

/** A second more than `transaction` (`client.ts`) and every answer may take: nobody waits for this one any more. */
const abandonedSeconds = 10;

/**
 * Ends the pools' transactions, of any node, that are older than that and hold a lock or have written. Nothing of them
 * was promised to anybody; their node, if it wakes, finds the connection gone. Reads alone, however long, go on. Returns
 * how many it ended.
 */
export async function endAbandoned(sql: Sql): Promise<number> {
  const rows = await sql`
    select pg_terminate_backend(a.pid) from pg_stat_activity a
    where a.datname = current_database() and a.usename = current_user
      and a.application_name = current_setting('application_name') and a.pid <> pg_backend_pid()
      and a.xact_start < clock_timestamp() - make_interval(secs => ${abandonedSeconds}::int)
      and (a.backend_xid is not null
        or exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'advisory' and l.granted))`;
  return rows.length;
}
