"""Which number a study's number has become, and who that is: one answer, the events that led there, or a class.

    events --set, sorted--> replay --lives and edges--> outcomes --frozen--> Graph.resolve

Whatever order messages came in, and however often, the same set of events gives the same graph: it is rebuilt, which
costs about as much as reading the messages. `changed` then names the numbers whose answer is another one.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

from imaging.identity.demographics import Thresholds
from imaging.identity.events import RANK, IdentityEvent, Link, Move, MovePart, Origin, Part, RenamePart, Unlink
from imaging.identity.lives import Life, along, folded
from imaging.identity.order import replayed, replayed_in_turn
from imaging.identity.outcomes import Outcomes, outcomes
from imaging.identity.people import NOBODY, Conflict, Identifier, Person
from imaging.identity.replay import Notice, Replay

MARGIN = timedelta(days=7)
"""Around the day a number was given again in which its studies may be either person's: exams are registered ahead,
and clerks catch up later."""
PATH_LIMIT = 1_000
"""Steps that an answer lists; an answer is read by people."""

_Event = MovePart | RenamePart


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One event that led from one number to the next."""

    origin: Origin
    old: Identifier
    new: Identifier
    kind: str
    """merge, rename, move, account or visit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a number means for studies of one date."""

    asked: Identifier
    survivor: Identifier | None
    """None exactly where there is a conflict."""
    conflict: Conflict | None = None
    candidates: tuple[Identifier, ...] = ()
    """Of a conflict: what it might be."""
    incarnation: int = 0
    """Which of the number's owners it is, from 0."""
    path: tuple[Step, ...] = ()
    owner: Identifier | None = None
    """The patient that the surviving number was moved to; None: nobody moved it."""
    person: Person = NOBODY
    """Of the survivor, or of the owner where it was moved."""
    known: bool = False
    """The survivor is registered or described somewhere, and not only the end of a merge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What else of a patient's record a study belongs to; empty where headers do not say."""

    account: str = ""
    visit: str = ""
    """Admission ID (0038,0010) is one of the two, depending on the site."""


NO_ACCOUNT = Account()


