"""When everything has arrived: over the network, and on disks. Pure.

A fluid model: bytes, not studies. Over the network the archive sends while it may be asked, and the slowest of archive,
movers, link and destination sets the pace. Disks are loaded under the same hours, several at once, travel, and are read
one shipment after the other; devices that came back are loaded again. What is acquired meanwhile goes over the network
in both cases, as it comes, and takes its share of the archive.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from cluster.capacity.opening import WEEK, Opening

MOST_SHIPMENTS = 10_000
"""A plan of more is no plan."""

HORIZON = 100 * 365.25 * 86_400
"""Seconds: what ends later is told to end never."""


class Never(StrEnum):
    """Why a way does not come to its end."""

    NO_LINK = "there is no link"
    NO_WAY_FOR_NEW = "new studies have no way: there is no link"
    OUTGROWN = "more is acquired than can be moved"
    TOO_LATE = "it would take more than a hundred years"
    TOO_MANY = "it would take more than 10 000 shipments"
    NO_DEVICES = "no devices were described"


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What travels. Sizes in bytes, rates in bytes a second, times in seconds."""

    capacity: float
    """Usable, of one."""
    count: int
    """There are in all."""
    at_once: int
    """May be loaded at the same time."""
    load_rate: float
    """Of one."""
    ingest_rate: float
    """At the far side, of a shipment."""
    ordering: float
    """Until the first ones stand at the archive."""
    shipping: float
    """From the archive's door to the first byte that is read."""
    returning: float
    """From the last byte that was read to the archive's door."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes in bytes, rates in bytes a second, times in seconds from the start."""

    size: float
    """What the archive holds at the start."""
    growth: float
    """What is acquired, day and night."""
    opening: Opening
    source: float
    """What the archive gives over all associations."""
    movers: float = inf
    """What our own processes manage."""
    link: float = 0.0
    """What the migration may use of it; 0: there is none."""
    destination: float = inf
    """What the destination takes in over the network."""
    devices: Devices | None = None

    @property
    def paces(self) -> Mapping[str, float]:
        """What could hold the network's way up."""
        return {
            "source": self.source,
            "movers": self.movers,
            "link": self.link,
            "destination": self.destination,
        }

    @property
    def rate(self) -> float:
        """Over the network, while the archive may be asked."""
        return min(self.paces.values())

    @property
    def outgrown(self) -> bool:
        """A week acquires as much as a week can move, or more."""
        return self.growth * WEEK >= self.rate * self.opening.per_week


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """One journey of some devices. Moments are seconds from the start."""

    bytes: float
    begun: float
    loaded: float
    arrived: float
    ingesting: float
    ingested: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a way ends."""

    finish: float
    """Seconds from the start; inf: never."""
    never: Never | None = None
    at_once: int = 0
    """Devices of one shipment, where disks travel."""
    shipments: tuple[Shipment, ...] = field(default=())


def network(plan: Plan) -> Outcome:
    """Everything over the link."""
    if plan.link <= 0:
        return _never(Never.NO_LINK)
    if plan.outgrown:
        return _never(Never.OUTGROWN)
    return _within(plan.opening.emptied(plan.size, plan.growth, plan.rate))


def disks(plan: Plan) -> Outcome:
    """What is there now on disks; what is acquired from now on over the link.

    Fewer devices in each shipment let the first leave earlier, more of them load faster: the best number is taken.
    """
    devices = plan.devices
    if devices is None:
        return _never(Never.NO_DEVICES)
    if plan.growth > 0 and plan.outgrown:
        return _never(Never.NO_WAY_FOR_NEW if plan.link <= 0 else Never.OUTGROWN)
    found: Outcome | None = None
    for at_once in range(1, min(devices.at_once, devices.count) + 1):
        if plan.size > MOST_SHIPMENTS * at_once * devices.capacity:
            continue
        shipments = tuple(_shipments(plan, devices, at_once))
        finish = shipments[-1].ingested if shipments else 0.0
        if found is None or finish < found.finish:
            found = Outcome(finish=finish, at_once=at_once, shipments=shipments)
    if found is None:
        return _never(Never.TOO_MANY)
    return found if found.finish <= HORIZON else _never(Never.TOO_LATE)


def loading(plan: Plan, devices: Devices, at_once: int) -> float:
    """Bytes a second onto so many devices, while the archive may be asked: what new studies leave of it."""
    left = min(plan.source, plan.movers) - plan.growth * WEEK / plan.opening.per_week
    return min(left, at_once * devices.load_rate)


def _shipments(plan: Plan, devices: Devices, at_once: int) -> Iterator[Shipment]:
    rate = loading(plan, devices, at_once)
    free = deque([devices.ordering] * (devices.count // at_once))
    loaded, ingested = devices.ordering, 0.0
    left = plan.size
    while left > 0:
        size = min(left, at_once * devices.capacity)
        left -= size
        begun = max(loaded, free.popleft())
        loaded = plan.opening.after(begun, size / rate)
        arrived = loaded + devices.shipping
        ingesting = max(arrived, ingested)
        ingested = ingesting + size / devices.ingest_rate
        free.append(ingested + devices.returning)
        yield Shipment(bytes=size, begun=begun, loaded=loaded, arrived=arrived, ingesting=ingesting, ingested=ingested)


def _never(why: Never) -> Outcome:
    return Outcome(finish=inf, never=why)


def _within(finish: float) -> Outcome:
    return Outcome(finish=finish) if finish <= HORIZON else _never(Never.TOO_LATE)
