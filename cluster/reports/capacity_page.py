"""A plan as a page: lines and bars of its document, in parts of a hundred."""

from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import Any

from cluster.capacity.units import told_bits
from cluster.reports.names import told_bytes, told_count, told_days
from cluster.reports.pages import render

JOURNEYS_SHOWN = 12
"""Bars of the timetable; the others are like them."""

NAMES = {
    "size": "left to move",
    "new_per_day": "acquired a day",
    "associations": "associations with the archive",
    "association_rate": "each of them",
    "movers_rate": "our own processes",
    "link": "link",
    "link_usable": "of it for the migration",
    "destination_rate": "destination",
    "capacity": "a device holds",
    "devices": "devices in all",
    "at_once": "loaded at once, at most",
    "load_rate": "a device is loaded with",
    "ingest_rate": "a shipment is read with",
    "order_days": "until the first ones are here",
    "shipping_days": "on the way",
    "return_days": "and back",
}
PACES = {"source": "archive", "movers": "our own processes", "link": "link", "destination": "destination"}


def page_of(document: Mapping[str, Any]) -> str:
    """One HTML file."""
    ways = {way["way"]: way for way in document["ways"]}
    values = {
        "r": document,
        "network": ways["network"],
        "disks": ways["disks"],
        "inputs": [{"name": NAMES[row["name"]], "shown": shown(row), **_said(row)} for row in document["inputs"]],
        "paces": [{"name": PACES[name], "pace": pace} for name, pace in document["paces"].items() if pace is not None],
        "sizes": size_lines(document["curves"]["sizes"], document["bytes"], document["crossings"]["bytes"]),
        "progress": progress_lines(document["curves"]["progress"]),
        "journeys": timetable(ways["disks"]["journeys"]),
        "bits": told_bits,
    }
    return render("capacity.html.j2", values)


def shown(row: Mapping[str, Any]) -> str:
    """An input's value as a person reads it."""
    value = row["value"]
    match row["unit"]:
        case "bytes":
            return told_bytes(value)
        case "bytes/s":
            return f"{told_bytes(value)}/s" + (f" ({told_bits(value)})" if row["name"] == "link" else "")
        case "share":
            return f"{100 * value:.0f} %"
        case "days":
            return f"{value:g} days"
        case _:
            return told_count(round(value))


def size_lines(points: Sequence[Mapping[str, Any]], size: float, crossing: float | None) -> dict[str, Any]:
    """The end of each way over the archive's size, both on logarithmic scales; empty where there is nothing to show."""
    ends = [end for point in points for end in (point["network"], point["disks"]) if end]
    if not ends:
        return {}
    across = _scale(points[0]["bytes"], points[-1]["bytes"])
    up = _scale(min(ends), max(ends))
    lines = {
        way: _line((across(point["bytes"]), 100 - up(point[way]) if point[way] else None) for point in points)
        for way in ("network", "disks")
    }
    inside = crossing is not None and points[0]["bytes"] <= crossing <= points[-1]["bytes"]
    return {
        **lines,
        "here": across(size),
        "crossing": across(crossing) if inside and crossing is not None else None,
        "first": told_bytes(points[0]["bytes"]),
        "middle": told_bytes(size),
        "last": told_bytes(points[-1]["bytes"]),
        "least": told_days(min(ends)),
        "most": told_days(max(ends)),
    }


def progress_lines(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What exists and what has arrived, day by day."""
    most = max(point["exists"] for point in points) or 1.0
    last = points[-1]["day"] or 1.0
    lines = {
        name: _line((100 * point["day"] / last, 100 - 100 * point[name] / most) for point in points)
        for name in ("exists", "network", "disks")
    }
    return {**lines, "last": told_days(last), "most": told_bytes(most)}


def timetable(journeys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first shipments as bars: loaded, on the way, waiting for the one before, read."""
    first = journeys[:JOURNEYS_SHOWN]
    last = max((row["ingested_day"] for row in first), default=1.0) or 1.0
    return [
        {
            **row,
            "load": _bar(row["begun_day"], row["loaded_day"], last),
            "way": _bar(row["loaded_day"], row["ingesting_day"], last),
            "read": _bar(row["ingesting_day"], row["ingested_day"], last),
        }
        for row in first
    ]


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"basis": row["basis"], "about": row["about"]}


def _bar(start: float, end: float, last: float) -> dict[str, str]:
    return {"x": f"{100 * start / last:.2f}", "width": f"{100 * (end - start) / last:.2f}"}


def _scale(low: float, high: float) -> Any:
    """From 0 to 100 between both, by the logarithm."""
    span = log(high / low)
    return lambda value: 100 * log(value / low) / span if span else 50.0


def _line(points: Iterable[tuple[float, float | None]]) -> list[str]:
    """The points of each stretch that has values."""
    stretches: list[list[str]] = [[]]
    for x, y in points:
        if y is None:
            stretches.append([])
        else:
            stretches[-1].append(f"{x:.2f},{y:.2f}")
    return [" ".join(stretch) for stretch in stretches if len(stretch) > 1]
