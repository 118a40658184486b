/**
 * What becomes of a leaver's agents, by policy. A tree has one policy and one deputy, those of its root: `stop` (until a
 * named act), `quarantine` (read-only for a bounded time) or `handover` (stopped, and offered to the deputy or the
 * manager). A root without a policy has its environment's, and an environment without a row has the defaults.
 *
 * Owns `environments`, `quarantines`, and with `handovers.ts` the table of that name. The departure is one statement
 * (`latchOwnedBy`, `settleTrees`) under the leaver's lock; what a policy means for tokens is decided by `standing()`.
 */
import { type SQL, sql } from 'drizzle-orm';
import type { Tx } from '../../platform/db/client.ts';
import type { Act, AuditEvent } from '../audit/append.ts';

export interface Departure {
  ownerId: string;
  offboardingId: string;
  /** To whom trees are offered that have no deputy, or one who is not live. */
  managerId: string | null;
  /** Whether it was meant is not known yet: all is stopped, whatever the policy. */
  isHeld: boolean;
}

/**
 * For the statement that `settleTrees` is part of, in its transaction: what an owner has is in no statistics, and a loop over 100,000 agents
 * that were estimated as one never ends.
 */
export const planForMany: SQL = sql`set local enable_nestloop = off`;

/**
 * Follows `latchOwnedBy` in a `with`. Of the trees whose root was latched by this very departure: in quarantine, or offered,
 * as their policy says; a tree that an earlier departure has stopped stays stopped, and a quarantine that is running is not
 * prolonged. In the rest `stopped` is `owned` with what became of each, in the receipt's words, and `quarantined` and
 * `offered` are the roots of this departure.
 */
export const settleTrees = ({ ownerId, offboardingId, managerId, isHeld }: Departure): SQL => sql`
  provided as materialized (
    select o.id, coalesce(o.leaver_policy, e.leaver_policy) as policy, o.deputy_id,
      coalesce(e.quarantine_seconds, 86400) as quarantine_seconds, coalesce(e.handover_seconds, 604800) as handover_seconds
    from owned o left join environments e on e.name = o.environment
    where not ${isHeld}::boolean and o.parent is null and coalesce(o.leaver_policy, e.leaver_policy, 'stop') <> 'stop'
  ), departing as materialized (
    select p.*, coalesce(d.id, ${managerId}::uuid) as to_id from provided p
    left join people d on d.id = p.deputy_id and d.live
    where exists (select from latched n where n.agent_id = p.id)
  ), quarantined as (
    insert into quarantines (agent_id, person_id, offboarding_id, since, until)
    select d.id, ${ownerId}::uuid, ${offboardingId}::uuid, statement_timestamp(),
      statement_timestamp() + make_interval(secs => d.quarantine_seconds)
    from departing d where d.policy = 'quarantine'
    -- Only what a node of an earlier release has activated is still here.
    on conflict (agent_id) do update set person_id = excluded.person_id, offboarding_id = excluded.offboarding_id,
      since = excluded.since, until = excluded.until
    returning agent_id, until
  ), offered as (
    insert into handovers (agent_id, offboarding_id, from_id, to_id, offered_at, expires_at)
    select d.id, ${offboardingId}::uuid, ${ownerId}::uuid, d.to_id, statement_timestamp(),
      statement_timestamp() + make_interval(secs => d.handover_seconds)
    from departing d where d.policy = 'handover' and d.to_id is not null
    on conflict (agent_id) where state = 'offered' do update set offboarding_id = excluded.offboarding_id,
      from_id = excluded.from_id, to_id = excluded.to_id, offered_at = excluded.offered_at,
      expires_at = excluded.expires_at
    returning agent_id, to_id
  ), trees as materialized (
    select agent_id as root, null::timestamptz as since, until, null::uuid as to_id from quarantined
    union all select agent_id, null, null, to_id from offered
    -- Of an earlier departure, and still so. (What this statement writes is not seen here.)
    union all select q.agent_id, q.since, q.until, null from quarantines q join owned o on o.id = q.agent_id
      where q.person_id = ${ownerId}::uuid and q.until > statement_timestamp()
        and not exists (select from latched n where n.agent_id = q.agent_id)
    union all select h.agent_id, null, null, h.to_id from handovers h join owned o on o.id = h.agent_id
      where h.from_id = ${ownerId}::uuid and h.state = 'offered' and h.expires_at > statement_timestamp()
        and not exists (select from latched n where n.agent_id = h.agent_id)
  ), earlier as materialized (
    -- As in standing(): what was latched before a quarantine began stays stopped, and so does everything below it.
    select o.id from owned o join trees t on t.root = o.path[1]
    where t.until is not null and not exists (select from latched n where n.agent_id = o.id) and (t.since is null
      or t.since > (select l.since from latches l where l.agent_id = o.id and l.reason = 'owner_lost'))
  ), barred as materialized (
    select distinct o.id from owned o cross join unnest(o.path) as p (id) join earlier e on e.id = p.id
    where exists (select from earlier)
  ), stopped as materialized (
    select o.id, o.name, o.parent,
      case
        when t.to_id is not null then 'offered'
        when t.until is not null and b.id is null then 'quarantined'
        else 'stopped'
      end as outcome,
      case when o.parent is null then t.until end as until, case when o.parent is null then t.to_id end as "to"
    from owned o left join trees t on t.root = o.path[1] left join barred b on b.id = o.id
  )`;

