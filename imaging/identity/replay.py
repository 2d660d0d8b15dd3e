"""Events applied one after another; contradictions are resolved by time and rank, or left standing for `outcomes`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from imaging.identity.demographics import Thresholds, same_person
from imaging.identity.events import (
    RANK,
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
from imaging.identity.lives import Edge, Life
from imaging.identity.people import NOBODY, Conflict, Identifier, Person

HOPS = 64
"""Merges that are followed to see whose number is given again; chains of real feeds have a handful."""


class Notice(StrEnum):
    """What became of events that changed nothing; counted, so that none is lost unseen."""

    SELF = "self"
    """A number merged into itself."""
    DUPLICATE = "duplicate"
    CROSS_ISSUER = "cross-issuer"
    """A message merges numbers of two issuers: only a crosswalk or a person may."""
    NOTHING_TO_UNDO = "nothing-to-undo"
    UNPLACED = "unplaced"
    """It has no time, and the number had several owners."""
    INVERTED = "inverted"
    """A later merge the other way round took its place."""
    UNRELATED = "unrelated"


class Replay:
    """The state between events; they must come in the order of `imaging.identity.order`."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self.lives: dict[Identifier, list[Life]] = {}
        self.links: dict[frozenset[Identifier], Link | Unlink] = {}
        self.parts: dict[str, list[MovePart | RenamePart]] = {}
        """By the number they start from."""
        self.notices: Counter[Notice] = Counter()
        self._roots: dict[Life, Life] = {}
        """Union-find over all merges ever: only within a component can one close a cycle."""

    def apply(self, events: Iterable[IdentityEvent]) -> None:
        """Each event, in turn."""
        for event in events:
            match event:
                case Merge():
                    self._merge(event)
                case Undo():
                    self._undo(event)
                case Move():
                    self._move(event)
                case MovePart():
                    self.parts.setdefault(event.number, []).append(event)
                    self._mention(event.giver, event.owner)
                case RenamePart():
                    self.parts.setdefault(event.old, []).append(event)
                    self._mention(event.patient)
                case Link() | Unlink():
                    self.links[frozenset((event.one, event.other))] = event
                    self._mention(event.one, event.other)
                case Register():
                    self._register(event)
                case Describe():
                    self._describe(event.identifier, event)
                case Delete():
                    self.life_at(event.identifier, event.origin.at).deleted = True
                case Unrelated():
                    self.notices[Notice.UNRELATED] += 1

    def life_at(self, identifier: Identifier, at: datetime | None) -> Life:
        """The number's life at that time; without a time the last, which is then nobody's for certain."""
        lives = self.lives.get(identifier)
        if lives is None:
            lives = self.lives[identifier] = [Life(identifier, 0, None)]
        if len(lives) > 1:
            if at is None:
                self.notices[Notice.UNPLACED] += 1
                for life in lives:
                    life.conflict = Conflict.MRN_REUSED
            else:
                return next(life for life in reversed(lives) if life.since is None or life.since <= at)
        return lives[-1]

    def _mention(self, *identifiers: Identifier) -> None:
        for identifier in identifiers:
            self.lives.setdefault(identifier, [Life(identifier, 0, None)])

    def _describe(self, identifier: Identifier, event: Describe | Register) -> None:
        self._tell(self.life_at(identifier, event.origin.at), event)

    def _tell(self, life: Life, event: Describe | Register) -> None:
        life.known = True
        if event.person == NOBODY:
            return
        rank, at, person = RANK[event.origin.source], event.origin.at, event.person
        if life.told and life.told[-1][0] == rank and not life.moves:
            # A number has an event per visit for decades; in the order of replay the last words of each suffice.
            *earlier, (_, _, said) = life.told
            life.told = (*earlier, (rank, at, said.updated(person)))
        else:
            life.told = (*life.told, (rank, at, person))

    def _register(self, event: Register) -> None:
        life = self.life_at(event.identifier, event.origin.at)
        same = self._same(life, event.person)
        gone = bool(life.edges) or life.deleted
        if same is False or (same is None and gone and event.person != NOBODY):
            lives = self.lives[event.identifier]
            # A number that is in use and goes to somebody else is as doubtful as one nobody can compare.
            life = Life(event.identifier, len(lives), event.origin.at, doubtful=same is None or not gone)
            lives.append(life)
        elif same:
            life.deleted = False
        self._tell(life, event)

    def _same(self, life: Life, person: Person) -> bool | None:
        """Whether the number's owner, or whom it was merged into, is this person."""
        own = same_person(life.person(), person, self._thresholds)
        if own or not life.edges:
            return own
        end = same_person(self._end(life).person(), person, self._thresholds)
        return end if end or own is None else own

    def _end(self, life: Life) -> Life:
        for _ in range(HOPS):
            edges = life.active
            if not edges:
                break
            life = edges[0].target
        return life

    def _merge(self, event: Merge) -> None:
        origin = event.origin
        if event.old == event.new:
            self.notices[Notice.SELF] += 1
            return
        if origin.source is Source.HL7 and event.old.issuer != event.new.issuer:
            self.notices[Notice.CROSS_ISSUER] += 1
            self._mention(event.old, event.new)
            return
        old, new = self.life_at(event.old, origin.at), self.life_at(event.new, origin.at)
        edge = Edge(target=new, origin=origin, renamed=event.renamed, confirmed=origin.at)
        held = old.edges.get(new)
        if held is not None:
            self.notices[Notice.DUPLICATE] += 1
            if edge.rank <= held.rank:
                old.edges = {**old.edges, new: replace(held, confirmed=origin.at)}
                return
        if self._joined(old, new):
            self._make_way(old, new, edge)
        old.edges = {**old.edges, new: edge}

    def _make_way(self, old: Life, new: Life, edge: Edge) -> None:
        """The survivor that the edge names lives again, if it is later or higher than all that says otherwise."""
        while path := _path(new, old):
            if not all(_beats(edge, other) for other in path):
                return
            self.notices[Notice.INVERTED] += 1
            new.edges = _without(new, path[0].target)

    def _joined(self, one: Life, other: Life) -> bool:
        """Whether merges connected the two before; they are connected from now on."""
        first, second = self._root(one), self._root(other)
        if first is second:
            return True
        self._roots[first] = second
        return False

    def _root(self, life: Life) -> Life:
        while (above := self._roots.setdefault(life, life)) is not life:
            self._roots[life] = life = self._roots[above]
        return life

    def _undo(self, event: Undo) -> None:
        at, some = event.origin.at, False
        old = self.life_at(event.old, at)
        for target, edge in old.edges.items():
            late = at is not None and edge.confirmed is not None and edge.confirmed > at
            if target.identifier == event.new and RANK[event.origin.source] >= edge.rank and not late:
                old.edges, some = _without(old, target), True
        if not some:
            self.notices[Notice.NOTHING_TO_UNDO] += 1

    def _move(self, event: Move) -> None:
        moved = self.life_at(event.moved, event.origin.at)
        self._mention(event.owner)
        if event.owner == event.moved or event.giver == event.moved:
            self.notices[Notice.SELF] += 1
            return
        rank = RANK[event.origin.source]
        # What a table or a person says of a number ends what messages said of it.
        moved.edges = {target: edge for target, edge in moved.edges.items() if edge.rank >= rank}
        moved.moves = tuple(move for move in moved.moves if RANK[move.origin.source] >= rank)
        if event.giver is not None:
            giver = self._end(self.life_at(event.giver, event.origin.at))
            for target in moved.edges:
                # What was merged into a patient and is moved away from there was not merged.
                if self._end(target) is giver:
                    moved.edges = _without(moved, target)
        moved.moves = (*moved.moves, event)


def _without(life: Life, target: Life) -> dict[Life, Edge]:
    return {one: edge for one, edge in life.edges.items() if one is not target}


def _beats(edge: Edge, other: Edge) -> bool:
    if edge.rank != other.rank:
        return edge.rank > other.rank
    return edge.confirmed is not None and other.confirmed is not None and edge.confirmed > other.confirmed


def _path(start: Life, end: Life) -> list[Edge]:
    """Edges that lead from one life to the other; empty where none do."""
    came: dict[Life, Edge] = {}
    before: dict[Life, Life] = {}
    waiting = [start]
    while waiting:
        life = waiting.pop()
        for target, edge in life.edges.items():
            if target not in came and target is not start:
                came[target], before[target] = edge, life
                waiting.append(target)
        if end in came:
            break
    if end not in came:
        return []
    path: list[Edge] = []
    life = end
    while life is not start:
        path.append(came[life])
        life = before[life]
    path.reverse()
    return path
