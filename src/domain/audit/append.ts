/**
 * The audit log: what happened, to whom, on whose behalf, by which request. An act and its entry are one transaction:
 * no entry, no act.
 *
 * Owns `audit_nodes`, `audit_entries`, `audit_chain`, `audit_sealed` and `checkpoints`. Invariants:
 * - each node's counter is gapless: the number is taken by updating the node's row, whose lock is held until the commit,
 *   so an entry that was rolled back gives its number back, and a node's entries become visible in their order;
 * - an entry is complete when it is inserted (body and MAC); its number and hash stand in `audit_chain`, where the
 *   sealer puts them (`seal-chain.ts`);
 * - nothing is ever changed or deleted.
 */
import { clientOf, type Db, type Executor, transaction } from '../../platform/db/client.ts';
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

/** Runs a statement: drizzle's transaction, or the driver's own, whose template tag this is. */
export type Run = (text: TemplateStringsArray, ...values: Value[]) => PromiseLike<Iterable<object>>;
type Value = string | number | (string | null)[];

/** A run of numbers that a node has taken, at one instant of the database's clock. */
export interface Place {
  node: AuditNode;
  first: number;
  at: Date;
  /** The transaction that took them; in no other are they filled. */
  transaction: string;
}

/**
 * Appends one entry for each event, in the caller's transaction; given the pool, in a transaction of its own. Holds the
 * node's row from here to the commit, so it comes after everything else but the feed.
 */
export async function append(executor: Executor, act: Act, events: readonly AuditEvent[]): Promise<void> {
  if (events.length === 0) return;
  if ('$client' in executor) return transaction(executor, (tx) => append(tx, act, events));
  const run: Run = clientOf(executor);
  const place = await takePlace(run, act.node, events.length);
  await insertAt(
    run,
    place,
    events.map((event) => ({ act, event })),
  );
}

/** Takes the next `count` numbers of the node. Whoever takes them fills them in the same transaction. */
export async function takePlace(run: Run, node: AuditNode, count: number): Promise<Place> {
  const [taken] = await run`
    update audit_nodes set counter = counter + ${count}::int where node = ${node.id}::uuid
    returning counter::text as counter, floor(extract(epoch from clock_timestamp()) * 1000)::text as at,
      pg_current_xact_id()::text as transaction`;
  if (taken === undefined) throw new Error(`audit node ${node.id} is not enlisted`);
  const first = Number(Reflect.get(taken, 'counter')) - count + 1;
  const at = new Date(Number(Reflect.get(taken, 'at')));
  return { node, first, at, transaction: `${Reflect.get(taken, 'transaction')}` };
}

/**
 * Writes one entry for each record, at a place that was taken for as many. All acts are of the place's node.
 *
 * Throws at once for a record that cannot be written. Writes nothing, and rejects, outside of the transaction that took
 * the place: the driver repeats a prepared statement that its session has forgotten, and by then that one may be over.
 */
export function insertAt(run: Run, place: Place, records: readonly AuditRecord[]): Promise<void> {
  const { node, first, at, transaction: own } = place;
  const rows = records.map(({ act, event }, index) => compose(act, first + index, at, event));
  const column = (read: (row: AuditRow) => string | null): (string | null)[] => rows.map(read);
  // JSON text has no line break, and a text that is cut there needs no escapes.
  const bodies = column((row) => row.body).join('\n');
  const written = run`
    insert into audit_entries
      (node, counter, at, kind, body, mac, agent_id, person_id, intent, jti, expires_at, depends_on)
    select ${node.id}::uuid, ${first}::bigint + n - 1, ${at.toISOString()}::timestamptz, kind, body, decode(mac, 'hex'),
      agent_id, person_id, intent, jti, expires_at,
      case when depends_on is not null then array(select jsonb_array_elements_text(depends_on::jsonb)) end
    from unnest(
      ${column((row) => row.kind)}::text[],
      string_to_array(${bodies}::text, E'\\n'),
      ${column((row) => row.mac.toString('hex'))}::text[],
      ${column((row) => row.agentId)}::uuid[],
      ${column((row) => row.personId)}::uuid[],
      ${column((row) => row.intent)}::text[],
      ${column((row) => row.jti)}::text[],
      ${column((row) => row.expiresAt?.toISOString() ?? null)}::timestamptz[],
      ${column((row) => row.dependsOn && JSON.stringify(row.dependsOn))}::text[]
    ) with ordinality as e (kind, body, mac, agent_id, person_id, intent, jti, expires_at, depends_on, n)
    where pg_current_xact_id_if_assigned()::text = ${own}`;
  return Promise.resolve(written).then((result) => {
    if (Reflect.get(result, 'count') !== records.length)
      throw new Error('the transaction of an audit record was over before it');
  });
}
