-- The spine: directories and people, agents, the catalogue of APIs and intents, revocation and its feed, the audit log,
-- keys. Each table's comment says who writes it and who deletes from it.

-- People -------------------------------------------------------------------------------------------------------------

create table directories (
  id uuid primary key default gen_random_uuid(),
  name text not null unique,
  kind text not null check (kind in ('okta', 'entra', 'onelogin', 'jumpcloud', 'ping', 'google', 'rippling', 'authentik', 'generic')),
  created_at timestamptz not null default now()
);
comment on table directories is 'One connected IdP. Written by domain/people; never deleted.';

create table directory_tokens (
  hash bytea primary key,
  directory_id uuid not null references directories,
  created_at timestamptz not null default now(),
  expires_at timestamptz
);
comment on table directory_tokens is 'SCIM bearer tokens, SHA-256 of 256 random bits. Written at creation and rotation, deleted at rotation once expired.';

create table people (
  id uuid primary key default gen_random_uuid(),
  directory_id uuid not null references directories,
  user_name text not null,
  external_id text,
  display_name text,
  active boolean not null default true,
  deleted_at timestamptz,
  attributes jsonb not null default '{}',
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (deleted_at is null or not active)
);
comment on table people is 'Humans known from a directory. Written by domain/people; a deleted person stays as a tombstone so that receipts and audit name them.';
create unique index people_user_name on people (directory_id, lower(user_name)) where deleted_at is null;
create index people_external_id on people (directory_id, external_id) where deleted_at is null;
create index people_page on people (directory_id, created_at, id) where deleted_at is null;

