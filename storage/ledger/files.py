"""The index of a source that is a tree of files. The files are the truth; rows say where to look."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from psycopg.rows import class_row

from imaging.uid import Uid
from storage.ledger.pool import Connection, Pool


class FileState(StrEnum):
    """What a file is."""

    DICOM = "dicom"
    DAMAGED = "damaged"
    """It says that it is DICOM, or names an instance, and cannot be read whole."""
    MISSING = "missing"
    """A DICOMDIR names it, and it is not there."""
    DIRECTORY = "directory"
    """A DICOMDIR."""
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """One file as it was found; UIDs are None where it names none."""

    path: Path
    size: int
    state: FileState
    study_uid: Uid | None = None
    series_uid: Uid | None = None
    sop_uid: Uid | None = None
    sop_class: Uid | None = None
    transfer_syntax: Uid | None = None
    reason: str | None = None
    changed_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundIdentity:
    """What one file says of the study it belongs to; None: nothing."""

    study_uid: Uid
    patient_id: str | None = None
    issuer: str | None = None
    patient_name: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    accession: str | None = None
    study_date: str | None = None
    study_time: str | None = None
    modality: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedStudy:
    """One study, as one of its patients has it, with what its files come to."""

    study_uid: Uid
    patient_id: str | None
    issuer: str | None
    patient_name: str | None
    birth_date: str | None
    sex: str | None
    accession: str | None
    study_date: str | None
    study_time: str | None
    description: str | None
    modalities: list[str]
    series_count: int
    instance_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFile:
    """A file that holds, or should hold, an instance."""

    path: Path
    state: FileState
    series_uid: Uid
    sop_uid: Uid
    sop_class: Uid | None
    transfer_syntax: Uid | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SparedFile:
    """A damaged file that nobody needs, since another one holds its instance."""

    path: Path
    sound: Path
    """The first of those that do."""
    study_uid: Uid
    sop_uid: Uid
    reason: str


class Files:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def begin_pass(self, source_id: int) -> int:
        """The number of a new look at the whole tree."""
        with self._pool.transaction("begin file pass") as conn:
            row = conn.execute(
                "select coalesce(max(pass), 0) + 1 from source_file where source_id = %s", (source_id,)
            ).fetchone()
        assert row is not None  # an aggregate without grouping has one row
        return row[0]

    def unchanged(self, source_id: int, number: int, seen: Mapping[Path, tuple[int, int]]) -> frozenset[Path]:
        """Those of the files, by size and time of change, that the index has as they are; they count as seen now."""
        if not seen:
            return frozenset()
        paths = list(seen)
        with self._pool.transaction("match files") as conn:
            rows = conn.execute(
                _UNCHANGED,
                {
                    "source": source_id,
                    "pass": number,
                    "paths": [os.fsencode(path) for path in paths],
                    "sizes": [seen[path][0] for path in paths],
                    "times": [seen[path][1] for path in paths],
                },
            ).fetchall()
            kept = [bytes(row[0]) for row in rows]
            conn.execute(_KEEP_STUDIES, {"source": source_id, "pass": number, "paths": kept})
        return frozenset(Path(os.fsdecode(path)) for path in kept)

    def record(
        self, source_id: int, number: int, files: Sequence[FoundFile], identities: Sequence[FoundIdentity]
    ) -> None:
        """The files are in the index as they were found now, and the studies they belong to."""
        with self._pool.transaction("record files") as conn:
            with conn.cursor() as cursor:
                cursor.executemany(
                    _PUT_FILE,
                    [
                        {
                            "source": source_id,
                            "pass": number,
                            "path": os.fsencode(one.path),
                            "size": one.size,
                            "changed": one.changed_ns,
                            "state": one.state,
                            "study": one.study_uid,
                            "series": one.series_uid,
                            "sop": one.sop_uid,
                            "class": one.sop_class,
                            "syntax": one.transfer_syntax,
                            "reason": one.reason,
                        }
                        for one in files
                    ],
                )
            _put_identities(conn, source_id, number, identities)

    def end_pass(self, source_id: int, number: int) -> int:
        """What this pass did not see is gone from the index; how many files."""
        with self._pool.transaction("end file pass") as conn:
            conn.execute("delete from source_study where source_id = %s and pass < %s", (source_id, number))
            return conn.execute(
                "delete from source_file where source_id = %s and pass < %s", (source_id, number)
            ).rowcount

    def counts(self, source_id: int) -> dict[FileState, int]:
        """How many files are what."""
        with self._pool.transaction("count files") as conn:
            rows = conn.execute(
                "select state, count(*) from source_file where source_id = %s group by state", (source_id,)
            ).fetchall()
        return {FileState(state): count for state, count in rows}

    def spared(self, source_id: int, number: int) -> tuple[SparedFile, ...]:
        """Damaged files that the pass has seen, whose instance another one holds sound, and that were not told yet."""
        with self._pool.transaction("find damaged copies") as conn:
            rows = conn.execute(_SPARED, {"source": source_id, "pass": number}).fetchall()
        return tuple(
            SparedFile(
                path=Path(os.fsdecode(bytes(path))),
                sound=Path(os.fsdecode(bytes(sound))),
                study_uid=study_uid,
                sop_uid=sop_uid,
                reason=reason or "",
            )
            for path, sound, study_uid, sop_uid, reason in rows
        )

    def told(self, source_id: int, path: Path) -> None:
        """The damaged file was told; it is again once it has changed."""
        with self._pool.transaction("mark damaged copy") as conn:
            conn.execute(
                "update source_file set told = true where source_id = %s and path = %s", (source_id, os.fsencode(path))
            )

    def directories(self, source_id: int, number: int) -> tuple[Path, ...]:
        """Every DICOMDIR that the pass has seen, in order of their paths."""
        with self._pool.transaction("list directories") as conn:
            rows = conn.execute(
                "select path from source_file where source_id = %s and pass = %s and state = 'directory' order by path",
                (source_id, number),
            ).fetchall()
        return tuple(Path(os.fsdecode(bytes(row[0]))) for row in rows)

    def holding(self, source_id: int, number: int, sop_uids: Sequence[Uid]) -> frozenset[Uid]:
        """Those of the instances that some file which the pass has seen holds, sound or not."""
        with self._pool.transaction("find instances") as conn:
            rows = conn.execute(
                "select distinct sop_uid from source_file"
                " where source_id = %s and pass = %s and sop_uid = any(%s) and state in ('dicom', 'damaged')",
                (source_id, number, list(sop_uids)),
            ).fetchall()
        return frozenset(row[0] for row in rows)

    def beside(self, source_id: int, number: int, folder: Path, named: Sequence[Uid]) -> int:
        """Instances in files below `folder`, as the pass has seen them, that are not among the named ones."""
        prefix = os.fsencode(folder) + b"/"
        with self._pool.transaction("count unnamed instances") as conn:
            row = conn.execute(
                "select count(distinct sop_uid) from source_file where source_id = %s and pass = %s"
                " and state = 'dicom' and substring(path from 1 for %s) = %s and sop_uid <> all(%s)",
                (source_id, number, len(prefix), prefix, list(named)),
            ).fetchone()
        assert row is not None  # an aggregate without grouping has one row
        return row[0]

    def studies(self, source_id: int, keys: Mapping[str, str]) -> tuple[IndexedStudy, ...]:
        """Studies that match C-FIND keys by keyword; a study without a date matches no range, as in any archive."""
        date_from, date_to = _ends(keys.get("StudyDate"))
        time_from, time_to = _ends(keys.get("StudyTime"))
        values = {
            "source": source_id,
            "date_from": date_from,
            "date_to": date_to,
            "time_from": time_from,
            "time_to": time_to,
            "dated": "StudyDate" in keys,
            "timed": "StudyTime" in keys,
            "modality": keys.get("ModalitiesInStudy"),
            "patient_id": _like(keys.get("PatientID")),
            "patient_name": _like(keys.get("PatientName")),
            "uids": keys["StudyInstanceUID"].split("\\") if "StudyInstanceUID" in keys else None,
        }
        with self._pool.transaction("find indexed studies") as conn:
            return tuple(conn.cursor(row_factory=class_row(IndexedStudy)).execute(_STUDIES, values))

    def instances(
        self, source_id: int, study_uid: Uid, *, series_uid: Uid | None = None, sop_uids: Sequence[Uid] = ()
    ) -> tuple[InstanceFile, ...]:
        """The files of a study, of a series, or of single instances; several where an instance lies there twice. One
        that is damaged only where none that is sound holds its instance."""
        with self._pool.transaction("list instance files") as conn:
            rows = conn.execute(
                "select path, state, series_uid, sop_uid, sop_class, transfer_syntax from source_file f"
                " where source_id = %(source)s and study_uid = %(study)s"
                " and (state = 'dicom' or state in ('damaged', 'missing') and not exists ("
                "  select from source_file o where o.source_id = f.source_id and o.study_uid = f.study_uid"
                "  and o.sop_uid = f.sop_uid and o.state = 'dicom'))"
                " and (%(series)s::text is null or series_uid = %(series)s)"
                " and (%(sops)s::text[] is null or sop_uid = any(%(sops)s::text[]))"
                " order by series_uid, sop_uid, path",
                {"source": source_id, "study": study_uid, "series": series_uid, "sops": list(sop_uids) or None},
            ).fetchall()
        return tuple(
            InstanceFile(
                path=Path(os.fsdecode(bytes(row[0]))),
                state=FileState(row[1]),
                series_uid=row[2],
                sop_uid=row[3],
                sop_class=row[4],
                transfer_syntax=row[5],
            )
            for row in rows
        )


def _put_identities(conn: Connection, source_id: int, number: int, identities: Sequence[FoundIdentity]) -> None:
    with conn.cursor() as cursor:
        cursor.executemany(
            _PUT_STUDY,
            [
                {
                    "source": source_id,
                    "pass": number,
                    "study": one.study_uid,
                    "id": one.patient_id or "",
                    "issuer": one.issuer or "",
                    "name": one.patient_name,
                    "born": one.birth_date,
                    "sex": one.sex,
                    "accession": one.accession,
                    "date": one.study_date,
                    "time": one.study_time,
                    "description": one.description,
                    "modality": [one.modality] if one.modality else [],
                }
                for one in identities
            ],
        )


def _ends(text: str | None) -> tuple[str | None, str | None]:
    """Both ends of a matching range; a single value is both."""
    if not text:
        return None, None
    start, dash, stop = text.partition("-")
    return (start or None, stop or None) if dash else (start, start)


def _like(text: str | None) -> str | None:
    """A value with the wild cards of C-FIND as a pattern of SQL."""
    if text is None or text == "*":
        return None
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


_UNCHANGED = """
update source_file f set pass = %(pass)s
from unnest(%(paths)s::bytea[], %(sizes)s::bigint[], %(times)s::bigint[]) as seen (path, size, changed_ns)
where f.source_id = %(source)s and f.path = seen.path and f.size = seen.size and f.changed_ns = seen.changed_ns
  and f.state <> 'missing'
