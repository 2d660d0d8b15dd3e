"""One number over time: each life of it is one person's, from when the number was given to when it is given again."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias

from imaging.identity.events import RANK, Move, Origin
from imaging.identity.people import NOBODY, Conflict, Identifier, Person

Told: TypeAlias = tuple[int, datetime | None, Person]
"""Rank of who said it, when, and what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What lies under one life belongs to another."""

    target: "Life"
    origin: Origin
    renamed: bool
    confirmed: datetime | None
    """When it was said last; what undoes it must be later."""

    @property
    def rank(self) -> int:
        """Of who says so."""
        return RANK[self.origin.source]


_NO_EDGES: Mapping["Life", Edge] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class Life:
    """A number while it was one person's. It changes during replay only.

    There is one for each patient of a hospital, and most were never merged or moved: what is empty is shared.
    """

    identifier: Identifier
    number: int
    since: datetime | None
    """None: since ever."""
    doubtful: bool = False
    """It was given again, and whether to somebody else is not certain."""
    edges: Mapping["Life", Edge] = field(default_factory=lambda: _NO_EDGES)
    told: tuple[Told, ...] = ()
    moves: tuple[Move, ...] = ()
    known: bool = False
    """Somebody registered or described it; else it is only the end of a merge."""
    deleted: bool = False
    conflict: Conflict | None = None

    @property
    def active(self) -> tuple[Edge, ...]:
        """The edges of the highest rank; lower ones are overruled."""
        if len(self.edges) < 2:
            return tuple(self.edges.values())
        rank = max(edge.rank for edge in self.edges.values())
        return tuple(edge for edge in self.edges.values() if edge.rank == rank)

    def person(self) -> Person:
        """Whoever it is."""
        return self.told[0][2] if len(self.told) == 1 else folded(self.told)


def along(life: Life) -> Iterator[Life]:
    """The lives on the way from this one, which is the first, each once."""
    seen: set[Life] = set()
    while life not in seen:
        seen.add(life)
        yield life
        edges = life.active
        if not edges:
            return
        life = edges[0].target


def folded(told: Iterable[Told]) -> Person:
    """Everything told together: the higher source, then the later time, wins per attribute."""
    person = NOBODY
    for _, _, said in sorted(told, key=_weight):
        person = person.updated(said)
    return person


def _weight(told: Told) -> tuple[int, bool, float]:
    rank, at, _ = told
    return rank, at is None, at.timestamp() if at else 0.0
