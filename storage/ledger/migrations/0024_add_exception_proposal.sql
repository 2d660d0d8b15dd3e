-- pre: an exception that a plan opened is about one proposal, and whoever accepts it accepts that one.

alter table exception add column proposal bytea;
alter table exception add constraint proposal_is_256_bits check (octet_length(proposal) = 32);

update exception e set proposal = d.digest from decision d
where d.study_key = e.study_key and e.kind = any (d.classes) and e.resolved_at is null
  and e.sop_uid is null and e.destination_id is null;

-- Keys of two decisions' contents whose values differ; those of a person one by one.
create function differing_keys(was jsonb, became jsonb) returns text[] language sql immutable as $$
  with flat as (
    select key, value from jsonb_each(was - 'person')
    union all select 'person.' || key, value from jsonb_each(was -> 'person')
    union all select key, value from jsonb_each(became - 'person')
    union all select 'person.' || key, value from jsonb_each(became -> 'person'))
  select coalesce(array_agg(key order by key), '{}') from (
    select key from flat group by key having count(*) < 2 or count(distinct value) > 1) differing
$$;
