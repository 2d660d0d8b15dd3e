"""The figures of a plan: when everything has arrived by either way, where they cross, what would help. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from math import inf, isfinite
from typing import Any

from cluster.capacity.crossing import helps, least_rate, link_from_which_network_wins, size_from_which_disks_win
from cluster.capacity.curves import by_day, by_size, days
from cluster.capacity.inputs import UNITS, Input
from cluster.capacity.opening import DAY
from cluster.capacity.units import told_bits
from cluster.capacity.ways import Never, Outcome, Plan, Shipment, disks, network
from cluster.reports.names import told_bytes, told_days

SCHEMA = "limosa/capacity-report/1"
"""Raised only when a field changes its meaning; fields are only ever added."""

SHIPMENTS_TOLD = 100
"""Of a plan with more, the rest goes on as these do."""

PACES = {
    "source": "the archive",
    "movers": "our own processes",
    "link": "the link",
    "destination": "the destination",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reckoned:
    """Everything the figures are made of."""

    at: datetime
    start: datetime
    job: str | None
    time_zone: str
    hours: Sequence[str]
    """As the schedule has them; none: always."""
    profile: str
    inputs: Mapping[str, Input]
    plan: Plan
    bounds: tuple[float, float] | None
    """Between which sizes the archive lies, with 95 % confidence."""


def capacity_figures(reckoned: Reckoned) -> dict[str, Any]:
    """The whole document."""
    plan = reckoned.plan
    outcomes = {"network": network(plan), "disks": disks(plan)}
    crossings = {
        "bytes": _rounded(size_from_which_disks_win(plan)),
        "link": _rounded(_as_sold(link_from_which_network_wins(plan), reckoned)),
    }
    quicker = _quicker(outcomes["network"].finish, outcomes["disks"].finish)
    return {
        "schema": SCHEMA,
        "job": reckoned.job,
        "at": reckoned.at.isoformat(timespec="seconds"),
        "start": reckoned.start.isoformat(timespec="seconds"),
        "time_zone": reckoned.time_zone,
        "hours": list(reckoned.hours),
        "open_hours_per_week": round(plan.opening.per_week / 3600, 2),
        "profile": reckoned.profile,
        "inputs": [_input(name, each) for name, each in reckoned.inputs.items()],
        "bytes": round(plan.size),
        "bytes_low": None if reckoned.bounds is None else round(reckoned.bounds[0]),
        "bytes_high": None if reckoned.bounds is None else round(reckoned.bounds[1]),
        "new_bytes_per_day": round(plan.growth * DAY),
        "least_rate": round(least_rate(plan)),
        "paces": {name: round(pace) if isfinite(pace) else None for name, pace in plan.paces.items()},
        "held_up_by": min(plan.paces, key=lambda name: plan.paces[name]),
        "ways": [
            _way("network", outcomes["network"], reckoned, network),
            _way("disks", outcomes["disks"], reckoned, disks),
        ],
        "quicker": quicker,
        "crossings": crossings,
        "curves": {
            "sizes": [_point(asdict(each)) for each in by_size(plan)],
            "progress": [_point(asdict(each)) for each in by_day(plan, outcomes["network"], outcomes["disks"])],
        },
        "sentences": _sentences(reckoned, outcomes, quicker, crossings),
    }


def _input(name: str, each: Input) -> dict[str, Any]:
    return {
        "name": name,
        "value": each.value,
        "unit": UNITS[name],
        "basis": each.basis.value,
        "about": each.about,
    }


def _way(name: str, outcome: Outcome, reckoned: Reckoned, way: Callable[[Plan], Outcome]) -> dict[str, Any]:
    start, plan, bounds = reckoned.start, reckoned.plan, reckoned.bounds
    low, high = (None, None) if bounds is None else (way(replace(plan, size=size)).finish for size in bounds)
    return {
        "way": name,
        "finish": _moment(start, outcome.finish),
        "days": _short(days(outcome.finish)),
        "never": None if outcome.never is None else outcome.never.value,
        "finish_low": None if low is None else _moment(start, low),
        "finish_high": None if high is None else _moment(start, high),
        "at_once": outcome.at_once,
        "shipments": len(outcome.shipments),
        "journeys": [_journey(number, each) for number, each in enumerate(outcome.shipments[:SHIPMENTS_TOLD], start=1)],
        "helps": [
            {
                "what": each.what,
                "finish": _moment(start, each.finish),
                "days_gained": _short(days(each.gained)),
            }
            for each in helps(plan, way)
        ],
    }


def _journey(number: int, each: Shipment) -> dict[str, Any]:
    moments = ("begun", "loaded", "arrived", "ingesting", "ingested")
    return {
        "number": number,
        "bytes": round(each.bytes),
        **{f"{name}_day": _short(getattr(each, name) / DAY) for name in moments},
    }


def _quicker(over_network: float, on_disks: float) -> str | None:
    """None where neither comes to its end."""
    if not isfinite(min(over_network, on_disks)):
        return None
    return "network" if over_network <= on_disks else "disks"


def _sentences(
    reckoned: Reckoned, outcomes: Mapping[str, Outcome], quicker: str | None, crossings: Mapping[str, float | None]
) -> list[str]:
    plan, start = reckoned.plan, reckoned.start
    if not plan.size:
        new = f"; {told_bytes(plan.growth * DAY)} a day are acquired" if plan.growth else ""
        return [f"Nothing is left to move{new}."]
    told = [_told_network(plan, start, outcomes["network"]), _told_disks(plan, start, outcomes["disks"])]
    if quicker is None:
        told.append("Neither way comes to its end.")
        return [*told, *_told_needs(plan)]
    gained = abs(outcomes["network"].finish - outcomes["disks"].finish)
    name = {"network": "The network", "disks": "Disks"}[quicker]
    verb = "are" if quicker == "disks" else "is"
    if not isfinite(gained):
        told.append(f"Only {'disks come' if quicker == 'disks' else 'the network comes'} to an end.")
    elif gained >= DAY / 24:
        told.append(f"{name} {verb} quicker by {told_days(gained / DAY)}.")
    if outcomes["network"].never is Never.OUTGROWN or outcomes["disks"].never is Never.OUTGROWN:
        told += _told_needs(plan)
    return [*told, _told_size(crossings["bytes"]), _told_link(plan, outcomes, crossings["link"])]


def _told_network(plan: Plan, start: datetime, outcome: Outcome) -> str:
    if outcome.never is not None:
        return f"Over the network: never. {_because(plan, outcome.never)}"
    limit = PACES[min(plan.paces, key=lambda name: plan.paces[name])]
    return f"Over the network: {_date(start, outcome.finish)}. What holds it up is {limit}."


def _told_disks(plan: Plan, start: datetime, outcome: Outcome) -> str:
    if outcome.never is not None:
        return f"On disks: never, since {outcome.never.value}."
    count = len(outcome.shipments)
    shipments = "one shipment" if count == 1 else f"{count} shipments"
    each = "one device" if outcome.at_once == 1 else f"{outcome.at_once} devices"
    new = "; new studies go over the network meanwhile" if plan.growth else ""
    return f"On disks: {_date(start, outcome.finish)}, in {shipments} of {each}{new}."


def _because(plan: Plan, why: Never) -> str:
    if why is not Never.OUTGROWN:
        return f"{why.value[0].upper()}{why.value[1:]}."
    moved = plan.rate * plan.opening.per_week / 7
    return f"{told_bytes(plan.growth * DAY)} a day are acquired, {told_bytes(moved)} a day can be moved."


def _told_needs(plan: Plan) -> list[str]:
    rate = least_rate(plan)
    if rate <= plan.rate:
        return []
    return [
        f"At least {told_bytes(rate)}/s ({told_bits(rate)}) have to get through while the archive may be asked, or new "
        "studies are never caught up with: more hours, more associations, a faster link, or new studies that go to "
        "the new archive from the first day."
    ]


def _told_size(size: float | None) -> str:
    if size is None:
        return "All else equal, the network is quicker for archives of every size."
    return f"All else equal, disks are quicker from about {told_bytes(size)} on."


def _as_sold(usable: float | None, reckoned: Reckoned) -> float | None:
    """The link of which the migration may use so much."""
    return None if usable is None else usable / reckoned.inputs["link_usable"].value


def _told_link(plan: Plan, outcomes: Mapping[str, Outcome], link: float | None) -> str:
    if link is None:
        other = {name: pace for name, pace in plan.paces.items() if name != "link"}
        limit = min(other, key=lambda name: other[name])
        return f"No link would make the network as quick as disks: {PACES[limit]} gives {told_bytes(other[limit])}/s."
    if not isfinite(outcomes["disks"].finish):
        return f"With a link of {told_bits(link)} the network comes to an end."
    return f"With a link of {told_bits(link)} the network is as quick as disks."


def _date(start: datetime, seconds: float) -> str:
    moment = start + timedelta(seconds=seconds)
    return f"{moment.day} {moment:%B %Y} ({told_days(seconds / DAY)})"


def _moment(start: datetime, seconds: float) -> str | None:
    """None for never, and for what no calendar holds."""
    if seconds == inf:
        return None
    return (start + timedelta(seconds=round(seconds))).isoformat(timespec="seconds")


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _point(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: _short(value) for name, value in values.items()}
