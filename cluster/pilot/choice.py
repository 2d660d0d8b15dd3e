"""Which days make a pilot: few, and between them every kind of study, device, year and flaw. Pure.

A day is what a hospital can look at as a whole: its worklist, its radiologists' reading. Days are taken greedily, each
time the one that meets most of what is not met often enough yet. What is left of the number is drawn by chance in
proportion to studies, so that the common is there as often as it is common.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cluster.reports.names import kind_name
from storage.ledger.pilots import DayContent

WANTED = {"kind": 3, "device": 2, "year": 1, "flaw": 2}
"""On how many days each trait of a sort is to be met: a kind of study oftener than a year."""

SORTS = tuple(WANTED)
UNDATED = "no date"


@dataclass(frozen=True, slots=True, order=True)
class Trait:
    """Something that days may show."""

    sort: str
    """kind, device, year or flaw."""
    name: str

    def __str__(self) -> str:
        return f"{self.sort} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of the archive: its date as eight digits, or `UNDATED`."""

    date: str
    studies: int
    traits: frozenset[Trait]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenDay:
    """A day of the pilot, and why."""

    date: str
    studies: int
    """On that day, in the archive."""
    why: tuple[Trait, ...]
    """What it was taken for; empty: drawn by chance."""


def days_of(contents: Iterable[DayContent]) -> tuple[Day, ...]:
    """Days with what they show, in order of their dates."""
    studies: dict[str, int] = {}
    traits: dict[str, set[Trait]] = {}
    for one in contents:
        date = one.day or UNDATED
        studies[date] = studies.get(date, 0) + one.studies
        shown = traits.setdefault(date, set())
        shown.add(Trait("kind", kind_name(one.modalities)))
        shown |= {Trait("device", name) for name in one.devices}
        shown |= {Trait("flaw", name) for name in one.flaws}
        if one.day:
            shown.add(Trait("year", one.day[:4]))
    return tuple(Day(date=date, studies=studies[date], traits=frozenset(traits[date])) for date in sorted(studies))


def choose(days: Sequence[Day], wanted: int, seed: str) -> tuple[ChosenDay, ...]:
    """At most `wanted` days, those that meet something first, in the order they were taken."""
    need = {trait: WANTED[trait.sort] for day in days for trait in day.traits}
    left = list(days)
    taken: list[ChosenDay] = []
    while left and len(taken) < wanted:
        best = max(left, key=lambda day: (_gain(day, need), -day.studies, day.date))
        if _gain(best, need) == 0:
            break
        met = tuple(sorted(trait for trait in best.traits if need[trait] > 0))
        for trait in met:
            need[trait] -= 1
        left.remove(best)
        taken.append(ChosenDay(date=best.date, studies=best.studies, why=met))
    drawn = sorted(left, key=lambda day: _chance(day, seed), reverse=True)[: wanted - len(taken)]
    return (*taken, *(ChosenDay(date=day.date, studies=day.studies, why=()) for day in drawn))


def unmet(days: Sequence[Day], dates: Collection[str]) -> tuple[Trait, ...]:
    """Traits of the archive that no chosen day shows."""
    shown = {trait for day in days if day.date in dates for trait in day.traits}
    return tuple(sorted({trait for day in days for trait in day.traits} - shown))


def shares(chosen: Sequence[ChosenDay], most: int) -> Mapping[str, int]:
    """How many studies of each day the pilot moves: all, or as many as an even share of `most` leaves room for."""
    room = most
    given: dict[str, int] = {}
    for place, day in enumerate(sorted(chosen, key=lambda day: day.studies)):
        given[day.date] = min(day.studies, max(1, room // (len(chosen) - place)))
        room -= given[day.date]
    return given


def _gain(day: Day, need: Mapping[Trait, int]) -> float:
    """What a day adds: a trait that is met nowhere yet counts most, and kinds more than years."""
    return sum(need[trait] / WANTED[trait.sort] * (4 - SORTS.index(trait.sort)) for trait in day.traits)


def _chance(day: Day, seed: str) -> float:
    """A draw with odds in proportion to studies (Efraimidis and Spirakis), the same for the same seed."""
    digest = hashlib.sha256(f"{seed}/{day.date}".encode()).digest()
    uniform = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 1)
    return uniform ** (1 / day.studies)
