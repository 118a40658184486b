/**
 * Receipts of offboardings: who left, by which request of which directory, what stopped and what it held, which verifiers
 * were connected, and when each of them had applied it. The JWS says the same and is verified offline with the published
 * keys; it is made when it is asked for, so that it holds the acknowledgements that have come in by then.
 */
import { and, desc, eq, lt, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Db, Executor } from '../../platform/db/client.ts';
import {
  type Confirmation,
  directories,
  type LeaverOutcome,
  offboardings,
  type ReceiptAgent,
} from '../../platform/db/schema.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { signStatement } from '../../platform/keys/sign.ts';
import { jwtTypes } from '../../protocol.ts';
import { entryLifeSeconds } from '../signals/feed.ts';
import { type Holding, type HoldingRow, holdingsOf, readHoldings } from './holdings.ts';
import { isDirectory } from './people.ts';

export interface VerifierName {
  /** Identifier of the API whose credentials the verifier has. */
  api: string;
  /** The name that it gave itself: it says nothing without the API. */
  verifier: string;
}

export interface Acknowledgement extends VerifierName {
  seq: number;
  at: string;
}

/** An agent that stopped. Receipts of earlier releases know less: members are absent where nothing is known. */
export interface StoppedAgent extends Partial<Holding> {
  id: string;
  name: string;
  /** `null`: it has none. */
  parent?: string | null;
  outcome?: LeaverOutcome;
  /** Of the root of a tree that goes on reading: until when. */
  until?: string;
  /** Of the root of a tree that was offered: to whom, a person's id. */
  to?: string;
  /** Its direct sub-agents among those that stopped. */
  children?: number;
}

