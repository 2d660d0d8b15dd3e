"""The figures of a pilot: what was tried, what failed in which pattern, what that says of the rest. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cluster.pilot.choice import Trait
from cluster.pilot.statistics import Rate, Tried, expected_rate, wilson
from cluster.reports.names import kind_name, told_percent
from storage.ledger.lifecycle import StudyStatus, study_status
from storage.ledger.pilots import PilotDay, PilotStudy
from storage.ledger.records import Severity

SCHEMA = "limosa/pilot-report/1"
"""Raised only when a field changes its meaning; fields are only ever added."""

SHOWN = 5
"""Exceptions named with each pattern: enough to look at."""

SYSTEMATIC = 3
"""Studies of a kind from a device that all fail: fewer may be an accident."""

ENDED = frozenset({StudyStatus.DONE, StudyStatus.EMPTY, StudyStatus.EXCEPTION, StudyStatus.HELD, StudyStatus.EXCLUDED})


class Decision(StrEnum):
    """What the figures say; a person decides."""

    GO = "go"
    CONDITIONS = "go, with conditions"
    NO_GO = "no-go"
    UNFINISHED = "not finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is good enough, as shares of all studies."""

    good: float = 0.01
    """A pilot passes below this: more than 99 % of the studies arrive by themselves."""
    most: float = 0.05
    """Above this a migration stops: its exceptions grow faster than people work them off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piloted:
    """Everything the figures are made of."""

    at: datetime
    job: str
    source: str
    days: Sequence[PilotDay]
    studies: Sequence[PilotStudy]
    archive: Mapping[str, int]
    """Studies of the archive by kind."""
    unmet: Sequence[Trait]
    """What the archive shows on no day of the pilot."""
    instances_per_second: float | None
    """While something was written."""
    archive_instances: int
    limits: Limits = Limits()


def pilot_figures(piloted: Piloted) -> dict[str, Any]:
    """The whole document."""
    ended = [one for one in piloted.studies if status_of(one) in ENDED]
    rate = expected_rate([_tried(one) for one in ended], piloted.archive)
    patterns = _patterns(piloted.studies)
    decision, reasons = _decide(piloted, rate, patterns)
    statuses = Counter(status_of(one).value for one in piloted.studies)
    total = sum(piloted.archive.values())
    return {
        "schema": SCHEMA,
        "job": piloted.job,
        "source": piloted.source,
        "at": piloted.at.isoformat(timespec="seconds"),
        "decision": decision.value,
        "reasons": reasons,
        "limits": {"good": piloted.limits.good, "most": piloted.limits.most},
        "studies": len(piloted.studies),
        "ended": len(ended),
        "failed": sum(_failed(one) for one in ended),
        "warned": sum(not _failed(one) and bool(one.problems) for one in ended),
        "instances": sum(one.instances or 0 for one in piloted.studies),
        "bytes": sum(one.bytes or 0 for one in piloted.studies),
        "statuses": [{"status": status, "studies": count} for status, count in statuses.most_common()],
        "expected": {
            "rate": round(rate.value, 6),
            "low": round(rate.low, 6),
            "high": round(rate.high, 6),
            "confidence": 0.95,
            "effective_studies": round(rate.effective, 1),
            "archive_studies": total,
            "exceptions": round(rate.value * total),
            "exceptions_low": round(rate.low * total),
            "exceptions_high": round(rate.high * total),
        },
        "kinds": _kinds(ended, piloted.archive),
        "patterns": patterns,
        "days": [_day(day, piloted.studies) for day in piloted.days],
        "unmet": [{"sort": trait.sort, "name": trait.name} for trait in piloted.unmet],
        "pace": _pace(piloted),
    }


def status_of(study: PilotStudy) -> StudyStatus:
    return study_status(study.state, study.states)


def _failed(study: PilotStudy) -> bool:
    """A person is needed before it arrives, or before it may be believed."""
    return status_of(study) is StudyStatus.EXCEPTION or any(one.blocking for one in study.problems)


def _tried(study: PilotStudy) -> Tried:
    return Tried(kind=kind_name(study.modalities), day=study.day, failed=_failed(study))


def _vendor(study: PilotStudy) -> str:
    return study.manufacturer or "not known"


def _patterns(studies: Sequence[PilotStudy]) -> list[dict[str, Any]]:
    """Exceptions of one class in one kind of study from one manufacturer, the most frequent first."""
    of = Counter((kind_name(one.modalities), _vendor(one)) for one in studies)
    met: dict[tuple[str, str, str], dict[int, list[Any]]] = defaultdict(dict)
    for study in studies:
        for problem in study.problems:
            key = problem.kind, kind_name(study.modalities), _vendor(study)
            met[key].setdefault(study.study_key, []).append(problem)
    rows: list[dict[str, Any]] = []
    for (kind, modality, vendor), found in met.items():
        problems = [one for each in found.values() for one in each]
        low, high = wilson(len(found) / of[modality, vendor], of[modality, vendor])
        blocking = any(one.blocking for one in problems)
        rows.append(
            {
                "kind": kind,
                "modality": modality,
                "manufacturer": vendor,
                "blocking": blocking,
                "critical": any(one.severity is Severity.CRITICAL for one in problems),
                "studies": len(found),
                "of": of[modality, vendor],
                "low": round(low, 6),
                "high": round(high, 6),
                "systematic": blocking and SYSTEMATIC <= len(found) == of[modality, vendor],
                "exceptions": sorted(one.exception_id for one in problems)[:SHOWN],
            }
        )
    return sorted(rows, key=lambda row: (not row["blocking"], -row["studies"], row["kind"], row["modality"]))


def _decide(piloted: Piloted, rate: Rate, patterns: Sequence[Mapping[str, Any]]) -> tuple[Decision, list[str]]:
    limits = piloted.limits
    open_ones = sum(status_of(one) not in ENDED for one in piloted.studies)
    if not piloted.studies or open_ones:
        return Decision.UNFINISHED, [
            f"{open_ones} of {len(piloted.studies)} studies are not at their end: run it again"
        ]
    stops: list[str] = []
    doubts: list[str] = []
    for row in patterns:
        name = f"{row['kind']} in {row['modality']} from {row['manufacturer']}"
        if row["critical"]:
            stops.append(f"{name} is critical: work it off, then take the pilot again")
        elif row["systematic"]:
            doubts.append(f"{name} meets all {row['of']} studies tried: find the rule that mends them before they move")
    reach = f"95 %: {told_percent(rate.low)} to {told_percent(rate.high)}"
    told = f"{told_percent(rate.value)} of all studies are expected to need a person ({reach})"
    if rate.value > limits.most:
        stops.append(f"{told}; more than {told_percent(limits.most)} cannot be worked off")
    elif rate.value > limits.good:
        doubts.append(f"{told}; {told_percent(limits.good)} is the aim")
    elif rate.high > limits.most:
        doubts.append(f"{told}; too few studies were tried to exclude more than {told_percent(limits.most)}")
    if stops:
        return Decision.NO_GO, stops + doubts
    return (Decision.CONDITIONS, doubts) if doubts else (Decision.GO, [told])


def _kinds(ended: Sequence[PilotStudy], archive: Mapping[str, int]) -> list[dict[str, Any]]:
    tried = Counter(kind_name(one.modalities) for one in ended)
    failed = Counter(kind_name(one.modalities) for one in ended if _failed(one))
    rows: list[dict[str, Any]] = []
    for kind in sorted({*archive, *tried}, key=lambda kind: (-archive.get(kind, 0), kind)):
        count = tried[kind]
        low, high = wilson(failed[kind] / count, count) if count else (0.0, 1.0)
        rows.append(
            {
                "modality": kind,
                "archive_studies": archive.get(kind, 0),
                "studies": count,
                "failed": failed[kind],
                "low": round(low, 6),
                "high": round(high, 6),
            }
        )
    return rows


def _day(day: PilotDay, studies: Sequence[PilotStudy]) -> dict[str, Any]:
    own = [one for one in studies if one.day == day.day]
    return {
        "day": day.day,
        "archive_studies": day.studies,
        "studies": len(own),
        "failed": sum(_failed(one) for one in own),
        "why": list(day.why),
    }


def _pace(piloted: Piloted) -> dict[str, Any]:
    rate = piloted.instances_per_second
    days = None if not rate else round(piloted.archive_instances / rate / 86_400, 4)
    return {
        "instances_per_second": None if rate is None else round(rate, 1),
        "archive_instances": piloted.archive_instances,
        "archive_days": days,
    }
