-- pre: what DICOM services are asked to answer for (Storage Commitment, PS3.4 annex J), and what they said.

-- A transaction is here before it is asked for: its report may come at once, on another association, to another process.
create table commitment (
  transaction_uid text collate "C" primary key,
  delivery_id bigint not null references delivery,
  asked_at timestamptz not null default limosa_now(),
  answered_at timestamptz,
  closed_at timestamptz,
  sop_uids text[] not null,
  committed text[] not null default '{}',
  failed jsonb not null default '{}',
  constraint commitment_asks_for_something check (cardinality(sop_uids) >= 1),
  constraint commitment_answers_what_was_asked check (committed <@ sop_uids)
);
create index commitment_of_delivery on commitment (delivery_id);

alter table validation add proof text not null default 'digests';
alter table validation add constraint validation_has_a_proof check (proof in ('digests', 'commitment'));

create or replace function check_delivery_evidence() returns trigger language plpgsql as $$
begin
  if not exists (select from receipt r where r.delivery_id = new.delivery_id) then
    raise exception 'a written delivery needs its receipt'
      using errcode = 'check_violation', constraint = 'written_has_receipt';
  end if;
  if new.state = 'validated' and not exists (
    select from validation v
    where v.delivery_id = new.delivery_id and v.instances > 0
      and (v.digests_compared >= v.instances or v.proof = 'commitment')
      and v.mismatches = 0 and v.missing = 0 and v.surplus = 0)
  then
    raise exception 'a validated delivery needs a validation without findings'
      using errcode = 'check_violation', constraint = 'validated_has_proof';
  end if;
  return null;
end
$$;
