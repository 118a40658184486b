/** One stored entry against itself: its MAC, and that its columns say what its body says. */
import { timingSafeEqual } from 'node:crypto';
import { type SQL, sql } from 'drizzle-orm';
import { type AuditColumns, columnsOf, macOf, readBody } from './compose.ts';

/** A place of the chain whose entry is gone. */
export interface MissingEntry extends Record<string, unknown> {
  node: string;
  counter: string;
  body: null;
  number: string;
}

/** A row as read for verification: everything, to the microsecond, in forms that lose nothing. */
export interface StoredEntry extends Record<string, unknown> {
  node: string;
  counter: string;
  at: string;
  kind: string;
  body: string;
  mac: Buffer;
  agent_id: string | null;
  person_id: string | null;
  intent: string | null;
  jti: string | null;
  expires_at: string | null;
  depends_on: string | null;
  number: string | null;
  hash: Buffer | null;
}

/** What is read of an entry `e` and of its place `c` in the chain. Instants are microseconds since 1970. */
const stored: SQL = sql`
  select node, counter::text, trunc(extract(epoch from e.at) * 1000000)::text as at, e.kind, e.body, e.mac, e.agent_id,
    e.person_id, e.intent, e.jti, trunc(extract(epoch from e.expires_at) * 1000000)::text as expires_at,
    array_to_json(e.depends_on)::text as depends_on, c.number::text, c.hash`;

/** Every place of the chain in order, with its entry, or with nulls where that is missing. */
export const selectSealed: SQL = sql`
  ${stored} from audit_chain c left join audit_entries e using (node, counter) order by c.number`;

/** Every entry that has no place yet, in the order in which they would get one. */
export const selectUnsealed: SQL = sql`
  ${stored} from audit_entries e left join audit_chain c using (node, counter)
  where c.number is null order by e.at, node, e.counter`;

/** Whether there is an entry at this place of the chain. */
export const isThere = (row: StoredEntry | MissingEntry): row is StoredEntry => row.body !== null;

/** What is wrong with an entry by itself, as a sentence; `null`: nothing. */
export function explainEdit(macKey: Buffer, entry: StoredEntry): string | null {
  const mac = macOf(macKey, entry.body);
  if (entry.mac.length !== mac.length || !timingSafeEqual(entry.mac, mac)) {
    return 'its body or its MAC was edited, or no node wrote it: the MAC does not fit the body';
  }
  const body = readBody(entry.body);
  if (body === null) return 'its body is not that of an entry';
  const expected = toStored(columnsOf(body));
  for (const [column, value] of Object.entries(expected)) {
    if (entry[column] !== value) return `its column ${column} was edited: it does not say what the body says`;
  }
  return null;
}

const micros = (instant: Date | null): string | null => (instant === null ? null : `${instant.getTime() * 1000}`);

const toStored = (columns: AuditColumns) => ({
  node: columns.node,
  counter: `${columns.counter}`,
  at: micros(columns.at),
  kind: columns.kind,
  agent_id: columns.agentId,
  person_id: columns.personId,
  intent: columns.intent,
  jti: columns.jti,
  expires_at: micros(columns.expiresAt),
  depends_on: columns.dependsOn && JSON.stringify(columns.dependsOn),
});
