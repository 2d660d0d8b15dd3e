-- pre: what the hospital told about its numbers, and what was decided about each study.

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

-- The rules as they were whenever they decided something: a decision can be made again years later.
create table decision_rules (
  fingerprint text primary key,
  first_used timestamptz not null default limosa_now(),
  rules jsonb not null
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
