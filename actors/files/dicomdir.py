"""Reads what a DICOMDIR promises (PS3.3 annex F): which file holds which instance.

Records hang together by offsets, and real ones are reordered, cut or wrongly typed. They are followed as written; what
cannot be reached is left out, since the files themselves are looked at anyway.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread

from imaging.uid import InvalidUid, Uid, parse_uid

DEEPEST = 32
"""Levels followed; a DICOMDIR has four or five."""


class UnreadableDirectory(Exception):
    """The DICOMDIR is no DICOM, or holds no records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """One file that a DICOMDIR names."""

    path: Path
    study_uid: Uid
    series_uid: Uid
    sop_uid: Uid


def promised(directory: Path) -> tuple[Promised, ...]:
    """Every instance that the DICOMDIR names with its file and its place in study and series.

    Raises
    ------
    UnreadableDirectory
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(directory, force=True)
            records: list[Any] = list(dataset.get("DirectoryRecordSequence") or ())
            first = int(dataset.get("OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity") or 0)
            by_offset = {int(record.seq_item_tell): record for record in records if record.seq_item_tell is not None}
            # Values are converted when they are asked for, so the walk belongs inside as well.
            found = tuple(_walk(by_offset, first, directory.parent, None, None, 0, set()))
    except Exception as error:
        # Trust border: a damaged directory may provoke anything in a general reader.
        raise UnreadableDirectory(type(error).__name__) from None
    if not records:
        raise UnreadableDirectory("no records")
    return found


def _walk(
    records: dict[int, Any], offset: int, folder: Path, study: Uid | None, series: Uid | None, depth: int, met: set[int]
) -> Iterator[Promised]:
    while offset in records and offset not in met and depth < DEEPEST:
        met.add(offset)
        record = records[offset]
        here_study = _uid(record.get("StudyInstanceUID")) or study
        here_series = _uid(record.get("SeriesInstanceUID")) or series
        sop = _uid(record.get("ReferencedSOPInstanceUIDInFile"))
        path = _file(record.get("ReferencedFileID"), folder)
        if path is not None and sop is not None and here_study is not None and here_series is not None:
            yield Promised(path=path, study_uid=here_study, series_uid=here_series, sop_uid=sop)
        lower = int(record.get("OffsetOfReferencedLowerLevelDirectoryEntity") or 0)
        yield from _walk(records, lower, folder, here_study, here_series, depth + 1, met)
        offset = int(record.get("OffsetOfTheNextDirectoryRecord") or 0)


def _file(value: Any, folder: Path) -> Path | None:
    """The path as written; it never leads out of the DICOMDIR's folder."""
    parts = [value] if isinstance(value, str) else list(value or ())
    names = [str(part).split(";")[0] for part in parts if str(part)]
    if not names or any(name in (".", "..") or "/" in name or "\0" in name for name in names):
        return None
    return folder.joinpath(*names)


def _uid(value: Any) -> Uid | None:
    try:
        return parse_uid(str(value or ""))
    except InvalidUid:
        return None
