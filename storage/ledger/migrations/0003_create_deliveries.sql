-- pre: the queue, narrow on purpose, and the resumable state of unfinished deliveries.

create type delivery_state as enum (
  'pending', 'written', 'sealed', 'shipped', 'arrived', 'validated', 'exception', 'void');
create type lease_kind as enum ('pull', 'feed', 'validate');

create table delivery (
  delivery_id bigint generated always as identity primary key,
  study_key bigint not null,
  not_before timestamptz,
  lease_until timestamptz,
  written_at timestamptz,
  validated_at timestamptz,
  revision integer not null,
  source_id integer not null references source,
  destination_id integer not null references destination,
  lease_epoch integer not null default 0,
  state delivery_state not null default 'pending',
  held_state delivery_state,
  lease_kind lease_kind,
  priority smallint not null,
  attempts smallint not null default 0,
  pulled boolean not null,
  ready boolean not null,
  lease_owner text,
  container text,
  reason text,
  constraint one_delivery_per_destination unique (study_key, revision, destination_id),
  foreign key (study_key, revision) references study_revision,
  constraint pulled_is_ready check (ready or not pulled),
  constraint lease_is_whole check (
    (lease_owner is null) = (lease_until is null) and (lease_owner is null) = (lease_kind is null)),
  constraint leased_is_not_waiting check (lease_owner is null or not_before is null),
  constraint lease_fits_state check (
    lease_kind is null
    or (lease_kind = 'pull' and state = 'pending' and pulled)
    or (lease_kind = 'feed' and state = 'pending' and not pulled and ready)
    or (lease_kind = 'validate' and state in ('written', 'arrived'))),
  constraint exception_remembers_state check (
    (state = 'exception') = (held_state is not null)
    and held_state is distinct from 'exception' and held_state is distinct from 'validated'
    and held_state is distinct from 'void'),
  constraint pending_was_not_written check (state <> 'pending' or written_at is null),
  constraint written_has_time check (
    state not in ('written', 'sealed', 'shipped', 'arrived', 'validated') or written_at is not null),
  constraint validated_has_time check ((state = 'validated') = (validated_at is not null)),
  constraint counters_are_not_negative check (lease_epoch >= 0 and attempts >= 0)
  -- Dead queue entries in front of the live ones are what slows a claim; hence an eager vacuum.
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02);

create unique index one_pulled_delivery on delivery (study_key, revision) where pulled;
create index delivery_to_pull on delivery (source_id, priority, delivery_id)
  where state = 'pending' and pulled and lease_owner is null and not_before is null;
create index delivery_to_feed on delivery (destination_id, priority, delivery_id)
  where state = 'pending' and not pulled and ready and lease_owner is null and not_before is null;
create index delivery_to_validate on delivery (destination_id, priority, delivery_id)
  where state in ('written', 'arrived') and lease_owner is null and not_before is null;
create index delivery_leased on delivery (lease_until) where lease_owner is not null;
create index delivery_leased_by on delivery (lease_owner) where lease_owner is not null;
create index delivery_pulling on delivery (source_id, lease_until) where lease_kind = 'pull';
create index delivery_waiting on delivery (not_before) where not_before is not null;

-- The same pairs as lifecycle.DELIVERY_MOVES; a test holds the two together.
create function check_delivery_move() returns trigger language plpgsql as $$
begin
  if (old.state::text || '>' || new.state::text) <> all (array[
    'pending>written', 'pending>exception', 'pending>void',
    'written>sealed', 'written>validated', 'written>exception',
    'sealed>shipped', 'sealed>exception',
    'shipped>arrived', 'shipped>exception',
    'arrived>validated', 'arrived>exception',
    'exception>pending', 'exception>written', 'exception>sealed', 'exception>shipped', 'exception>arrived',
    'exception>void'])
  then
    raise exception 'a delivery never goes from % to %', old.state, new.state
      using errcode = 'check_violation', constraint = 'delivery_moves_as_allowed';
  end if;
  return new;
end
$$;
create trigger delivery_moves_as_allowed before update of state on delivery
  for each row when (old.state is distinct from new.state) execute function check_delivery_move();

create table upload (
  delivery_id bigint primary key references delivery,
  key text not null,
  container text not null,
  device text not null default '',
  upload_id text not null default '',
  begun_at timestamptz not null default limosa_now(),
  constraint upload_has_key check (key <> '')
);

create table upload_part (
  delivery_id bigint not null references upload on delete cascade,
  byte_start bigint not null,
  byte_size bigint not null,
  number integer not null,
  crc64 bytea not null,
  etag text not null,
  primary key (delivery_id, number),
  constraint part_has_bytes check (number >= 1 and byte_start >= 0 and byte_size >= 1),
  constraint part_crc_is_64_bits check (octet_length(crc64) = 8)
);

create table upload_member (
  delivery_id bigint not null references upload on delete cascade,
  byte_start bigint not null,
  byte_size bigint not null,
  raw_size bigint not null,
  sto_size bigint not null,
  lead integer not null,
  sop uuid not null,
  sop_uid text collate "C" not null,
  series_uid text collate "C" not null,
  sop_class text collate "C" not null,
  transfer_syntax text collate "C" not null,
  raw1 bytea not null,
  sto1 bytea not null,
  pd1 bytea,
  can1 bytea not null,
  flags text[] not null default '{}',
  primary key (delivery_id, sop_uid),
  constraint member_digests_are_blake3 check (
    octet_length(raw1) = 32 and octet_length(sto1) = 32 and octet_length(can1) = 32 and octet_length(pd1) = 32)
);
