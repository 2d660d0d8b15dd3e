"""The statements of one plan; `deciding` is a temporary table with a row per study."""

from typing import Final

CREATE: Final = """
create temp table deciding (
  study_key bigint not null, study_uid text collate "C" not null, classes text[] not null, content jsonb not null,
  evidence jsonb not null, survivor_issuer text, survivor_number text, written text not null, site text not null,
  accession_issuer text collate "C", accession text collate "C", alike text collate "C",
  open text[], held boolean, verdict text, digest bytea, accepted text[] not null default '{}');
create temp table further (
  study_key bigint not null, written text not null, site text not null,
  accession_issuer text collate "C" not null, accession text collate "C" not null)"""

COPY: Final = """
copy deciding (study_key, study_uid, classes, content, evidence, survivor_issuer, survivor_number, written, site,
  accession_issuer, accession, alike) from stdin"""

STUDIES: Final = """
select study_key, study_uid, patient_id, issuer, patient_name, birth_date, sex, accession, study_date, study_time,
  modalities, instance_count
from study where source_id = %s and study_key > %s and state <> 'excluded' order by study_key limit %s"""

SHARED: Final = """
select study_uid, written, site, survivor_issuer, survivor_number, accession_issuer, accession
from deciding join (select accession_issuer, accession from deciding where accession is not null
                    group by 1, 2 having count(*) > 1) several using (accession_issuer, accession)
order by accession_issuer, accession, study_key"""

# Apart from the other: without any further number, Postgres groups by the index alone.
SHARED_FURTHER: Final = """
with numbered as (
  select study_key, study_uid, written, site, survivor_issuer, survivor_number, accession_issuer, accession
  from deciding where accession is not null
  union all
  select d.study_key, d.study_uid, f.written, f.site, d.survivor_issuer, d.survivor_number, f.accession_issuer,
    f.accession
  from further f join deciding d using (study_key))
select study_uid, written, site, survivor_issuer, survivor_number, accession_issuer, accession
from numbered join (select accession_issuer, accession from numbered group by 1, 2 having count(*) > 1) several
  using (accession_issuer, accession)
order by accession_issuer, accession, study_key"""

# A number that may not be given is not given, even when a person lets the study move.
COLLIDE: Final = """
update deciding set classes = array_append(array_remove(classes, %(kind)s), %(kind)s),
  content = content - 'accessions' - 'accession_rule', evidence = evidence || %(evidence)s
where accession_issuer = %(issuer)s and accession = %(number)s"""

COLLIDE_FURTHER: Final = """
update deciding set classes = array_append(array_remove(classes, %(kind)s), %(kind)s),
  content = content - 'accessions' - 'accession_rule', evidence = evidence || %(evidence)s
where study_key in (select study_key from further where accession_issuer = %(issuer)s and accession = %(number)s)"""

# Each of several that agree is listed: nobody knows which of them is the copy.
TWINS: Final = """
update deciding d set classes = array_append(d.classes, 'STUDY_DUPLICATED'),
  evidence = d.evidence || jsonb_build_object('alike', t.uids)
from (select alike, jsonb_agg(study_uid order by study_uid) as uids from (
        select alike, study_uid, row_number() over (partition by alike order by study_uid) as place,
          count(*) over (partition by alike) as several
        from deciding where alike is not null) each
      where several > 1 and place <= 20 group by alike) t
where d.alike = t.alike"""

ACCEPTED: Final = """
update deciding d set accepted = a.kinds
from (select d.study_key, array_agg(a.kind) as kinds from acceptance a join deciding d using (study_key)
      where a.digest = sha256(convert_to(d.content::text, 'UTF8')) group by d.study_key) a
where d.study_key = a.study_key"""

SETTLE: Final = """
update deciding d set open = o.open, digest = sha256(convert_to(d.content::text, 'UTF8')),
  held = o.open && (%(review)s::text[] || %(conflict)s::text[]),
  verdict = case when o.open && %(conflict)s::text[] then 'conflict' when o.open && %(review)s::text[] then 'review'
            when d.classes <> '{}' then 'auto_note' else 'auto' end
from (select study_key, array(select unnest(classes) except select unnest(accepted)) as open from deciding) o
where o.study_key = d.study_key"""

