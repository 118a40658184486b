-- A receipt reads the acknowledgements of the minutes after it: without this, each of them reads all that ever came.
create index acknowledgements_at on acknowledgements (at);
