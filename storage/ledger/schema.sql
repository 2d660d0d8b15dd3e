-- What the migrations make, in one piece: for reading, and for a test that compares the two.
-- pre: the clock, the job and what it works on.

-- The only clock of the ledger. `set limosa.clock_offset = '90 seconds'` (or options=-c in the URL) moves it for one
-- session, `alter database ... set` for all later ones: leases expire in tests without anybody sleeping.
-- Declared stable although it reads the running clock, so that `lease_until < limosa_now()` may use an index.
create function limosa_now() returns timestamptz language sql stable as $$
  select clock_timestamp() + coalesce(nullif(current_setting('limosa.clock_offset', true), '')::interval, interval '0')
$$;

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% of % is refused: verified facts are never changed', lower(tg_op), tg_table_name
    using errcode = 'integrity_constraint_violation', constraint = 'verified_facts_are_fixed';
end
$$;

-- One ledger belongs to one job and one source archive; a second job in the same database would prove nothing.
create table job (
  singleton boolean primary key default true,
  name text not null,
  source_identity text not null,
  secret bytea not null,
  generation integer not null default 0,
  holder_host text,
  holder_pid integer,
  held_since timestamptz,
  created_at timestamptz not null default limosa_now(),
  constraint one_job_per_ledger check (singleton),
  constraint secret_is_256_bits check (octet_length(secret) = 32),
  constraint generation_counts_up check (generation >= 0)
);

create table source (
  source_id integer generated always as identity primary key,
  name text not null unique,
  kind text not null,
  pull_limit integer not null,
  allowed real not null,
  profile jsonb not null default '{}',
  busy_at timestamptz,
  busy_count integer not null default 0,
  busy_reason text,
  enumerated integer not null default 0,
  stopped text,
  constraint limit_is_positive check (pull_limit >= 1),
  constraint allowed_stays_in_bounds check (allowed >= 1 and allowed <= pull_limit),
  constraint enumerated_is_a_generation check (enumerated >= 0),
  constraint stopped_says_why check (stopped <> '')
);

create type destination_state as enum ('open', 'full', 'stopped');

create table destination (
  destination_id integer generated always as identity primary key,
  name text not null unique,
  kind text not null,
  inline boolean not null,
  fingerprint text not null,
  state destination_state not null default 'open',
  reason text,
  told boolean not null default false,
  constraint closed_says_why check (state = 'open' or reason is not null)
);
create unique index one_inline_destination on destination (inline) where inline;

create table device (
  device_id text primary key,
  destination_id integer not null references destination,
  path_label text not null,
  state text not null default 'loading',
  changed_at timestamptz not null default limosa_now(),
  constraint device_state_is_known check (state in ('loading', 'full', 'sealed', 'shipped', 'arrived', 'ingested', 'failed'))
);

create table control (
  singleton boolean primary key default true,
  paused boolean not null default false,
  reason text,
  changed_at timestamptz not null default limosa_now(),
  constraint one_control_row check (singleton),
  constraint paused_says_why check (not paused or reason is not null)
);
insert into control default values;

create table worker (
  name text primary key,
  kind text not null,
  host text not null,
  pid integer not null,
  started_at timestamptz not null default limosa_now(),
  beat_at timestamptz not null default limosa_now(),
  stats jsonb not null default '{}'
);
-- pre: what the archive says it has. Wide facts; the queue is elsewhere.

create type find_verdict as enum ('open', 'complete', 'split', 'unsplittable');

create table find_window (
  window_id bigint generated always as identity primary key,
  source_id integer not null references source,
  generation integer not null,
  keys jsonb not null,
  parent_id bigint references find_window,
  verdict find_verdict not null,
  answers integer not null,
  undecodable integer not null,
  ended text not null,
  status integer,
  transfer_syntax text not null,
  raw bytea not null,
  at timestamptz not null default limosa_now(),
  constraint one_answer_per_window unique (source_id, generation, keys),
  constraint answers_are_counted check (answers >= 0 and undecodable >= 0)
);
-- Already zstd: a second compression by TOAST would only cost time.
alter table find_window alter column raw set storage external;

