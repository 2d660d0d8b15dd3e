"""Batches of loose instances, each small enough for one import job of an imaging service. Pure.

    <study's folder>b0001/<sop>.dcm

AWS HealthImaging imports everything below one prefix and takes 5,000 files and 10 GB in a job (AWS HealthImaging
endpoints and quotas); a series may be split over jobs. Google's Healthcare API and Azure's DICOM service have no such
limits for an import, but Azure takes no file above 4 GB.
"""

import re
from collections import Counter

from imaging.uid import InvalidUid, Uid, parse_uid

MAX_FILES = 5_000
MAX_BYTES = 10_000_000_000
MAX_BATCHES = 9_999
"""Four digits; an index ends long before."""

_NAME = re.compile(r"b([0-9]{4})/([0-9.]{1,64})\.dcm", re.ASCII)


def batch_key(folder: str, number: int, sop_uid: Uid) -> str:
    """The key of an instance in a batch of the study at `folder`.

    Raises
    ------
    ValueError
        No batch has that number.
    """
    if not 1 <= number <= MAX_BATCHES:
        raise ValueError(f"batch {number} is not in 1 to {MAX_BATCHES}")
    return f"{batch_folder(folder, number)}{sop_uid}.dcm"


def batch_folder(folder: str, number: int) -> str:
    """The prefix of a batch of the study at `folder`."""
    return f"{folder}b{number:04d}/"


def batch_named(folder: str, key: str) -> tuple[int, Uid] | None:
    """Batch and instance that `batch_key` made the key from; None for other keys."""
    found = _NAME.fullmatch(key.removeprefix(folder))
    try:
        return (int(found[1]), parse_uid(found[2])) if found else None
    except InvalidUid:
        return None


class Batches:
    """Where the instances of one study go; used by one thread at a time.

    An instance that was found keeps its batch, so that an attempt that goes on behind a crash puts nothing twice.
    """

    def __init__(self, files: int = MAX_FILES, size: int = MAX_BYTES) -> None:
        self._most_files = files
        self._most_bytes = size
        self._files: Counter[int] = Counter()
        self._bytes: Counter[int] = Counter()
        self._batch_of: dict[Uid, int] = {}
        self._open = 1

    def found(self, sop_uid: Uid, number: int, size: int) -> None:
        """The instance lies in that batch already."""
        self._files[number] += 1
        self._bytes[number] += size
        self._batch_of[sop_uid] = number

    def place(self, sop_uid: Uid, size: int) -> int:
        """The batch of the instance.

        Raises
        ------
        ValueError
            No batch holds an instance of that size, or the study has more than `MAX_BATCHES`.
        """
        if (known := self._batch_of.get(sop_uid)) is not None:
            return known
        if size > self._most_bytes:
            raise ValueError(f"an instance of {size} bytes, {self._most_bytes} allowed")
        while self._files[self._open] >= self._most_files or self._bytes[self._open] + size > self._most_bytes:
            self._open += 1
        if self._open > MAX_BATCHES:
            raise ValueError(f"a study of more than {MAX_BATCHES} batches")
        self.found(sop_uid, self._open, size)
        return self._open
