-- Indexes for what identity providers search by (SCIM filters, sorting and cursors): within a directory, in the order of
-- code points whatever the collation of the server, and without regard to case. SCIM sees no deleted people.

-- Addresses are sent in any length and number; what an index holds is bounded.
create function person_emails(attributes jsonb) returns text[] language sql immutable parallel safe as $$
  select array(
    select left(lower(email ->> 'value'), 256)
    from jsonb_array_elements(case when jsonb_typeof(attributes -> 'emails') = 'array' then attributes -> 'emails' else '[]' end) as email
    where email ->> 'value' is not null)
$$;

-- Without fastupdate: one write in thousands would do the work of all the others, and every search would read what waits.
create index people_emails on people using gin (person_emails(attributes)) with (fastupdate = off) where deleted_at is null;
create index people_by_user_name on people (directory_id, (lower(user_name) collate "C"), id) where deleted_at is null;
create index people_by_display_name on people (directory_id, (left(lower(display_name), 256) collate "C"), id) where deleted_at is null;
create index people_modified on people (directory_id, updated_at, id) where deleted_at is null;
create index groups_page on groups (directory_id, created_at, id);

-- Of the expressions of partial indexes PostgreSQL keeps no statistics: without these one name in a million looks like
-- one in two hundred.
create statistics people_user_name_folded on (lower(user_name)) from people;
create statistics people_display_name_folded on (left(lower(display_name), 256)) from people;
create statistics groups_display_name_folded on (lower(display_name)) from groups;