create type study_state as enum ('discovered', 'planned', 'held', 'excluded', 'empty_confirmed', 'exception');

create table study (
  study_key bigint generated always as identity primary key,
  source_id integer not null references source,
  revision integer not null default 0,
  generation integer not null,
  series_count integer,
  instance_count integer,
  priority smallint not null default 100,
  state study_state not null default 'discovered',
  recount boolean not null default false,
  first_seen timestamptz not null default limosa_now(),
  last_seen timestamptz not null default limosa_now(),
  study_uid text collate "C" not null,
  patient_id text,
  issuer text,
  patient_name text,
  birth_date text,
  sex text,
  accession text,
  study_date text,
  study_time text,
  modalities text[],
  description text,
  reason text,
  -- The study's next revision differs in what was decided about it, and in nothing that the archive has.
  corrected boolean not null default false,
  constraint study_uid_is_known_once unique (study_uid),
  constraint study_uid_is_a_uid check (study_uid ~ '^[0-9]+(\.[0-9]+)*$' and length(study_uid) <= 64),
  constraint counts_are_not_negative check (series_count >= 0 and instance_count >= 0),
  constraint planned_has_revision check (state not in ('planned', 'empty_confirmed') or revision >= 1),
  constraint discovered_is_not_recounted check (state <> 'discovered' or not recount),
  constraint corrected_is_recounted check (not corrected or recount)
) with (fillfactor = 85);
create index study_to_plan on study (priority, study_key)
  where state = 'discovered' or (recount and state in ('planned', 'empty_confirmed'));
create index study_by_patient on study (patient_id);

-- The rules as they were whenever something was written under them, to the letter: the entries of a table have an order,
-- and a rule may look for NUL.
create table coercion_rules (
  version text primary key,
  first_used timestamptz not null default limosa_now(),
  rules json
);
create trigger coercion_rules_are_fixed before update or delete on coercion_rules
  for each row when (old.rules is not null) execute function refuse_change();

-- What the rules of one version came to in a study. Studies to which the same happened share a row: there are few.
create table coercion_effect (
  effect_id integer generated always as identity primary key,
  version text not null references coercion_rules,
  met text[],
  acted text[] not null,
  modalities text[],
  constraint one_row_for_an_effect unique nulls not distinct (version, met, acted, modalities)
);
create trigger coercion_effect_is_fixed before update or delete on coercion_effect
  for each row execute function refuse_change();

-- One immutable version of a study as it is delivered; the expected set is fixed when it is written.
create table study_revision (
  study_key bigint not null references study,
  revision integer not null,
  instances integer,
  raw_bytes bigint,
  sto_bytes bigint,
  algorithm text not null default 'blake3',
  expected_root bytea,
  plan jsonb not null default '{}',
  planned_at timestamptz not null default limosa_now(),
  written_at timestamptz,
  effect_id integer references coercion_effect,
  primary key (study_key, revision),
  constraint revision_starts_at_one check (revision >= 1),
  constraint algorithm_is_known check (algorithm = 'blake3'),
  constraint root_is_blake3 check (octet_length(expected_root) = 32),
  constraint written_has_expected_set check (
    (written_at is null) = (expected_root is null)
    and (written_at is null) = (instances is null)
    and (written_at is null) = (raw_bytes is null)
    and (written_at is null) = (sto_bytes is null)),
  constraint written_is_not_empty check (instances >= 1)
);
create trigger written_revision_is_fixed before update or delete on study_revision
  for each row when (old.written_at is not null) execute function refuse_change();
create index revision_by_effect on study_revision (effect_id, study_key) where effect_id is not null;
create index revision_decided_for on study_revision ((plan -> 'decision' -> 'patient'))
  where plan -> 'decision' ? 'patient';
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
  spoiled boolean not null default false,
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
create index delivery_to_tell on delivery (destination_id, study_key, revision)
  where state = 'void' and reason = 'to be told by message';
