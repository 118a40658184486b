-- How many have left a directory lately, which is asked at each departure from one that has a bound.
create index offboardings_directory on offboardings (directory_id, committed_at);
