-- What an administrator sets for a directory, and what its IdP has sent lately.

alter table directories
  -- Whoever is not in this group is as good as gone. No foreign key: the IdP may delete the group, and that frees nobody.
  add column required_group_id uuid,
  -- Departures of more than this share of the active people within an hour need a confirmation. Null: never.
  add column mass_departure_percent integer check (mass_departure_percent between 1 and 100),
  -- Whether /Agents is there for it, and where agents that it creates live.
  add column scim_agents boolean not null default false,
  add column scim_agents_environment text not null default 'sandbox' check (scim_agents_environment ~ '^[a-z][a-z0-9-]{0,31}$'),
  -- An IdP that syncs and then says nothing for so long raises an alarm. Null: never.
  add column silence_after_seconds integer check (silence_after_seconds between 60 and 31536000),
  -- Requests a minute; null: the rate of the server.
  add column requests_per_minute integer check (requests_per_minute between 1 and 1000000),
  add column last_contact_at timestamptz,
  add column silent_since timestamptz;

-- Once for each token: that it is about to expire.
alter table directory_tokens add column warned_at timestamptz;

create table scim_requests (
  id bigint generated always as identity primary key,
  directory_id uuid not null references directories,
  at timestamptz not null default clock_timestamp(),
  request_id text not null,
  method text not null,
  path text not null,
  status integer not null,
  scim_type text,
  detail text,
  -- Parts of the body that were ignored, by name.
  ignored text[] not null default '{}',
  -- What the request did, in a word or two: created, changed, offboarded, nothing, ….
  effect text,
  took_ms double precision not null,
  user_agent text
);
comment on table scim_requests is 'The last requests of each directory and what they did, without values. Written by domain/people after the answer, best effort; the oldest are deleted by it.';
create index scim_requests_page on scim_requests (directory_id, id);
