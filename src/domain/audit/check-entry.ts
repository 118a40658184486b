/** One stored entry against itself: its MAC, and that its columns say what its body says. */
import { timingSafeEqual } from 'node:crypto';
import { type SQL, sql } from 'drizzle-orm';
import { type AuditColumns, columnsOf, macOf, readBody } from './compose.ts';

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

/**
 * `select` of stored entries, without its `where` and `order by`. Instants are microseconds since 1970. In `order by`
 * the columns need the table's name: by themselves they mean the texts that are selected here.
 */
export const selectStored: SQL = sql`
  select node, counter::text, trunc(extract(epoch from at) * 1000000)::text as at, kind, body, mac, agent_id, person_id,
    intent, jti, trunc(extract(epoch from expires_at) * 1000000)::text as expires_at,
    array_to_json(depends_on)::text as depends_on, number::text, hash
  from audit_entries`;

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
