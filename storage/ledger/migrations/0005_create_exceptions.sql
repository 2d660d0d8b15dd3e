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
  constraint kind_is_a_name check (kind ~ '^[A-Z][A-Z0-9_]{2,47}$'),
  constraint resolved_is_whole check (
    (resolved_at is null) = (resolved_by is null) and (resolved_at is null) = (resolution is null)),
  constraint seen_in_order check (last_seen >= first_seen and times_seen >= 1)
);
create unique index one_open_exception on exception (kind, study_key, sop_uid, destination_id)
  nulls not distinct where resolved_at is null;
create index exception_of_study on exception (study_key) where study_key is not null;
create index exception_of_delivery on exception (delivery_id) where delivery_id is not null;
