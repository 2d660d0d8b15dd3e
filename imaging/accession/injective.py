"""The proof that renumbering makes no two orders one, over a whole inventory.

Studies that could collide are those whose numbers become the same. Whoever calls sorts them next to each other, which
a database does on disk; then one number is in memory at a time, whatever the size of the archive.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from imaging.accession.rules import Accession, Origin
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
    accession: Accession
    """What the number becomes; studies whose number becomes none collide with nothing."""


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
class _Group:
    studies: int
    sample: list[Numbered]
    sites: set[tuple[str, str]]
    patients: set[Identifier]
    originals: set[tuple[str, str]]


def collisions(studies: Iterable[Numbered]) -> Iterator[Collision]:
    """Every collision, each once; none means that the rules are injective over these studies.

    Studies of one accession, by issuer and value, come next to each other. One number with several studies of the
    same patient and site is legal.
    """
    for _, several in groupby(studies, key=_key):
        group = _Group(0, [], set(), set(), set())
        for study in several:
            _join(group, study)
        conflict = _conflict(group)
        if conflict is not None:
            yield Collision(
                accession=group.sample[0].accession,
                conflict=conflict,
                studies=group.studies,
                sample=tuple(group.sample),
                by_rule=len(group.originals) > 1,
            )


def _key(study: Numbered) -> tuple[str, str]:
    return study.accession.issuer, study.accession.value


def _join(group: _Group, study: Numbered) -> None:
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


def _conflict(group: _Group) -> Conflict | None:
    if len(group.patients) > 1:
        return Conflict.ACC_COLLISION_PATIENT
    if len(group.sites) > 1 or len(group.originals) > 1:
        return Conflict.ACC_COLLISION_SITE
    return None
