"""Where one way becomes quicker than the other, and what would bring the end of each nearer. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from cluster.capacity.ways import Outcome, Plan, disks, network

SMALLEST, LARGEST = 1e9, 1e18
"""Bytes: sizes of archives among which a crossing is looked for."""
FASTEST_LINK = 1e12
"""Bytes a second: beyond any link."""
STEPS = 60
"""Halvings: until two sizes are the same in every digit that is shown."""


def size_from_which_disks_win(plan: Plan) -> float | None:
    """The smallest archive, all else equal, that is through earlier on disks; None: none of any size is.

    Windows and whole shipments make steps of both, so they may cross more than once: this is the first time.
    """

    def wins(size: float) -> bool:
        other = replace(plan, size=size)
        return disks(other).finish < network(other).finish

    low, high = SMALLEST, SMALLEST
    while not wins(high):
        low, high = high, high * 2
        if high > LARGEST:
            return None
    return high if high == SMALLEST else _first(wins, low, high)


def link_from_which_network_wins(plan: Plan) -> float | None:
    """The slowest link in bytes a second over which this archive is through no later than on disks; None: no link is
    fast enough, since something else holds it up."""

    def wins(link: float) -> bool:
        other = replace(plan, link=link)
        return network(other).finish <= disks(other).finish and network(other).finish < inf

    return _first(wins, 0.0, FASTEST_LINK) if wins(FASTEST_LINK) else None


def least_rate(plan: Plan) -> float:
    """Bytes a second that have to get through while the archive may be asked, or new studies pile up for ever."""
    return plan.growth * 7 * 86_400 / plan.opening.per_week


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where it begins to hold, given that it does at `high` and not at `low`."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True, slots=True, kw_only=True)
class Help:
    """What one change would do."""

    what: str
    finish: float
    gained: float
    """Seconds; inf where the way would come to an end at last."""


def helps(plan: Plan, way: Callable[[Plan], Outcome]) -> list[Help]:
    """Each thing twice as good as planned, one at a time: those that bring the end nearer, the best first."""
    now = way(plan).finish
    found: list[Help] = []
    for what, other in _improved(plan):
        finish = way(other).finish
        if finish < now:
            found.append(Help(what=what, finish=finish, gained=now - finish))
    return sorted(found, key=lambda each: each.finish)


def _improved(plan: Plan) -> list[tuple[str, Plan]]:
    found = [
        ("twice the archive's rate", replace(plan, source=2 * plan.source)),
        ("twice the movers", replace(plan, movers=2 * plan.movers)),
        ("twice the link", replace(plan, link=2 * plan.link)),
        ("twice the destination's rate", replace(plan, destination=2 * plan.destination)),
    ]
    if plan.devices is not None:
        devices = plan.devices
        twice_at_once = replace(devices, count=2 * devices.count, at_once=2 * devices.at_once)
        changes = {
            "twice as many devices": replace(devices, count=2 * devices.count),
            "twice as many devices, all loaded at once": twice_at_once,
            "devices that are loaded twice as fast": replace(devices, load_rate=2 * devices.load_rate),
            "ingest that is twice as fast": replace(devices, ingest_rate=2 * devices.ingest_rate),
            "devices that travel half as long": replace(
                devices, shipping=devices.shipping / 2, returning=devices.returning / 2
            ),
            "devices that stand here in half the time": replace(devices, ordering=devices.ordering / 2),
        }
        found += [(what, replace(plan, devices=other)) for what, other in changes.items()]
    if plan.opening.per_week < 7 * 86_400:
        found.append(("no closing hours", replace(plan, opening=replace(plan.opening, windows=((0.0, 7 * 86_400.0),)))))
    return found
