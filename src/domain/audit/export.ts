/** The log in the form that leaves Writ (`src/audit/export.ts` has the format), as it stands, whole or not. */
import { sql } from 'drizzle-orm';
import { encodeHash, genesis } from '../../audit/chain.ts';
import type { ExportLine } from '../../audit/export.ts';
import { WritError } from '../../errors.ts';
import type { Executor } from '../../platform/db/client.ts';

const pageSize = 500;

interface ExportRow extends Record<string, unknown> {
  number: string;
  body: string | null;
  mac: Buffer | null;
  hash: Buffer | null;
  jws: string | null;
}

/**
 * Lines from entry `from` to what is sealed when it begins, in pieces of some hundred. Reads a page at a time, and no page
 * before the one ahead of it was taken: sealed entries do not change, so nothing has to be held meanwhile.
 * @throws WritError `not_found` when the log does not reach so far
 */
export async function* exportLog(db: Executor, issuer: string, from: number): AsyncGenerator<string> {
  const { end, previous } = await readBounds(db, from);
  yield write([{ export: 'writ-audit', version: 1, issuer, from, previous }]);
  for (let after: { number: string; kind: number } = { number: `${from - 1}`, kind: 2 }; ; ) {
    const rows = await readPage(db, after, end);
    const last = rows.at(-1);
    if (last !== undefined) {
      yield write(rows.flatMap(toLine));
      after = { number: last.number, kind: last.jws === null ? 0 : 1 };
    }
    if (rows.length < pageSize) break;
  }
  yield write([{ end: await findEnd(db, end) }]);
}

const write = (lines: readonly ExportLine[]): string => lines.map((line) => `${JSON.stringify(line)}\n`).join('');

async function readBounds(db: Executor, from: number): Promise<{ end: string; previous: string }> {
  const [row] = await db.execute<{ end: string; previous: Buffer | null }>(sql`
    select greatest(
        coalesce((select max(number) from audit_chain), 0), coalesce((select max(number) from checkpoints), 0)
      )::text as end,
      (select hash from audit_chain where number = ${from - 1}::bigint) as previous`);
  if (row === undefined) throw new Error('the database has answered nothing');
  const previous = from === 1 ? genesis.hash : row.previous;
  if (previous === null) throw new WritError('not_found', 'from: the log does not reach so far');
  return { end: row.end, previous: encodeHash(previous) };
}

/** Entries and checkpoints by number, each entry before the checkpoint of its place. */
const readPage = (db: Executor, after: { number: string; kind: number }, end: string) =>
  db.execute<ExportRow>(sql`
    select number::text, body, mac, hash, jws from (
      (
        select number, 0 as kind, body, mac, hash, null as jws from audit_chain left join audit_entries using (node, counter)
        where number > ${after.number}::bigint and number <= ${end}::bigint
        order by number limit ${pageSize}::int
      )
      union all
      (
        select number, 1, null, null, null, jws from checkpoints
        where (number, 1) > (${after.number}::bigint, ${after.kind}::int) and number <= ${end}::bigint
        order by number limit ${pageSize}::int
      )
    ) both_kinds
    order by both_kinds.number, kind limit ${pageSize}::int`);

function toLine({ number, body, mac, hash, jws }: ExportRow): ExportLine[] {
  if (jws !== null) return [{ checkpoint: jws }];
  if (body === null || mac === null || hash === null) return [];
  return [{ number: Number(number), body, mac: mac.toString('base64url'), hash: encodeHash(hash) }];
}

async function findEnd(db: Executor, end: string): Promise<number> {
  const [row] = await db.execute<{ number: string }>(sql`
    select coalesce(max(number), 0)::text as number from audit_chain where number <= ${end}::bigint`);
  return Number(row?.number);
}
