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
