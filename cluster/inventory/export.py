"""An inventory that was exported from the archive's database, held against what the archive answered.

A database knows studies that no question finds: undated ones, those of a patient without a number, those an answer
limit hid. Who has both lists can say that nothing is missing, or what. Nothing can be retrieved from such a file.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from re import split
from typing import TextIO

from blake3 import blake3

from actors.source import StudyFound
from imaging.uid import InvalidUid, Uid, parse_uid
from storage.ledger.inventory import ClaimedStudy
from storage.ledger.ledger import Ledger

BATCH = 5_000
"""Rows compared in one question to the ledger."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "study_uid": ("studyinstanceuid", "studyuid", "studyiuid", "suid"),
    "patient_id": ("patientid", "mrn", "patid"),
    "issuer": ("issuerofpatientid", "issuer"),
    "patient_name": ("patientname", "patname"),
    "birth_date": ("patientbirthdate", "birthdate", "dob"),
    "sex": ("patientsex", "sex"),
    "accession": ("accessionnumber", "accession", "accessionno", "accno"),
    "study_date": ("studydate", "studydatetime"),
    "study_time": ("studytime",),
    "modalities": ("modalitiesinstudy", "modalities", "modality", "modsinstudy"),
    "description": ("studydescription", "studydesc", "description"),
    "series_count": ("numberofstudyrelatedseries", "numseries", "seriescount"),
    "instance_count": ("numberofstudyrelatedinstances", "numinstances", "instancecount", "imagecount", "numimages"),
}
"""What we take from an export, and names that columns of it go by, lower-case letters and digits alone."""


class UnusableExport(Exception):
    """The export cannot be read; the message says where, and never what stood there."""


