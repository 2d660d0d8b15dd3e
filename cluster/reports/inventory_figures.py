"""The figures of an archive's baseline, from what the ledger counted. Pure: no clock, no ledger, no markup.

The result is one document of plain values: the page shows it, `--report baseline.json` is it, CSV flattens it. Every
table says what it is based on: all studies listed (`full`), a sample drawn at random (`sampled`), or what was
migrated so far (`pulled`), which nobody drew at random.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cluster.project import Project
from cluster.reports.estimates import Estimate, Kind, estimate_bytes, moments_by, total_of
from cluster.reports.findings import findings
from cluster.reports.names import class_name, kind_name, syntax_name
from imaging.dose.records import DoseStatus
from storage.ledger.baseline import ArchiveTotals, Encoded, Moments, PatternCount, SizeBin, StudyGroup, Worked
from storage.ledger.dose import DoseCount
from storage.ledger.samples import EquipmentCount, SampleEncoded, SampleTotals

SCHEMA = "limosa/inventory-report/1"
"""Raised only when a field changes its meaning; fields are only ever added."""

DAMAGE = frozenset({"MALFORMED_INSTANCE", "MALFORMED_INSTANCES", "SOURCE_UID_UNSTABLE", "DUPLICATE_DIFFERS"})
"""Classes of exceptions whose cause lies in the objects as the archive holds them."""

ARCHIVE = frozenset(
    {
        "INCOMPLETE_STUDY",
        "NO_INSTANCES_LISTED",
        "NOTHING_RECEIVED",
        "EXPECTED_SET_UNKNOWN",
        "SURPLUS_INSTANCES",
        "COUNT_EXCEEDS_LIST",
        "SOP_UID_SHARED",
        "STUDY_UID_MULTI_PATIENT",
        "INV_UNSPLITTABLE",
        "INV_UNDECODABLE",
    }
)
"""Classes whose cause lies in what the archive lists or sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Everything the figures are made of."""

    at: datetime
    totals: ArchiveTotals
    groups: Sequence[StudyGroup]
    accession_patterns: Sequence[PatternCount]
    patient_id_patterns: Sequence[PatternCount]
    quality: Mapping[str, int]
    study_sizes: Sequence[SizeBin]
    instance_sizes: Sequence[SizeBin]
    encoded: Sequence[Encoded]
    flags: Mapping[str, int]
    written: Sequence[Moments]
    asking: Worked
    moving: Worked
    exceptions: Mapping[str, int]
    dose: Sequence[DoseCount]
    sample: SampleTotals
    equipment: Sequence[EquipmentCount]
    sample_encoded: Sequence[SampleEncoded]
    sample_marks: Mapping[str, int]
    sample_sizes: Sequence[SizeBin]
    sample_dose: Mapping[str, int]
    sampled: Sequence[Moments]
    cap: int | None
    associations: int | None
    """Retrieves at once that the source is asked with now; None: not known yet."""
    project: Project | None = None
    misfits: Sequence[str] = ()
    """What does not look like such a project."""


def figures(counted: Counted) -> dict[str, Any]:
    """The whole document."""
    totals, sample = counted.totals, counted.sample
    pulled = sum(one.studies for one in counted.written)
    kinds = _kinds(counted)
    volume = total_of([estimate for _, estimate in kinds])
    return {
        "schema": SCHEMA,
        "job": totals.job,
        "source": totals.source,
        "kind": totals.kind,
        "at": counted.at.isoformat(timespec="seconds"),
        "generation": totals.generation,
        "enumerated": totals.enumerated,
        "bases": {"listed": totals.studies, "sampled": sample.studies, "pulled": pulled},
        "totals": _totals(totals, volume),
        "modalities": [_modality(kind, estimate) for kind, estimate in kinds],
        "years": _years(counted.groups),
        "modality_years": _modality_years(counted.groups),
        "datings": _datings(counted.groups),
        "equipment": [_equipment(one) for one in counted.equipment],
        "syntaxes": _syntaxes(counted),
        "sop_classes": _classes(counted),
        "charsets": _charsets(counted.sample_encoded),
        "study_sizes": [_bin(one, "instances") for one in counted.study_sizes],
        "instance_sizes": _instance_sizes(counted),
        "accession_patterns": [_pattern(one) for one in counted.accession_patterns],
        "patient_id_patterns": [_pattern(one) | {"issuer": one.issuer} for one in counted.patient_id_patterns],
        "findings": findings(flaws(counted.quality, counted.exceptions), _dating_counts(counted.groups)),
        "damage": _damage(counted, pulled),
        "marks": _marks(counted),
        "dose": _dose(counted),
        "exceptions": _exceptions(counted.exceptions),
        "rates": _rates(counted),
        "limits": {"find_cap": counted.cap, "associations": counted.associations},
        "project": {"kind": counted.project, "misfits": list(counted.misfits)},
    }


def flaws(quality: Mapping[str, int], exceptions: Mapping[str, int]) -> dict[str, int]:
    """Flaws that are counted in the ledger's rows, and those that are exceptions already."""
    return {
        **quality,
        "uid_of_several_patients": exceptions.get("STUDY_UID_MULTI_PATIENT", 0),
        "sop_shared": exceptions.get("SOP_UID_SHARED", 0),
    }


