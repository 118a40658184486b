-- Sealing only adds: an entry of the audit log is written once and never touched again. While its number and its hash
-- were columns of it, each entry was written twice, with all its indexes.
--
-- Nodes of the release before go on issuing, provisioning and serving the feed beside this; sealing and searching the
-- log is done by nodes of this release.

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

-- hash(n) = SHA-256(hash(n-1) | n | length of body | body (UTF-8) | MAC), as src/audit/chain.ts says for everybody.
create function audit_chain_step(state bytea, previous bytea, number bigint, body text, mac bytea) returns bytea
language sql immutable parallel safe as $$
  select sha256(coalesce(state, previous) || int8send(number) || int8send(length(convert_to(body, 'UTF8')))
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
