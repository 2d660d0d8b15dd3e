"""Which retrieves bring what is still missing: study, then series, then lists of images, then single ones.

A C-MOVE's final status says little: some archives answer success and leave images out, others abort the
whole move at the first instance they cannot send. Only the set of received SOP Instance UIDs counts, so
each rung asks for less at a time and the last asks for one instance alone (domain: PS3.4 C.4.2).
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from actors.source import InstanceRef, MoveEnd, MoveOutcome, MoveTarget
from imaging.uid import Uid

SUBOPERATION_LIMIT = 60_000
"""Sub-operation counters are 16 bits wide; larger studies are asked for series by series."""

IMAGE_LISTS = (100, 10, 1)
"""Instances per IMAGE-level retrieve, rung by rung. 100 UIDs fit every archive's identifier limits."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder."""

    number: int

    @property
    def last(self) -> bool:
        return self.number >= 1 + len(IMAGE_LISTS)

    def next(self) -> "Rung":
        return Rung(self.number + 1)


STUDY_RUNG = Rung(0)


def first_rung(expected: Sequence[InstanceRef], held: Collection[str]) -> Rung:
    """Where to start: the whole study, unless a resumed upload holds part of it already."""
    if any(ref.sop_uid in held for ref in expected) or len(expected) > SUBOPERATION_LIMIT:
        return Rung(1)
    return STUDY_RUNG


def targets(
    study_uid: Uid, expected: Sequence[InstanceRef], settled: Collection[str], rung: Rung
) -> tuple[MoveTarget, ...]:
    """The retrieves of one rung.

    Parameters
    ----------
    settled
        SOP Instance UIDs that need no retrieve: held already, or rejected with evidence.
    """
    missing: dict[Uid, list[Uid]] = defaultdict(list)
    sizes: dict[Uid, int] = defaultdict(int)
    for ref in expected:
        sizes[ref.series_uid] += 1
        if ref.sop_uid not in settled:
            missing[ref.series_uid].append(ref.sop_uid)
    if not missing:
        return ()
    if rung.number == 0:
        return (MoveTarget(study_uid=study_uid),)
    asked: list[MoveTarget] = []
    for series_uid, sop_uids in sorted(missing.items()):
        whole = len(sop_uids) == sizes[series_uid] and len(sop_uids) <= SUBOPERATION_LIMIT
        if rung.number == 1 and whole:
            asked.append(MoveTarget(study_uid=study_uid, series_uid=series_uid))
            continue
        step = IMAGE_LISTS[min(max(rung.number - 2, 0), len(IMAGE_LISTS) - 1)]
        asked.extend(
            MoveTarget(study_uid=study_uid, series_uid=series_uid, sop_uids=tuple(sop_uids[at : at + step]))
            for at in range(0, len(sop_uids), step)
        )
    return tuple(asked)


def accounted_for(outcome: MoveOutcome, asked: int, arrived: int) -> bool:
    """Whether the archive's own counts say that nothing more is on its way.

    True only for an answer whose sub-operations add up to what was asked and whose successful ones have
    all arrived; everything else deserves the quiet period, since a final answer may precede the data.
    """
    if outcome.end is MoveEnd.LOST or outcome.completed is None:
        return False
    done = outcome.completed + (outcome.warning or 0)
    return done > 0 and done + (outcome.failed or 0) == asked and arrived >= done


def announces_more(outcome: MoveOutcome, asked: int, arrived: int) -> bool:
    """Whether the archive's own counts name more instances than were asked for and than came: hidden ones that
    it failed to send, or that are still on their way."""
    return announced(outcome) > max(asked, arrived)


def announced(outcome: MoveOutcome) -> int:
    """Sub-operations the archive says it performed, well or not."""
    return (outcome.completed or 0) + (outcome.warning or 0) + (outcome.failed or 0)
