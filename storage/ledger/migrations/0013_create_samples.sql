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
  primary key (study_key, series_uid),
  constraint outcome_is_known check (outcome in ('read', 'damaged', 'absent')),
  constraint read_has_size check ((outcome = 'read') <= (size is not null)),
  constraint sampled_counts_are_not_negative check (instances >= 0 and size >= 0)
);
