-- Keys that are not for signing, such as that of the audit log's MACs, get a life of their own: derived from the KEK,
-- they would end with it, and no entry of the log could be verified after the KEK was exchanged.
create table sealed_keys (
  name text primary key,
  sealed bytea not null
);
comment on table sealed_keys is 'Symmetric keys, AES-256-GCM under WRIT_KEK for their name. Written by platform/keys, once; sealed anew by domain/tokens when the KEK is exchanged; never deleted.';
