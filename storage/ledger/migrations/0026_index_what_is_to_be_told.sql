-- pre: what a destination is to be told of is found without reading all that it has, or was told of before.

-- The reasons are those of storage/ledger/plan.py: until there is a message, and then.
update delivery d set reason = 'to be told by message'
where d.state = 'void' and d.reason = 'told by message' and not exists (
  select from outbound_study o
  where o.study_key = d.study_key and o.destination_id = d.destination_id and o.revision >= d.revision);

create index delivery_to_tell on delivery (destination_id, study_key, revision)
  where state = 'void' and reason = 'to be told by message';
create index revision_decided_for on study_revision ((plan -> 'decision' -> 'patient'))
  where plan -> 'decision' ? 'patient';