class Kind(StrEnum):
    """How the two lists differ in a study."""

    EXPORT_ONLY = "export_only"
    """The database has it and the archive did not tell: it is in the ledger now, and will be asked for by UID."""
    ARCHIVE_ONLY = "archive_only"
    INSTANCES = "instances"
    SERIES = "series"
    PATIENT = "patient"
    ACCESSION = "accession"
    DATE = "date"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One study in which they differ."""

    study_uid: Uid
    kind: Kind
    export: str
    archive: str


@dataclass(slots=True, kw_only=True)
class Compared:
    """What the comparison came to."""

    rows: int = 0
    unusable: int = 0
    """Rows whose Study Instance UID is none."""
    repeated: int = 0
    kinds: dict[Kind, int] = field(default_factory=dict)


def read_export(file: TextIO, given: Mapping[str, str]) -> Iterator[StudyFound | None]:
    """A study for each row; None where it has no valid UID. `given` names columns by field, before `COLUMNS`.

    Raises
    ------
    UnusableExport
        No column holds Study Instance UIDs, a named column is absent, or it is no CSV.
    """
    head = file.read(64 << 10)
    file.seek(0)
    first = head.splitlines()[0] if head else ""
    delimiter = max(",;\t|", key=first.count)
    try:
        rows = csv.DictReader(file, delimiter=delimiter, strict=True)
        columns = _columns(rows.fieldnames or (), given)
        for row in rows:
            yield _study(row, columns)
    except csv.Error:
        raise UnusableExport("is no CSV that can be read to its end") from None
    except UnicodeDecodeError:
        raise UnusableExport("is not UTF-8 text") from None


def compare(
    studies: Iterator[StudyFound | None], ledger: Ledger, source_id: int, tell: Callable[[Difference], None]
) -> Compared:
    """Both lists were held against each other, and what only the export has is in the ledger, too.

    Memory: about 80 bytes for each row. Raises `UnusableExport` as the rows are read.
    """
    done = Compared()
    met: set[int] = set()

    def told(difference: Difference) -> None:
        done.kinds[difference.kind] = done.kinds.get(difference.kind, 0) + 1
        tell(difference)

    while batch := list(islice(studies, BATCH)):
        done.rows += len(batch)
        named = {one.study_uid: one for one in batch if one is not None}
        done.unusable += sum(one is None for one in batch)
        fresh = {uid: one for uid, one in named.items() if _mark(uid) not in met}
        done.repeated += sum(one is not None for one in batch) - len(fresh)
        known = ledger.inventory.claimed(source_id, list(fresh))
        for uid, one in fresh.items():
            met.add(_mark(uid))
            if (claim := known.get(uid)) is None:
                told(Difference(study_uid=uid, kind=Kind.EXPORT_ONLY, export="", archive=""))
                continue
            for kind, ours, theirs in _pairs(one, claim):
                told(Difference(study_uid=uid, kind=kind, export=ours, archive=theirs))
        ledger.inventory.record_studies(source_id, [one for uid, one in fresh.items() if uid not in known])
    for uid in ledger.inventory.seen_uids(source_id):
        if _mark(uid) not in met:
            told(Difference(study_uid=uid, kind=Kind.ARCHIVE_ONLY, export="", archive=""))
    return done


def _mark(uid: Uid) -> int:
    """64 bits that stand for a UID: among ten million, two share one with odds of one in 400,000."""
    return int.from_bytes(blake3(uid.encode("ascii")).digest(length=8), "big")


def _pairs(one: StudyFound, claim: ClaimedStudy) -> Iterator[tuple[Kind, str, str]]:
    """Where both say something, and not the same."""
    for kind, ours, theirs in (
        (Kind.INSTANCES, one.instance_count, claim.instance_count),
        (Kind.SERIES, one.series_count, claim.series_count),
        (Kind.PATIENT, one.patient_id or None, claim.patient_id or None),
        (Kind.ACCESSION, one.accession or None, claim.accession or None),
        (Kind.DATE, one.study_date or None, claim.study_date or None),
    ):
        if ours is not None and theirs is not None and ours != theirs:
            yield kind, str(ours), str(theirs)


def _columns(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    plain = {"".join(one for one in name.lower() if one.isalnum()): name for name in reversed(names)}
    found: dict[str, str] = {}
    for field_name, known in COLUMNS.items():
        if field_name in given:
            if given[field_name] not in names:
                raise UnusableExport(f"has no column {given[field_name]!r}")
            found[field_name] = given[field_name]
        elif name := next((plain[one] for one in known if one in plain), None):
            found[field_name] = name
    if "study_uid" not in found:
        raise UnusableExport("has no column of Study Instance UIDs; name it: --column study_uid=NAME")
    return found


def _study(row: Mapping[str, str | None], columns: Mapping[str, str]) -> StudyFound | None:
    def text(name: str) -> str | None:
        value = row.get(columns[name]) if name in columns else None
        return (value.replace("\0", " ").strip() or None) if value else None

    def count(name: str) -> int | None:
        value = text(name) or ""
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 9 else None

    try:
        uid = parse_uid(text("study_uid") or "")
    except InvalidUid:
        return None
    modalities = text("modalities")
    return StudyFound(
        study_uid=uid,
        patient_id=text("patient_id"),
        issuer=text("issuer"),
        patient_name=text("patient_name"),
        birth_date=_date(text("birth_date")),
        sex=text("sex"),
        accession=text("accession"),
        study_date=_date(text("study_date")),
        study_time=text("study_time"),
        modalities=None if modalities is None else tuple(sorted({*split(r"[\\,/;\s]+", modalities)} - {""})),
        description=text("description"),
        series_count=count("series_count"),
        instance_count=count("instance_count"),
    )


def _date(text: str | None) -> str | None:
    """As DICOM writes it where it is a date of ISO 8601, with a time or not; else as it is."""
    day = (text or "")[:10]
    parts = day.split("-")
    return "".join(parts) if [len(part) for part in parts] == [4, 2, 2] and day.replace("-", "").isdigit() else text


def open_export(path: Path) -> TextIO:
    """Raises `UnusableExport`."""
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UnusableExport((error.strerror or "cannot be read").lower()) from None
