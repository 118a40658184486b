/**
 * The guard against a departure of very many that nobody meant, such as an application unassigned in one click. A
 * directory may have a bound: the share of its people that may leave within an hour. Who leaves beyond it leaves as
 * everybody does, tokens and agents included, and the IdP hears nothing else; but nothing that is hard to undo is done
 * for their agents until an administrator has said that it was meant (`departure-review.ts`).
 */
import { sql } from 'drizzle-orm';
import { executePrepared, type Tx } from '../../platform/db/client.ts';
import type { Confirmation } from '../../platform/db/schema.ts';
import type { AuditEvent } from '../audit/append.ts';

/** With fewer in an hour no share of a small company is a mass. */
const fewestDepartures = 5;

export interface Judgement {
  confirmation: Confirmation | null;
  /** To be recorded with the departure, when a mass departure begins with it. */
  events: AuditEvent[];
}

/**
 * Of the departures that count: those that an administrator has confirmed or undone are settled. A clock that moves within
 * the statement could not be looked up in the index.
 */
const unsettled = sql`committed_at > statement_timestamp() - interval '1 hour' and (confirmation is null or confirmation = 'needed')`;

interface Hour extends Record<string, unknown> {
  percent: number;
  departures: number;
  /** Somebody's departure of this hour waits for its confirmation. */
  begun: boolean;
}

/** `undefined`: the directory has no bound. */
async function readHour(tx: Tx, directoryId: string): Promise<Hour | undefined> {
  const [hour] = await executePrepared<Hour & Record<string, unknown>>(
    tx,
    sql`
    select d.mass_departure_percent as percent, o.departures, o.begun
    from directories d cross join lateral (
      select count(*)::int as departures, coalesce(bool_or(confirmation = 'needed'), false) as begun
      from offboardings where directory_id = d.id and ${unsettled}
    ) o
    where d.id = ${directoryId}::uuid and d.mass_departure_percent is not null`,
  );
  return hour;
}

/** How many are live; no more are counted than matters. */
async function countLive(tx: Tx, directoryId: string, atMost: number): Promise<number> {
  const [row] = await tx.execute<{ live: number }>(sql`
    select count(*)::int as live from (
      select from people where directory_id = ${directoryId}::uuid and live limit ${atMost}::bigint
    ) p`);
  return row?.live ?? 0;
}

/** A mass departure begins once: whoever comes second waits for the first, and sees it. */
const lockBeginning = (tx: Tx, directoryId: string) =>
  tx.execute(sql`select pg_advisory_xact_lock(${massDeparture}::int, hashtext(${directoryId}))`);
/** A space of locks of its own: 'MASS' in ASCII. */
const massDeparture = 0x4d415353;

/**
 * Whether a departure needs a confirmation: it brings those of the last hour above the directory's share of the people
 * there are and those departures, or others of this hour wait for one. To be asked in the transaction of the departure,
 * before its receipt is written and after the person stopped being live.
 *
 * Nobody waits for anybody to be counted: departures that are in flight at the same moment do not see each other, so that
 * a mass departure may begin as many people later as there are transactions at once. Once it has begun all count.
 */
export async function judgeDeparture(tx: Tx, directoryId: string): Promise<Judgement> {
  const nothing: Judgement = { confirmation: null, events: [] };
  const hour = await readHour(tx, directoryId);
  if (hour === undefined) return nothing;
  if (hour.begun) return { confirmation: 'needed', events: [] };
  const departures = hour.departures + 1;
  if (departures < fewestDepartures) return nothing;
  // departures > share * (live + departures)
  const enough = Math.ceil((departures * (100 - hour.percent)) / hour.percent);
  const live = await countLive(tx, directoryId, enough);
  if (live >= enough) return nothing;
  await lockBeginning(tx, directoryId);
  const again = await readHour(tx, directoryId);
  if (again === undefined || again.begun) return { confirmation: 'needed', events: [] };
  const details = { directory: directoryId, departures, live, percent: hour.percent };
  return { confirmation: 'needed', events: [{ kind: 'directory.mass_departure', outcome: 'done', details }] };
}
