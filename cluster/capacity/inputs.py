"""What a plan is reckoned with, and who says so: options, job file, ledger, benchmark, maker, or an assumption. Pure.

What nobody knows and nobody can assume (how much there is, how much is acquired, how fast archive and link are) has to
be given; everything else has a value that is told as what it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import inf
from typing import Any

from cluster.capacity.opening import DAY, Opening
from cluster.capacity.ways import Devices, Plan
from storage.seeds.profiles import PROFILES, ProfileName


class Basis(StrEnum):
    """Who says a value."""

    GIVEN = "given"
    JOB = "job file"
    LEDGER = "ledger"
    BENCHMARK = "benchmark"
    MAKER = "maker"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One value of a plan."""

    value: float
    basis: Basis
    about: str = ""
    """Where it comes from, in a few words."""


UNITS = {
    "size": "bytes",
    "new_per_day": "bytes",
    "associations": "",
    "association_rate": "bytes/s",
    "movers_rate": "bytes/s",
    "link": "bytes/s",
    "link_usable": "share",
    "destination_rate": "bytes/s",
    "capacity": "bytes",
    "devices": "",
    "at_once": "",
    "load_rate": "bytes/s",
    "ingest_rate": "bytes/s",
    "order_days": "days",
    "shipping_days": "days",
    "return_days": "days",
}
"""Every value, in the order in which they are shown. Named as the options are."""

NEEDED = {
    "size": "how much there is: --size 42TB, or a job whose inventory took a sample",
    "new_per_day": "how much is acquired: --new-per-day 60GB (0 where it goes elsewhere), or a job with an inventory",
    "association_rate": "how fast the archive is: --association-rate 15MB/s, or a job with a pilot",
    "link": "how fast the link is: --link 1Gbit/s (0 where there is none)",
}

TB = 10.0**12
MB = 10.0**6
CAPACITIES = {
    ProfileName.PLAIN: Input(value=20 * TB, basis=Basis.ASSUMED, about="a disk of 20 TB"),
    ProfileName.SNOWBALL: Input(value=210 * TB, basis=Basis.MAKER, about="Snowball Edge storage optimized"),
    ProfileName.DATABOX: Input(value=120 * TB, basis=Basis.MAKER, about="Data Box 120, usable"),
    ProfileName.TRANSFER_APPLIANCE: Input(value=300 * TB, basis=Basis.MAKER, about="Transfer Appliance TA300"),
}
LOAD_RATES = {
    ProfileName.PLAIN: Input(value=150 * MB, basis=Basis.ASSUMED, about="a hard disk, inner tracks and all"),
    ProfileName.SNOWBALL: Input(value=250 * MB, basis=Basis.MAKER, about="lower end of what AWS calls typical"),
    ProfileName.DATABOX: Input(value=250 * MB, basis=Basis.ASSUMED),
    ProfileName.TRANSFER_APPLIANCE: Input(value=250 * MB, basis=Basis.ASSUMED),
}
ORDER_DAYS = {ProfileName.PLAIN: 2.0}
ORDERED = 10.0
"""Days until an appliance that was ordered stands here."""


def assumed(profile: ProfileName) -> dict[str, Input]:
    """What is reckoned with where nobody says otherwise."""
    days = ORDER_DAYS.get(profile, ORDERED)
    return {
        "associations": Input(value=4, basis=Basis.ASSUMED),
        "link_usable": Input(value=0.8, basis=Basis.ASSUMED, about="the rest is protocols and other people"),
        "capacity": CAPACITIES[profile],
        "devices": Input(value=2, basis=Basis.ASSUMED),
        "load_rate": LOAD_RATES[profile],
        "ingest_rate": Input(value=LOAD_RATES[profile].value, basis=Basis.ASSUMED, about="as one device is loaded"),
        "order_days": Input(value=days, basis=Basis.ASSUMED),
        "shipping_days": Input(value=3, basis=Basis.ASSUMED),
        "return_days": Input(value=3, basis=Basis.ASSUMED),
    }


def settled(given: Mapping[str, float], *known: Mapping[str, Input]) -> dict[str, Input]:
    """Every value there is: what was given first, then `known`, the best informed last."""
    found: dict[str, Input] = {}
    for values in known:
        found |= values
    found |= {name: Input(value=value, basis=Basis.GIVEN) for name, value in given.items()}
    if "at_once" not in found and "devices" in found:
        found["at_once"] = Input(value=found["devices"].value, basis=Basis.ASSUMED, about="all of them")
    return {name: found[name] for name in UNITS if name in found}


def missing(inputs: Mapping[str, Input]) -> Iterable[str]:
    """What has to be said before anything can be reckoned."""
    return [text for name, text in NEEDED.items() if name not in inputs]


def plan_of(inputs: Mapping[str, Input], opening: Opening, profile: ProfileName) -> Plan:
    """The plan of these values; nothing of `missing` is missing."""

    def value(name: str, other: float = inf) -> float:
        return inputs[name].value if name in inputs else other

    return Plan(
        size=value("size"),
        growth=value("new_per_day") / DAY,
        opening=opening,
        source=value("associations") * value("association_rate"),
        movers=value("movers_rate"),
        link=value("link") * value("link_usable"),
        destination=value("destination_rate"),
        devices=Devices(
            capacity=max(1.0, value("capacity") - PROFILES[profile].reserve),
            count=int(value("devices")),
            at_once=int(value("at_once")),
            load_rate=value("load_rate"),
            ingest_rate=value("ingest_rate"),
            ordering=value("order_days") * DAY,
            shipping=value("shipping_days") * DAY,
            returning=value("return_days") * DAY,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a job has moved so far, and how."""

    bytes: float
    instances: int
    """While something was written."""
    seconds: float
    associations: int


def measured(
    baseline: Mapping[str, Any], moved: Moved, at: datetime
) -> tuple[dict[str, Input], tuple[float, float] | None]:
    """What a job's ledger tells, by the document of its inventory; and between which sizes the archive lies, where its
    size is an estimate that says so. What was moved already is left out of the size."""
    totals, found = baseline["totals"], dict[str, Input]()
    volume, studies, instances = totals["bytes"], totals["studies"], totals["instances"]
    if not volume["value"] or not studies:
        return {}, None
    left = max(0.0, volume["value"] - moved.bytes)
    about = {"full": "all of it was pulled"}.get(volume["basis"], f"{volume['basis']}, {volume['of_studies']} studies")
    found["size"] = Input(value=left, basis=Basis.LEDGER, about=f"what is left to move; {about}")
    bounds = None
    if volume["low"] is not None and volume["low"] < volume["high"]:
        bounds = (max(0.0, volume["low"] - moved.bytes), max(0.0, volume["high"] - moved.bytes))
    study = volume["value"] / studies
    last_year = next((row["studies"] for row in baseline["years"] if row["year"] == at.year - 1), 0)
    if totals["new_last_week"]:
        found["new_per_day"] = Input(
            value=totals["new_last_week"] / 7 * study, basis=Basis.LEDGER, about="studies new in the last 7 days"
        )
    elif baseline["enumerated"]:
        found["new_per_day"] = Input(
            value=last_year / 365.25 * study, basis=Basis.LEDGER, about=f"studies dated {at.year - 1}"
        )
    if moved.seconds > 0 and instances:
        rate = moved.instances / moved.seconds * volume["value"] / instances
        found["association_rate"] = Input(
            value=rate / moved.associations,
            basis=Basis.LEDGER,
            about=f"{moved.instances} instances moved, {moved.associations} associations; the whole way as it is",
        )
    return found, bounds
