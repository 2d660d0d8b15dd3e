"""Both ways as lines: the end over the archive's size, and what has arrived by when. Pure."""

from dataclasses import dataclass, replace
from math import isfinite

from cluster.capacity.opening import DAY
from cluster.capacity.ways import Outcome, Plan, disks, network

SPAN = 32
"""Sizes from so many times less to so many times more than the archive's."""
SIZES, MOMENTS = 41, 61
OPEN_END = 365.0
"""Days that are shown where nothing ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizePoint:
    """Days until everything has arrived; None: never."""

    bytes: float
    network: float | None
    disks: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressPoint:
    """Bytes that exist, and that have arrived by each way."""

    day: float
    exists: float
    network: float
    disks: float


def by_size(plan: Plan) -> list[SizePoint]:
    """The end of each way for archives around this one's size."""
    if plan.size <= 0:
        return []
    sizes = [plan.size * SPAN ** (2 * step / (SIZES - 1) - 1) for step in range(SIZES)]
    plans = [replace(plan, size=size) for size in sizes]
    return [
        SizePoint(bytes=each.size, network=days(network(each).finish), disks=days(disks(each).finish)) for each in plans
    ]


def by_day(plan: Plan, over_network: Outcome, on_disks: Outcome) -> list[ProgressPoint]:
    """What has arrived from the first day to the last."""
    ends = [found for outcome in (over_network, on_disks) if (found := days(outcome.finish)) is not None]
    last = max(ends, default=OPEN_END) or 1.0
    moments = [last * DAY * step / (MOMENTS - 1) for step in range(MOMENTS)]
    return [
        ProgressPoint(
            day=moment / DAY,
            exists=plan.size + plan.growth * moment,
            network=_over_network(plan, moment),
            disks=_on_disks(plan, on_disks, moment),
        )
        for moment in moments
    ]


def days(seconds: float) -> float | None:
    """None for never."""
    return seconds / DAY if isfinite(seconds) else None


def _over_network(plan: Plan, moment: float) -> float:
    sent = plan.rate * plan.opening.elapsed(0.0, moment)
    return min(plan.size + plan.growth * moment, sent)


def _on_disks(plan: Plan, outcome: Outcome, moment: float) -> float:
    if outcome.never is not None:
        return 0.0
    arrived = sum(
        each.bytes * min(1.0, max(0.0, (moment - each.ingesting) / (each.ingested - each.ingesting)))
        for each in outcome.shipments
    )
    return arrived + plan.growth * moment
