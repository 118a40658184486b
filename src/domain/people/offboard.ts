/**
 * Offboarding: what happens when a person leaves, in the transaction that records it.
 *
 * One lock covers the whole tree of everything that acts in the person's name, and one row of the feed ends all of its
 * tokens: each carries the epoch of its owner. The agents are latched (`owner_lost`), so that nothing revives when the
 * person returns; the receipt names them, and what their policy made of them: a tree may go on reading for a while, or be
 * offered to the deputy or the manager (`domain/agents/leavers.ts`), unless the departure waits for a confirmation
 * (`mass-departure.ts`). Either all of this is committed before the IdP gets its answer, or nothing.
 */
import { randomUUID } from 'node:crypto';
import { eq, sql } from 'drizzle-orm';
import { type Executor, executePrepared, type Tx } from '../../platform/db/client.ts';
import { offboardings } from '../../platform/db/schema.ts';
import { inSpan } from '../../platform/http/tracing.ts';
import { latchOwnedBy } from '../agents/latches.ts';
import { planForMany, type Settled, settledColumns, settledEvents, settleTrees } from '../agents/leavers.ts';
import { type Act, append } from '../audit/append.ts';
import { revoke } from '../revocation/revoke.ts';
import { connectedVerifiers } from '../signals/followers.ts';
import { writeHoldings } from './holdings.ts';
import { managersOf } from './managers.ts';
import { type Judgement, judgeDeparture } from './mass-departure.ts';

export interface Leaver {
  id: string;
  directoryId: string;
  userName: string;
  /** As the directory has them: they say who the manager is. */
  attributes: Record<string, unknown>;
}

export interface LeaverRequest {
  /** How the directory said it: `PATCH`, `PUT`, `DELETE`. */
  method: string;
  requestedAt: Date;
  /** An administrator has asked for it, and confirmed that they mean it. */
  isConfirmed?: boolean;
  /** Told how many agents stop, before the commit, so more than once if the transaction is tried again. */
  observe?(agents: number): void;
}

/**
 * Tokens that had not expired by themselves: those of the owner's agents, and those that depend on the owner by exchange.
 * None lives longer than 15 minutes, and an index finds the entries of an hour.
 */
export async function countUnexpired(tx: Executor, personId: string): Promise<number> {
  const [row] = await tx.execute<{ count: number }>(sql`
    select count(*)::int as count from audit_entries
    where expires_at > clock_timestamp() and kind in ('token.issued', 'token.exchanged')
      and at > clock_timestamp() - interval '1 hour'
      and (person_id = ${personId}::uuid or depends_on @> array[${personId}]::text[])`);
  return row?.count ?? 0;
}

/**
 * Stops everything that acts in the name of `person`. To be called once for each departure, inside the transaction that
 * made the person inactive (`changeOwners(db, [person.id], …)`), and as its last call.
 *
 * @returns the id of the receipt
 */
export const offboard = (tx: Tx, act: Act, person: Leaver, request: LeaverRequest): Promise<{ id: string }> =>
  inSpan('offboard', {}, async (note) => {
    const { id, agents } = await stopEverything(tx, act, person, request);
    note({ 'writ.agents': agents });
    // Before the commit, whose time is in the span of the transaction.
    request.observe?.(agents);
    return { id };
  });

interface Stopped {
  id: string;
  agents: number;
}

interface Judged {
  tokensUnexpired: number;
  confirmation: Judgement['confirmation'];
}

/** Who can take over where there is no deputy: the manager, as of this transaction. Accepting asks again, under the locks. */
export async function findManager(tx: Tx, person: Leaver): Promise<string | null> {
  const manager = (await managersOf(tx, [person])).get(person.id);
  return manager?.live === true ? manager.id : null;
}

const confirmed: Judgement = { confirmation: 'confirmed', events: [] };

/**
 * What takes long comes first, while only this owner's lock is held. From `append` on everybody waits who records anything
 * on this node, and from `revoke` on everybody who revokes.
 */
async function stopEverything(tx: Tx, act: Act, person: Leaver, request: LeaverRequest): Promise<Stopped> {
  const [tokensUnexpired, { confirmation, events }] = await Promise.all([
    countUnexpired(tx, person.id),
    request.isConfirmed === true ? confirmed : judgeDeparture(tx, person.directoryId),
  ]);
  const judged = { ...request, tokensUnexpired, confirmation };
  const { id, agents, ...settled } = await latchAndList(tx, act, person, judged);
  await append(tx, act, [
    {
      kind: 'person.offboarded',
      outcome: 'done',
      person: person.id,
      details: { userName: person.userName, method: request.method, agents, tokensUnexpired },
    },
    ...events,
    ...settledEvents(person.id, id, settled),
  ]);
  const seq = await revoke(tx, [{ id: person.id }]);
  await tx
    .update(offboardings)
    .set({ seq, committedAt: sql`clock_timestamp()` })
    .where(eq(offboardings.id, id))
    .prepare('number_offboarding')
    .execute();
  return { id, agents };
}

/**
 * Latches the person's agents, does with them as their policy says, and writes the receipt that lists them, in one
 * statement and without reading them here. All that it locks is this owner's, so that a rehearsal can do it too.
 */
export async function latchAndList(
  tx: Tx,
  act: Pick<Act, 'by' | 'requestId'>,
  person: Leaver,
  { method, requestedAt, tokensUnexpired, confirmation }: LeaverRequest & Judged,
): Promise<Stopped & Settled> {
  const id = randomUUID();
  const isHeld = confirmation === 'needed';
  const departure = { ownerId: person.id, offboardingId: id, managerId: await findManager(tx, person), isHeld };
  const confirmedBy = confirmation === 'confirmed' ? act.by.id : null;
  await tx.execute(planForMany);
  const [receipt] = await executePrepared<Stopped & Settled & Record<string, unknown>>(
    tx,
    sql`
    with ${latchOwnedBy(person.id)}, ${settleTrees(departure)}, ${writeHoldings(person.id, id)}, listed as (
      select count(*)::int as count, coalesce(to_jsonb(array_agg(stopped)), '[]') as agents from stopped
    ), receipt as (
      insert into offboardings (id, person_id, directory_id, user_name, method, request_id, agents, tokens_unexpired,
        requested_at, committed_at, confirmation, confirmed_at, confirmed_by, connected, seq)
      select ${id}::uuid, ${person.id}::uuid, ${person.directoryId}::uuid, ${person.userName}, ${method}, ${act.requestId},
        listed.agents, ${tokensUnexpired}::int,
        -- This node's clock may be ahead of the database's: a receipt never says that it was done before it was asked for.
        least(${requestedAt}::timestamptz, statement_timestamp()), clock_timestamp(),
        ${confirmation}::text, case when ${confirmedBy}::text is not null then clock_timestamp() end, ${confirmedBy}::text,
        ${connectedVerifiers},
        -- The feed's number is given out last; until then one that nobody else can have.
        -pg_current_xact_id()::text::bigint
      from listed
      returning id
    )
    select receipt.id, (select count from listed) as agents, ${settledColumns} from receipt`,
  );
  if (receipt === undefined) throw new Error('the receipt was not written');
  return receipt;
}

/** The receipt of the person's last departure: what an IdP's repeated request is answered with. */
export async function latestOffboarding(executor: Executor, personId: string): Promise<{ id: string } | undefined> {
  const [row] = await executor.execute<{ id: string }>(sql`
    select id from offboardings where person_id = ${personId}::uuid order by committed_at desc limit 1`);
  return row;
}
