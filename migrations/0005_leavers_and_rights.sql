-- What becomes of a leaver's agents, by policy: stop (at once, until a named act), quarantine (read-only for a bounded
-- time), handover (stopped, and offered to a deputy or the manager). And what membership of a group is worth.
--
-- Nodes of the state before go on with `liveness` and `take_batch`: for them an agent in quarantine has stopped, and
-- whoever is excluded has latched agents. The two are dropped in a later release.

-- People: who may answer for agents -------------------------------------------------------------------------------------

alter table people
  -- The directory requires membership of a group that this person is not in.
  add column excluded boolean not null default false,
  -- Raised whenever what the person's agents may use at most may have changed: cached rights are compared by it.
  add column rights bigint not null default 0,
  -- The one definition of a live person.
  add column live boolean not null generated always as (active and not excluded and deleted_at is null) stored;

-- Leavers ------------------------------------------------------------------------------------------------------------

create table environments (
  name text primary key check (name ~ '^[a-z][a-z0-9-]{0,31}$'),
  leaver_policy text not null default 'stop' check (leaver_policy in ('stop', 'quarantine', 'handover')),
  quarantine_seconds integer not null default 86400 check (quarantine_seconds between 60 and 2592000),
  handover_seconds integer not null default 604800 check (handover_seconds between 60 and 7776000)
);
comment on table environments is 'What holds for the agents of an environment unless they say otherwise; an environment without a row has the defaults. Written by domain/agents.';

-- A tree has one policy and one deputy, those of its root.
alter table agents
  add column leaver_policy text check (leaver_policy in ('stop', 'quarantine', 'handover')),
  add column deputy_id uuid references people,
  add constraint agents_leaver check (parent_id is null or (leaver_policy is null and deputy_id is null)),
  add constraint agents_deputy check (deputy_id <> owner_id);

alter table offboardings
  -- More people than the directory's bound left at once: an administrator says whether that was meant.
  add column confirmation text check (confirmation in ('needed', 'confirmed', 'undone')),
  add column confirmed_at timestamptz,
  add column confirmed_by text;
create index offboardings_unconfirmed on offboardings (directory_id, committed_at) where confirmation = 'needed';

create table quarantines (
  agent_id uuid primary key,
  person_id uuid not null,
  offboarding_id uuid not null,
  since timestamptz not null,
  until timestamptz not null
);
comment on table quarantines is 'Trees (by their root) that go on reading after their owner has left. Written in the offboarding''s transaction by domain/agents; deleted by the act that gives the tree an owner again, or ends it.';

create table handovers (
  id uuid primary key default gen_random_uuid(),
  agent_id uuid not null references agents,
  offboarding_id uuid not null,
  from_id uuid not null references people,
  to_id uuid not null references people,
  state text not null default 'offered' check (state in ('offered', 'accepted', 'declined', 'withdrawn')),
  offered_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  decided_at timestamptz,
  decided_by text,
  reason text,
  check ((state = 'offered') = (decided_at is null))
);
comment on table handovers is 'Trees (by their root) that were offered to somebody when their owner left. Until accepted they are stopped. Written by domain/people and domain/agents; never deleted.';
create unique index handovers_offered on handovers (agent_id) where state = 'offered';
create index handovers_to on handovers (to_id, offered_at);
create index handovers_offboarding on handovers (offboarding_id);

-- Groups give rights -------------------------------------------------------------------------------------------------

-- No foreign key to the group: the IdP may delete it, and an intent that was kept for its members must not become
-- everybody's by that.
create table group_roles (
  group_id uuid not null,
  role text not null check (role in ('admin', 'security_reviewer', 'auditor')),
  created_at timestamptz not null default now(),
  primary key (group_id, role)
);
comment on table group_roles is 'Roles in Writ that members of a group have. Written and deleted by domain/people.';

create table group_intents (
  group_id uuid not null,
  intent_id uuid not null references intents on delete cascade,
  created_at timestamptz not null default now(),
  primary key (group_id, intent_id)
);
comment on table group_intents is 'An intent that stands here may be used by agents only whose owner is in one of its groups. Written and deleted by domain/people.';
create index group_intents_intent on group_intents (intent_id);
create trigger group_intents_version after insert or update or delete on group_intents for each statement execute function raise_catalogue_version();