TALLY: Final = """
select count(*), coalesce(sum(cardinality(accepted)), 0)::bigint,
  count(*) filter (where h.digest is distinct from d.digest or h.held is distinct from d.held)
from deciding d left join decision h using (study_key)"""

# Names are compared without the ends that mean nothing, as they are when headers are rewritten.
CHANGES: Final = """
select s.study_uid, d.verdict, d.open as classes,
  case when h.study_key is null then 'new' when h.held and not d.held then 'released'
       when d.held and not h.held then 'held' else 'changed' end as why,
  array_remove(array[
    case when c -> 'patient' ->> 1 <> coalesce(btrim(s.patient_id), '') or c -> 'asked' <> c -> 'patient'
      then 'patient' end,
    case when rtrim(c -> 'person' ->> 'name', '^= ') <> rtrim(coalesce(s.patient_name, ''), '^= ')
      then 'person.name' end,
    case when c -> 'person' ->> 'birth_date' <> coalesce(s.birth_date, '') then 'person.birth_date' end,
    case when c -> 'person' ->> 'sex' <> coalesce(s.sex, '') then 'person.sex' end,
    case when exists (select from jsonb_array_elements(c -> 'accessions') r where r ->> 0 <> r ->> 2)
      then 'accessions' end], null) as headers,
  case when h.study_key is null then '{}' else differing_keys(h.content, d.content) end as differs
from (select *, content as c from deciding) d join study s using (study_key) left join decision h using (study_key)
where h.digest is distinct from d.digest or h.held is distinct from d.held
order by d.study_key limit %s"""

DECIDE: Final = """
insert into decision as h (study_key, held, verdict, rules, digest, classes, content, evidence)
select study_key, held, verdict, %(rules)s, digest, classes, content, evidence from deciding
where study_key >= %(first)s and study_key < %(next)s
on conflict (study_key) do update set decided_at = limosa_now(), held = excluded.held, verdict = excluded.verdict,
  rules = excluded.rules, digest = excluded.digest, classes = excluded.classes, content = excluded.content,
  evidence = excluded.evidence
where (h.digest, h.held, h.verdict, h.classes, h.evidence)
  is distinct from (excluded.digest, excluded.held, excluded.verdict, excluded.classes, excluded.evidence)"""

# The bounds stand beside both tables of each join: Postgres hands on equality from one to the other, and no bounds, and
# would read all studies for each page of the plan.

# Before the decision that the row was opened for is another one: what differs is told in kind, never the values.
SUPERSEDE: Final = """
update exception e set resolved_at = limosa_now(), resolved_by = 'plan', resolution = %(superseded)s,
  evidence = e.evidence || jsonb_build_object('changed', case when e.proposal is null then '[]'
    else to_jsonb(differing_keys(h.content, d.content)) end)
from deciding d join study s using (study_key) left join decision h using (study_key)
where d.study_key >= %(first)s and d.study_key < %(next)s
  and s.study_key >= %(first)s and s.study_key < %(next)s
  and e.study_key >= %(first)s and e.study_key < %(next)s and e.study_key = d.study_key and e.resolved_at is null
  and e.kind = any (%(kinds)s) and e.kind = any (d.open) and e.sop_uid is null and e.proposal is distinct from d.digest
  and s.state not in ('held', 'excluded')"""

