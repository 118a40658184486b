/**
 * What a leaver's agents held when the owner left: intents, tokens within their life, and whether they were live at all.
 * One row for all agents that held the same, with their ids in an array: a list for each of 100,000 agents would take
 * longer than latching them.
 */
import { type SQL, sql } from 'drizzle-orm';
import type { Executor } from '../../platform/db/client.ts';
import type { HoldingKind } from '../../platform/db/schema.ts';

/**
 * Follows `latchOwnedBy` (domain/agents) in a `with`, whose `owned` are the agents and whose `latched` those that no
 * earlier departure had stopped. Whether the owner is live does not matter here: they were, until now.
 */
export const writeHoldings = (personId: string, offboardingId: string): SQL => sql`
  granted as (
    select i.task_intent, g.agents
    from (
      -- Agent by agent, because the cost is then that of the leaver's own grants, however many there are.
      select g.intent_id, array_agg(o.id) as agents
      from owned o cross join lateral (select intent_id from agent_intents where agent_id = o.id offset 0) g
      group by g.intent_id
    ) g join intents i on i.id = g.intent_id
  ), unexpired as (
    select t.tokens, array_agg(t.agent_id) as agents
    from (
      select agent_id, count(*) as tokens from audit_entries
      where person_id = ${personId}::uuid and agent_id is not null and ${isUnexpired}
      group by agent_id
    ) t group by t.tokens
  ), halted as materialized (
    select id from agents
    where owner_id = ${personId}::uuid and (status in ('pending', 'suspended') or expires_at <= clock_timestamp())
    union select o.id from owned o
      -- Counting is cheaper than comparing, and mostly all are latched for the first time.
      where (select count(*) from latched) < (select count(*) from owned)
        and not exists (select from latched n where n.agent_id = o.id)
    union select l.agent_id from latches l join owned o on o.id = l.agent_id where l.reason = 'expired'
  ), dead as (
    -- Whatever is below an agent that is not live is not live either.
    select distinct o.id from owned o cross join unnest(o.path) as p (id) join halted h on h.id = p.id
    where exists (select from halted)
  ), held as (
    insert into offboarding_holdings (offboarding_id, kind, value, agents)
    select ${offboardingId}::uuid, 'intent', task_intent, agents from granted
    union all select ${offboardingId}::uuid, 'unexpired', tokens::text, agents from unexpired
    union all select ${offboardingId}::uuid, 'dead', '', array_agg(id) from dead having count(*) > 0
  )`;

/** Of an entry of the audit log: a token that has not expired by itself. None lives longer than 15 minutes. */
export const isUnexpired: SQL = sql`
  kind in ('token.issued', 'token.exchanged') and expires_at > clock_timestamp() and at > clock_timestamp() - interval '1 hour'`;

/** One agent's. */
export interface Holding {
  wasLive: boolean;
  /** Names of its intents, sorted. */
  intents: string[];
  /** Its own tokens that were within their life. */
  tokensUnexpired: number;
}

export interface HoldingRow {
  kind: HoldingKind;
  /** Of `intent` its name, of `unexpired` how many tokens, of `dead` nothing. */
  value: string;
  agents: string[];
}

/** What each of the agents held, by its id. Who is in no row held nothing and was live. */
export function holdingsOf(rows: readonly HoldingRow[]): (agent: string) => Holding {
  const held = new Map<string, Holding>();
  for (const { kind, value, agents } of rows) {
    for (const agent of agents) {
      const holding = held.get(agent) ?? { wasLive: true, intents: [], tokensUnexpired: 0 };
      if (kind === 'intent') holding.intents.push(value);
      else if (kind === 'unexpired') holding.tokensUnexpired = Number(value);
      else holding.wasLive = false;
      held.set(agent, holding);
    }
  }
  for (const { intents } of held.values()) intents.sort();
  return (agent) => held.get(agent) ?? { wasLive: true, intents: [], tokensUnexpired: 0 };
}

/** The rows of these receipts, by the receipt. */
export async function readHoldings(
  executor: Executor,
  receipts: readonly string[],
): Promise<Map<string, HoldingRow[]>> {
  const rows = await executor.execute<HoldingRow & { receipt: string } & Record<string, unknown>>(sql`
    select offboarding_id as receipt, kind, value, agents from offboarding_holdings
    where offboarding_id = any (${sql.param(receipts)}::uuid[])`);
  return Map.groupBy(rows, ({ receipt }) => receipt);
}
