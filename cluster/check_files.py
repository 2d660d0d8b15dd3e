"""Looks at a source that is a tree of files the way an inventory will: whether it is there, and what its files are."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from actors.files.index import walk
from actors.files.reading import look_at, opened
from actors.options import FilesSource
from actors.source import SourceUnreachable
from cluster.check import Mark, Row
from storage.errors import StorageError
from storage.ledger.files import FileState

GLANCE = 200
"""Files looked at in each root: a second's work, and enough to see what kind of export it is."""


def check_files(options: FilesSource) -> Iterator[Row]:
    """A row for each root."""
    for root in options.roots:
        what = f"source: {root.name}"
        if not root.is_dir():
            yield Row(
                what=what, mark=Mark.FAIL, detail="is no folder here", next_step="Mount it, or correct source.roots."
            )
            continue
        found: Counter[FileState] = Counter()
        try:
            for path, _, _ in islice(walk((root,)), GLANCE):
                try:
                    with opened(path) as octets:
                        found[look_at(path, octets, options.profile.charset)[0].state] += 1
                except (OSError, StorageError):
                    found[FileState.DAMAGED] += 1
        except SourceUnreachable as error:
            yield Row(what=what, mark=Mark.FAIL, detail=str(error), next_step="Let this account read it.")
            continue
        sound = found[FileState.DICOM]
        told = ", ".join(f"{count} {state.value}" for state, count in sorted(found.items())) or "no file"
        yield Row(
            what=what,
            mark=Mark.OK if sound and not found[FileState.DAMAGED] else Mark.WARN,
            detail=f"of the first {found.total()} files: {told}",
            next_step="" if sound else "Look whether the export lies elsewhere.",
        )