@dataclass(frozen=True)
class Graph:
    """All numbers, resolved; made by `build`."""

    _lives: Mapping[Identifier, list[Life]]
    _outcomes: Outcomes
    _parts: Mapping[str, list[_Event]]
    _links: Mapping[Identifier, frozenset[Identifier]]
    _leaving: Mapping[Identifier, list[tuple[str, ...]]]
    """Accounts and visits by the number that they were with."""
    notices: Mapping[Notice, int] = field(default_factory=dict[Notice, int])
    """Events that changed nothing, counted."""

    def __iter__(self) -> Iterator[Identifier]:
        return iter(self._lives)

    def resolve(self, asked: Identifier, studied: date | None, account: Account = NO_ACCOUNT) -> Resolution:
        """The survivor for a study of this date; without a date, only a number that had one owner resolves."""
        lives = self._lives.get(asked)
        if lives is None:
            return Resolution(asked=asked, survivor=None, conflict=Conflict.PID_NOT_IN_MPI)
        life = _life_of(lives, studied)
        if life is None:
            ends = [self._outcomes[one].survivor or one for one in lives]
            candidates = tuple(sorted({one.identifier for one in ends}))
            return Resolution(asked=asked, survivor=None, conflict=Conflict.MRN_REUSED, candidates=candidates)
        answer = self._ended(asked, life)
        if answer.conflict is None and (account.account or account.visit):
            answer = self._moved_part(answer, account)
        return answer

    def linked(self, identifier: Identifier) -> frozenset[Identifier]:
        """All numbers of the same person by links (A24), itself included: for priors, never for rewriting."""
        found = {identifier}
        waiting = [identifier]
        while waiting:
            for other in self._links.get(waiting.pop(), frozenset()):
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return frozenset(found)

    def changed(self, before: "Graph") -> frozenset[Identifier]:
        """Numbers whose answer, for some date or account, differs from that of an earlier graph."""
        return frozenset(one for one in {*self, *before} if self._answers(one) != before._answers(one))

    def _ended(self, asked: Identifier, life: Life) -> Resolution:
        survivor, conflict = self._outcomes[life]
        if survivor is life and not life.moves and not life.doubtful:
            # Most numbers of a hospital: nothing ever happened to them.
            return Resolution(
                asked=asked,
                survivor=life.identifier,
                incarnation=life.number,
                person=life.person(),
                known=life.known,
            )
        path, candidates = self._path(life)
        answer = Resolution(
            asked=asked, survivor=None, conflict=conflict, candidates=candidates, incarnation=life.number, path=path
        )
        if survivor is None:
            return answer
        if conflict := self._unsure(life, survivor):
            return replace(answer, conflict=conflict, candidates=(survivor.identifier,))
        if not survivor.moves:
            return replace(
                answer, survivor=survivor.identifier, person=survivor.person(), known=survivor.known, candidates=()
            )
        return self._owned(answer, survivor)

    def _owned(self, answer: Resolution, survivor: Life) -> Resolution:
        """The number lives on under its value and belongs to whoever it was moved to last."""
        last = survivor.moves[-1]
        owner = self._at(last.owner, last)
        end = self._outcomes[owner]
        steps = tuple(
            Step(origin=move.origin, old=move.giver or move.moved, new=move.owner, kind="move")
            for move in survivor.moves
        )
        if end.survivor is None:
            return replace(answer, conflict=end.conflict, path=answer.path + steps)
        return replace(
            answer,
            survivor=survivor.identifier,
            candidates=(),
            path=(answer.path + steps)[:PATH_LIMIT],
            owner=end.survivor.identifier,
            person=folded([*end.survivor.told, *(told for told in survivor.told if _follows(told[1], last))]),
            known=end.survivor.known,
        )

    def _unsure(self, life: Life, survivor: Life) -> Conflict | None:
        if life.doubtful or survivor.doubtful:
            return Conflict.MRN_REUSED
        if any(one.moves and one is not survivor and _stands(one) for one in along(life)):
            return Conflict.MRN_MOVED
        moves = survivor.moves
        for earlier, later in pairwise(moves):
            if earlier.origin.at == later.origin.at and earlier.owner != later.owner:
                return Conflict.MRN_MOVED
            if later.giver is not None and self._end(earlier.owner, later) != self._end(later.giver, later):
                return Conflict.MRN_MOVED
        return None

    def _at(self, identifier: Identifier, event: Move | _Event) -> Life:
        lives, at = self._lives[identifier], event.origin.at
        return next((one for one in reversed(lives) if one.since is None or (at and one.since <= at)), lives[0])

    def _end(self, identifier: Identifier, event: Move | _Event) -> Life | None:
        return self._outcomes[self._at(identifier, event)].survivor

    def _path(self, life: Life) -> tuple[tuple[Step, ...], tuple[Identifier, ...]]:
        """The events on the way, up to the survivor, a fork or the first number met again; and the ways from there."""
        steps: list[Step] = []
        for one in along(life):
            edges = one.active
            if len(edges) > 1 and self._outcomes[one].conflict is not None:
                return tuple(steps), tuple(sorted(edge.target.identifier for edge in edges))
            if edges and len(steps) < PATH_LIMIT:
                edge = edges[0]
                kind = "rename" if edge.renamed else "merge"
                steps.append(Step(origin=edge.origin, old=one.identifier, new=edge.target.identifier, kind=kind))
        return tuple(steps), tuple(sorted({step.new for step in steps})) if steps else ()

    def _moved_part(self, answer: Resolution, account: Account) -> Resolution:
        """The answer for a study of this account or visit, which may have gone to another patient."""
        for part, number in ((Part.ACCOUNT, account.account), (Part.VISIT, account.visit)):
            seen: set[str] = set()
            while number and number not in seen and answer.survivor is not None:
                seen.add(number)
                number, answer = self._followed(answer, part, number)
        return answer

    def _followed(self, answer: Resolution, part: Part, number: str) -> tuple[str, Resolution]:
        """The part's next number, empty if it has none, and the answer after all of its moves."""
        following = ""
        for event in self._parts.get(number, ()):
            if event.part is not part or answer.survivor is None:
                continue
            holder = event.patient if isinstance(event, RenamePart) else event.giver
            end = self._end(holder, event)
            if end is None or end.identifier != answer.survivor:
                continue
            if isinstance(event, RenamePart):
                following = event.new
                continue
            onward = self._ended(answer.asked, self._at(event.owner, event))
            step = Step(origin=event.origin, old=event.giver, new=event.owner, kind=part.value)
            answer = replace(
                onward,
                incarnation=answer.incarnation,
                path=(*answer.path, step, *onward.path)[:PATH_LIMIT],
            )
        return following, answer

    def _answers(self, identifier: Identifier) -> tuple[object, ...]:
        """Everything an answer can depend on, but for who said so."""
        ends: list[object] = []
        for life in self._lives.get(identifier, ()):
            answer = self._ended(identifier, life)
            ends.append((life.since, answer.survivor, answer.conflict, answer.owner, answer.person, answer.known))
        survivors = {
            end.identifier for life in self._lives.get(identifier, ()) if (end := self._outcomes[life].survivor)
        }
        parts = sorted(event for one in survivors for event in self._leaving.get(one, ()))
        return (tuple(ends), tuple(parts), self._links.get(identifier, frozenset()))