create index delivery_waiting on delivery (not_before) where not_before is not null;

-- The same pairs as lifecycle.DELIVERY_MOVES; a test holds the two together. What was proven on a device may go on its
-- way, where it is to be proven again, and may be found damaged before it leaves.
create function check_delivery_move() returns trigger language plpgsql as $$
begin
  if (old.state::text || '>' || new.state::text) <> all (array[
    'pending>written', 'pending>exception', 'pending>void',
    'written>sealed', 'written>validated', 'written>exception', 'written>void',
    'sealed>shipped', 'sealed>exception',
    'shipped>arrived', 'shipped>exception',
    'arrived>validated', 'arrived>exception',
    'validated>sealed', 'validated>exception',
    'exception>pending', 'exception>written', 'exception>sealed', 'exception>shipped', 'exception>arrived',
    'exception>void'])
  then
    raise exception 'a delivery never goes from % to %', old.state, new.state
      using errcode = 'check_violation', constraint = 'delivery_moves_as_allowed';
  end if;
  if old.state = 'validated'
    and not exists (select from receipt r where r.delivery_id = old.delivery_id and r.device <> '')
    and not exists (select from volume v where v.delivery_id = old.delivery_id)
  then
    raise exception 'a validated delivery that is on no device stays so'
      using errcode = 'check_violation', constraint = 'validated_stays_unless_shipped';
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
  rules text not null default '',
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
  coerced jsonb,
  met text[] not null default '{}',
  acted text[] not null default '{}',
  modality text not null default '?',
  primary key (delivery_id, sop_uid),
  constraint member_digests_are_blake3 check (
    octet_length(raw1) = 32 and octet_length(sto1) = 32 and octet_length(can1) = 32 and octet_length(pd1) = 32)
);
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
  proof text not null default 'digests',
  object_sha256 bytea,
  object_blake3 bytea,
  constraint validation_counts_are_not_negative check (
    instances >= 0 and digests_compared >= 0 and mismatches >= 0 and missing >= 0 and surplus >= 0),
  constraint validation_has_a_proof check (proof in ('digests', 'commitment')),
  constraint validation_digests_are_whole check (
    octet_length(object_sha256) = 32 and octet_length(object_blake3) = 32),
  constraint validation_has_both_digests check ((object_sha256 is null) = (object_blake3 is null))
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
-- pre: what needs a person.

create type severity as enum ('info', 'warning', 'error', 'critical');

create table exception (
  exception_id bigint generated always as identity primary key,
  study_key bigint references study,
  delivery_id bigint references delivery,
  destination_id integer references destination,
  kind text not null,
  severity severity not null,
  blocking boolean not null,
  resolved_at timestamptz,
  resolved_by text,
  resolution text,
  first_seen timestamptz not null default limosa_now(),
  last_seen timestamptz not null default limosa_now(),
  times_seen integer not null default 1,
  sop_uid text collate "C",
  remedy text not null,
  owner text not null,
  evidence jsonb not null default '{}',
  -- What a plan proposed when it opened the row: whoever accepts it accepts that.
  proposal bytea,
  constraint kind_is_a_name check (kind ~ '^[A-Z][A-Z0-9_]{2,47}$'),
  constraint resolved_is_whole check (
    (resolved_at is null) = (resolved_by is null) and (resolved_at is null) = (resolution is null)),
  constraint seen_in_order check (last_seen >= first_seen and times_seen >= 1),
  constraint proposal_is_256_bits check (octet_length(proposal) = 32)
);
create unique index one_open_exception on exception (kind, study_key, sop_uid, destination_id)
  nulls not distinct where resolved_at is null;
create index exception_of_study on exception (study_key) where study_key is not null;
create index exception_of_delivery on exception (delivery_id) where delivery_id is not null;
-- pre: how fast a source sends, and why as many of its studies are pulled at once as are.