returning f.path"""

_KEEP_STUDIES = """
update source_study s set pass = %(pass)s
where s.source_id = %(source)s and s.pass < %(pass)s and s.study_uid in (
  select study_uid from source_file where source_id = %(source)s and path = any(%(paths)s::bytea[]))"""

_PUT_FILE = """
insert into source_file (source_id, pass, path, size, changed_ns, state, study_uid, series_uid, sop_uid, sop_class,
  transfer_syntax, reason)
values (%(source)s, %(pass)s, %(path)s, %(size)s, %(changed)s, %(state)s, %(study)s, %(series)s, %(sop)s, %(class)s,
  %(syntax)s, %(reason)s)
on conflict on constraint one_row_per_file do update set pass = excluded.pass, size = excluded.size,
  changed_ns = excluded.changed_ns, state = excluded.state, study_uid = excluded.study_uid,
  series_uid = excluded.series_uid, sop_uid = excluded.sop_uid, sop_class = excluded.sop_class,
  transfer_syntax = excluded.transfer_syntax, reason = excluded.reason, told = false"""

_SPARED = """
select f.path, o.path, f.study_uid, f.sop_uid, f.reason from source_file f cross join lateral (
  select path from source_file o
  where o.source_id = f.source_id and o.study_uid = f.study_uid and o.sop_uid = f.sop_uid and o.state = 'dicom'
    and o.pass = f.pass
  order by path limit 1) o
