-- pre: which rules of coercion each revision was written under, what they were, and what they did.

-- The rules as they were whenever something was written under them.
create table coercion_rules (
  version text primary key,
  first_used timestamptz not null default limosa_now(),
  rules jsonb
);
create trigger coercion_rules_are_fixed before update or delete on coercion_rules
  for each row when (old.rules is not null) execute function refuse_change();

-- What the rules of one version came to in a study. Studies to which the same happened share a row: there are few.
create table coercion_effect (
  effect_id integer generated always as identity primary key,
  version text not null references coercion_rules,
  met text[],
  acted text[] not null,
  constraint one_row_for_an_effect unique nulls not distinct (version, met, acted)
);
create trigger coercion_effect_is_fixed before update or delete on coercion_effect
  for each row execute function refuse_change();

alter table upload_member add met text[] not null default '{}', add acted text[] not null default '{}';
alter table study_revision add effect_id integer references coercion_effect;

-- Of what was written before, the custody log knows the version and the rules that changed something.
create temporary table told on commit drop as
select distinct on (study_key) study_key, coalesce(payload #>> '{coercion,rules}', 'none') as version,
  array(select jsonb_object_keys(coalesce(payload #> '{coercion,instances_by_rule}', '{}')) order by 1) as acted,
  case when not payload ? 'coercion' and not payload ? 'identity' then '{}'::text[] end as met
from custody where event = 'written' order by study_key, seq desc;
insert into coercion_rules (version) select distinct version from told;
insert into coercion_effect (version, met, acted) select distinct version, met, acted from told;
alter table study_revision disable trigger written_revision_is_fixed;
update study_revision r set effect_id = e.effect_id
from told t join coercion_effect e on (e.version, e.acted) = (t.version, t.acted) and e.met is not distinct from t.met
where r.study_key = t.study_key and r.written_at is not null and not exists (
  select from study_revision l where l.study_key = r.study_key and l.revision > r.revision and l.written_at is not null);
alter table study_revision enable trigger written_revision_is_fixed;

create index revision_by_effect on study_revision (effect_id, study_key) where effect_id is not null;
