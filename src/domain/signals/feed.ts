/**
 * The verifiers' feed: what an API has to know to refuse tokens that are still within their lifetime.
 *
 * Owns the tables `feed`, `revocations` and `acknowledgements`. Invariants: sequence numbers are gapless and become
 * visible in their own order, so a reader that has seen n has seen everything up to n; a row stays as long as a token
 * that it ends can live; the table is the truth and NOTIFY only a hint. A dead key stays in every snapshot for good:
 * whoever stole it chooses the `exp` of what they sign.
 *
 * Only ids, epochs and key ids: no names, no reasons. Those are in the audit log, for those who may read it.
 */
import { sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { clientOf, type Db, type Executor, type Tx } from '../../platform/db/client.ts';
import type { FeedRevocation, FeedSnapshot } from '../../protocol.ts';

export const feedChannel = 'writ_feed';

export type FeedEntry = { subject: string; epoch: number } | { kid: string };

/** The longest life of a token, and room for clocks of verifiers that differ from the database's. */
export const entryLifeSeconds = 900 + 300;

/** Verifiers of one API that may acknowledge one number: as many as may hold a stream open. */
const verifiersAtMost = 1_000;

export interface FeedRead {
  /** Everything up to here has been read: the last entry when `limit` cut the read short, else `head`. */
  seq: number;
  /** The feed's newest sequence number at the time of the read. */
  head: number;
  /** Entries up to here may be gone: who has not read so far needs a snapshot. */
  swept: number;
  entries: FeedRevocation[];
  /** The database's clock just before the read: whatever was committed by then is included. */
  readAt: string;
}

interface ReadRow extends Record<string, unknown> {
  head: string;
  swept: string;
  read_at: string;
  seq: string | null;
  subject: string | null;
  epoch: string | null;
  kid: string | null;
  at: string | null;
  only_reads: boolean;
}

/** Whether this is a standby, or a primary that was demoted: what it knows is old, and its clock must not say otherwise. */
const onlyReads = sql`current_setting('transaction_read_only') = 'on'`;

function refuseStandby(row: { only_reads: boolean }): void {
  if (row.only_reads) throw new WritError('unavailable', 'the database only reads: it is not the primary');
}

/** ISO 8601 in UTC with microseconds, whatever the session's settings. */
const iso = (instant: ReturnType<typeof sql>) =>
  sql`to_char(${instant} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/**
 * Appends to the feed and returns the last sequence number. The last statement of its transaction, but for a receipt.
 *
 * Why no reader ever skips: the number is taken by updating the one row of `feed`, so the next publisher waits on that
 * row until this transaction has ended, and PostgreSQL makes a commit visible before it lets go of the locks. Number
 * n + 1 is therefore handed out only when n is visible (or rolled back together with the counter, and then handed out
 * again). A bigserial gives its numbers out before the commit: a reader that saw 2 would never learn of a late 1.
 * It comes last because everybody else who revokes waits from here to the commit.
 */
export async function publish(tx: Tx, entries: readonly FeedEntry[]): Promise<number> {
  if (entries.length === 0) throw new TypeError('publish: nothing to publish');
  const rows = await clientOf(tx)<{ seq: string }[]>`
    with taken as (update feed set seq = seq + ${entries.length}::int returning seq),
    given as (
      select e.place, e.subject, e.epoch, e.kid
      from rows from (jsonb_to_recordset(${JSON.stringify(entries)}::text::jsonb) as (subject text, epoch bigint, kid text))
        with ordinality as e (subject, epoch, kid, place)
    ),
    written as (
      insert into revocations (seq, subject, epoch, kid, expires_at)
      select taken.seq - ${entries.length}::int + given.place, given.subject, given.epoch, given.kid,
        clock_timestamp() + make_interval(secs => ${entryLifeSeconds}::int)
      from taken, given
      returning seq
    )
    select max(seq) as seq, pg_notify(${feedChannel}, max(seq)::text) from written`;
  return Number(rows[0]?.seq);
}

/**
 * The entries after `after`, oldest first, `limit` at most (0: only where the feed stands).
 * @throws WritError `unavailable` on a database that only reads
 */
export async function readFeed(db: Executor, after: number, limit: number): Promise<FeedRead> {
  const rows = await db.execute<ReadRow>(sql`
    select f.seq as head, f.swept, ${iso(sql`statement_timestamp()`)} as read_at,
      r.seq, r.subject, r.epoch, r.kid, ${iso(sql`r.at`)} as at, ${onlyReads} as only_reads
    from feed f
    left join lateral (
      select * from revocations where seq > ${after}::bigint order by seq limit ${limit}::int
    ) r on true
    order by r.seq`);
  const first = rows[0];
  if (first === undefined) throw new Error('the table feed has lost its row');
  refuseStandby(first);
  const entries = rows.flatMap((row) => toEntry(row));
  const head = Number(first.head);
  const seq = entries.length === limit ? (entries.at(-1)?.seq ?? after) : head;
  return { seq, head, swept: Number(first.swept), entries, readAt: first.read_at };
}

function toEntry({ seq, subject, epoch, kid, at }: ReadRow): FeedRevocation[] {
  if (seq === null || at === null) return [];
  if (kid !== null) return [{ seq: Number(seq), kid, at }];
  if (subject === null) return [];
  return [{ seq: Number(seq), subject, epoch: Number(epoch), at }];
}

/**
 * Everything that a verifier without a past needs, as of one instant: a single statement, so that `seq` and the rows
 * belong together. The audit log's checkpoint is added by whoever sends it.
 * @throws WritError `unavailable` on a database that only reads
 */
export async function snapshot(db: Executor): Promise<Omit<FeedSnapshot, 'checkpoint'>> {
  const rows = await db.execute<{
    seq: string;
    read_at: string;
    revocations: string;
    keys: string;
    only_reads: boolean;
  }>(sql`
    select f.seq, ${onlyReads} as only_reads, ${iso(sql`statement_timestamp()`)} as read_at,
      (
        select coalesce(json_agg(json_build_object('subject', subject, 'epoch', epoch)), '[]')::text
        from (
          select subject, max(epoch) as epoch from revocations
          where subject is not null and expires_at > statement_timestamp() group by subject
        ) newest
      ) as revocations,
      (
        select coalesce(json_agg(kid order by kid), '[]')::text
        from (
          select kid from revocations where kid is not null and expires_at > statement_timestamp()
          union
          select kid from signing_keys where revoked_at is not null
        ) dead
      ) as keys
    from feed f`);
  const row = rows[0];
  if (row === undefined) throw new Error('the table feed has lost its row');
  refuseStandby(row);
  return {
    seq: Number(row.seq),
    revocations: JSON.parse(row.revocations),
    keys: JSON.parse(row.keys),
    readAt: row.read_at,
  };
}

/**
 * Records that a verifier of this API has applied the feed up to `seq`, if that is news to a receipt: to one of the last
 * minutes whose number it had not reached before. Whatever else it says is true and of no use to anybody, so it is not
 * kept; nor is a number that was swept, because nothing that it could be about is still alive. All offboardings up to
 * `seq` are committed, because the feed has reached it. Together with the bound on names this bounds what one API writes.
 * @throws WritError `invalid_request` for a name that is not 1 to 200 printable characters, or a number that the feed
 * has not reached; `forbidden` when a thousand verifiers of this API have acknowledged the number.
 */
export async function acknowledge(db: Executor, apiId: string, verifier: string, seq: number): Promise<void> {
  if (!/^[^\p{C}\p{Zl}\p{Zp}]{1,200}$/u.test(verifier)) {
    throw new WritError('invalid_request', 'verifier: 1 to 200 printable characters');
  }
  if (!Number.isSafeInteger(seq) || seq < 0) throw new WritError('invalid_request', 'seq: a sequence number');
  const rows = await db.execute<{ reached: boolean; is_new: boolean; told: number }>(sql`
    with asked as (
      select f.seq >= ${seq}::bigint as reached,
        f.swept <= ${seq}::bigint and coalesce((
          select o.committed_at > statement_timestamp() - make_interval(secs => ${entryLifeSeconds}::int)
          from offboardings o
          where o.seq <= ${seq}::bigint and o.seq > coalesce((
            select max(seq) from acknowledgements where api_id = ${apiId}::uuid and verifier = ${verifier}::text
          ), 0)
          order by o.seq desc limit 1
        ), false) as is_new,
        (select count(*)::int from acknowledgements where api_id = ${apiId}::uuid and seq = ${seq}::bigint) as told
      from feed f
    ),
    written as (
      insert into acknowledgements (api_id, verifier, seq)
      select ${apiId}::uuid, ${verifier}::text, ${seq}::bigint from asked
      where reached and is_new and told < ${verifiersAtMost}::int
      on conflict do nothing
    )
    select * from asked`);
  const [asked] = rows;
  if (asked?.reached !== true) throw new WritError('invalid_request', 'seq: the feed has not reached this number');
  if (asked.is_new && asked.told >= verifiersAtMost) {
    throw new WritError('forbidden', 'too many verifiers of this API have acknowledged this number');
  }
}

/** A verifier that is connected, by the name it acknowledges under. */
export interface Follower {
  apiId: string;
  verifier: string;
  connectedSeconds: number;
}

/** Enough to find the oldest that matters: in the worst case, a mass departure, the lag is understated. */
const departuresAtMost = 200;

/**
 * For how long the slowest of these has known, or should have, of a departure that it has not acknowledged, in seconds;
 * 0 when all have acknowledged all. Departures that are older than any token are of no matter.
 */
export async function measureAcknowledgementLag(db: Executor, followers: readonly Follower[]): Promise<number> {
  if (followers.length === 0) return 0;
  const rows = await db.execute<{ lag: number }>(sql`
    with newest as materialized (select seq, committed_at from offboardings order by seq desc limit ${departuresAtMost}::int)
    select coalesce(max(least(extract(epoch from statement_timestamp() - o.committed_at), v.connected)), 0)::float8 as lag
    from unnest(
      ${sql.param(followers.map((one) => one.apiId))}::uuid[],
      ${sql.param(followers.map((one) => one.verifier))}::text[],
      ${sql.param(followers.map((one) => one.connectedSeconds))}::float8[]
    ) as v (api_id, verifier, connected)
    cross join lateral (
      select min(n.committed_at) as committed_at from newest n
      where n.committed_at > statement_timestamp() - make_interval(secs => ${entryLifeSeconds}::int)
        and n.seq > coalesce((
          select max(a.seq) from acknowledgements a where a.api_id = v.api_id and a.verifier = v.verifier
        ), 0)
    ) o
    where o.committed_at is not null`);
  return Math.max(0, Number(rows[0]?.lag));
}

/**
 * Deletes the oldest entries as long as they are expired, remembers how far that went, and returns how many are gone.
 * Only ever a prefix: an expired entry behind a living one stays, so that "everything after n" is all there or refused.
 */
export async function sweep(db: Db | Tx): Promise<number> {
  const rows = await db.execute<{ gone: string }>(sql`
    with boundary as (
      select coalesce(
        (select min(seq) - 1 from revocations where expires_at > statement_timestamp()),
        (select max(seq) from revocations)
      ) as seq
    ),
    gone as (delete from revocations r using boundary b where r.seq <= b.seq returning r.seq),
    remembered as (
      update feed set swept = greatest(swept, last.seq)
      from (select max(seq) as seq from gone) last where last.seq is not null
    )
    select count(*) as gone from gone`);
  return Number(rows[0]?.gone);
}
