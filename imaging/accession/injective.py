"""The proof that renumbering makes no two orders one, over a whole inventory in bounded memory.

Studies are spread over parts by a digest of what their number becomes; studies that could collide lie in the same
part. Each part is a pass of its own that holds one row per number in it, so memory is about the inventory's numbers
divided by the parts, and the inventory is read once per part. 470 bytes a number were measured (300,000 of them): 10
million studies take about 5 GB in one part.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from zlib import crc32

from imaging.accession.rules import Accession, AccessionRule, Origin, Renumbered, renumber
from imaging.identity.people import Conflict, Identifier

_T = TypeVar("_T")
SHOWN = 20
"""Originals that a collision lists; thousands of studies can share one number that means none, such as 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """One study of the inventory."""

    study: str
    """Study Instance UID."""
    written: str
    """The accession number as the archive has it."""
    origin: Origin
    patient: Identifier | None
    """The surviving number; None where identity is an open conflict, which then is compared with nobody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """Studies whose numbers become the same although they should not."""

    accession: Accession
    conflict: Conflict
    """ACC_COLLISION_PATIENT before ACC_COLLISION_SITE: the first hides a patient's images from another."""
    studies: int
    sample: tuple[Numbered, ...]
    """The first of each original, origin and patient, up to `SHOWN`."""
    by_rule: bool
    """The originals differ: the rules made them one. Else they were one already."""


@dataclass(slots=True)
class Tally:
    """What became of every study, counted once."""

    studies: int = 0
    kept: int = 0
    renumbered: int = 0
    missing: int = 0
    overlong: int = 0


@dataclass(slots=True)
class _Held:
    accession: Accession
    studies: int
    sample: list[Numbered]
    sites: set[tuple[str, str]]
    patients: set[Identifier]
    originals: set[tuple[str, str]]


def collisions(
    inventory: Callable[[], Iterable[Numbered]], rules: tuple[AccessionRule, ...], *, parts: int = 1
) -> Iterator[Collision]:
    """Every collision, each once; none means that the rules are injective over this inventory.

    `inventory` gives the studies anew, once per part. One number with several studies of the same patient and site is
    legal. Unusable numbers collide with nothing; `tally` counts them.
    """
    for part in range(parts):
        # Most numbers are one study's: a group is made when the second comes.
        held: dict[tuple[str, str], Numbered | _Held] = {}
        for study in inventory():
            outcome = renumber(study.written, study.origin, rules)
            if outcome.accession is not None and _part(outcome.accession, parts) == part:
                _hold(held, study, outcome.accession)
        for group in (one for one in held.values() if isinstance(one, _Held)):
            conflict = _conflict(group)
            if conflict is not None:
                yield Collision(
                    accession=group.accession,
                    conflict=conflict,
                    studies=group.studies,
                    sample=tuple(group.sample),
                    by_rule=len(group.originals) > 1,
                )


def tally(inventory: Iterable[Numbered], rules: tuple[AccessionRule, ...]) -> Tally:
    """How many numbers stay, change, are missing or do not fit; one pass, no memory."""
    count = Tally()
    for study in inventory:
        count.studies += 1
        outcome = renumber(study.written, study.origin, rules)
        if outcome.conflict is Conflict.ACC_OVERLONG:
            count.overlong += 1
        elif outcome.accession is None:
            count.missing += 1
        elif _same(study, outcome):
            count.kept += 1
        else:
            count.renumbered += 1
    return count


def _same(study: Numbered, outcome: Renumbered) -> bool:
    accession = outcome.accession
    return accession is not None and (accession.issuer, accession.value) == (study.origin.issuer, study.written)


def _part(accession: Accession, parts: int) -> int:
    return crc32(f"{accession.issuer}\0{accession.value}".encode()) % parts


def _hold(held: dict[tuple[str, str], Numbered | _Held], study: Numbered, accession: Accession) -> None:
    key = (accession.issuer, accession.value)
    known = held.get(key)
    if known is None:
        held[key] = study
        return
    if isinstance(known, Numbered):
        first, known = known, _Held(accession, 0, [], set(), set(), set())
        held[key] = known
        _join(known, first)
    _join(known, study)


def _join(group: _Held, study: Numbered) -> None:
    group.studies += 1
    site, original = (study.origin.source, study.origin.site), (study.origin.issuer, study.written.strip(" \0"))
    fresh = [_added(group.sites, site), _added(group.originals, original)]
    another = study.patient is not None and _added(group.patients, study.patient)
    if len(group.sample) == SHOWN and another and len(group.patients) == 2:
        # What makes it a collision of patients must be among what is shown.
        group.sample.pop()
    if len(group.sample) < SHOWN and (another or any(fresh)):
        group.sample.append(study)


def _added(known: set[_T], one: _T) -> bool:
    """Whether it is new; no more than `SHOWN` are remembered, and two are enough to tell."""
    if one in known or len(known) >= SHOWN:
        return False
    known.add(one)
    return True


def _conflict(group: _Held) -> Conflict | None:
    if len(group.patients) > 1:
        return Conflict.ACC_COLLISION_PATIENT
    if len(group.sites) > 1 or len(group.originals) > 1:
        return Conflict.ACC_COLLISION_SITE
    return None
