/**
 * Handovers: trees that were offered to a deputy or a manager when their owner left. The offer is made by the departure
 * (`leavers.ts`); here it is answered, once, within its time.
 *
 * offered → accepted (the tree is transferred, in the same transaction), declined, or withdrawn by a transfer, an activation
 * or a decommissioning of the tree. `expired` is not kept: it is what an offer whose time has passed is called.
 */
import { and, asc, eq, type SQL, sql } from 'drizzle-orm';
import { alias } from 'drizzle-orm/pg-core';
import { WritError } from '../../errors.ts';
import type { Db, Executor, Tx } from '../../platform/db/client.ts';
import { isAfter, microsOf } from '../../platform/db/creation.ts';
import { agents, type HandoverState, handovers, people } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import { type Act, type AuditEvent, type AuditKind, append } from '../audit/append.ts';
import { transferTree } from './lifecycle.ts';
import { type LockedAgent, withAgent } from './locking.ts';
import { checkReason } from './validate.ts';

export interface Handover {
  id: string;
  /** The root of the tree. */
  agent: { id: string; name: string };
  offboarding: string;
  from: { id: string; userName: string };
  to: { id: string; userName: string };
  state: HandoverState | 'expired';
  offeredAt: Date;
  expiresAt: Date;
  decidedAt: Date | null;
  /** Who said so to Writ, as in the audit log. */
  decidedBy: string | null;
  reason: string | null;
}

export interface HandoverFilter {
  state?: Handover['state'] | undefined;
  /** A person's id. */
  to?: string | undefined;
  agent?: string | undefined;
  offboarding?: string | undefined;
}

const noSuchHandover = (): WritError => new WritError('not_found', 'no such handover');
const from = alias(people, 'from_person');
const to = alias(people, 'to_person');
const state = sql<Handover['state']>`case
  when handovers.state = 'offered' and handovers.expires_at <= clock_timestamp() then 'expired' else handovers.state end`;

const selectHandovers = (executor: Executor) =>
  executor
    .select({
      id: handovers.id,
      agent: { id: agents.id, name: agents.name },
      offboarding: handovers.offboardingId,
      from: { id: from.id, userName: from.userName },
      to: { id: to.id, userName: to.userName },
      state,
      offeredAt: handovers.offeredAt,
      expiresAt: handovers.expiresAt,
      decidedAt: handovers.decidedAt,
      decidedBy: handovers.decidedBy,
      reason: handovers.reason,
      position: microsOf(handovers.offeredAt),
    })
    .from(handovers)
    .innerJoin(agents, eq(agents.id, handovers.agentId))
    .innerJoin(from, eq(from.id, handovers.fromId))
    .innerJoin(to, eq(to.id, handovers.toId));

/** @throws WritError `not_found`. */
export async function getHandover(executor: Executor, id: string): Promise<Handover> {
  const uuid = canonicalId(id);
  const [row] = uuid === null ? [] : await selectHandovers(executor).where(eq(handovers.id, uuid));
  if (row === undefined) throw noSuchHandover();
  const { position: _, ...handover } = row;
  return handover;
}

/** Offers that meet every filter given, oldest first. */
export async function listHandovers(
  executor: Executor,
  filter: HandoverFilter,
  page: PageRequest,
): Promise<Page<Handover>> {
  const conditions: (SQL | undefined)[] = [
    // As the table has it, so that an index is of use, and as it is by now.
    filter.state === undefined ? undefined : eq(handovers.state, filter.state === 'expired' ? 'offered' : filter.state),
    filter.state === undefined ? undefined : eq(state, filter.state),
    filter.to === undefined ? undefined : eq(handovers.toId, filter.to),
    filter.agent === undefined ? undefined : eq(handovers.agentId, filter.agent),
    filter.offboarding === undefined ? undefined : eq(handovers.offboardingId, filter.offboarding),
    page.cursor === undefined ? undefined : isAfter(page.cursor, handovers.offeredAt, handovers.id),
  ];
  const rows = await selectHandovers(executor)
    .where(and(...conditions))
    .orderBy(asc(handovers.offeredAt), asc(handovers.id))
    .limit(page.limit + 1);
  const { items, nextCursor } = toPage(rows, page.limit, (row) => [row.position, row.id]);
  return { items: items.map(({ position: _, ...handover }) => handover), nextCursor };
}

type Offer = typeof handovers.$inferSelect;

async function findOffer(db: Db, id: string): Promise<Offer> {
  const uuid = canonicalId(id);
  const [offer] = uuid === null ? [] : await db.select().from(handovers).where(eq(handovers.id, uuid));
  if (offer === undefined) throw noSuchHandover();
  return offer;
}

/** Of all who answer at one moment only one gets past this, and nobody after its time. Under the owner's lock. */
async function settle(
  tx: Tx,
  act: Act,
  offer: Offer,
  agent: LockedAgent,
  answer: { state: 'accepted' | 'declined'; reason: string },
): Promise<AuditEvent> {
  const [settled] = await tx
    .update(handovers)
    .set({ ...answer, decidedAt: sql`clock_timestamp()`, decidedBy: act.by.id })
    .where(
      and(
        eq(handovers.id, offer.id),
        eq(handovers.state, 'offered'),
        // Whoever is asked for by now answers for what was offered by the one who left.
        eq(handovers.fromId, agent.ownerId),
        sql`${handovers.expiresAt} > clock_timestamp()`,
      ),
    )
    .returning({ id: handovers.id });
  if (settled === undefined) {
    const { state } = await getHandover(tx, offer.id);
    throw new WritError('conflict', `the handover is not open any more: it is ${state}`);
  }
  const kind: AuditKind = `handover.${answer.state}`;
  const details = { handover: offer.id, name: agent.name, offboarding: offer.offboardingId, from: offer.fromId };
  return { kind, outcome: 'done', agent: agent.id, person: offer.toId, reason: answer.reason, details };
}

/**
 * The person to whom the tree is offered takes it: it is theirs, and goes on as after any transfer.
 * @throws WritError `not_found`; `conflict` when the offer is not open any more, or the person is not active.
 */
export async function acceptHandover(db: Db, act: Act, id: string, why: string): Promise<Handover> {
  const reason = checkReason(why);
  const offer = await findOffer(db, id);
  const accept = async (tx: Tx, agent: LockedAgent): Promise<Handover> => {
    const accepted = await settle(tx, act, offer, agent, { state: 'accepted', reason });
    await transferTree(tx, act, agent, offer.toId, reason, [accepted]);
    return getHandover(tx, offer.id);
  };
  return withAgent(db, act, offer.agentId, accept, [offer.toId]);
}

/** The person does not take it: it stays stopped. @throws WritError `not_found`, `conflict`. */
export async function declineHandover(db: Db, act: Act, id: string, why: string): Promise<Handover> {
  const reason = checkReason(why);
  const offer = await findOffer(db, id);
  return withAgent(db, act, offer.agentId, async (tx, agent) => {
    const declined = await settle(tx, act, offer, agent, { state: 'declined', reason });
    const handover = await getHandover(tx, offer.id);
    await append(tx, act, [declined]);
    return handover;
  });
}
