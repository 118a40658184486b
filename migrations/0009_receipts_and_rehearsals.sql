-- Receipts say what was live when somebody left, and who was listening; rehearsals say it beforehand.

create table offboarding_holdings (
  offboarding_id uuid not null references offboardings,
  -- intent: what value names. unexpired: as many tokens as value says. dead: could get no token even before.
  kind text not null check (kind in ('intent', 'unexpired', 'dead')),
  value text not null,
  agents uuid[] not null,
  primary key (offboarding_id, kind, value)
);
comment on table offboarding_holdings is 'What the agents of a receipt held when their owner left: one row for all that held the same, which costs a departure a fifth of a list for each agent. Written in the offboarding''s own transaction by domain/people; never deleted.';
-- As for the receipts: compressing 100,000 ids takes longer than writing them.
alter table offboarding_holdings alter column agents set storage external;

-- Verifiers that were connected when the person left: [{api, verifier}]. Null: a receipt of an earlier release, of which
-- neither that nor what its agents held is known.
alter table offboardings add column connected jsonb;

create table followers (
  -- Where it is connected; a node deletes only its own.
  node uuid not null,
  api_id uuid not null references apis,
  verifier text not null,
  seen_at timestamptz not null default clock_timestamp(),
  primary key (node, api_id, verifier)
);
comment on table followers is 'Verifiers that hold a stream of the feed open under a name. Written by domain/signals while they do; what a node that was killed has left is deleted by the others.';

-- An agent that has expired is dead before its owner leaves: few, and found without reading all latches there are.
create index latches_expired on latches (agent_id) where reason = 'expired';

-- Who has the same manager could take over. Values are of any length; what an index holds is bounded.
create index people_manager on people (
  directory_id,
  left(attributes -> 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User' -> 'manager' ->> 'value', 256)
) where deleted_at is null
  and attributes -> 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User' -> 'manager' ->> 'value' is not null;
