"""The pilot's days and studies, and what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from imaging.uid import Uid
from storage.ledger.lifecycle import DeliveryState, StudyState
from storage.ledger.pool import Pool
from storage.ledger.records import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class DayContent:
    """Studies of one day that are alike."""

    day: str | None
    """Eight digits; None: no date, or none that is one."""
    modalities: tuple[str, ...] | None
    studies: int
    devices: tuple[str, ...]
    """Manufacturers and models that a sample met among them."""
    flaws: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotDay:
    """One day of the pilot."""

    day: str
    studies: int
    """On that day, in the archive."""
    moved: int
    """In the pilot."""
    why: tuple[str, ...]
    """What it was taken for; empty: drawn by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotProblem:
    """An open exception of a pilot's study."""

    exception_id: int
    kind: str
    severity: Severity
    blocking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotStudy:
    """A study of the pilot and what became of it. Holds nothing of a patient."""

    study_key: int
    study_uid: Uid
    day: str
    modalities: tuple[str, ...] | None
    state: StudyState
    states: tuple[DeliveryState, ...]
    manufacturer: str | None
    model: str | None
    instances: int | None
    bytes: int | None
    problems: tuple[PilotProblem, ...]


class Pilots:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def contents(self) -> tuple[DayContent, ...]:
        """Every study that is still to be moved or was moved by a pilot, by day and likeness."""
        with self._pool.transaction("look at days") as conn:
            rows = conn.execute(_CONTENTS).fetchall()
        return tuple(
            DayContent(
                day=row[0],
                modalities=None if row[1] is None else tuple(row[1]),
                studies=row[2],
                devices=tuple(row[3] or ()),
                flaws=tuple(row[4] or ()),
            )
            for row in rows
        )

    def begin(self, days: Mapping[str, tuple[int, int, Sequence[str]]], seed: str) -> int:
        """A new pilot has these days (eight digits, or other words for those without a date), each with the studies it
        has, how many of them are moved, and why; the number of its studies. What an earlier pilot moved stays moved."""
        with self._pool.transaction("begin pilot") as conn:
            conn.execute("delete from pilot_study")
            conn.execute("delete from pilot_day")
            with conn.cursor() as cursor:
                cursor.executemany(
                    "insert into pilot_day (day, studies, moved, why) values (%s, %s, %s, %s)",
                    [(day, studies, moved, list(why)) for day, (studies, moved, why) in days.items()],
                )
            return conn.execute(_PICK, {"seed": seed}).rowcount

    def days(self) -> tuple[PilotDay, ...]:
        """The pilot's days in order; none where no pilot was begun."""
        with self._pool.transaction("list pilot days") as conn:
            return tuple(
                conn.cursor(row_factory=class_row(PilotDay)).execute(
                    "select day, studies, moved, why from pilot_day order by day"
                )
            )

    def unsampled(self) -> tuple[tuple[int, Uid], ...]:
        """Keys and UIDs of the pilot's studies that no sample looked into."""
        with self._pool.transaction("list unsampled") as conn:
            return tuple(
                conn.execute(
                    "select s.study_key, s.study_uid from pilot_study p join study s using (study_key)"
                    " where not exists (select from sampled_study k where k.study_key = s.study_key)"
                    " and s.instance_count is distinct from 0 order by s.study_key"
                ).fetchall()
            )

    def studies(self) -> tuple[PilotStudy, ...]:
        """The pilot's studies and what became of them, in order of their keys."""
        with self._pool.transaction("list pilot studies") as conn:
            rows = conn.execute(_STUDIES).fetchall()
        return tuple(_study(row) for row in rows)


def _study(row: Sequence[Any]) -> PilotStudy:
    return PilotStudy(
        study_key=row[0],
        study_uid=row[1],
        day=row[2],
        modalities=None if row[3] is None else tuple(row[3]),
        state=StudyState(row[4]),
        states=tuple(DeliveryState(state) for state in row[5]),
        manufacturer=row[6],
        model=row[7],
        instances=row[8],
        bytes=row[9],
        problems=tuple(
            PilotProblem(
                exception_id=one["exception_id"],
                kind=one["kind"],
                severity=Severity(one["severity"]),
                blocking=one["blocking"],
            )
            for one in row[10]
        ),
    )


_DAY = """case when replace(btrim(s.study_date), '.', '') ~ '^[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])$'
    and replace(btrim(s.study_date), '.', '') between '19500101' and '99981231'
  then replace(btrim(s.study_date), '.', '') end"""

_CONTENTS = """
with seen as (
  select s.study_key, day_of_study as day, (select array_agg(m order by m) from unnest(s.modalities) m) as kinds,
    (select array_agg(distinct concat_ws(' ', k.manufacturer, k.model)) from sampled_series k
      where k.study_key = s.study_key and k.manufacturer is not null) as devices,
    array_remove(array[
      case when coalesce(btrim(s.patient_id), '') = '' then 'no patient id' end,
      case when coalesce(btrim(s.accession), '') = '' then 'no accession number' end,
      case when length(s.accession) > 16 then 'accession number too long' end,
      case when coalesce(btrim(s.birth_date), '') = '' then 'no birth date' end,
      case when s.instance_count > 2000 then 'more than 2,000 instances' end,
      case when s.instance_count is null then 'not counted' end,
      case when exists (select from exception e where e.study_key = s.study_key and e.resolved_at is null
        and e.kind like 'STUDY_UID_%%') then 'several patients' end], null) as flaws
  from study s, job j
  where s.generation = j.generation and s.state not in ('held', 'excluded', 'empty_confirmed')
    and s.instance_count is distinct from 0)
select day, kinds, count(*) as studies, (select array_agg(distinct d) from unnest(array_agg(devices[1])) d
  where d is not null) as devices, flaws
from seen group by day, kinds, flaws order by day, kinds, flaws""".replace("day_of_study", _DAY)

# Within a day, kinds take turns: the first of each, the second of each, and so on.
_PICK = """
with placed as (
  select s.study_key, coalesce(day_of_study, 'no date') as day,
    row_number() over (
      partition by day_of_study, s.modalities order by md5(s.study_uid || %(seed)s)) as turn,
    md5(s.study_uid || %(seed)s) as chance
  from study s, job j
  where s.generation = j.generation and s.state not in ('held', 'excluded', 'empty_confirmed')
    and s.instance_count is distinct from 0),
ranked as (
  select p.study_key, p.day, d.moved, row_number() over (partition by p.day order by p.turn, p.chance) as place
  from placed p join pilot_day d using (day))
insert into pilot_study (study_key, day)
select study_key, day from ranked where place <= moved""".replace("day_of_study", _DAY)

_STUDIES = """
select s.study_key, s.study_uid, p.day, (select array_agg(m order by m) from unnest(s.modalities) m), s.state,
  array(select d.state::text from delivery d where d.study_key = s.study_key and d.revision = s.revision
    order by d.destination_id),
  k.manufacturer, k.model, r.instances, r.sto_bytes,
  coalesce((select jsonb_agg(jsonb_build_object('exception_id', e.exception_id, 'kind', e.kind,
      'severity', e.severity, 'blocking', e.blocking) order by e.exception_id)
    from exception e where e.study_key = s.study_key and e.resolved_at is null), '[]')
from pilot_study p join study s using (study_key)
left join study_revision r on r.study_key = s.study_key and r.revision = s.revision
left join lateral (
  select manufacturer, model from sampled_series q where q.study_key = s.study_key and manufacturer is not null
  group by 1, 2 order by sum(instances) desc, 1, 2 limit 1) k on true
order by s.study_key"""