# A study that a person holds or has left behind needs nobody else. The row before, where another proposal took its
# place, hands on who works through it.
OPEN: Final = """
insert into exception as e (study_key, kind, severity, blocking, remedy, owner, proposal, evidence)
select d.study_key, %(kind)s, %(severity)s::severity, %(blocking)s, %(remedy)s, coalesce(p.owner, 'operator'),
  d.digest, d.evidence || case when p.owner is null then '{}' else jsonb_build_object('supersedes', p.exception_id) end
from deciding d join study s using (study_key) left join lateral (
  select l.exception_id, case when l.resolution = %(superseded)s then l.owner end as owner from exception l
  where l.study_key = d.study_key and l.kind = %(kind)s and l.sop_uid is null
  order by l.exception_id desc limit 1) p on true
where d.study_key >= %(first)s and d.study_key < %(next)s
  and s.study_key >= %(first)s and s.study_key < %(next)s and %(kind)s = any (d.open)
  and s.state not in ('held', 'excluded')
on conflict (kind, study_key, sop_uid, destination_id) where resolved_at is null do update set
  last_seen = limosa_now(), times_seen = e.times_seen + 1, severity = excluded.severity, blocking = excluded.blocking,
  remedy = excluded.remedy, proposal = excluded.proposal, evidence = e.evidence || excluded.evidence"""

CLOSE: Final = """
update exception e set resolved_at = limosa_now(), resolved_by = 'plan', resolution = 'settled'
from deciding d
where d.study_key >= %(first)s and d.study_key < %(next)s
  and e.study_key >= %(first)s and e.study_key < %(next)s and e.study_key = d.study_key and e.resolved_at is null
  and e.kind = any (%(kinds)s) and not e.kind = any (d.open) and e.sop_uid is null"""

STOP: Final = """
update study s set state = 'exception'
from deciding d
where d.study_key >= %(first)s and d.study_key < %(next)s
  and s.study_key >= %(first)s and s.study_key < %(next)s and d.held and s.study_key = d.study_key
  and s.state in ('discovered', 'planned')"""

STOP_DELIVERIES: Final = """
update delivery v set held_state = v.state, state = 'exception', not_before = null,
  lease_owner = null, lease_until = null, lease_kind = null
from deciding d
where d.study_key >= %(first)s and d.study_key < %(next)s
  and v.study_key >= %(first)s and v.study_key < %(next)s and d.held and v.study_key = d.study_key
  and v.state = 'pending'"""

RELEASE: Final = """
update study s set state = case when s.revision = 0 then 'discovered' else 'planned' end::study_state
from deciding d
where d.study_key >= %(first)s and d.study_key < %(next)s
  and s.study_key >= %(first)s and s.study_key < %(next)s and not d.held and s.study_key = d.study_key
  and s.state = 'exception'
  and not exists (select from exception e where e.study_key = s.study_key and e.resolved_at is null and e.blocking
                  and e.delivery_id is null)
  and exists (select from exception e where e.study_key = s.study_key and e.kind = any (%(kinds)s))"""

RECOUNT: Final = """
update study s set recount = true, corrected = true
from deciding d
where d.study_key >= %(first)s and d.study_key < %(next)s
  and s.study_key >= %(first)s and s.study_key < %(next)s and not d.held and s.study_key = d.study_key
  and s.state = 'planned' and s.revision > 0 and not s.recount
  and exists (select from study_revision r where r.study_key = s.study_key and r.revision = s.revision
              and r.plan -> 'decision' ->> 'digest' is distinct from encode(d.digest, 'hex'))"""

# What stopped and is to be as it was planned after all goes on where it stopped.
GO_ON: Final = """
update delivery v set state = v.held_state, held_state = null, attempts = 0
from deciding d join study s using (study_key)
where d.study_key >= %(first)s and d.study_key < %(next)s
  and s.study_key >= %(first)s and s.study_key < %(next)s
  and v.study_key >= %(first)s and v.study_key < %(next)s and not d.held and v.study_key = d.study_key
  and s.state = 'planned' and not s.recount and v.revision = s.revision and v.state = 'exception'
  and not exists (select from exception e where e.study_key = v.study_key and e.resolved_at is null and e.blocking
                  and (e.delivery_id is null or e.delivery_id = v.delivery_id))
  and exists (select from exception e where e.study_key = v.study_key and e.kind = any (%(kinds)s)
              and e.resolved_by = 'plan')"""
