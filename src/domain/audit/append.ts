/**
 * The audit log: what happened, to whom, on whose behalf, by which request. An act and its entry are one transaction:
 * no entry, no act.
 *
 * Owns `audit_nodes`, `audit_entries` and `checkpoints`. Invariants:
 * - each node's counter is gapless: the number is taken by updating the node's row, whose lock is held until the commit,
 *   so an entry that was rolled back gives its number back, and a node's entries become visible in their order;
 * - an entry is complete when it is inserted (body and MAC) and is never changed, but for `number` and `hash`, which the
 *   sealer sets once (`seal-chain.ts`);
 * - nothing is ever deleted.
 */
import { type Param, type SQL, sql } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import type { ParameterOrJSON, TransactionSql } from 'postgres';
import { type Db, type Executor, transaction } from '../../platform/db/client.ts';
import { auditNodes } from '../../platform/db/schema.ts';
import { type Act, type AuditEvent, type AuditNode, type AuditRow, compose } from './compose.ts';

export type { Act, AuditBody, AuditEvent, AuditKind, AuditNode, Decision } from './compose.ts';

/** One thing to record, and who did it. */
export interface AuditRecord {
  act: Act;
  event: AuditEvent;
}

/** Makes the node known to the log. Once, at its start, before it appends. */
export async function enlist(db: Db, node: AuditNode): Promise<void> {
  await db.insert(auditNodes).values({ node: node.id }).onConflictDoNothing();
}

/**
 * Appends one entry for each event, in the caller's transaction; given the pool, in a transaction of its own. Holds the
 * node's row from here to the commit, so it comes after everything else but the feed.
 */
export async function append(executor: Executor, act: Act, events: readonly AuditEvent[]): Promise<void> {
  if (events.length === 0) return;
  if ('$client' in executor) return transaction(executor, (tx) => append(tx, act, events));
  await write(
    (statement) => executor.execute(statement),
    events.map((event) => ({ act, event })),
  );
}

const dialect = new PgDialect();

/** The same inside a transaction of the driver, for acts of many callers at once. Two statements, however many. */
export async function appendRows(tx: TransactionSql, records: readonly AuditRecord[]): Promise<void> {
  await write((statement) => {
    const { sql: text, params } = dialect.sqlToQuery(statement);
    return tx.unsafe(text, params as ParameterOrJSON<never>[], { prepare: true });
  }, records);
}

type Run = (statement: SQL) => Promise<Iterable<object>>;

const takeNumbers = (node: string, count: number): SQL => sql`
  update audit_nodes set counter = counter + ${count}::int where node = ${node}::uuid
  returning counter::text as counter, floor(extract(epoch from clock_timestamp()) * 1000)::text as at`;

function insertRows(rows: readonly AuditRow[]): SQL {
  const column = (read: (row: AuditRow) => string | number | null): Param => sql.param(rows.map(read));
  return sql`
    insert into audit_entries
      (node, counter, at, kind, body, mac, agent_id, person_id, intent, jti, expires_at, depends_on)
    select node, counter, at::timestamptz, kind, body, decode(mac, 'hex'), agent_id, person_id, intent, jti,
      expires_at::timestamptz,
      case when depends_on is not null then array(select jsonb_array_elements_text(depends_on::jsonb)) end
    from unnest(
      ${column((row) => row.node)}::uuid[],
      ${column((row) => row.counter)}::bigint[],
      ${column((row) => row.at.toISOString())}::text[],
      ${column((row) => row.kind)}::text[],
      ${column((row) => row.body)}::text[],
      ${column((row) => row.mac.toString('hex'))}::text[],
      ${column((row) => row.agentId)}::uuid[],
      ${column((row) => row.personId)}::uuid[],
      ${column((row) => row.intent)}::text[],
      ${column((row) => row.jti)}::text[],
      ${column((row) => row.expiresAt?.toISOString() ?? null)}::text[],
      ${column((row) => row.dependsOn && JSON.stringify(row.dependsOn))}::text[]
    ) as e (node, counter, at, kind, body, mac, agent_id, person_id, intent, jti, expires_at, depends_on)`;
}

async function write(run: Run, records: readonly AuditRecord[]): Promise<void> {
  // In a process there is one node; the order is for whoever has several.
  const nodes = Map.groupBy(records, ({ act }) => act.node.id);
  for (const [node, own] of [...nodes].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [taken] = await run(takeNumbers(node, own.length));
    if (taken === undefined) throw new Error(`audit node ${node} is not enlisted`);
    const first = Number(Reflect.get(taken, 'counter')) - own.length + 1;
    const at = new Date(Number(Reflect.get(taken, 'at')));
    const rows = own.map(({ act, event }, index) => compose(act, first + index, at, event));
    await run(insertRows(rows));
  }
}
