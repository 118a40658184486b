-- Sealing only adds: an entry of the audit log is written once and never touched again. While its number and its hash
-- were columns of it, each entry was written twice, with all its indexes.
--
-- No release had those columns. Nodes of an earlier state go on issuing, provisioning and serving the feed beside this;
-- sealing and searching the log is done by nodes of this one.

create table audit_chain (
  number bigint primary key,
  -- No foreign key: checking it costs as much as the row, and verification finds an entry that is missing.
  node uuid not null,
  counter bigint not null,
  hash bytea not null,
  unique (node, counter)
);
comment on table audit_chain is 'The numbered, hashed order of audit_entries. Written by the sealer, never changed or deleted.';

create table audit_sealed (
  node uuid primary key,
  counter bigint not null
);
comment on table audit_sealed is 'Up to where the sealer has looked through each node''s entries: all of them are in audit_chain. Written by the sealer.';

insert into audit_chain (number, node, counter, hash)
select number, node, counter, hash from audit_entries where number is not null order by number;
-- Up to the first that is not sealed: where a clock was set back, they may have been sealed out of order.
insert into audit_sealed (node, counter)
select node, coalesce(min(counter) filter (where number is null) - 1, max(counter)) from audit_entries group by node;

alter table audit_entries drop column number, drop column hash;
comment on table audit_entries is 'What happened. body is the truth, byte for byte; the other columns repeat it for searching. Written once by domain/audit; never changed or deleted.';
-- No token lives longer than 15 minutes, so audit_person finds the unexpired ones by when they were issued.
drop index audit_unexpired;

-- The database's encoding is UTF-8, or Writ does not run on it.
-- hash(n) = SHA-256(hash(n-1) | n | length of body | body (UTF-8) | MAC), as src/audit/chain.ts says for everybody.
create function audit_chain_step(state bytea, previous bytea, number bigint, body text, mac bytea) returns bytea
language sql immutable parallel safe as $$
  select sha256(coalesce(state, previous) || int8send(number) || int8send(octet_length(body))
    || convert_to(body, 'UTF8') || mac)
$$;
create aggregate audit_chain_hash(previous bytea, number bigint, body text, mac bytea) (
  sfunc = audit_chain_step, stype = bytea
);

-- The one definition of "live" (promise 1), for many agents at once: dead is null for those that are. Meaningful only in a
-- statement that follows the owners' locks. Set by set, because a function called for each agent costs ten times as much.
create function liveness(agents uuid[])
returns table (agent uuid, owner uuid, version bigint, dead text, epochs json, expires_at timestamptz)
language sql stable as $$
  select a.id, a.owner_id, a.version,
    case
      when not coalesce(bool_and(o.active and o.deleted_at is null), false) then 'owner_inactive'
      when bool_or(l.reason = 'owner_lost') then 'owner_inactive'
      when bool_or(l.agent_id is not null) then 'agent_inactive'
      when bool_or(x.status <> 'active' or x.expires_at <= clock_timestamp()) then 'agent_inactive'
    end,
    -- A member may stand here twice with one value, when an agent has two latches; JSON's last one wins.
    json_object_agg(d.id, coalesce(s.epoch, 0)), min(x.expires_at)
  from agents a
  left join people o on o.id = a.owner_id
  cross join lateral unnest(a.path || a.owner_id) as d (id)
  left join agents x on x.id = d.id
  left join latches l on l.agent_id = d.id
  left join subjects s on s.id = d.id::text
  where a.id = any (agents)
  group by a.id
$$;

create or replace function why_dead(agent uuid) returns text language sql stable as $$
  select case when found.agent is null then 'agent_inactive' else found.dead end
  from (select) one left join liveness(array[why_dead.agent]) found on true
$$;

create type agent_state as (
  n integer, dead text, stale boolean, epochs json, expires_at timestamptz, at timestamptz
);

-- What a batch of token requests needs of the database, in one round trip: the owners' locks, then what they guard, then
-- single use and the place in the log. `locks` is sorted, without repetition; `lock_of` and `lock_id` say who needs which.
-- Without `waits`, who would have to wait is busy, and nothing of theirs is done. When anybody is stale, nothing is done of
-- anybody's. `node` null: only the locks and the reads. `assertions` are hexadecimal, null where there is none.
--
-- Volatile, so that each statement in it sees what was committed before it began: the reads come after the locks.
create function take_batch(
  waits boolean, locks text[], lock_of integer[], lock_id text[],
  agents uuid[], owners uuid[], versions bigint[], catalogues bigint[],
  node uuid, assertions text[], assertions_until timestamptz[]
) returns table (
  n integer, busy boolean, stale boolean, dead text, epochs json, expires float8, at float8,
  fresh boolean, counter text, placed float8, transaction text
) language plpgsql volatile as $$
#variable_conflict use_variable
declare
  missed text[];
  waiting integer[] := '{}';
  states agent_state[];
  used text[];
  taken bigint;
  last bigint;
  taken_at timestamptz;
begin
  if waits then
    perform pg_advisory_xact_lock_shared(owner_lock_key(l.id)) from unnest(locks) as l (id);
  else
    select array_agg(l.id) into missed from unnest(locks) as l (id)
    where not pg_try_advisory_xact_lock_shared(owner_lock_key(l.id));
    if missed is not null then
      select array_agg(l.of_n) into waiting from unnest(lock_of, lock_id) as l (of_n, id) where l.id = any (missed);
    end if;
  end if;

  select array_agg((
    q.n::integer, l.dead,
    l.agent is null or l.owner <> q.owner or l.version <> coalesce(q.version, l.version)
      or c.version <> coalesce(q.catalogue, c.version),
    l.epochs, l.expires_at, clock_timestamp()
  )::agent_state) into states
  from unnest(agents, owners, versions, catalogues) with ordinality as q (agent, owner, version, catalogue, n)
  cross join catalogue c left join liveness(agents) l on l.agent = q.agent;

  select count(*) filter (where s.n <> all (waiting)) into taken from unnest(states) s
  having not bool_or(s.stale and s.n <> all (waiting));
  if node is not null and taken > 0 then
    with inserted as (
      insert into assertions (id, expires_at)
      select decode(a.id, 'hex'), a.until from unnest(assertions, assertions_until) with ordinality as a (id, until, n)
      -- In one order: two nodes that are shown the same assertions must not wait for each other.
      where a.id is not null and a.n <> all (waiting) order by a.id
      on conflict do nothing returning encode(assertions.id, 'hex') as id
    )
    select array_agg(i.id) into used from inserted i;
    update audit_nodes set counter = audit_nodes.counter + taken where audit_nodes.node = take_batch.node
    returning audit_nodes.counter, clock_timestamp() into last, taken_at;
    if last is null then
      raise exception 'audit node % is not enlisted', node;
    end if;
  end if;

  return query
  select s.n, s.n = any (waiting), s.stale, s.dead, s.epochs, floor(extract(epoch from s.expires_at))::float8,
    extract(epoch from s.at)::float8,
    -- Of two that are equal, the first.
    a.id is null or (a.turn = 1 and coalesce(a.id = any (used), false)),
    last::text, floor(extract(epoch from taken_at) * 1000)::float8, pg_current_xact_id_if_assigned()::text
  from unnest(states) s
  left join (
    select a.id, a.n, row_number() over (partition by a.id order by a.n) as turn
    from unnest(assertions) with ordinality as a (id, n) where a.id is not null and a.n <> all (waiting)
  ) a on a.n = s.n
  order by s.n;
end $$;
