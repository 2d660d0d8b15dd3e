"""Which identifier of MRG goes with which of PID: of the same issuer and type, or it is not known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from imaging.hl7.patients import Numbered
from imaging.identity.people import Identifier


class Unpaired(StrEnum):
    """Why no pair is made; a guess here would merge two patients."""

    NO_COUNTERPART = "no counterpart"
    SEVERAL = "several counterparts"
    NOT_THE_SAME = "no number is in both lists"
    OWNER_UNCLEAR = "the new owner is not clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Numbers that moved, whose they were and whose they are."""

    moved: tuple[Identifier, ...]
    giver: Identifier | None
    owner: Identifier


def counterparts(
    olds: Sequence[Numbered], news: Sequence[Numbered]
) -> Iterator[tuple[Identifier, Identifier] | Unpaired]:
    """Each old number with the new one of its issuer and type (HL7 v2 section 3.3.40); types are not crossed.

    A number that is in both lists, such as the national one, is a sign of the same person and no merge. Some
    senders list what is merged among the new ones as well; it is not its own counterpart's rival. A list
    without types pairs by issuer alone.
    """
    held = {one.identifier for one in olds}
    rivals: dict[str, dict[Identifier, set[str]]] = {}
    shared = {one.identifier for one in news} & held
    for one in news:
        if one.identifier not in held:
            rivals.setdefault(one.identifier.issuer, {}).setdefault(one.identifier, set()).add(one.type)
    some = False
    told: set[Identifier] = set()
    for old in olds:
        if old.identifier in told:
            continue
        told.add(old.identifier)
        there = rivals.get(old.identifier.issuer, {})
        fitting = [new for new, types in there.items() if not old.type or old.type in types or "" in types]
        exact = [new for new in fitting if old.type in there[new]]
        fitting = exact or fitting
        if len(fitting) == 1:
            some = True
            yield old.identifier, fitting[0]
        elif fitting:
            yield Unpaired.SEVERAL
        elif old.identifier not in shared:
            yield Unpaired.NO_COUNTERPART
    if olds and not some and shared == held:
        yield Unpaired.NO_COUNTERPART


def owners(olds: Sequence[Numbered], news: Sequence[Numbered]) -> Owners | Unpaired:
    """What moved (A43): numbers that are the same on both sides; whose they are is said by what differs."""
    before, after = [one.identifier for one in olds], [one.identifier for one in news]
    moved = tuple(dict.fromkeys(one for one in before if one in set(after)))
    if not moved:
        return Unpaired.NOT_THE_SAME
    givers = list(dict.fromkeys(one for one in before if one not in set(moved)))
    takers = list(dict.fromkeys(one for one in after if one not in set(moved)))
    if not takers:
        return Unpaired.OWNER_UNCLEAR
    issuers = [one.issuer for one in takers]
    giver = next((one for one in givers if one.issuer in issuers), None)
    owner = next((one for one in takers if giver is not None and one.issuer == giver.issuer), takers[0])
    if len(takers) > 1 and (giver is None or issuers.count(owner.issuer) > 1):
        return Unpaired.OWNER_UNCLEAR
    return Owners(moved=moved, giver=giver or (givers[0] if givers else None), owner=owner)
