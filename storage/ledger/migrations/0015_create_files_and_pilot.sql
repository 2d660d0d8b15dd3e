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
  constraint one_row_per_file unique (source_id, path),
  constraint file_state_is_known check (state in ('dicom', 'damaged', 'missing', 'directory', 'other')),
  constraint file_names_an_instance check (
    state not in ('dicom', 'missing') or (study_uid is not null and series_uid is not null and sop_uid is not null)),
  constraint file_sizes_are_not_negative check (size >= 0)
);
create index source_file_of_study on source_file (source_id, study_uid, series_uid, sop_uid)
  where study_uid is not null;

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
