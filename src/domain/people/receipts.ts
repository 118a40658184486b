/**
 * Receipts of offboardings: who left, by which request of which directory, what stopped, and when each verifier had
 * applied it. The JWS says the same and is verified offline with the published keys; it is made when it is asked for,
 * so that it holds the acknowledgements that have come in by then.
 */
import { and, desc, eq, lt, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Db, Executor } from '../../platform/db/client.ts';
import { directories, offboardings } from '../../platform/db/schema.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { signStatement } from '../../platform/keys/sign.ts';
import { jwtTypes } from '../../protocol.ts';
import { entryLifeSeconds } from '../signals/feed.ts';

export interface Acknowledgement {
  /** Identifier of the API whose credentials the verifier has. */
  api: string;
  /** The name that it gave itself: it says nothing without the API. */
  verifier: string;
  seq: number;
  at: string;
}

export interface Receipt {
  id: string;
  person: { id: string; userName: string };
  /** Every agent that stopped: the person's own and all their descendants. */
  agents: { id: string; name: string }[];
  /** Tokens that were still within their life when the person left. */
  tokensUnexpired: number;
  request: { directory: { id: string; name: string }; method: string; requestId: string };
  requestedAt: string;
  committedAt: string;
  /** `null` while the answer is on its way, or when the process ended before it could note it. */
  answeredAt: string | null;
  /** The feed's sequence number that carries it. */
  seq: number;
  acknowledgements: Acknowledgement[];
}

interface Row {
  receipt: typeof offboardings.$inferSelect;
  directory: string;
}

const selectReceipts = (executor: Executor) =>
  executor
    .select({ receipt: offboardings, directory: directories.name })
    .from(offboardings)
    .innerJoin(directories, eq(directories.id, offboardings.directoryId));

/**
 * When each verifier first said that it had applied the feed at least up to the receipt's number. Only while a token that
 * ended there could have been alive: who starts later acknowledges everything that ever was, and has proven nothing.
 */
async function readAcknowledgements(
  executor: Executor,
  { seq, committedAt }: { seq: number; committedAt: Date },
): Promise<Acknowledgement[]> {
  const life = sql`make_interval(secs => ${entryLifeSeconds}::int)`;
  const committed = sql`${committedAt}::timestamptz`;
  const rows = await executor.execute<{ api: string; verifier: string; seq: number; at: number }>(sql`
    select distinct on (a.identifier, k.verifier)
      a.identifier as api, k.verifier, k.seq::float8 as seq, extract(epoch from k.at)::float8 as at
    from acknowledgements k join apis a on a.id = k.api_id
    where k.seq >= ${seq} and k.at between ${committed} - ${life} and ${committed} + ${life}
    order by a.identifier, k.verifier, k.at, k.seq`);
  return rows.map(({ at, ...row }) => ({ ...row, at: new Date(at * 1000).toISOString() }));
}

/** They are kept in the order of their ids, and a departure does not wait for sorting texts. */
const byName = (one: { name: string }, other: { name: string }): number =>
  one.name < other.name ? -1 : one.name > other.name ? 1 : 0;

async function toReceipt(executor: Executor, { receipt, directory }: Row): Promise<Receipt> {
  return {
    id: receipt.id,
    person: { id: receipt.personId, userName: receipt.userName },
    agents: receipt.agents.toSorted(byName),
    tokensUnexpired: receipt.tokensUnexpired,
    request: {
      directory: { id: receipt.directoryId, name: directory },
      method: receipt.method,
      requestId: receipt.requestId,
    },
    requestedAt: receipt.requestedAt.toISOString(),
    committedAt: receipt.committedAt.toISOString(),
    answeredAt: receipt.answeredAt?.toISOString() ?? null,
    seq: receipt.seq,
    acknowledgements: await readAcknowledgements(executor, receipt),
  };
}

/** Receipts, newest first (the feed's numbers are in the order of commits); of one person with `person`. */
export async function listReceipts(db: Db, filter: { person?: string }, page: PageRequest): Promise<Page<Receipt>> {
  const [before] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 1);
  if (before !== undefined && !Number.isSafeInteger(before)) {
    throw new WritError('invalid_request', 'cursor: not a cursor of this list');
  }
  const rows = await selectReceipts(db)
    .where(
      and(
        filter.person === undefined ? undefined : eq(offboardings.personId, filter.person),
        before === undefined ? undefined : lt(offboardings.seq, Number(before)),
      ),
    )
    .orderBy(desc(offboardings.seq))
    .limit(page.limit + 1);
  const cut = toPage(rows, page.limit, ({ receipt }) => [receipt.seq]);
  return { ...cut, items: await Promise.all(cut.items.map((row) => toReceipt(db, row))) };
}

/**
 * One receipt, with its JWS (`typ: writ-receipt+jwt`).
 * @throws WritError `not_found`
 */
export async function getReceipt(
  db: Db,
  keyring: Keyring,
  issuer: string,
  id: string,
): Promise<Receipt & { jws: string }> {
  const [row] = await selectReceipts(db).where(eq(offboardings.id, id));
  if (row === undefined) throw new WritError('not_found', 'no such offboarding');
  const receipt = await toReceipt(db, row);
  return { ...receipt, jws: signStatement(keyring, jwtTypes.receipt, { iss: issuer, ...receipt }) };
}

/** Notes that the answer to the directory was handed over, never before the commit; the first time counts. */
export async function markAnswered(db: Db, id: string, at: Date): Promise<void> {
  await db
    .update(offboardings)
    .set({ answeredAt: sql`greatest(${at}::timestamptz, ${offboardings.committedAt})` })
    .where(and(eq(offboardings.id, id), sql`${offboardings.answeredAt} is null`));
}