def _totals(totals: ArchiveTotals, volume: Estimate) -> dict[str, Any]:
    return {
        "studies": totals.studies,
        "patients": totals.patients,
        "series": totals.series,
        "series_uncounted_studies": totals.no_series_count,
        "instances": totals.instances,
        "instances_uncounted_studies": totals.no_instance_count,
        "not_met_again": totals.not_met_again,
        "new_last_week": totals.new_last_week,
        "bytes": _estimated(volume),
    }


def _estimated(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": round(estimate.value),
        "low": None if estimate.low is None else round(estimate.low),
        "high": None if estimate.high is None else round(estimate.high),
        "basis": estimate.basis,
        "of_studies": estimate.of,
    }


def _kinds(counted: Counted) -> list[tuple[tuple[Kind, int, int], Estimate]]:
    """Kinds of studies with their series and uncounted studies, most studies first, and their bytes."""
    sums: dict[str, list[int]] = {}
    for group in counted.groups:
        row = sums.setdefault(kind_name(group.modalities), [0, 0, 0, 0])
        for place, number in enumerate((group.studies, group.series, group.instances, group.uncounted)):
            row[place] += number
    names = {one.modalities: kind_name(one.modalities) for one in (*counted.written, *counted.sampled)}
    order = sorted(sums, key=lambda name: (-sums[name][0], name))
    kinds = [Kind(name=name, studies=sums[name][0], instances=sums[name][2]) for name in order]
    estimates = estimate_bytes(kinds, moments_by(counted.written, names), moments_by(counted.sampled, names))
    return [
        ((kind, sums[kind.name][1], sums[kind.name][3]), estimate)
        for kind, estimate in zip(kinds, estimates, strict=True)
    ]


def _modality(row: tuple[Kind, int, int], estimate: Estimate) -> dict[str, Any]:
    kind, series, uncounted = row
    return {
        "modality": kind.name,
        "studies": kind.studies,
        "series": series,
        "instances": kind.instances,
        "uncounted_studies": uncounted,
        "bytes": _estimated(estimate),
    }


def _years(groups: Sequence[StudyGroup]) -> list[dict[str, Any]]:
    """Every year between the first and the last, so that a gap is seen as one."""
    studies: Counter[int] = Counter()
    instances: Counter[int] = Counter()
    for group in groups:
        if group.year is not None and group.dating == "dated":
            studies[group.year] += group.studies
            instances[group.year] += group.instances
    if not studies:
        return []
    return [
        {"year": year, "studies": studies[year], "instances": instances[year]}
        for year in range(min(studies), max(studies) + 1)
    ]


def _modality_years(groups: Sequence[StudyGroup]) -> list[dict[str, Any]]:
    cells: Counter[tuple[str, int | None]] = Counter()
    for group in groups:
        cells[kind_name(group.modalities), group.year if group.dating == "dated" else None] += group.studies
    return [
        {"modality": name, "year": year, "studies": studies}
        for (name, year), studies in sorted(cells.items(), key=lambda item: (item[0][0], item[0][1] or 0))
    ]


def _dating_counts(groups: Sequence[StudyGroup]) -> Counter[str]:
    found: Counter[str] = Counter()
    for group in groups:
        found[group.dating] += group.studies
    return found


def _datings(groups: Sequence[StudyGroup]) -> list[dict[str, Any]]:
    found = _dating_counts(groups)
    return [{"dating": word, "studies": found[word]} for word in ("dated", "undated", "no_date", "sentinel", "future")]


def _equipment(one: EquipmentCount) -> dict[str, Any]:
    return {
        "modality": one.modality,
        "manufacturer": one.manufacturer,
        "model": one.model,
        "station": one.station,
        "studies": one.studies,
        "series": one.series,
        "instances": one.instances,
        "bytes": one.bytes,
        "basis": "sampled",
    }


def _syntaxes(counted: Counted) -> list[dict[str, Any]]:
    rows = [(one.transfer_syntax, one.instances, one.bytes, "pulled") for one in counted.encoded]
    rows += [(one.transfer_syntax or "", one.instances, one.bytes, "sampled") for one in counted.sample_encoded]
    return [row | {"name": syntax_name(row["uid"])} for row in _by_uid(rows)]


def _classes(counted: Counted) -> list[dict[str, Any]]:
    rows = [(one.sop_class, one.instances, one.bytes, "pulled") for one in counted.encoded]
    rows += [(one.sop_class or "", one.instances, one.bytes, "sampled") for one in counted.sample_encoded]
    return [row | {"name": class_name(row["uid"])} for row in _by_uid(rows)]


