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
insert into pace (source_id) select source_id from source;

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
