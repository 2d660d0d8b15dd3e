-- pre: destinations that keep what they have are told by message when a study's patient has become another.

alter table destination add column told boolean not null default false;

-- The study's next revision differs in what was decided about it, and in nothing that the archive has.
alter table study add column corrected boolean not null default false;
alter table study add constraint corrected_is_recounted check (not corrected or recount);

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
