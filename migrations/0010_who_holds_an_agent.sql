-- Who made an agent pending or suspended: a directory activates again what it has suspended itself, and nothing else.
alter table agents add column held_by text check (held_by in ('agent', 'api', 'directory', 'administrator', 'system'));
comment on column agents.held_by is 'Who made it pending or suspended; null: nobody, or from before this was kept. Written by domain/agents.';
