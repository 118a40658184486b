/** Search in the log, by the columns that repeat the bodies. What is shown is the body: the columns only find it. */
import { and, desc, eq, gte, lt, type SQL, sql } from 'drizzle-orm';
import { encodeHash } from '../../audit/chain.ts';
import { WritError } from '../../errors.ts';
import type { Executor } from '../../platform/db/client.ts';
import { auditChain, auditEntries } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import { type AuditBody, readBody } from './compose.ts';

export interface AuditFilter {
  jti?: string | undefined;
  agent?: string | undefined;
  person?: string | undefined;
  intent?: string | undefined;
  kind?: string | undefined;
  /** Inclusive. */
  since?: Date | undefined;
  /** Exclusive. */
  until?: Date | undefined;
}

/** An entry as shown. `number` and `hash` (base64url) are `null` until it is sealed. */
export type AuditItem = (AuditBody | UnreadableBody) & { number: number | null; hash: string | null };

/** What is left to show of an entry whose body was overwritten: verification says more. */
export interface UnreadableBody {
  node: string;
  counter: number;
  at: string;
  kind: string;
  unreadable: true;
}

/** Entries that fit the whole filter, newest first. An id that is no UUID finds nothing. */
export async function searchAudit(
  executor: Executor,
  filter: AuditFilter,
  page: PageRequest,
): Promise<Page<AuditItem>> {
  const rows = await executor
    .select({
      node: auditEntries.node,
      counter: auditEntries.counter,
      at: auditEntries.at,
      kind: auditEntries.kind,
      body: auditEntries.body,
      number: auditChain.number,
      hash: auditChain.hash,
    })
    .from(auditEntries)
    .leftJoin(auditChain, and(eq(auditChain.node, auditEntries.node), eq(auditChain.counter, auditEntries.counter)))
    .where(and(...conditions(filter), before(page.cursor)))
    .orderBy(desc(auditEntries.at), desc(auditEntries.node), desc(auditEntries.counter))
    .limit(page.limit + 1);
  const { items, nextCursor } = toPage(rows, page.limit, (row) => [row.at.toISOString(), row.node, row.counter]);
  return { items: items.map(toItem), nextCursor };
}

interface FoundRow {
  node: string;
  counter: number;
  at: Date;
  kind: string;
  body: string;
  number: number | null;
  hash: Buffer | null;
}

function toItem({ body, number, hash, node, counter, at, kind }: FoundRow): AuditItem {
  const shown = readBody(body) ?? { node, counter, at: at.toISOString(), kind, unreadable: true as const };
  return { ...shown, number, hash: hash === null ? null : encodeHash(hash) };
}

const nothing = sql`false`;
const idEquals = (column: typeof auditEntries.agentId | typeof auditEntries.personId, id: string): SQL =>
  canonicalId(id) === null ? nothing : eq(column, id);

function conditions({ jti, agent, person, intent, kind, since, until }: AuditFilter): (SQL | undefined)[] {
  return [
    jti === undefined ? undefined : eq(auditEntries.jti, jti),
    agent === undefined ? undefined : idEquals(auditEntries.agentId, agent),
    person === undefined ? undefined : idEquals(auditEntries.personId, person),
    intent === undefined ? undefined : eq(auditEntries.intent, intent),
    kind === undefined ? undefined : eq(auditEntries.kind, kind),
    since === undefined ? undefined : gte(auditEntries.at, since),
    until === undefined ? undefined : lt(auditEntries.at, until),
  ];
}

/** As a cursor of this list has it. */
const instantPattern = /^(?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

function before(cursor: string | undefined): SQL | undefined {
  if (cursor === undefined) return undefined;
  const [at, node, counter] = decodeCursor(cursor, 3);
  const isKey = typeof at === 'string' && instantPattern.test(at) && canonicalId(`${node}`) !== null;
  if (!isKey || Number.isNaN(Date.parse(at)) || !Number.isSafeInteger(counter)) {
    throw new WritError('invalid_request', 'cursor: not a cursor of this list');
  }
  return sql`(${auditEntries.at}, ${auditEntries.node}, ${auditEntries.counter})
    < (${new Date(at).toISOString()}::timestamptz, ${`${node}`}::uuid, ${counter}::bigint)`;
}
