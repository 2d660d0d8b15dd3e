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
  constraint study_uid_is_known_once unique (study_uid),
  constraint study_uid_is_a_uid check (study_uid ~ '^[0-9]+(\.[0-9]+)*$' and length(study_uid) <= 64),
  constraint counts_are_not_negative check (series_count >= 0 and instance_count >= 0),
  constraint planned_has_revision check (state not in ('planned', 'empty_confirmed') or revision >= 1),
  constraint discovered_is_not_recounted check (state <> 'discovered' or not recount)
) with (fillfactor = 85);
create index study_to_plan on study (priority, study_key)
  where state = 'discovered' or (recount and state in ('planned', 'empty_confirmed'));
create index study_by_patient on study (patient_id);

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