/** How many ids an event names. */
const named = 10;

/** What `settleTrees` did, as one row of columns: numbers and the first ids, so that no tree leaves the database by itself. */
export const settledColumns: SQL = sql`
  (select count(*)::int from quarantined) as quarantined,
  (select max(until) from quarantined) as until,
  array(select agent_id from quarantined order by agent_id limit ${named}) as quarantined_ids,
  (select count(*)::int from offered) as offered,
  array(select agent_id from offered order by agent_id limit ${named}) as offered_ids`;

export interface Settled {
  quarantined: number;
  until: string | null;
  quarantined_ids: string[];
  offered: number;
  offered_ids: string[];
}

/** One event for each kind of policy, however many trees there are. */
export function settledEvents(person: string, offboarding: string, settled: Settled): AuditEvent[] {
  const about = { outcome: 'done', person } as const;
  const { quarantined, offered, until } = settled;
  const events: AuditEvent[] = [];
  if (quarantined > 0) {
    const last = until === null ? null : new Date(until).toISOString();
    const details = { offboarding, trees: quarantined, until: last, first: settled.quarantined_ids };
    events.push({ kind: 'agent.quarantined', ...about, details });
  }
  if (offered > 0) {
    const details = { offboarding, trees: offered, first: settled.offered_ids };
    events.push({ kind: 'handover.offered', ...about, details });
  }
  return events;
}

/** Ends what is left of a departure that is undone, under the owner's lock. */
export const endLeavingOf = (tx: Tx, act: Act, offboardingId: string, reason: string) =>
  tx.execute(sql`
    with freed as (delete from quarantines where offboarding_id = ${offboardingId}::uuid)
    update handovers set state = 'withdrawn', decided_at = clock_timestamp(), decided_by = ${act.by.id}, reason = ${reason}
    where offboarding_id = ${offboardingId}::uuid and state = 'offered'`);

/** Ends what a departure has left of a tree, by its root, under its owner's lock. True: it was in quarantine. */
export async function endLeaving(tx: Tx, act: Act, root: string, reason: string): Promise<boolean> {
  const [ended] = await tx.execute<{ quarantined: boolean }>(sql`
    with freed as (delete from quarantines where agent_id = ${root}::uuid returning 1), withdrawn as (
      update handovers set state = 'withdrawn', decided_at = clock_timestamp(), decided_by = ${act.by.id}, reason = ${reason}
      where agent_id = ${root}::uuid and state = 'offered'
    )
    select exists (select from freed) as quarantined`);
  return ended?.quarantined === true;
}