create table groups (
  id uuid primary key default gen_random_uuid(),
  directory_id uuid not null references directories,
  display_name text not null,
  external_id text,
  attributes jsonb not null default '{}',
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on table groups is 'Groups of a directory. Written and deleted by domain/people on the IdP''s word.';
create index groups_display_name on groups (directory_id, lower(display_name));
create index groups_external_id on groups (directory_id, external_id);

create table group_members (
  group_id uuid not null references groups on delete cascade,
  person_id uuid not null references people,
  primary key (group_id, person_id)
);
comment on table group_members is 'Written and deleted as deltas by domain/people.';
create index group_members_person on group_members (person_id);

-- Catalogue ----------------------------------------------------------------------------------------------------------

create table apis (
  id uuid primary key default gen_random_uuid(),
  identifier text not null unique,
  name text not null,
  environment text not null check (environment ~ '^[a-z][a-z0-9-]{0,31}$'),
  token_ttl_seconds integer not null default 300 check (token_ttl_seconds between 30 and 900),
  scopes text[] not null default '{}',
  signing_algorithm text not null default 'ES256' check (signing_algorithm in ('ES256', 'Ed25519', 'RS256')),
  agent_id uuid,
  client_id uuid not null unique default gen_random_uuid(),
  secret_hash bytea not null,
  created_at timestamptz not null default now()
);
comment on table apis is 'Resource servers and their feed credentials (SHA-256 of 256 random bits). agent_id: the agent that answers there. Written by domain/intents; never deleted.';

create table intents (
  id uuid primary key default gen_random_uuid(),
  task_intent text not null unique check (task_intent ~ '^[A-Za-z][A-Za-z0-9_.:-]{0,127}$'),
  description text not null,
  actions text[] not null check (cardinality(actions) > 0 and actions <@ array['read', 'list', 'search', 'create', 'update', 'delete', 'execute']),
  datatypes text[] not null,
  risk text not null check (risk in ('read', 'write', 'destructive')),
  created_at timestamptz not null default now(),
  check (risk <> 'read' or actions <@ array['read', 'list', 'search'])
);
comment on table intents is 'Named tasks. Written by domain/intents; never deleted.';

create table intent_apis (
  intent_id uuid not null references intents on delete cascade,
  api_id uuid not null references apis,
  primary key (intent_id, api_id)
);
comment on table intent_apis is 'At which APIs an intent may be done. Written with its intent.';

create table catalogue (
  one boolean primary key default true check (one),
  version bigint not null
);
comment on table catalogue is 'Version of apis, intents and intent_apis together: raised by trigger, compared by the issuing statement.';
insert into catalogue (version) values (1);

create function raise_catalogue_version() returns trigger language plpgsql as $$
begin
  update catalogue set version = version + 1;
  return null;
end $$;
create trigger apis_version after insert or update or delete on apis for each statement execute function raise_catalogue_version();
create trigger intents_version after insert or update or delete on intents for each statement execute function raise_catalogue_version();
create trigger intent_apis_version after insert or update or delete on intent_apis for each statement execute function raise_catalogue_version();

-- Agents -------------------------------------------------------------------------------------------------------------

create table agents (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  description text not null default '',
  owner_id uuid not null references people,
  environment text not null check (environment ~ '^[a-z][a-z0-9-]{0,31}$'),
  project text,
  parent_id uuid check (parent_id <> id),
  path uuid[] not null,
  status text not null default 'active' check (status in ('pending', 'active', 'suspended', 'decommissioned')),
  expires_at timestamptz,
  credential_kind text not null check (credential_kind in ('jwks', 'secret')),
  jwks jsonb,
  secret_hash bytea,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check ((credential_kind = 'jwks') = (jwks is not null)),
  check ((credential_kind = 'secret') = (secret_hash is not null)),
  unique (id, owner_id, environment),
  -- A sub-agent has its parent's owner and environment; a transfer of the root carries the whole tree along.
  constraint agents_parent foreign key (parent_id, owner_id, environment)
    references agents (id, owner_id, environment) on update cascade
);
comment on table agents is 'Non-human actors. Written by domain/agents under the owner''s lock; never deleted, only decommissioned.';
comment on column agents.path is 'Ids from the root of the tree down to the agent itself; set by trigger, immutable.';
create index agents_owner on agents (owner_id, created_at, id);
create index agents_parent_id on agents (parent_id);
create index agents_path on agents using gin (path);
create index agents_page on agents (created_at, id);
create index agents_expiring on agents (expires_at) where expires_at is not null and status <> 'decommissioned';

alter table apis add foreign key (agent_id) references agents;

-- A parent is given once, at birth, and has to exist by then: a cycle cannot come to be.
create function place_agent() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' then
    if new.id <> old.id or new.parent_id is distinct from old.parent_id or new.path <> old.path then
      raise exception 'an agent keeps its id, its parent and its path' using errcode = 'integrity_constraint_violation', constraint = 'agents_place';
    end if;
    return new;
  end if;
  if new.parent_id is null then
    new.path := array[new.id];
  else
    select path || new.id into new.path from agents where id = new.parent_id;
    if new.path is null then
      raise exception 'no such parent' using errcode = 'foreign_key_violation', constraint = 'agents_parent';
    end if;
    if cardinality(new.path) > 16 then
      raise exception 'a tree of agents is at most 16 deep' using errcode = 'check_violation', constraint = 'agents_depth';
    end if;
  end if;
  return new;
end $$;
create trigger agents_place before insert or update on agents for each row execute function place_agent();

create table agent_intents (
  agent_id uuid not null references agents on delete cascade,
  intent_id uuid not null references intents,
  primary key (agent_id, intent_id)
);
comment on table agent_intents is 'Standing grants. Written by domain/agents under the owner''s lock.';
create index agent_intents_intent on agent_intents (intent_id);

create table latches (
  -- No foreign key: agents are never deleted, and checking one for each of 100,000 agents doubles the time of a cascade.
  agent_id uuid not null,
  reason text not null check (reason in ('owner_lost', 'expired')),
  since timestamptz not null default clock_timestamp(),
  primary key (agent_id, reason)
);
comment on table latches is 'What holds an agent besides its status. Set by domain/agents; cleared only by a named act.';

-- The one definition of "live" (promise 1). Null: live. Meaningful only in a statement that follows the owner's lock.
create function why_dead(agent uuid) returns text language sql stable as $$
  select case
    when a.id is null then 'agent_inactive'
    when not exists (select from people p where p.id = a.owner_id and p.active and p.deleted_at is null) then 'owner_inactive'
    when exists (select from latches l where l.agent_id = any (a.path) and l.reason = 'owner_lost') then 'owner_inactive'
    when exists (select from latches l where l.agent_id = any (a.path)) then 'agent_inactive'
    when exists (select from agents x where x.id = any (a.path) and (x.status <> 'active' or x.expires_at <= clock_timestamp())) then 'agent_inactive'
  end
  from (select) one left join agents a on a.id = agent
$$;

-- Owners' locks (advisory): issuance shared, every change of state exclusive.
create function owner_lock_key(owner text) returns bigint language sql immutable as $$
  select hashtextextended('owner:' || owner, 0)
$$;

create table assertions (
  id bytea primary key,
  expires_at timestamptz not null
);
comment on table assertions is 'Client assertions already used (SHA-256 of iss and jti). Written by domain/tokens; swept once expired.';
create index assertions_expiry on assertions (expires_at);

-- Revocation and its feed --------------------------------------------------------------------------------------------

create table subjects (
  id text primary key,
  epoch bigint not null check (epoch > 0),
  expires_at timestamptz
);
comment on table subjects is 'Epochs that were raised; absent: 0. Written by domain/revocation. Only a jti''s row expires and is swept.';
create index subjects_expiry on subjects (expires_at) where expires_at is not null;

create table feed (
  one boolean primary key default true check (one),
  seq bigint not null,
  swept bigint not null
);
comment on table feed is 'Last sequence number of the feed; its row lock, taken last in a transaction, keeps numbers in commit order. swept: everything up to here may be gone from revocations.';
insert into feed (seq, swept) values (0, 0);

create table revocations (
  seq bigint primary key,
  subject text,
  epoch bigint,
  kid text,
  at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  check ((subject is not null and epoch is not null) <> (kid is not null))
);
comment on table revocations is 'What verifiers have to know; lives as long as the longest token. Written by domain/signals; swept by it.';
create index revocations_expiry on revocations (expires_at);

create table acknowledgements (
  api_id uuid not null references apis,
  verifier text not null,
  seq bigint not null,
  at timestamptz not null default clock_timestamp(),
  primary key (api_id, verifier, seq)
);
comment on table acknowledgements is 'Which verifier has applied the feed up to where, and when, as far as a receipt reads it. Written by domain/signals; never deleted, as receipts are not.';
create index acknowledgements_seq on acknowledgements (seq);
-- A receipt reads the acknowledgements of the minutes after it: without this, each of them reads all that ever came.
create index acknowledgements_at on acknowledgements (at);

create table offboardings (
  id uuid primary key default gen_random_uuid(),
  person_id uuid not null references people,
  directory_id uuid not null references directories,
  user_name text not null,
  method text not null,
  request_id text not null,
  agents jsonb not null,
  tokens_unexpired integer not null,
  requested_at timestamptz not null,
  committed_at timestamptz not null,
  answered_at timestamptz,
  seq bigint not null
);
comment on table offboardings is 'Receipts. Written in the offboarding''s own transaction; answered_at once the answer was sent; never deleted.';
create index offboardings_person on offboardings (person_id, committed_at);
create unique index offboardings_seq on offboardings (seq);

-- Audit --------------------------------------------------------------------------------------------------------------

create table audit_nodes (
  node uuid primary key,
  counter bigint not null default 0,
  started_at timestamptz not null default clock_timestamp()
);
comment on table audit_nodes is 'Each node''s gapless counter of audit entries; the row lock is held from taking a number to the commit. Written by domain/audit.';

create table audit_entries (
  node uuid not null references audit_nodes,
  counter bigint not null,
  at timestamptz not null,
  kind text not null,
  body text not null,
  mac bytea not null,
  agent_id uuid,
  person_id uuid,
  intent text,
  jti text,
  expires_at timestamptz,
  depends_on text[],
  number bigint unique,
  hash bytea,
  primary key (node, counter),
  check ((number is null) = (hash is null))
);
comment on table audit_entries is 'What happened. body is the truth, byte for byte; the other columns repeat it for searching. Written by domain/audit; number and hash by the sealer; never deleted.';
create index audit_unsealed on audit_entries (at) where number is null;
create index audit_page on audit_entries (at, node, counter);
create index audit_agent on audit_entries (agent_id, at) where agent_id is not null;
create index audit_person on audit_entries (person_id, at) where person_id is not null;
create index audit_jti on audit_entries (jti) where jti is not null;
create index audit_unexpired on audit_entries (person_id, expires_at) where expires_at is not null;
create index audit_depends_on on audit_entries using gin (depends_on) where depends_on is not null;

create table checkpoints (
  number bigint primary key,
  hash bytea not null,
  at timestamptz not null default clock_timestamp(),
  jws text not null
);
comment on table checkpoints is 'Signed heads of the chain. Written by the sealer; never deleted.';

-- Keys and administrators --------------------------------------------------------------------------------------------

create table signing_keys (
  kid text primary key,
  algorithm text not null check (algorithm in ('ES256', 'Ed25519', 'RS256')),
  public_jwk jsonb not null,
  private_key bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  signs_from timestamptz not null,
  retired_at timestamptz,
  revoked_at timestamptz
);
comment on table signing_keys is 'Private halves are AES-256-GCM under WRIT_KEK. Published from creation, signs from signs_from, retired by a newer one. Written by platform/keys; never deleted.';

create table admin_tokens (
  hash bytea primary key,
  name text not null unique,
  created_at timestamptz not null default now()
);
comment on table admin_tokens is 'Bearers of the administration API, hashed. The bootstrap token replaces its own row at start.';
