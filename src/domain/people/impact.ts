/**
 * Rehearsal: what would stop if this person left now, what depends on it, and who could take over. The departure itself
 * is rehearsed (`latchAndList`) and rolled back, so that the answer is the receipt that would follow.
 *
 * A rehearsal leaves nothing behind and holds nobody up. It takes the owner's lock as issuance does, shared: tokens go on
 * being issued, and a departure that comes meanwhile waits for less than it would for any other change. The log's and the
 * feed's locks, for which everybody waits, are not part of it. One person is rehearsed once at a time.
 */
import { sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { type Db, type Tx, transaction } from '../../platform/db/client.ts';
import type { AgentStatus, LeaverOutcome, ReceiptAgent } from '../../platform/db/schema.ts';
import { takeTurns } from '../../platform/db/turns.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import type { Risk } from '../../protocol.ts';
import { type Dependent, readDependents, readUse, type Use } from './dependents.ts';
import { type HoldingRow, holdingsOf, isUnexpired } from './holdings.ts';
import { countUnexpired, type Leaver, latchAndList } from './offboard.ts';
import { findSuccessors, type Successor } from './successors.ts';

export interface ImpactAgent {
  id: string;
  name: string;
  environment: string;
  project: string | null;
  parent: string | null;
  status: AgentStatus;
  /** Whether it could get a token now. */
  live: boolean;
  outcome: LeaverOutcome;
  intents: string[];
  tokensUnexpired: number;
  /** When it last got a token, as far back as `since`. */
  lastUsedAt: string | null;
}

export interface Impact {
  /** Not active: they have left, and this is what stands. */
  person: { id: string; userName: string; displayName: string | null; active: boolean };
  /** By name, a thousand at most. */
  agents: ImpactAgent[];
  truncated: boolean;
  totals: { agents: number; live: number; tokensUnexpired: number };
  apis: Use['apis'];
  /** From when on `apis` and `lastUsedAt` count: 30 days, or what the last 100,000 entries of the log reach back to. */
  since: string;
  intents: { taskIntent: string; risk: Risk; agents: number }[];
  dependents: Dependent[];
  couldTakeOver: Successor[];
}

const agentsAtMost = 1_000;

/** In the order of their names, as receipts are. */
interface Stopping {
  listed: ReceiptAgent[];
  /** `count`: how many hold it; `agents`: those of them that are listed. */
  holdings: (HoldingRow & { count: number })[];
  agents: number;
  live: number;
  tokensUnexpired: number;
}

type Row<Of> = Of & Record<string, unknown>;
interface Person extends Leaver {
  displayName: string | null;
  live: boolean;
}

async function readPerson(executor: Db | Tx, id: string): Promise<Person | undefined> {
  const [person] = await executor.execute<Row<Person>>(sql`
    select id, directory_id as "directoryId", user_name as "userName", display_name as "displayName", attributes, live
    from people where id = ${id}::uuid`);
  return person;
}

/** Any person, one who has left too. @throws WritError `not_found`. */
export async function readImpact(db: Db, id: string): Promise<Impact> {
  const uuid = canonicalId(id);
  const person = uuid === null ? undefined : await readPerson(db, uuid);
  if (person === undefined) throw new WritError('not_found', 'no such person');
  const rehearsed = person.live ? await rehearse(db, person.id) : undefined;
  const stopping = rehearsed ?? (await readStopped(db, person.id));
  const [agents, use, intents, dependents, couldTakeOver] = await Promise.all([
    describeAgents(db, stopping),
    readUse(db, person.id),
    describeIntents(db, stopping),
    readDependents(db, person.id),
    findSuccessors(db, person),
  ]);
  const { userName, displayName } = person;
  return {
    person: { id: person.id, userName, displayName, active: rehearsed !== undefined },
    agents: agents.map((agent) => ({ ...agent, lastUsedAt: use.lastUsedAt.get(agent.id) ?? null })),
    truncated: stopping.agents > stopping.listed.length,
    totals: { agents: stopping.agents, live: stopping.live, tokensUnexpired: stopping.tokensUnexpired },
    apis: use.apis,
    since: use.since,
    intents,
    dependents,
    couldTakeOver,
  };
}

/** A departure waits 3 s for the owner's lock, and must not wait for a rehearsal in vain. */
const limit = (tx: Tx, statementMs: number) =>
  tx.execute(sql`
    select set_config('lock_timeout', '1000', true), set_config('statement_timeout', ${String(statementMs)}::text, true)`);

/** `undefined`: by now they have left. @throws an outage when it takes too long. */
async function rehearse(db: Db, id: string): Promise<Stopping | undefined> {
  const rolledBack = new Error('a rehearsal is rolled back');
  let stopping: Stopping | undefined;
  const work = async (tx: Tx): Promise<never> => {
    await limit(tx, 1_900);
    await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended('rehearsal:' || ${id}::text, 0))`);
    await tx.execute(sql`select pg_advisory_xact_lock_shared(owner_lock_key(${id}::text))`);
    const person = await readPerson(tx, id);
    if (person?.live === true) stopping = await stop(tx, person);
    throw rolledBack;
  };
  try {
    await takeTurns(db, [`rehearsal:${id}`], () => transaction(db, work));
  } catch (error) {
    if (error !== rolledBack) throw error;
  }
  return stopping;
}

const rehearsal = { by: { type: 'system', id: 'rehearsal' }, requestId: 'rehearsal' } as const;

async function stop(tx: Tx, person: Person): Promise<Stopping> {
  const tokensUnexpired = await countUnexpired(tx, person.id);
  // As if it were confirmed: with a departure of very many, all is stopped until then.
  const request = { method: 'DELETE', requestedAt: new Date(0), tokensUnexpired, confirmation: null };
  const { id, agents } = await latchAndList(tx, rehearsal, person, request);
  await limit(tx, 900);
  const [row] = await tx.execute<Row<Pick<Stopping, 'listed' | 'holdings'>>>(sql`
    with listed as materialized (
      select e.agent from offboardings o cross join jsonb_array_elements(o.agents) as e (agent)
      where o.id = ${id}::uuid order by e.agent ->> 'name' collate "C", e.agent ->> 'id' limit ${agentsAtMost}
    )
    select coalesce((select jsonb_agg(agent) from listed), '[]') as listed, coalesce((
      select jsonb_agg(jsonb_build_object('kind', h.kind, 'value', h.value, 'count', cardinality(h.agents), 'agents', array(
        select a.id from unnest(h.agents) as a (id) where a.id in (select (agent ->> 'id')::uuid from listed))))
      from offboarding_holdings h where h.offboarding_id = ${id}::uuid
    ), '[]') as holdings`);
  if (row === undefined) throw new Error('the rehearsal has no receipt');
  const dead = row.holdings.find(({ kind }) => kind === 'dead')?.count ?? 0;
  return { ...row, agents, live: agents - dead, tokensUnexpired };
}

/** What stands of somebody who has left: what an earlier departure has made of the agents that are still theirs. */
async function readStopped(db: Db, id: string): Promise<Stopping> {
  const [row] = await db.execute<Row<Stopping>>(sql`
    with owned as materialized (
      select id, name, parent_id as parent, path from agents where owner_id = ${id}::uuid and status <> 'decommissioned'
    ), reading as materialized (
      -- Only a tree in quarantine can be live without its owner.
      select s.agent, s.expires_at as until from standing(array(
        select o.id from owned o join quarantines q on q.agent_id = o.path[1] where q.person_id = ${id}::uuid)) s
      where s.dead is null
    ), offered as materialized (
      select agent_id, to_id from handovers where from_id = ${id}::uuid and state = 'offered' and expires_at > clock_timestamp()
    ), listed as materialized (
      select o.id, o.name, o.parent,
        case when r.agent is not null then 'quarantined' when h.agent_id is not null then 'offered' else 'stopped' end as outcome
      from owned o left join reading r on r.agent = o.id left join offered h on h.agent_id = o.path[1]
      order by o.name collate "C", o.id limit ${agentsAtMost}
    ), held as (
      select 'intent' as kind, i.task_intent as value, count(*) as count,
        coalesce(array_agg(o.id) filter (where o.id in (select id from listed)), '{}') as agents
      from owned o join agent_intents g on g.agent_id = o.id join intents i on i.id = g.intent_id group by i.task_intent
      union all select 'unexpired', t.tokens::text, count(*), array_agg(t.agent_id) from (
        select agent_id, count(*) as tokens from audit_entries
        where person_id = ${id}::uuid and agent_id in (select id from listed) and ${isUnexpired} group by agent_id
      ) t group by t.tokens
      union all select 'dead', '', count(*), array_agg(id) from listed where outcome <> 'quarantined' having count(*) > 0
    )
    select (select count(*)::int from owned) as agents, (select count(*)::int from reading) as live,
      coalesce((select jsonb_agg(listed order by listed.name collate "C", listed.id) from listed), '[]') as listed,
      coalesce((select jsonb_agg(held) from held), '[]') as holdings`);
  if (row === undefined) throw new Error('a select without from has one row');
  return { ...row, tokensUnexpired: await countUnexpired(db, id) };
}

type Described = Omit<ImpactAgent, 'lastUsedAt'>;
type Facts = Row<Pick<Described, 'id' | 'environment' | 'project' | 'status'>>;

async function describeAgents(db: Db, { listed, holdings }: Stopping): Promise<Described[]> {
  const ids = sql.param(listed.map(({ id }) => id));
  const facts = await db.execute<Facts>(sql`
    select id, environment, project, status from agents where id = any (${ids}::uuid[])`);
  const factsOf = new Map(facts.map((row) => [row.id, row]));
  const holdingOf = holdingsOf(holdings);
  return listed.flatMap(({ id, name, parent, outcome = 'stopped' }) => {
    const known = factsOf.get(id);
    if (known === undefined) return [];
    const { environment, project, status } = known;
    const { wasLive, intents, tokensUnexpired } = holdingOf(id);
    const place = { environment, project, parent: parent ?? null };
    return [{ id, name, ...place, status, live: wasLive, outcome, intents, tokensUnexpired }];
  });
}

/** All intents that any of the agents holds, those that most hold first. */
async function describeIntents(db: Db, { holdings }: Stopping): Promise<Impact['intents']> {
  const held = holdings.filter(({ kind }) => kind === 'intent').sort((one, other) => other.count - one.count);
  const rows = await db.execute<{ taskIntent: string; risk: Risk }>(sql`
    select task_intent as "taskIntent", risk from intents
    where task_intent = any (${sql.param(held.map(({ value }) => value))}::text[])`);
  const riskOf = new Map(rows.map(({ taskIntent, risk }) => [taskIntent, risk]));
  return held.flatMap(({ value, count }) => {
    const risk = riskOf.get(value);
    return risk === undefined ? [] : [{ taskIntent: value, risk, agents: count }];
  });
}
