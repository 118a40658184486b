/** What of a person's agents is in use: APIs that they got tokens for, and what others have standing on them. */
import { sql } from 'drizzle-orm';
import type { Db } from '../../platform/db/client.ts';
import { isUnexpired } from './holdings.ts';

export interface Use {
  apis: { identifier: string; agents: number; tokensUnexpired: number }[];
  /** By agent. */
  lastUsedAt: Map<string, string>;
  since: string;
}

const days = 30;
/** Of the log's newest entries about a person: reading 8 million of a month would take a minute. */
const entriesAtMost = 100_000;

const toInstant = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** Which APIs the person's agents got tokens for lately, and when each last got one. */
export async function readUse(db: Db, personId: string): Promise<Use> {
  const [row] = await db.execute<{ since: number; apis: Use['apis']; used: { agent: string; at: number }[] }>(sql`
    with entries as materialized (
      select agent_id, at, expires_at, kind, body from audit_entries
      where person_id = ${personId}::uuid and at > clock_timestamp() - make_interval(days => ${days}::int)
      order by at desc limit ${entriesAtMost}
    ), tokens as materialized (
      select e.agent_id, e.at, e.expires_at > clock_timestamp() as unexpired, e.body::json #>> '{details,audience}' as identifier
      from entries e join agents a on a.id = e.agent_id and a.owner_id = ${personId}::uuid
      where e.kind in ('token.issued', 'token.exchanged')
    )
    select extract(epoch from case when (select count(*) from entries) < ${entriesAtMost}
        then clock_timestamp() - make_interval(days => ${days}::int) else (select min(at) from entries) end)::float8 as since,
      coalesce((
        select jsonb_agg(api order by api.agents desc, api.identifier) from (
          select identifier, count(distinct agent_id) as agents, count(*) filter (where unexpired) as "tokensUnexpired"
          from tokens where identifier is not null group by identifier
        ) api
      ), '[]') as apis,
      coalesce((
        select jsonb_agg(jsonb_build_object('agent', u.agent_id, 'at', extract(epoch from u.at)))
        from (select agent_id, max(at) as at from tokens group by agent_id order by max(at) desc limit ${entriesAtMost}) u
      ), '[]') as used`);
  if (row === undefined) throw new Error('a select without from has one row');
  const lastUsedAt = new Map(row.used.map(({ agent, at }) => [agent, toInstant(at)]));
  return { apis: row.apis, lastUsedAt, since: toInstant(row.since) };
}

/** Somebody else's agent whose tokens stand on this person by exchange, or an API that one of their agents answers. */
export type Dependent =
  | { type: 'agent'; id: string; name: string; owner: { id: string; userName: string }; tokensUnexpired: number }
  | { type: 'api'; id: string; identifier: string; answeredBy: { id: string; name: string } };

const dependentsAtMost = 100;

export async function readDependents(db: Db, personId: string): Promise<Dependent[]> {
  // A token that depends on an agent depends on its owner too.
  const agents = await db.execute<Row & { tokens: number; ownerId: string; userName: string }>(sql`
    select a.id, a.name, e.tokens, p.id as "ownerId", p.user_name as "userName"
    from (
      select agent_id, count(*)::int as tokens from audit_entries
      where depends_on @> array[${personId}]::text[] and ${isUnexpired} group by agent_id
    ) e join agents a on a.id = e.agent_id join people p on p.id = a.owner_id
    where a.owner_id <> ${personId}::uuid
    order by e.tokens desc, a.name, a.id limit ${dependentsAtMost}`);
  const apis = await db.execute<Row & { apiId: string; identifier: string }>(sql`
    select c.id as "apiId", c.identifier, a.id, a.name from apis c join agents a on a.id = c.agent_id
    where a.owner_id = ${personId}::uuid and a.status <> 'decommissioned' order by c.identifier limit ${dependentsAtMost}`);
  return [
    ...agents.map(
      ({ id, name, ownerId, userName, tokens }): Dependent => ({
        type: 'agent',
        id,
        name,
        owner: { id: ownerId, userName },
        tokensUnexpired: tokens,
      }),
    ),
    ...apis.map(
      ({ apiId, identifier, id, name }): Dependent => ({
        type: 'api',
        id: apiId,
        identifier,
        answeredBy: { id, name },
      }),
    ),
  ];
}

type Row = { id: string; name: string } & Record<string, unknown>;
