/**
 * What an administrator says of departures that came in such number that they may be a mistake (`mass-departure.ts`).
 * Confirmed: they were meant, and what the policy of each agent says is done from then on. Undone: they were not; once
 * the directory has brought the person back, exactly what this departure has stopped acts again. That is the way back
 * which a return by itself deliberately is not, and a named act with a reason, as activating each agent would be.
 *
 * | from                | confirm   | undo, the person being live |
 * |---------------------|-----------|-----------------------------|
 * | needed              | confirmed | undone                      |
 * | none: below the bound | conflict | undone                     |
 * | confirmed           | stays     | conflict                    |
 * | undone              | conflict  | stays                       |
 */
import { eq, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Db, Tx } from '../../platform/db/client.ts';
import { changeOwners } from '../../platform/db/locks.ts';
import { type Confirmation, offboardings, people } from '../../platform/db/schema.ts';
import { relatch, unlatch } from '../agents/latches.ts';
import { endLeavingOf, type Settled, settledColumns, settledEvents, settleTrees } from '../agents/leavers.ts';
import { checkReason } from '../agents/validate.ts';
import { type Act, type AuditEvent, append } from '../audit/append.ts';
import { findManager } from './offboard.ts';

type Departure = typeof offboardings.$inferSelect;

/** Runs `fn` under the lock of who has left, with the receipt as it is then. @throws WritError `not_found`. */
async function withDeparture<T>(db: Db, id: string, fn: (tx: Tx, departure: Departure) => Promise<T>): Promise<T> {
  const [known] = await db.select({ person: offboardings.personId }).from(offboardings).where(eq(offboardings.id, id));
  if (known === undefined) throw new WritError('not_found', 'no such offboarding');
  return changeOwners(db, [known.person], async (tx) => {
    const [departure] = await tx.select().from(offboardings).where(eq(offboardings.id, id));
    if (departure === undefined) throw new WritError('not_found', 'no such offboarding');
    return fn(tx, departure);
  });
}

const settle = (tx: Tx, act: Act, id: string, confirmation: Confirmation) =>
  tx
    .update(offboardings)
    .set({ confirmation, confirmedAt: sql`clock_timestamp()`, confirmedBy: act.by.id })
    .where(eq(offboardings.id, id));

/** @throws WritError `not_found`; `conflict` when nothing waits to be confirmed. */
export async function confirmDeparture(db: Db, act: Act, id: string, why: string): Promise<void> {
  const reason = checkReason(why);
  await withDeparture(db, id, async (tx, departure) => {
    if (departure.confirmation === 'confirmed') return;
    if (departure.confirmation !== 'needed')
      throw new WritError('conflict', 'this departure waits for no confirmation');
    const applied = await applyPolicy(tx, departure);
    // After it: what is latched anew is not younger than the confirmation.
    await settle(tx, act, id, 'confirmed');
    const about = { outcome: 'done', person: departure.personId, reason } as const;
    const details = { offboarding: id, directory: departure.directoryId };
    await append(tx, act, [{ kind: 'offboarding.confirmed', ...about, details }, ...applied]);
  });
}

/** What the departure would have done with the trees of whoever is still gone. The receipt then says it. */
async function applyPolicy(tx: Tx, { id, personId, directoryId }: Departure): Promise<AuditEvent[]> {
  const [person] = await tx.select().from(people).where(eq(people.id, personId));
  if (person === undefined || person.live) return [];
  const { userName, attributes } = person;
  const managerId = await findManager(tx, { id: personId, directoryId, userName, attributes });
  const departure = { ownerId: personId, offboardingId: id, managerId, isHeld: false };
  const [settled] = await tx.execute<Settled & Record<string, unknown>>(sql`
    with ${relatch(departure)}, ${settleTrees(departure)}, told as (
      update offboardings r set agents = coalesce((
        select jsonb_agg(coalesce(jsonb_strip_nulls(to_jsonb(s)), e.agent) order by e.place)
        from jsonb_array_elements(r.agents) with ordinality as e (agent, place)
        left join stopped s on s.id = (e.agent ->> 'id')::uuid
      ), '[]')
      where r.id = ${id}::uuid
    )
    select ${settledColumns}`);
  return settled === undefined ? [] : settledEvents(personId, id, settled);
}

