"""What the custody logs say of dose, study by study counted."""

from dataclasses import dataclass

from psycopg.rows import class_row

from storage.ledger.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseCount:
    """Studies of one status, by their latest written revision."""

    status: str
    studies: int
    added: int
    """Of them, studies that got a report of ours."""
    proven: int
    """Of them, studies whose every delivery of that revision was read back: dose and all."""
    obstacles: dict[str, int]
    """Why no report could be made, and of how many."""
    conflicts: int
    """Studies with dose values that do not agree among themselves."""


class Doses:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def counts(self) -> tuple[DoseCount, ...]:
        """One row per status; reads every custody entry, so it takes minutes on a large ledger."""
        with self._pool.transaction("count dose") as conn:
            return tuple(conn.cursor(row_factory=class_row(DoseCount)).execute(_COUNTS))


_COUNTS = """
with latest as (
  select distinct on (study_key) study_key, payload
  from custody where event = 'written' and payload ? 'dose'
  order by study_key, seq desc
), judged as (
  select l.payload -> 'dose' ->> 'status' as status, l.payload -> 'dose' as dose, l.payload ? 'added' as added,
    not exists (
      select from delivery d where d.study_key = l.study_key and d.state not in ('validated', 'void')) as proven
  from latest l
), reasons as (
  select status, jsonb_object_agg(reason, studies) as obstacles
  from (select status, reason, count(*) as studies
        from judged, jsonb_array_elements_text(dose -> 'obstacles') reason group by 1, 2) counted
  group by 1
), totals as (
  select status, count(*) as studies, count(*) filter (where added) as added, count(*) filter (where proven) as proven,
    count(*) filter (where jsonb_array_length(dose -> 'conflicts') > 0) as conflicts
  from judged group by 1
)
select t.status, t.studies, t.added, t.proven, t.conflicts, coalesce(r.obstacles, '{}'::jsonb) as obstacles
from totals t left join reasons r using (status) order by t.status"""