export interface Receipt {
  id: string;
  person: { id: string; userName: string };
  /** Every agent that stopped: the person's own and all their descendants. */
  agents: StoppedAgent[];
  /** Tokens that were still within their life when the person left. */
  tokensUnexpired: number;
  request: { directory: { id: string; name: string }; method: string; requestId: string };
  requestedAt: string;
  committedAt: string;
  /** `null` while the answer is on its way, or when the process ended before it could note it. */
  answeredAt: string | null;
  /** The feed's sequence number that carries it. */
  seq: number;
  /** What an administrator has said of it; `null`: nobody has to. */
  confirmation: Confirmation | null;
  acknowledgements: Acknowledgement[];
  /** Verifiers that were connected when the person left and have not acknowledged it; absent: who was is not known. */
  unacknowledged?: VerifierName[];
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
 * When each verifier first said that it had applied the feed at least up to the receipt's number, by receipt. Only while a
 * token that ended there could have been alive: who starts later acknowledges everything that ever was, and has proven
 * nothing.
 */
async function readAcknowledgements(executor: Executor, rows: readonly Row[]): Promise<Map<string, Acknowledgement[]>> {
  const life = sql`make_interval(secs => ${entryLifeSeconds}::int)`;
  const of = rows.map(({ receipt }) => receipt);
  const found = await executor.execute<Omit<Acknowledgement, 'at'> & { receipt: string; at: number }>(sql`
    select r.id as receipt, k.*
    from unnest(
      ${sql.param(of.map(({ id }) => id))}::uuid[], ${sql.param(of.map(({ seq }) => seq))}::bigint[],
      ${sql.param(of.map(({ committedAt }) => committedAt.toISOString()))}::timestamptz[]
    ) as r (id, seq, committed_at)
    cross join lateral (
      select distinct on (a.identifier, k.verifier)
        a.identifier as api, k.verifier, k.seq::float8 as seq, extract(epoch from k.at)::float8 as at
      from acknowledgements k join apis a on a.id = k.api_id
      where k.seq >= r.seq and k.at between r.committed_at - ${life} and r.committed_at + ${life}
      order by a.identifier, k.verifier, k.at, k.seq
    ) k`);
  return new Map(
    [...Map.groupBy(found, ({ receipt }) => receipt)].map(([id, ofOne]) => [
      id,
      ofOne.map(({ api, verifier, seq, at }) => ({ api, verifier, seq, at: new Date(at * 1000).toISOString() })),
    ]),
  );
}

/** They are kept in the order of their ids, and a departure does not wait for sorting texts. */
const byName = (one: { name: string }, other: { name: string }): number =>
  one.name < other.name ? -1 : one.name > other.name ? 1 : 0;

/** How a receipt's agents are shown. `holdings` is `null` where nobody wrote down what they held. Pure. */
export function toStoppedAgents(
  agents: readonly ReceiptAgent[],
  holdings: readonly HoldingRow[] | null,
): StoppedAgent[] {
  const holdingOf = holdings === null ? () => undefined : holdingsOf(holdings);
  const children = new Map<string, number>();
  for (const { parent } of agents) if (parent) children.set(parent, (children.get(parent) ?? 0) + 1);
  return agents.toSorted(byName).map(({ id, name, parent, outcome, until, to }) => ({
    id,
    name,
    ...(outcome === undefined ? {} : { parent: parent ?? null, outcome }),
    ...(until ? { until: new Date(until).toISOString() } : {}),
    ...(to ? { to } : {}),
    ...holdingOf(id),
    ...(outcome === undefined ? {} : { children: children.get(id) ?? 0 }),
  }));
}

const nameOf = ({ api, verifier }: VerifierName): string => JSON.stringify([api, verifier]);

function toReceipt({ receipt, directory }: Row, acknowledgements: Acknowledgement[], holdings: HoldingRow[]): Receipt {
  const { connected } = receipt;
  const heard = new Set(acknowledgements.map(nameOf));
  return {
    id: receipt.id,
    person: { id: receipt.personId, userName: receipt.userName },
    agents: toStoppedAgents(receipt.agents, connected === null ? null : holdings),
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
    confirmation: receipt.confirmation,
    acknowledgements,
    ...(connected === null ? {} : { unacknowledged: connected.filter((one) => !heard.has(nameOf(one))) }),
  };
}

/** What they say, in two statements for a whole page. */
async function toReceipts(executor: Executor, rows: readonly Row[]): Promise<Receipt[]> {
  if (rows.length === 0) return [];
  const [acknowledgements, holdings] = await Promise.all([
    readAcknowledgements(executor, rows),
    readHoldings(
      executor,
      rows.map(({ receipt }) => receipt.id),
    ),
  ]);
  return rows.map((row) =>
    toReceipt(row, acknowledgements.get(row.receipt.id) ?? [], holdings.get(row.receipt.id) ?? []),
  );
}

export interface ReceiptFilter {
  person?: string | undefined;
  /** A directory's id or name. */
  directory?: string | undefined;
  confirmation?: Confirmation | undefined;
}

/** Receipts, newest first (the feed's numbers are in the order of commits). */
export async function listReceipts(db: Db, filter: ReceiptFilter, page: PageRequest): Promise<Page<Receipt>> {
  const [before] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 1);
  if (before !== undefined && !Number.isSafeInteger(before)) {
    throw new WritError('invalid_request', 'cursor: not a cursor of this list');
  }
  const rows = await selectReceipts(db)
    .where(
      and(
        filter.person === undefined ? undefined : eq(offboardings.personId, filter.person),
        filter.directory === undefined ? undefined : isDirectory(filter.directory),
        filter.confirmation === undefined ? undefined : eq(offboardings.confirmation, filter.confirmation),
        before === undefined ? undefined : lt(offboardings.seq, Number(before)),
      ),
    )
    .orderBy(desc(offboardings.seq))
    .limit(page.limit + 1);
  const cut = toPage(rows, page.limit, ({ receipt }) => [receipt.seq]);
  return { ...cut, items: await toReceipts(db, cut.items) };
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
  const [receipt] = await toReceipts(db, await selectReceipts(db).where(eq(offboardings.id, id)));
  if (receipt === undefined) throw new WritError('not_found', 'no such offboarding');
  return { ...receipt, jws: signStatement(keyring, jwtTypes.receipt, { iss: issuer, ...receipt }) };
}

/** Notes that the answer to the directory was handed over, never before the commit; the first time counts. */
export async function markAnswered(db: Db, id: string, at: Date): Promise<void> {
  await db
    .update(offboardings)
    .set({ answeredAt: sql`greatest(${at}::timestamptz, ${offboardings.committedAt})` })
    .where(and(eq(offboardings.id, id), sql`${offboardings.answeredAt} is null`));
}
