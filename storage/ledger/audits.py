"""The audit of private elements: which studies it looks at, and what people decided."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from psycopg.rows import class_row

from imaging.uid import Uid
from storage.ledger.pool import Pool


class Fate(StrEnum):
    """What is to become of a private element."""

    KEEP = "keep"
    MAP = "map"
    """A rule makes a standard attribute of it."""
    KEEP_AND_COPY = "keep_and_copy"
    ACCEPT_LOSS = "accept_loss"
    OPEN = "open"
    """An earlier decision is taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenStudy:
    """A study of the sample."""

    study_uid: Uid
    modalities: tuple[str, ...]
    year: int | None
    of: int
    """Studies of the same modalities and year that could have been taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateDecision:
    """The latest word on one private element, or on all of its block."""

    at: datetime
    creator: str
    element_group: int
    low: int | None
    """None: every element of the block that has no decision of its own."""
    decision: Fate
    decided_by: str
    note: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "decision", Fate(self.decision))


class Audits:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def chosen(self, *, per_stratum: int, seed: str, written: bool = True) -> tuple[ChosenStudy, ...]:
        """Studies that are written somewhere, else those that the source lists; at most so many for each modality set
        and year, and the same for the same seed."""
        with self._pool.transaction("choose for audit") as conn:
            rows = conn.execute(_CHOSEN, {"most": per_stratum, "seed": seed, "written": written})
            return tuple(
                ChosenStudy(study_uid=uid, modalities=tuple(modalities or ()), year=year, of=of)
                for uid, modalities, year, of in rows
            )

    def decide(
        self, destination: str, creator: str, group: int, low: int | None, fate: Fate, *, by: str, note: str
    ) -> None:
        """The decision stands from now on; earlier ones are kept below it."""
        with self._pool.transaction("decide private element") as conn:
            conn.execute(
                "insert into private_decision (destination, creator, element_group, low, decision, decided_by, note)"
                " values (%s, %s, %s, %s, %s, %s, %s)",
                (destination, creator, group, low, fate.value, by, note),
            )

    def decisions(self, destination: str) -> tuple[PrivateDecision, ...]:
        """The latest of each element and block for this destination; those taken back are left out."""
        with self._pool.transaction("read private decisions") as conn:
            return tuple(
                conn.cursor(row_factory=class_row(PrivateDecision)).execute(_DECISIONS, {"destination": destination})
            )


_CHOSEN = """
select study_uid, modalities, year, of from (
  select s.study_uid, m.modalities, m.year,
    row_number() over (partition by m.modalities, m.year order by md5(s.study_uid || %(seed)s)) as place,
    count(*) over (partition by m.modalities, m.year) as of
  from study s
  cross join lateral (
    select (select array_agg(each order by each) from unnest(s.modalities) each) as modalities,
      case when s.study_date ~ '^[0-9]{8}$' then left(s.study_date, 4)::integer end as year) m
  where case when %(written)s
    then exists (select from delivery d join receipt r using (delivery_id)
                 where d.study_key = s.study_key and d.revision = s.revision)
    else s.generation = (select generation from job) and s.instance_count is distinct from 0 end
) placed
where place <= %(most)s order by modalities nulls last, year nulls last, place"""

_DECISIONS = """
select at, creator, element_group, low, decision, decided_by, note from (
  select distinct on (creator, element_group, low) * from private_decision
  where destination = %(destination)s order by creator, element_group, low, private_decision_id desc
) latest
where decision <> 'open' order by creator, element_group, low nulls first"""
