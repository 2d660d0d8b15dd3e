"""Where each life ends: one survivor, or the class of conflict that keeps it from having one.

Strongly connected components (R. Tarjan, 1972) without recursion, each after all that it leads to: so every
life is looked at once, whatever the length of chains.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from imaging.identity.lives import Life
from imaging.identity.people import Conflict


class Outcome(NamedTuple):
    """Exactly one of the two is there, except that a conflict may keep the candidates."""

    survivor: Life | None
    conflict: Conflict | None = None


class Outcomes(dict[Life, Outcome]):
    """Of every life; those that nothing leads away from are answered when they are asked, since they are most."""

    def __missing__(self, life: Life) -> Outcome:
        if life.edges:
            raise KeyError(life.number)
        return _outcome(life, self)


def outcomes(lives: Iterable[Life]) -> Outcomes:
    """The outcome of every life given; all that edges lead to must be among them."""
    found = Outcomes()
    numbers: dict[Life, int] = {}
    lowest: dict[Life, int] = {}
    pending: list[Life] = []
    for start in lives:
        if start in numbers or not start.edges:
            continue
        numbers[start] = lowest[start] = len(numbers)
        pending.append(start)
        stack = [(start, _leading_on(start))]
        while stack:
            life, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                stack.pop()
                if stack:
                    above = stack[-1][0]
                    lowest[above] = min(lowest[above], lowest[life])
                if lowest[life] == numbers[life]:
                    _close(life, pending, found)
            elif target not in numbers:
                numbers[target] = lowest[target] = len(numbers)
                pending.append(target)
                stack.append((target, _leading_on(target)))
            elif target not in found:
                lowest[life] = min(lowest[life], numbers[target])
    return found


def _leading_on(life: Life) -> Iterator[Life]:
    """Where it leads to, but for ends."""
    return iter([edge.target for edge in life.active if edge.target.edges])


def _close(first: Life, pending: list[Life], found: Outcomes) -> None:
    members: list[Life] = []
    while not members or members[-1] is not first:
        members.append(pending.pop())
    if len(members) > 1:
        for member in members:
            found[member] = Outcome(None, Conflict.MERGE_CYCLE)
    else:
        found[first] = _outcome(first, found)


def _outcome(life: Life, found: Outcomes) -> Outcome:
    if life.conflict is not None:
        return Outcome(None, life.conflict)
    edges = life.active
    if not edges:
        return Outcome(None, Conflict.PID_NOT_IN_MPI) if life.deleted else Outcome(life)
    ends = [found[edge.target] for edge in edges]
    conflicts = sorted(end.conflict for end in ends if end.conflict is not None)
    if conflicts:
        return Outcome(None, conflicts[0])
    survivors = {end.survivor for end in ends}
    return ends[0] if len(survivors) == 1 else Outcome(None, Conflict.MERGE_FORK)
