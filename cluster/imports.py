"""Prefixes for an imaging service's import jobs: few, each within a job's limits, with proven studies only. Pure.

Keys fan out by the study's hash, so a folder of the fan holds some whole studies: as long as all of them are proven
and fit one job together, the folder is the prefix; else its sub-folders, then single studies, then their batches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from storage.ledger.facts import LooseStudy
from storage.packs.batches import MAX_BYTES, MAX_FILES

_FAN = (4, 3)
"""Slashes from the end of a study's key to the two folders of its fan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob:
    """What one import job takes in: everything below the prefix."""

    prefix: str
    files: int
    bytes: int


Split = Callable[[LooseStudy], Iterable[ImportJob]]
"""The batches of a study that is too large for one job."""


def import_jobs(studies: Iterable[LooseStudy], split: Split) -> Iterator[ImportJob]:
    """Jobs that together take in every proven study once, and nothing else. `studies` are all that lie at the
    destination, in order of their keys."""
    for folder, inside in groupby(studies, lambda each: _folder(each, _FAN[0])):
        yield from _jobs(folder, list(inside), _FAN[1:], split)


def _jobs(folder: str, studies: Sequence[LooseStudy], below: Sequence[int], split: Split) -> Iterator[ImportJob]:
    files, size = sum(each.files for each in studies), sum(each.bytes for each in studies)
    if all(each.proven for each in studies) and files <= MAX_FILES and size <= MAX_BYTES:
        yield ImportJob(prefix=folder, files=files, bytes=size)
    elif below:
        for inner, inside in groupby(studies, lambda each: _folder(each, below[0])):
            yield from _jobs(inner, list(inside), below[1:], split)
    elif len(studies) == 1:
        yield from split(studies[0]) if studies[0].proven else ()
    else:
        for each in studies:
            yield from _jobs(each.key, [each], (), split)


def _folder(study: LooseStudy, slashes: int) -> str:
    return study.key.rsplit("/", slashes)[0] + "/"