/** @throws WritError `not_found`; `conflict` when it was confirmed, or the person is not live. */
export async function undoDeparture(db: Db, act: Act, id: string, why: string): Promise<void> {
  const reason = checkReason(why);
  await withDeparture(db, id, async (tx, departure) => {
    if (departure.confirmation === 'undone') return;
    if (departure.confirmation === 'confirmed') {
      throw new WritError('conflict', 'this departure was confirmed: activate or transfer the agents one by one');
    }
    const { personId, directoryId } = departure;
    const [person] = await tx.select({ live: people.live }).from(people).where(eq(people.id, personId));
    if (person?.live !== true) {
      throw new WritError('conflict', 'the directory has not brought this person back: they are not active');
    }
    // What this one has stopped, the later one has stopped as well.
    if (await hasLeftAgain(tx, departure)) {
      throw new WritError('conflict', 'this person has left once more since: undo the later departure first');
    }
    await settle(tx, act, id, 'undone');
    await endLeavingOf(tx, act, id, reason);
    const agents = await unlatch(tx, { ownerId: personId, offboardingId: id });
    const details = { offboarding: id, directory: directoryId, agents };
    await append(tx, act, [{ kind: 'offboarding.undone', outcome: 'done', person: personId, reason, details }]);
  });
}

async function hasLeftAgain(tx: Tx, { id }: Departure): Promise<boolean> {
  const later = await tx.execute(sql`
    select 1 from offboardings l join offboardings o on o.person_id = l.person_id and o.committed_at < l.committed_at
    where o.id = ${id}::uuid and l.confirmation is distinct from 'undone' limit 1`);
  return later.length > 0;
}

const pageSize = 500;

/**
 * The departures of a directory that belong to a mass departure which is not settled, newest first: those that wait for
 * a confirmation, and, to be undone, those of the hour before, which came first and so were below the bound.
 */
async function* unsettledOf(db: Db, directoryId: string, withEarlier: boolean): AsyncGenerator<string> {
  let before = Number.MAX_SAFE_INTEGER;
  for (;;) {
    const rows = await db.execute<{ id: string; seq: number }>(sql`
      select o.id, o.seq::float8 as seq from offboardings o
      where o.directory_id = ${directoryId}::uuid and o.seq < ${before}::bigint and (
        o.confirmation = 'needed' or (${withEarlier}::boolean and o.confirmation is null and exists (
          select from offboardings m where m.directory_id = o.directory_id and m.confirmation in ('needed', 'undone')
            and m.committed_at between o.committed_at and o.committed_at + interval '1 hour')))
      order by o.seq desc limit ${pageSize}`);
    for (const { id, seq } of rows) {
      yield id;
      before = seq;
    }
    if (rows.length < pageSize) return;
  }
}

/** True: done. False: it was settled otherwise meanwhile, or the person is not back. */
async function attempt(act: () => Promise<void>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if (error instanceof WritError && error.code === 'conflict') return false;
    throw error;
  }
}

async function requireDirectory(db: Db, id: string): Promise<void> {
  const [known] = await db.execute(sql`select 1 from directories where id = ${id}::uuid`);
  if (known === undefined) throw new WritError('not_found', 'no such directory');
}

/** Each by itself: after a failure the same again does the rest. @throws WritError `not_found`. */
export async function confirmDepartures(
  db: Db,
  act: Act,
  directoryId: string,
  why: string,
): Promise<{ confirmed: number }> {
  const reason = checkReason(why);
  await requireDirectory(db, directoryId);
  let confirmed = 0;
  for await (const id of unsettledOf(db, directoryId, false)) {
    if (await attempt(() => confirmDeparture(db, act, id, reason))) confirmed += 1;
  }
  return { confirmed };
}

/** Each by itself: after a failure the same again does the rest. @throws WritError `not_found`. */
export async function undoDepartures(
  db: Db,
  act: Act,
  directoryId: string,
  why: string,
): Promise<{ undone: number; notYetBack: number }> {
  const reason = checkReason(why);
  await requireDirectory(db, directoryId);
  const count = { undone: 0, notYetBack: 0 };
  for await (const id of unsettledOf(db, directoryId, true)) {
    const isUndone = await attempt(() => undoDeparture(db, act, id, reason));
    count[isUndone ? 'undone' : 'notYetBack'] += 1;
  }
  return count;
}