def build(events: Iterable[IdentityEvent], thresholds: Thresholds, *, in_turn: bool = False) -> Graph:
    """The graph of a set of events; their order and repetitions do not matter.

    `in_turn`: they come in the order of `imaging.identity.order.coarse`, and memory need not hold them all. Time grows
    with their number, but for merges that contradict earlier ones of the same patient: each of those costs a walk over
    that patient's numbers. Memory grows with the numbers that they name.
    """
    replay = Replay(thresholds)
    replay.apply(replayed_in_turn(events) if in_turn else replayed(events))
    lives = [life for several in replay.lives.values() for life in several]
    found = outcomes(lives)
    if _contradict(replay, found):
        found = outcomes(lives)
    links: dict[Identifier, set[Identifier]] = {}
    for event in replay.links.values():
        if isinstance(event, Link):
            links.setdefault(event.one, set()).add(event.other)
            links.setdefault(event.other, set()).add(event.one)
    graph = Graph(
        replay.lives,
        found,
        replay.parts,
        {one: frozenset(others) for one, others in links.items()},
        {},
        replay.notices,
    )
    return replace(graph, _leaving=_leaving(graph, replay.parts))


def _leaving(graph: Graph, parts: Mapping[str, list[_Event]]) -> dict[Identifier, list[tuple[str, ...]]]:
    leaving: dict[Identifier, list[tuple[str, ...]]] = {}
    for event in (event for several in parts.values() for event in several):
        holder = event.patient if isinstance(event, RenamePart) else event.giver
        gone = (event.old, event.new) if isinstance(event, RenamePart) else (event.number, *event.owner)
        resolved = graph.resolve(holder, event.origin.at.date() if event.origin.at else None)
        if resolved.survivor is not None:
            leaving.setdefault(resolved.survivor, []).append((event.part.value, *gone))
    return leaving


def _contradict(replay: Replay, found: Outcomes) -> bool:
    """Whether somebody said of merged numbers that they are not one person; those are then ambiguous."""
    some = False
    for event in replay.links.values():
        if not isinstance(event, Unlink):
            continue
        one, other = replay.life_at(event.one, event.origin.at), replay.life_at(event.other, event.origin.at)
        ends = found[one].survivor, found[other].survivor
        if ends[0] is None or ends[0] is not ends[1]:
            continue
        edges = [edge for life in (one, other) for each in along(life) for edge in each.active]
        rank = RANK[event.origin.source]
        if all(edge.rank <= rank and not _follows(edge.confirmed, event) for edge in edges):
            some = True
            for life in (one, other):
                if life.edges:
                    life.conflict = Conflict.PID_AMBIGUOUS
    return some


def _follows(at: datetime | None, event: IdentityEvent) -> bool:
    return at is not None and event.origin.at is not None and at > event.origin.at


def _stands(life: Life) -> bool:
    """It was merged and then moved, and the merge still stands: the two do not fit together."""
    times = [edge.confirmed for edge in life.active]
    return any(
        move.origin.at is None or time is None or move.origin.at >= time for move in life.moves for time in times
    )


def _life_of(lives: list[Life], studied: date | None) -> Life | None:
    """The life that a study of this date belongs to; None where that is a guess."""
    if len(lives) == 1:
        return lives[0]
    if studied is None:
        return None
    changes = [life.since.date() for life in lives if life.since is not None]
    if any(abs(studied - change) <= MARGIN for change in changes):
        return None
    end = datetime.combine(studied, time.max, UTC)
    return next(life for life in reversed(lives) if life.since is None or life.since <= end)
