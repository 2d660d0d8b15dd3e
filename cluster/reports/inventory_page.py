"""The baseline of an archive as a page, as JSON and as CSV: three forms of one document."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any

from cluster.reports.names import told_binary, told_bytes, told_count
from cluster.reports.pages import render

HEAT_ROWS = 12
"""Kinds of studies in the table of years; the rest is in the JSON."""

HEAT_SPANS = 14
"""Columns of years: as many as fit a screen."""

CSV_COLUMNS = ("table", "item", "measure", "value", "basis")
_KEYS = ("modality", "year", "dating", "manufacturer", "model", "station", "uid", "name", "charset", "from", "pattern",
         "issuer", "code", "what", "mark", "kind", "cause", "status")  # fmt: skip
"""Fields that say what a row is about; all others are measures."""


def page_of(document: Mapping[str, Any]) -> str:
    """One HTML file."""
    return render(
        "inventory.html.j2",
        {
            "r": document,
            "years": [
                {"value": row["studies"], "title": f"{row['year']}: {told_count(row['studies'])} studies", "tone": "a"}
                for row in document["years"]
            ],
            "heat": heat(document["modality_years"], document["modalities"]),
            "study_sizes": [
                {
                    "first": row["studies"],
                    "second": row["instances"],
                    "title": f"{row['from']} to {row['to']} instances: {told_count(row['studies'])} studies",
                }
                for row in document["study_sizes"]
            ],
            "instance_sizes": _sizes(document["instance_sizes"]),
        },
    )


def csv_of(document: Mapping[str, Any]) -> str:
    """Every number of the document, one a line; for spreadsheets."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(tuple(inert(cell) for cell in row) for row in _lines(document))
    return text.getvalue()


def inert(cell: object) -> object:
    """Text that no spreadsheet takes for a formula: shapes and device names may begin with anything."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _lines(document: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, value in document.items():
        match value:
            case str() | int() | bool() | None:
                yield (name, "", "", value, "")
            case Mapping():
                yield from _measures(name, "", value, "")
            case _:
                for row in value:
                    item = " | ".join(str(row[key]) for key in _KEYS if row.get(key) is not None)
                    measures = {key: cell for key, cell in row.items() if key not in (*_KEYS, "basis")}
                    yield from _measures(name, item, measures, row.get("basis", "full"))


def _measures(table: str, item: str, values: Mapping[str, Any], basis: str) -> Iterator[tuple[object, ...]]:
    for measure, value in values.items():
        if isinstance(value, Mapping):
            inner = {f"{measure} {key}": cell for key, cell in value.items() if key != "basis"}
            yield from _measures(table, item, inner, value.get("basis", basis))
        else:
            yield (table, item, measure, value, basis)


def heat(cells: Sequence[Mapping[str, Any]], kinds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Kinds by spans of years, the largest kinds first; the last column is without a date."""
    names = [row["modality"] for row in kinds[:HEAT_ROWS]]
    years = [cell["year"] for cell in cells if cell["year"] is not None]
    width = max(1, -(-(max(years) - min(years) + 1) // HEAT_SPANS)) if years else 1
    starts = list(range(min(years), max(years) + 1, width)) if years else []
    table = {name: [0] * (len(starts) + 1) for name in names}
    for cell in cells:
        if cell["modality"] in table:
            place = len(starts) if cell["year"] is None else (cell["year"] - starts[0]) // width
            table[cell["modality"]][place] += cell["studies"]
    most = max((value for row in table.values() for value in row), default=0)
    spans = [str(start) if width == 1 else f"{start}-{(start + width - 1) % 100:02d}" for start in starts]
    return {
        "spans": [*spans, "no date"],
        # The root: counts of kinds differ by orders of magnitude, and a single study should still be seen.
        "rows": [
            {
                "name": name,
                "cells": [{"value": value, "shade": 0.85 * sqrt(value / most) if most else 0} for value in row],
            }
            for name, row in table.items()
        ],
    }


def _sizes(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The histogram to show: of the sample where there is one, since what was pulled was not drawn at random."""
    basis = "sampled" if any(row["basis"] == "sampled" for row in rows) else "pulled"
    shown = {row["from"]: row for row in rows if row["basis"] == basis}
    if not shown:
        return {"basis": basis, "rows": [], "first": "", "last": ""}
    found: list[dict[str, Any]] = []
    size = min(shown)
    while size <= max(shown):
        row = shown.get(size, {"instances": 0, "bytes": 0})
        title = f"{told_binary(size)} and more: {told_count(row['instances'])} instances, {told_bytes(row['bytes'])}"
        found.append({"first": row["instances"], "second": row["bytes"], "title": title})
        size *= 2
    return {"basis": basis, "rows": found, "first": told_binary(min(shown)), "last": told_binary(2 * max(shown))}
