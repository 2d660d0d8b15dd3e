-- pre: what is known for certain. Rows are only ever added.

-- Written in the completing commit and never touched again. No foreign key: four billion look-ups would prove only
-- what the same transaction has just locked.
create table instance (
  study_key bigint not null,
  raw_size bigint not null,
  sto_size bigint not null,
  revision integer not null,
  sop_uid text collate "C" not null,
  series_uid text collate "C" not null,
  sop_class text collate "C" not null,
  transfer_syntax text collate "C" not null,
  raw1 bytea not null,
  sto1 bytea not null,
  pd1 bytea,
  can1 bytea not null,
  flags text[] not null,
  primary key (study_key, revision, sop_uid),
  constraint digests_are_blake3 check (
    octet_length(raw1) = 32 and octet_length(sto1) = 32 and octet_length(can1) = 32 and octet_length(pd1) = 32),
  constraint sizes_are_not_negative check (raw_size >= 0 and sto_size > 0)
) partition by hash (study_key);

-- Which studies hold a SOP Instance UID. `sop` is 16 bytes of its BLAKE3, in a uuid because that type has no length
-- header: 16 bytes less per row and index entry, 64 GB at four billion rows. A UID that two studies share gets two rows.
create table sop (
  sop uuid not null,
  study_key bigint not null,
  primary key (sop, study_key)
) partition by hash (sop);

-- 64: at four billion rows a partition's index (about 5 GB) still fits the memory of a modest server.
do $$
begin
  for i in 0..63 loop
    execute format('create table instance_%s partition of instance for values with (modulus 64, remainder %s)',
                   to_char(i, 'fm00'), i);
    execute format('create table sop_%s partition of sop for values with (modulus 64, remainder %s)',
                   to_char(i, 'fm00'), i);
  end loop;
end
$$;
create trigger instance_is_fixed before update or delete on instance
  for each row execute function refuse_change();

create table receipt (
  delivery_id bigint primary key references delivery,
  size bigint not null,
  instances integer not null,
  at timestamptz not null default limosa_now(),
  key text not null,
  container text not null,
  crc64 bytea,
  etag text not null,
  version_id text not null,
  device text not null,
  constraint receipt_has_bytes check (size > 0 and instances >= 1),
  constraint receipt_crc_is_64_bits check (octet_length(crc64) = 8)
);
-- Rates ask for the last minutes of a table that only grows at its end.
create index receipt_at on receipt using brin (at);
create trigger receipt_is_fixed before update or delete on receipt
  for each row execute function refuse_change();

create table validation (
  validation_id bigint generated always as identity primary key,
  delivery_id bigint not null references delivery,
  instances integer not null,
  digests_compared integer not null,
  mismatches integer not null,
  missing integer not null,
  surplus integer not null,
  at timestamptz not null default limosa_now(),
  constraint validation_counts_are_not_negative check (
    instances >= 0 and digests_compared >= 0 and mismatches >= 0 and missing >= 0 and surplus >= 0)
);
create index validation_of_delivery on validation (delivery_id);
create trigger validation_is_fixed before update or delete on validation
  for each row execute function refuse_change();

-- Looked at when the transaction commits, so that state and evidence may be written in either order.
create function check_delivery_evidence() returns trigger language plpgsql as $$
begin
  if not exists (select from receipt r where r.delivery_id = new.delivery_id) then
    raise exception 'a written delivery needs its receipt'
      using errcode = 'check_violation', constraint = 'written_has_receipt';
  end if;
  if new.state = 'validated' and not exists (
    select from validation v
    where v.delivery_id = new.delivery_id and v.instances > 0 and v.digests_compared >= v.instances
      and v.mismatches = 0 and v.missing = 0 and v.surplus = 0)
  then
    raise exception 'a validated delivery needs a validation without findings'
      using errcode = 'check_violation', constraint = 'validated_has_proof';
  end if;
  return null;
end
$$;
create constraint trigger delivery_has_evidence after update of state on delivery deferrable initially deferred
  for each row when (new.state in ('written', 'sealed', 'shipped', 'arrived', 'validated') and old.state <> new.state)
  execute function check_delivery_evidence();

create table custody (
  study_key bigint not null references study,
  seq integer not null,
  at timestamptz not null,
  event text not null,
  actor text not null,
  payload jsonb not null,
  prev_hash bytea not null,
  hash bytea not null,
  primary key (study_key, seq),
  constraint custody_starts_at_one check (seq >= 1),
  constraint custody_hashes_are_blake3 check (octet_length(prev_hash) = 32 and octet_length(hash) = 32)
);
create trigger custody_is_fixed before update or delete on custody
  for each row execute function refuse_change();
create trigger custody_is_kept before truncate on custody execute function refuse_change();
create trigger receipt_is_kept before truncate on receipt execute function refuse_change();
create trigger validation_is_kept before truncate on validation execute function refuse_change();
create trigger instance_is_kept before truncate on instance execute function refuse_change();