def _by_uid(rows: Sequence[tuple[str, int, int, str]]) -> list[dict[str, Any]]:
    """Sums by UID and basis, the largest first."""
    sums: dict[tuple[str, str], list[int]] = {}
    for uid, instances, size, basis in rows:
        row = sums.setdefault((uid, basis), [0, 0])
        row[0] += instances
        row[1] += size
    order = sorted(sums, key=lambda key: (key[1], -sums[key][0], key[0]))
    return [{"uid": key[0], "instances": sums[key][0], "bytes": sums[key][1], "basis": key[1]} for key in order]


def _charsets(encoded: Sequence[SampleEncoded]) -> list[dict[str, Any]]:
    found: Counter[str] = Counter()
    for one in encoded:
        found[one.charset or "none declared"] += one.series
    return [{"charset": name, "series": count, "basis": "sampled"} for name, count in found.most_common()]


def _instance_sizes(counted: Counted) -> list[dict[str, Any]]:
    pulled = [_bin(one, "bytes") | {"basis": "pulled"} for one in counted.instance_sizes]
    return pulled + [_bin(one, "bytes") | {"basis": "sampled"} for one in counted.sample_sizes]


def _bin(one: SizeBin, weight: str) -> dict[str, Any]:
    items = "studies" if weight == "instances" else "instances"
    lowest, highest = (0, 0) if one.power < 0 else (2**one.power, 2 ** (one.power + 1) - 1)
    return {"from": lowest, "to": highest, items: one.items, weight: one.weight}


def _pattern(one: PatternCount) -> dict[str, Any]:
    return {"pattern": one.pattern, "studies": one.studies, "distinct": one.distinct}


def _damage(counted: Counted, pulled: int) -> list[dict[str, Any]]:
    """Objects that are unreadable as the archive holds them, apart from what failed on the way."""
    sample = counted.sample
    came = sum(one.instances for one in counted.encoded)
    malformed = sum(counted.exceptions.get(kind, 0) for kind in ("MALFORMED_INSTANCE", "MALFORMED_INSTANCES"))
    return [
        {"what": "images of the sample that are no sound dataset", "count": sample.damaged, "of": sample.series,
         "unit": "series", "basis": "sampled"},
        {"what": "images of the sample that the archive lists and did not send", "count": sample.absent,
         "of": sample.series, "unit": "series", "basis": "sampled"},
        {"what": "studies of the sample whose images the archive did not list to the end", "count": sample.unlisted,
         "of": sample.studies, "unit": "studies", "basis": "sampled"},
        {"what": "instances that came and are no sound dataset (open exceptions)", "count": malformed,
         "of": came + malformed, "unit": "instances", "basis": "pulled"},
    ]  # fmt: skip


def _marks(counted: Counted) -> list[dict[str, Any]]:
    came = sum(one.instances for one in counted.encoded)
    rows = [
        {"mark": mark, "count": count, "of": came, "unit": "instances", "basis": "pulled"}
        for mark, count in counted.flags.items()
    ]
    return rows + [
        {"mark": mark, "count": count, "of": counted.sample.read, "unit": "series", "basis": "sampled"}
        for mark, count in counted.sample_marks.items()
    ]


def _dose(counted: Counted) -> list[dict[str, Any]]:
    """Studies by the CT dose they offer: of the sample, and of what was moved as `limosa dose report` counts it."""
    moved = {one.status: one for one in counted.dose}
    rows = (
        ("sampled", counted.sample_dose, {}),
        (
            "pulled",
            {name: one.studies for name, one in moved.items()},
            {name: one.added for name, one in moved.items()},
        ),
    )
    return [
        {
            "status": status.value,
            "studies": studies[status.value],
            "of": sum(studies.values()),
            "added": added.get(status.value, 0),
            "basis": basis,
        }
        for basis, studies, added in rows
        for status in DoseStatus
        if studies.get(status.value)
    ]


def _exceptions(found: Mapping[str, int]) -> list[dict[str, Any]]:
    def cause(kind: str) -> str:
        return "damaged objects" if kind in DAMAGE else "the archive's answers" if kind in ARCHIVE else "migration"

    return [{"kind": kind, "cause": cause(kind), "open": count} for kind, count in sorted(found.items())]


def _rates(counted: Counted) -> list[dict[str, Any]]:
    sample = counted.sample
    rows = [
        ("studies listed", counted.asking.items, counted.asking.seconds, f"{counted.asking.events} questions"),
        ("instances pulled", counted.moving.items, counted.moving.seconds, f"{counted.moving.events} studies"),
        ("images sampled, one retrieve each", sample.read, sample.seconds, f"{sample.studies} studies, one at a time"),
    ]
    return [
        {"what": what, "count": count, "seconds": round(seconds, 1), "per_second": round(count / seconds, 2), "by": by}
        for what, count, seconds, by in rows
        if seconds > 0 and count
    ]