-- What movers saw since the slice began, and what the rule remembers; one row is updated twice a second by each mover.
create table pace (
  source_id integer primary key references source,
  since timestamptz not null default limosa_now(),
  instances bigint not null default 0,
  bytes bigint not null default 0,
  busy double precision not null default 0,
  ended integer not null default 0,
  failed integer not null default 0,
  refused integer not null default 0,
  state jsonb not null default '{}'
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create table association_change (
  change_id bigint generated always as identity primary key,
  source_id integer not null references source,
  at timestamptz not null default limosa_now(),
  before integer not null,
  after integer not null,
  reason text not null,
  instances_per_second double precision not null,
  bytes_per_second double precision not null,
  constraint change_changes check (before <> after and after >= 1)
);
create trigger association_change_is_fixed before update or delete on association_change
  for each row execute function refuse_change();

-- One rule's work on one study, where the datasets themselves do not keep their previous values.
create table coercion (
  study_key bigint not null,
  revision integer not null,
  instances integer not null,
  rule text not null,
  changes jsonb not null,
  primary key (study_key, revision, rule),
  foreign key (study_key, revision) references study_revision,
  constraint coercion_has_instances check (instances >= 1)
);
create trigger coercion_is_fixed before update or delete on coercion
  for each row execute function refuse_change();
create trigger coercion_is_kept before truncate on coercion execute function refuse_change();

-- One file as it was read. Tables of one name replace each other; messages only ever add up.
create table hospital_file (
  file_id bigint generated always as identity primary key,
  read_at timestamptz not null default limosa_now(),
  replaced_at timestamptz,
  messages integer not null,
  events integer not null,
  kind text not null,
  name text not null,
  digest bytea not null,
  reading text not null,
  defects jsonb not null default '{}',
  forgotten_by text,
  forgotten_why text,
  -- False for files that were read before repeats were kept: what they told again nobody knows.
  repeats_kept boolean not null default false,
  constraint forgotten_is_replaced check (forgotten_by is null or replaced_at is not null),
  constraint file_kind_is_known check (kind in ('hl7', 'crosswalk', 'manual', 'snapshot', 'orders')),
  constraint file_digest_is_blake3 check (octet_length(digest) = 32)
);
create unique index one_table_of_a_name on hospital_file (kind, name) where replaced_at is null and kind <> 'hl7';
create unique index one_reading_of_a_file on hospital_file (kind, digest, reading) where replaced_at is null;

-- What one message or row says; the digest makes telling it twice the same as once.
create table identity_event (
  digest bytea primary key,
  file_id bigint not null references hospital_file,
  at timestamptz,
  verb text not null,
  kind text not null,
  label text not null,
  issuer text,
  number text,
  issuer_2 text,
  number_2 text,
  issuer_3 text,
  number_3 text,
  part text,
  was text,
  became text,
  name text,
  birth_date text,
  sex text,
  constraint event_digest_is_blake3 check (octet_length(digest) = 32)
);
create index identity_event_of_file on identity_event (file_id);
create trigger identity_event_is_fixed before update or delete on identity_event
  for each row execute function refuse_change();

-- Events that a file of messages told after another one had.
create table told_again (
  digest bytea not null,
  file_id bigint not null references hospital_file,
  primary key (digest, file_id)
);

-- Under which digest an event is told that a forgotten file had told under this one.
create function digest_that_counts(digest bytea) returns bytea language plpgsql stable as $$
declare
  found bigint;
begin
  loop
    select e.file_id into found from identity_event e join hospital_file f using (file_id)
    where e.digest = digest_that_counts.digest and f.forgotten_by is not null;
    if found is null then
      return digest;
    end if;
    digest := sha256(digest || int8send(found));
  end loop;
end
$$;

-- One line of the RIS's list of orders.
create table ordered (
  file_id bigint not null references hospital_file,
  line integer not null,
  accession text not null,
  accession_issuer text not null,
  issuer text,
  number text,
  study_uid text collate "C",
  procedure text,
  primary key (file_id, line)
);
create index ordered_by_accession on ordered (accession);
create index ordered_by_study on ordered (study_uid) where study_uid <> '';

-- The rules as they were whenever they decided something: a decision can be made again years later.
create table decision_rules (
  fingerprint text primary key,
  first_used timestamptz not null default limosa_now(),
  rules json not null
);
create trigger decision_rules_are_fixed before update or delete on decision_rules
  for each row execute function refuse_change();

-- What is decided about a study now; what a revision was planned with is in study_revision.plan.
create table decision (
  study_key bigint primary key references study,
  decided_at timestamptz not null default limosa_now(),
  held boolean not null,
  verdict text not null,
  rules text not null references decision_rules,
  digest bytea not null,
  classes text[] not null default '{}',
  content jsonb not null,
  evidence jsonb not null default '{}',
  constraint verdict_is_known check (verdict in ('auto', 'auto_note', 'review', 'conflict')),
  constraint decision_digest_is_256_bits check (octet_length(digest) = 32)
);
create index decision_with_class on decision using gin (classes) where classes <> '{}';

-- A person let a study move as it was proposed. Another proposal needs another person's word.
create table acceptance (
  study_key bigint not null references study,
  kind text not null,
  digest bytea not null,
  at timestamptz not null default limosa_now(),
  accepted_by text not null,
  primary key (study_key, kind, digest)
);
create trigger acceptance_is_fixed before update or delete on acceptance
  for each row execute function refuse_change();

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
-- pre: devices that are sealed, shipped and accounted for at the far side.

-- All packs of one device in order of their keys: the order of its manifest.
create index receipt_on_device on receipt (device, key collate "C") where device <> '';

create table seal (
  device_id text primary key references device,
  sealed_at timestamptz not null,
  root bytea not null,
  packs integer not null,
  instances bigint not null,
  bytes bigint not null,
  serial text not null,
  note text not null,
  sealed_by text not null,
  constraint seal_root_is_sha256 check (octet_length(root) = 32),
  constraint seal_holds_something check (packs >= 1 and instances >= packs and bytes >= packs)
);
create trigger seal_is_fixed before update or delete on seal for each row execute function refuse_change();
create trigger seal_is_kept before truncate on seal execute function refuse_change();

-- What one document of the far side came to.
create table arrival (
  arrival_id bigint generated always as identity primary key,
  device_id text not null references seal,
  at timestamptz not null default limosa_now(),
  evidence text not null,
  document bytea not null,
  arrived integer not null,
  missing integer not null,
  altered integer not null,
  unknown integer not null,
  strangers integer not null,
  reconciled_by text not null,
  by_digest integer,
  by_crc64 integer,
  by_size integer,
  by_name integer,
  constraint document_is_sha256 check (octet_length(document) = 32),
  constraint arrivals_are_counted check (
    arrived >= 0 and missing >= 0 and altered >= 0 and unknown >= 0 and strangers >= 0),
  constraint arrivals_say_how check (
    (by_digest is null and by_crc64 is null and by_size is null and by_name is null)
    or (by_digest >= 0 and by_crc64 >= 0 and by_size >= 0 and by_name >= 0
      and by_digest + by_crc64 + by_size + by_name = arrived))
);
create trigger arrival_is_fixed before update or delete on arrival for each row execute function refuse_change();
create trigger arrival_is_kept before truncate on arrival execute function refuse_change();
-- pre: what a sample of the archive showed before it moves.

create table sampled_study (
  study_key bigint primary key references study,
  at timestamptz not null default limosa_now(),
  listed boolean not null,
  seconds double precision not null,
  constraint sample_takes_time check (seconds >= 0)
);

-- One image stands for its series: equipment and encoding are the same in all of it but for rare ones.
create table sampled_series (
  study_key bigint not null references sampled_study on delete cascade,
  series_uid text collate "C" not null,
  instances integer not null,
  outcome text not null,
  size bigint,
  sop_class text collate "C",
  transfer_syntax text collate "C",
  modality text,
  manufacturer text,
  model text,
  station text,
  charset text,
  marks text[] not null default '{}',
  dose text,
  primary key (study_key, series_uid),
  constraint sampled_dose_is_known check (dose in ('report', 'readable', 'screen_only', 'none', 'no_ct')),
  constraint outcome_is_known check (outcome in ('read', 'damaged', 'absent')),
  constraint read_has_size check ((outcome = 'read') <= (size is not null)),
  constraint sampled_counts_are_not_negative check (instances >= 0 and size >= 0)
);
-- pre: what people decided about private elements. Rows are only ever added; the latest counts.

create table private_decision (
  private_decision_id bigint generated always as identity primary key,
  at timestamptz not null default limosa_now(),
  element_group integer not null,
  low smallint,
  decision text not null,
  destination text not null,
  creator text not null,
  decided_by text not null,
  note text not null,
  constraint private_group_is_odd check (element_group between 1 and 65535 and element_group % 2 = 1),
  constraint low_is_a_byte check (low between 0 and 255),
  constraint private_decision_is_known check (decision in ('keep', 'map', 'keep_and_copy', 'accept_loss', 'open')),
  constraint decision_has_an_author check (decided_by <> '')
);
create trigger private_decision_is_fixed before update or delete on private_decision
  for each row execute function refuse_change();
create trigger private_decision_is_kept before truncate on private_decision execute function refuse_change();
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
-- pre: a source that is a tree of files, and the pilot.

-- Which file holds which instance.
create table source_file (
  file_id bigint generated always as identity primary key,
  source_id integer not null references source,
  size bigint not null,
  changed_ns bigint not null,
  pass integer not null,
  -- As the file system has it: names need not be text.
  path bytea not null,
  state text not null,
  study_uid text collate "C",
  series_uid text collate "C",
  sop_uid text collate "C",
  sop_class text collate "C",
  transfer_syntax text collate "C",
  reason text,
  told boolean not null default false,
  constraint one_row_per_file unique (source_id, path),
  constraint file_state_is_known check (state in ('dicom', 'damaged', 'missing', 'directory', 'other')),
  constraint file_names_an_instance check (
    state not in ('dicom', 'missing') or (study_uid is not null and series_uid is not null and sop_uid is not null)),
  constraint file_sizes_are_not_negative check (size >= 0)
);
create index source_file_of_study on source_file (source_id, study_uid, series_uid, sop_uid)
  where study_uid is not null;
create index source_file_to_tell on source_file (source_id) where state = 'damaged' and not told;

-- Files of one study may name several patients; each is a row, so that inventory sees it.
create table source_study (
  source_id integer not null references source,
  study_uid text collate "C" not null,
  patient_id text not null default '',
  issuer text not null default '',
  pass integer not null,
  patient_name text,
  birth_date text,
  sex text,
  accession text,
  study_date text,
  study_time text,
  description text,
  modalities text[] not null default '{}',
  primary key (source_id, study_uid, patient_id, issuer)
);

-- The days and studies that were moved first, to see what the rest will be like.
create table pilot_day (
  day text primary key,
  picked_at timestamptz not null default limosa_now(),
  studies integer not null,
  moved integer not null,
  why text[] not null,
  constraint pilot_moves_what_is_there check (moved between 1 and studies)
);

create table pilot_study (
  study_key bigint primary key references study,
  day text not null references pilot_day
);
create index pilot_study_of_day on pilot_study (day);
-- pre: messages that were heard and cannot be used as they are; their sender was told so.
create table refused_message (
  digest bytea primary key,
  heard_at timestamptz not null default limosa_now(),
  times_heard integer not null default 1,
  defects text[] not null,
  octets bytea not null,
  constraint refused_digest_is_blake3 check (octet_length(digest) = 32)
);
-- pre: destinations that keep what they have are told by message when a study's patient has become another.

create table outbound_message (
  message_id bigint generated always as identity primary key,
  destination_id integer not null references destination,
  attempts integer not null default 0,
  made_at timestamptz not null default limosa_now(),
  last_tried timestamptz,
  done_at timestamptz,
  trigger text not null,
  control_id text not null unique,
  answer text,
  octets bytea not null,
  constraint outbound_trigger_is_known check (trigger in ('A40', 'A08')),
  constraint outbound_answer_is_known check (answer in ('AA', 'AE', 'AR', 'file')),
  constraint outbound_done_is_answered check (done_at is null or answer in ('AA', 'file'))
);
create index outbound_to_send on outbound_message (destination_id, message_id) where done_at is null;

-- Which message tells a destination of which revision of a study.
create table outbound_study (
  study_key bigint not null references study,
  message_id bigint not null references outbound_message,
  destination_id integer not null references destination,
  revision integer not null,
  primary key (study_key, destination_id, revision)
);
create trigger outbound_study_is_fixed before update or delete on outbound_study
  for each row execute function refuse_change();

-- pre: a study that no device takes whole is several packs, its volumes, on several devices.

-- A volume is here from its end on, while its delivery is still being written: its device may be sealed, shipped and
-- received before the last one is begun. The delivery's receipt then names no device.
create table volume (
  delivery_id bigint not null references delivery,
  size bigint not null,
  instances integer not null,
  at timestamptz not null default limosa_now(),
  number integer not null,
  stage delivery_state not null default 'written',
  key text not null,
  container text not null,
  crc64 bytea not null,
  device text not null,
  ended text not null,
  rules text not null default '',
  primary key (delivery_id, number),
  constraint volume_has_bytes check (number >= 1 and size > 0 and instances >= 1),
  constraint volume_is_on_a_device check (device <> '' and octet_length(crc64) = 8),
  constraint volume_ended_somehow check (ended in ('file', 'device', 'last')),
  constraint volume_is_on_its_way check (stage in ('written', 'sealed', 'shipped', 'arrived', 'validated'))
);
create index volume_on_device on volume (device, key collate "C");

create table volume_member (
  delivery_id bigint not null,
  byte_start bigint not null,
  byte_size bigint not null,
  raw_size bigint not null,
  sto_size bigint not null,
  number integer not null,
  lead integer not null,
  sop_uid text collate "C" not null,
  series_uid text collate "C" not null,
  sop_class text collate "C" not null,
  transfer_syntax text collate "C" not null,
  raw1 bytea not null,
  sto1 bytea not null,
  pd1 bytea,
  can1 bytea not null,
  flags text[] not null default '{}',
  coerced jsonb,
  met text[] not null default '{}',
  acted text[] not null default '{}',
  modality text not null default '?',
  primary key (delivery_id, sop_uid),
  foreign key (delivery_id, number) references volume on delete cascade,
  constraint member_digests_are_blake3 check (
    octet_length(raw1) = 32 and octet_length(sto1) = 32 and octet_length(can1) = 32 and octet_length(pd1) = 32)
);
create index volume_member_of_volume on volume_member (delivery_id, number);

-- Where it lies is said once; what is under a seal stays said.
create function check_volume() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and (new.delivery_id, new.number, new.size, new.instances, new.key, new.container, new.crc64,
                           new.device, new.ended) is distinct from
                          (old.delivery_id, old.number, old.size, old.instances, old.key, old.container, old.crc64,
                           old.device, old.ended)
    or tg_op = 'DELETE' and exists (select from seal s where s.device_id = old.device)
  then
    raise exception 'a volume is never changed, and one on a sealed device never forgotten'
      using errcode = 'check_violation', constraint = 'volume_is_fixed';
  end if;
  return coalesce(new, old);
end
$$;
create trigger volume_is_fixed before update or delete on volume for each row execute function check_volume();
create trigger volume_is_kept before truncate on volume execute function refuse_change();

-- What a receipt that names no device stands for; null where it stands for itself.
create function volumes_of(of_delivery bigint) returns jsonb language sql stable as $$
  select jsonb_agg(jsonb_build_object('key', key, 'size', size, 'crc64', encode(crc64, 'hex'), 'device', device)
                   order by number)
  from volume where delivery_id = of_delivery
$$;