-- Live ---------------------------------------------------------------------------------------------------------------

-- The one definition of "live" (promise 1), for many agents at once: dead is null for those that are. read_only: by
-- quarantine, until expires_at. version: of the agent and of its owner's rights. Meaningful only in a statement that
-- follows the owners' locks. Set by set, because a function called for each agent costs ten times as much.
create function standing(agents uuid[])
returns table (
  agent uuid, owner uuid, version bigint, dead text, read_only boolean, epochs json, expires_at timestamptz
)
language sql stable as $$
  select a.id, a.owner_id, a.version + coalesce(max(o.rights), 0),
    case
      when q.until is null and not coalesce(bool_and(o.live), false) then 'owner_inactive'
      -- Of a tree in quarantine, what an earlier departure has stopped stays stopped.
      when bool_or(l.reason = 'owner_lost' and (q.until is null or l.since < q.since)) then 'owner_inactive'
      when bool_or(l.reason <> 'owner_lost') then 'agent_inactive'
      when bool_or(x.status <> 'active' or x.expires_at <= clock_timestamp()) then 'agent_inactive'
    end,
    q.until is not null,
    -- A member may stand here twice with one value, when an agent has two latches; JSON's last one wins.
    json_object_agg(d.id, coalesce(s.epoch, 0)), least(min(x.expires_at), q.until)
  from agents a
  left join people o on o.id = a.owner_id
  left join quarantines q on q.agent_id = a.path[1] and q.person_id = a.owner_id and q.until > clock_timestamp()
  cross join lateral unnest(a.path || a.owner_id) as d (id)
  left join agents x on x.id = d.id
  left join latches l on l.agent_id = d.id
  left join subjects s on s.id = d.id::text
  where a.id = any (agents)
  group by a.id, q.since, q.until
$$;

create or replace function why_dead(agent uuid) returns text language sql stable as $$
  select case when found.agent is null then 'agent_inactive' else found.dead end
  from (select) one left join standing(array[why_dead.agent]) found on true
$$;

create type agent_standing as (
  n integer, dead text, read_only boolean, stale boolean, epochs json, expires_at timestamptz, at timestamptz
);

-- What a batch of token requests needs of the database, in one round trip: the owners' locks, then what they guard, then
-- single use and the place in the log. `locks` is sorted, without repetition; `lock_of` and `lock_id` say who needs which.
-- Without `waits`, who would have to wait is busy, and nothing of theirs is done. When anybody is stale, nothing is done of
-- anybody's. `node` null: only the locks and the reads. `assertions` are hexadecimal, null where there is none.
--
-- Volatile, so that each statement in it sees what was committed before it began: the reads come after the locks.
create function settle_batch(
  waits boolean, locks text[], lock_of integer[], lock_id text[],
  agents uuid[], owners uuid[], versions bigint[], catalogues bigint[],
  node uuid, assertions text[], assertions_until timestamptz[]
) returns table (
  n integer, busy boolean, stale boolean, dead text, read_only boolean, epochs json, expires float8, at float8,
  fresh boolean, counter text, placed float8, transaction text
) language plpgsql volatile as $$
#variable_conflict use_variable
declare
  missed text[];
  waiting integer[] := '{}';
  states agent_standing[];
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
    q.n::integer, l.dead, l.read_only,
    l.agent is null or l.owner <> q.owner or l.version <> coalesce(q.version, l.version)
      or c.version <> coalesce(q.catalogue, c.version),
    l.epochs, l.expires_at, clock_timestamp()
  )::agent_standing) into states
  from unnest(agents, owners, versions, catalogues) with ordinality as q (agent, owner, version, catalogue, n)
  cross join catalogue c left join standing(agents) l on l.agent = q.agent;

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
    update audit_nodes set counter = audit_nodes.counter + taken where audit_nodes.node = settle_batch.node
    returning audit_nodes.counter, clock_timestamp() into last, taken_at;
    if last is null then
      raise exception 'audit node % is not enlisted', node;
    end if;
  end if;

  return query
  select s.n, s.n = any (waiting), s.stale, s.dead, s.read_only, s.epochs,
    floor(extract(epoch from s.expires_at))::float8, extract(epoch from s.at)::float8,
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
