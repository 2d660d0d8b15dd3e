"""The order in which events are replayed: one, whatever order they came in, however often.

A history of decades is sorted where it is kept, by what a database can sort by (`coarse`); what is left to be sorted
here are the few events that agree in it.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import TypeAlias

from imaging.identity.events import (
    Delete,
    Describe,
    IdentityEvent,
    Link,
    Merge,
    Move,
    MovePart,
    Register,
    RenamePart,
    Source,
    Undo,
    Unlink,
    Unrelated,
)
from imaging.identity.people import Person

_PASSES = {Source.HL7: 0, Source.SNAPSHOT: 1, Source.CROSSWALK: 2, Source.MANUAL: 3}
"""History first: a snapshot describes whoever has the number by then, and tables correct what history left."""
_PRECEDENCE = {
    kind: number
    for number, kind in enumerate(
        (Register, Describe, RenamePart, Link, Unlink, Move, MovePart, Merge, Undo, Delete, Unrelated)
    )
}
"""Within one instant: one message both describes a patient and merges another into it."""
_LAST = datetime.max.replace(tzinfo=UTC)

Coarse: TypeAlias = tuple[int, datetime, int, str, str]
_Key: TypeAlias = tuple[int, datetime, int, tuple[str, ...]]


def replayed(events: Iterable[IdentityEvent]) -> list[IdentityEvent]:
    """Each event once, in the order of replay; those without a time are the last of their source."""
    return sorted(set(events), key=_key)


def replayed_in_turn(events: Iterable[IdentityEvent]) -> Iterator[IdentityEvent]:
    """As `replayed`, for events that come in the order of `coarse`; only those that agree in it are held together.

    Raises `ValueError` where they come in another order.
    """
    last: Coarse | None = None
    for key, several in groupby(events, key=coarse):
        if last is not None and key < last:
            raise ValueError("events are not in the order of replay")
        last = key
        first, *others = several
        yield from replayed((first, *others)) if others else (first,)


def coarse(event: IdentityEvent) -> Coarse:
    """Pass of the source, time, precedence of the kind, and the first two texts that tell events apart; texts compare
    by code points, and an event without a time is the last."""
    origin, told = event.origin, _told(event)
    one, other = told[:2] if told else ("", "")
    return _PASSES[origin.source], origin.at or _LAST, _PRECEDENCE[type(event)], one, other


def _key(event: IdentityEvent) -> _Key:
    origin = event.origin
    tie = (*_told(event), origin.source.value, origin.label, origin.kind)
    return _PASSES[origin.source], origin.at or _LAST, _PRECEDENCE[type(event)], tie


def _told(event: IdentityEvent) -> tuple[str, ...]:
    """Everything that tells apart events of one kind and instant."""
    match event:
        case Merge():
            return (*event.old, *event.new, "renamed" if event.renamed else "")
        case Undo():
            return (*event.old, *event.new)
        case Move():
            return (*event.moved, *event.owner, *(event.giver or ()))
        case MovePart():
            return (event.part.value, event.number, *event.giver, *event.owner)
        case RenamePart():
            return (event.part.value, *event.patient, event.old, event.new)
        case Link() | Unlink():
            return (*event.one, *event.other)
        case Register() | Describe():
            return (*event.identifier, *_person(event.person))
        case Delete():
            return tuple(event.identifier)
        case Unrelated():
            return ()


def _person(person: Person) -> tuple[str, ...]:
    return tuple("-" if one is None else f"+{one}" for one in (person.name, person.birth_date, person.sex))