where f.source_id = %(source)s and f.pass = %(pass)s and f.state = 'damaged' and not f.told
order by f.path"""

# The first file of a pass that says something of a study is believed, before what earlier passes read.
# Modalities add up.
_PUT_STUDY = """
insert into source_study as s (source_id, study_uid, patient_id, issuer, pass, patient_name, birth_date, sex, accession,
  study_date, study_time, description, modalities)
values (%(source)s, %(study)s, %(id)s, %(issuer)s, %(pass)s, %(name)s, %(born)s, %(sex)s, %(accession)s, %(date)s,
  %(time)s, %(description)s, %(modality)s)
on conflict (source_id, study_uid, patient_id, issuer) do update set pass = excluded.pass,
  patient_name = coalesce(
    case when s.pass = excluded.pass then s.patient_name end, excluded.patient_name, s.patient_name),
  birth_date = coalesce(case when s.pass = excluded.pass then s.birth_date end, excluded.birth_date, s.birth_date),
  sex = coalesce(case when s.pass = excluded.pass then s.sex end, excluded.sex, s.sex),
  accession = coalesce(case when s.pass = excluded.pass then s.accession end, excluded.accession, s.accession),
  study_date = coalesce(case when s.pass = excluded.pass then s.study_date end, excluded.study_date, s.study_date),
  study_time = coalesce(case when s.pass = excluded.pass then s.study_time end, excluded.study_time, s.study_time),
  description = coalesce(case when s.pass = excluded.pass then s.description end, excluded.description, s.description),
  modalities = (select array_agg(distinct m order by m) from unnest(s.modalities || excluded.modalities) m)
