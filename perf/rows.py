"""What a benchmark run leaves: one row per scenario and subject, kept as JSON, and two runs held against each other."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from perf.machine import Machine

CURVE_POINT = re.compile(r"(\w+)_at_(\d+)")
FORMAT = 1
"""Of the JSON document; fields are only ever added to a format."""


class Unreadable(Exception):
    """The file holds no results of a benchmark run."""


class AnotherMachine(Exception):
    """The file's rows were measured on another machine: its numbers cannot stand beside these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One subject's result in one scenario. Rates are medians over the repeats; a MB is 10**6 bytes."""

    scenario: str
    subject: str
    mb_per_s: float | None = None
    """None where the scenario moves no bytes, and where nothing was measured."""
    objects_per_s: float | None = None
    cpu_s_per_gb: float | None = None
    """CPU seconds of the subject's own processes, system time and children included, per 10**9 bytes."""
    peak_rss_mb: float | None = None
    """Most memory its processes had resident together."""
    associations: int = 1
    processes: int = 1
    objects: int = 0
    """Per repeat."""
    bytes: int = 0
    """Per repeat."""
    seconds: float | None = None
    repeats: int = 0
    spread: tuple[float, float] | None = None
    """First and third quartile of the rate: of `mb_per_s`, or of `objects_per_s` where there are no bytes."""
    sender_cpu_s_per_gb: float | None = None
    """The other side's CPU, which is no merit or fault of the subject."""
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    """What only this scenario measures, as medians; names carry units. `x_at_N` are points of a curve."""
    about: str = ""
    """What the subject does and leaves out, in a sentence."""
    not_run: str = ""
    """Why there are no numbers; empty where there are."""
    failed: bool = False
    """The subject was there, and what it did was wrong: `not_run` says how."""
    measured: str = ""
    """ISO 8601, UTC."""

    @property
    def key(self) -> tuple[str, str]:
        return self.scenario, self.subject

    @property
    def rate(self) -> float | None:
        """What this row is compared by."""
        return self.objects_per_s if self.mb_per_s is None else self.mb_per_s


def curves(row: Row) -> dict[str, list[tuple[int, float]]]:
    """The figures named `x_at_N`, as points (N, value) of a curve `x`, in order."""
    found: dict[str, list[tuple[int, float]]] = {}
    for name, value in row.figures.items():
        if point := CURVE_POINT.fullmatch(name):
            found.setdefault(point[1], []).append((int(point[2]), value))
    return {name: sorted(points) for name, points in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The rows of one machine."""

    machine: Machine
    rows: tuple[Row, ...] = ()

    def of(self, scenario: str) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.scenario == scenario)

    def row(self, scenario: str, subject: str) -> Row | None:
        """The row, if it holds numbers."""
        return next((row for row in self.rows if row.key == (scenario, subject) and not row.not_run), None)

    def merged(self, rows: Iterable[Row]) -> "Report":
        """`rows` are in, in place of all older rows of the same scenarios."""
        fresh = tuple(rows)
        redone = {row.scenario for row in fresh}
        return replace(self, rows=(*(row for row in self.rows if row.scenario not in redone), *fresh))


def write_report(report: Report, path: Path) -> None:
    """The report is at `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "format": FORMAT,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(report.machine),
        "rows": [asdict(row) for row in report.rows],
    }
    unborn = path.with_name(f"{path.name}.{os.getpid()}")
    unborn.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    unborn.replace(path)


def read_report(path: Path) -> Report:
    """The report at `path`; fields of newer versions are left out. Raises `Unreadable`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise Unreadable(f"{path} is of format {document['format']}, not {FORMAT}")
        machine = Machine(**_known(Machine, document["machine"]))
        return Report(machine=machine, rows=tuple(map(_row, document["rows"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{path} holds no benchmark results ({type(error).__name__})") from error


def _row(told: Mapping[str, Any]) -> Row:
    row = Row(**_known(Row, told))
    return row if row.spread is None else replace(row, spread=(row.spread[0], row.spread[1]))


def _known(kind: type, told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in kind.__dataclass_fields__ if name in told}


class Verdict(StrEnum):
    """How B's row stands to A's."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    """The middle halves of the samples overlap."""
    ONLY_A = "only in A"
    ONLY_B = "only in B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row of A beside the same row of B."""

    scenario: str
    subject: str
    before: float | None
    after: float | None
    ratio: float | None
    """B's rate by A's."""
    cpu_ratio: float | None
    """B's CPU seconds per GB by A's: above 1 is worse."""
    verdict: Verdict


def compare(a: Report, b: Report) -> Iterator[Comparison]:
    """Every row that either report has numbers for, in A's order."""
    ours = {row.key: row for row in a.rows if row.rate}
    theirs = {row.key: row for row in b.rows if row.rate}
    for key in dict.fromkeys((*ours, *theirs)):
        yield _compared(key, ours.get(key), theirs.get(key))


def _compared(key: tuple[str, str], a: Row | None, b: Row | None) -> Comparison:
    before, after = a.rate if a else None, b.rate if b else None
    both_cpu = bool(a and b and a.cpu_s_per_gb and b.cpu_s_per_gb)
    return Comparison(
        scenario=key[0],
        subject=key[1],
        before=before,
        after=after,
        ratio=after / before if before and after else None,
        cpu_ratio=b.cpu_s_per_gb / a.cpu_s_per_gb if both_cpu else None,  # type: ignore[union-attr,operator]
        verdict=_verdict(a, b),
    )


def _verdict(a: Row | None, b: Row | None) -> Verdict:
    if a is None or b is None:
        return Verdict.ONLY_B if a is None else Verdict.ONLY_A
    before, after = a.rate or 0.0, b.rate or 0.0
    low_a, high_a = a.spread or (before, before)
    low_b, high_b = b.spread or (after, after)
    if low_b > high_a:
        return Verdict.FASTER
    return Verdict.SLOWER if high_b < low_a else Verdict.SAME
