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
  constraint limit_is_positive check (pull_limit >= 1),
  constraint allowed_stays_in_bounds check (allowed >= 1 and allowed <= pull_limit)
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