where s.pass < excluded.pass or not s.modalities @> excluded.modalities or s.study_date is null"""

# A damaged file names its study without saying whose it is: such a study has one row without a patient, which is not
# told where another file says more.
_STUDIES = """
select s.study_uid, nullif(s.patient_id, '') as patient_id, nullif(s.issuer, '') as issuer, s.patient_name,
  s.birth_date, s.sex, s.accession, s.study_date, s.study_time, s.description,
  coalesce(s.modalities, '{}') as modalities, f.series_count, f.instance_count
from source_study s
cross join lateral (
  select count(distinct series_uid) as series_count, count(distinct sop_uid) as instance_count from source_file
  where source_id = s.source_id and study_uid = s.study_uid and state in ('dicom', 'damaged', 'missing')) f
where s.source_id = %(source)s and f.instance_count > 0
  and (s.patient_id <> '' or s.patient_name is not null or not exists (
    select from source_study o where o.source_id = s.source_id and o.study_uid = s.study_uid and o.patient_id <> ''))
  and (not %(dated)s or (coalesce(s.study_date, '') <> ''
    and replace(s.study_date, '.', '') >= coalesce(%(date_from)s, '')
    and replace(s.study_date, '.', '') <= coalesce(%(date_to)s, '~')))
  and (not %(timed)s or (coalesce(s.study_time, '') <> '' and left(s.study_time, 6) >= coalesce(%(time_from)s, '')
    and left(s.study_time, 6) <= coalesce(%(time_to)s, '~')))
  and (%(modality)s::text is null or %(modality)s = any(s.modalities))
  and (%(patient_id)s::text is null or s.patient_id like %(patient_id)s)
  and (%(patient_name)s::text is null or s.patient_name ilike %(patient_name)s)
  and (%(uids)s::text[] is null or s.study_uid = any(%(uids)s::text[]))
order by s.study_uid, s.patient_id, s.issuer"""
