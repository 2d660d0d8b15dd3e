-- pre: what rules changed between reception and writing.

-- An attempt under other rules than the delivery was begun with starts over.
alter table upload add column rules text not null default '';
alter table upload_member add column coerced jsonb;

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
