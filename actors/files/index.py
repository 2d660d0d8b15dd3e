"""Keeps the ledger's index of a tree in step with the tree: reads what is new or changed, forgets what is gone.

    walk ──> size and time as before? ──yes──> seen
                     │ no
                     └──> read its header ──> dicom, damaged (bytes to the quarantine), directory, other

Then every DICOMDIR is held against it, both ways: what it names and no file holds is an instance that the export
lacks, and its study can never be complete.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from actors.files.dicomdir import Promised, UnreadableDirectory, promised
from actors.files.reading import FILE, look_at, opened
from actors.problems import problem
from actors.source import SourceUnreachable
from storage.errors import StorageError
from storage.ledger.files import FileState, FoundFile, FoundIdentity
from storage.ledger.ledger import Ledger
from storage.ledger.records import Json
from storage.spool import Evidence, Quarantine

BATCH = 500
"""Files looked up and recorded in one transaction."""

UNREAD = -1
"""Time of change of a file that could not be read: no file's, so the next pass looks at it again, whatever it was that
let it be read meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexProgress:
    """How far the walk is."""

    seen: int = 0
    read: int = 0
    """New or changed since the last pass."""
    damaged: int = 0
    """Of those read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """What a pass over the tree came to."""

    counts: dict[FileState, int]
    gone: int
    """Files that an earlier pass saw."""
    unlisted: int
    """Instances in files below a DICOMDIR's folder that it does not name; 0 without one."""
    unreadable_directories: int


def index_tree(
    roots: tuple[Path, ...],
    source_id: int,
    ledger: Ledger,
    quarantine: Quarantine,
    *,
    charset: str,
    now: Callable[[], datetime],
    report: Callable[[IndexProgress], None],
) -> Indexed:
    """The index is what the tree is. Interrupted, the next pass reads only what this one did not.

    Raises
    ------
    SourceUnreachable
        A root cannot be read: an export that is not mounted must not look like one without files.
    """
    number = ledger.files.begin_pass(source_id)
    progress = IndexProgress()
    batch: dict[Path, tuple[int, int]] = {}
    for path, size, changed in walk(roots):
        batch[path] = size, changed
        if len(batch) >= BATCH:
            progress = _settle(batch, number, source_id, ledger, quarantine, charset, now, progress)
            report(progress)
            batch = {}
    progress = _settle(batch, number, source_id, ledger, quarantine, charset, now, progress)
    unreadable, unlisted = _reconcile(source_id, number, ledger, charset)
    _tell_spared(source_id, number, ledger, quarantine, now())
    gone = ledger.files.end_pass(source_id, number)
    report(progress)
    return Indexed(
        counts=ledger.files.counts(source_id), gone=gone, unlisted=unlisted, unreadable_directories=unreadable
    )


def walk(roots: tuple[Path, ...]) -> Iterator[tuple[Path, int, int]]:
    """Every regular file below the roots with its size and time of change, and every link, which nobody follows."""
    for root in roots:
        try:
            pending = [root]
            while pending:
                folder = pending.pop()
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda one: os.fsencode(one.name)):
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(Path(entry.path))
                        elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                            status = entry.stat(follow_symlinks=False)
                            yield Path(entry.path), status.st_size, status.st_mtime_ns
        except OSError as error:
            raise SourceUnreachable(f"{root.name}: {error.strerror or 'cannot be read'}") from None


def _settle(
    batch: dict[Path, tuple[int, int]],
    number: int,
    source_id: int,
    ledger: Ledger,
    quarantine: Quarantine,
    charset: str,
    now: Callable[[], datetime],
    progress: IndexProgress,
) -> IndexProgress:
    unchanged = ledger.files.unchanged(source_id, number, batch)
    files: list[FoundFile] = []
    identities: dict[tuple[str | None, ...], FoundIdentity] = {}
    damaged = 0
    for path in batch.keys() - unchanged:
        found, identity = _looked_at(path, charset)
        size, changed = batch[path]
        files.append(_stamped(found, size, changed))
        if identity is not None:
            identities[identity.study_uid, identity.patient_id, identity.issuer, identity.modality] = identity
        if found.state is FileState.DAMAGED:
            damaged += 1
            if found.sop_uid is None:
                _put_aside(path, found, ledger, quarantine, now())
    files.sort(key=lambda one: os.fsencode(one.path))
    ledger.files.record(source_id, number, files, list(identities.values()))
    return IndexProgress(
        seen=progress.seen + len(batch), read=progress.read + len(files), damaged=progress.damaged + damaged
    )


def _looked_at(path: Path, charset: str) -> tuple[FoundFile, FoundIdentity | None]:
    try:
        with opened(path) as octets:
            return look_at(path, octets, charset)
    except OSError as error:
        link = error.errno == errno.ELOOP
        reason = "a link, which is not followed" if link else (error.strerror or "cannot be read").lower()
    except (EOFError, StorageError):
        reason = "cannot be read to its end"
    return FoundFile(path=path, size=0, state=FileState.DAMAGED, reason=reason, changed_ns=UNREAD), None


def _stamped(found: FoundFile, size: int, changed: int) -> FoundFile:
    return FoundFile(
        path=found.path,
        size=size,
        state=found.state,
        study_uid=found.study_uid,
        series_uid=found.series_uid,
        sop_uid=found.sop_uid,
        sop_class=found.sop_class,
        transfer_syntax=found.transfer_syntax,
        reason=found.reason,
        changed_ns=found.changed_ns or changed,
    )


def _put_aside(path: Path, found: FoundFile, ledger: Ledger, quarantine: Quarantine, now: datetime) -> None:
    """A damaged file that names no instance, so that no study will ever ask for it: told, and its bytes kept."""
    told = {"path": _text(path), "why": found.reason or "", **_kept(path, "FILE_DAMAGED", "", quarantine, now)}
    ledger.exceptions.open(problem("FILE_DAMAGED", told))


def _tell_spared(source_id: int, number: int, ledger: Ledger, quarantine: Quarantine, now: datetime) -> None:
    """Damaged files whose instance another one holds are told, and their bytes kept; no study asks for them."""
    for spared in ledger.files.spared(source_id, number):
        told: Json = {
            "path": _text(spared.path),
            "why": spared.reason,
            "sound": _text(spared.sound),
            "study_uid": spared.study_uid,
            **_kept(spared.path, "COPY_DAMAGED", spared.sop_uid, quarantine, now),
        }
        ledger.exceptions.open(problem("COPY_DAMAGED", told, sop_uid=spared.sop_uid))
        ledger.files.told(source_id, spared.path)


def _text(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def _kept(path: Path, reason: str, sop_uid: str, quarantine: Quarantine, now: datetime) -> dict[str, str]:
    """What the ledger is told of the file's copy in quarantine; empty where its bytes cannot be read."""
    try:
        with opened(path) as octets:
            stored = quarantine.store(
                octets,
                Evidence(
                    reason=reason,
                    calling_ae="",
                    called_ae="",
                    address="",
                    sop_class="",
                    sop_uid=sop_uid,
                    transfer_syntax="",
                    received=now,
                ),
            )
    except OSError:
        return {"quarantine": ""}
    except StorageError as error:
        if error.place != FILE:
            raise
        return {"quarantine": ""}
    return {"quarantine": stored.name, "blake3": stored.blake3}


def _lacking(one: Promised, charset: str) -> FoundFile:
    """An instance that only a DICOMDIR knows: its file is not there, is damaged, or holds another instance."""
    path, state = one.path, FileState.MISSING
    if path.is_file():
        if _looked_at(path, charset)[0].state is FileState.DICOM:
            # Its own row stays; this one needs a name of its own.
            path = path.with_name(f"{path.name}#{one.sop_uid}")
        else:
            state = FileState.DAMAGED
    return FoundFile(
        path=path, size=0, state=state, study_uid=one.study_uid, series_uid=one.series_uid, sop_uid=one.sop_uid
    )


def _reconcile(source_id: int, number: int, ledger: Ledger, charset: str) -> tuple[int, int]:
    """What DICOMDIRs name and no file holds is in the index as missing; unreadable ones, and instances not named."""
    unreadable = unlisted = 0
    for directory in ledger.files.directories(source_id, number):
        try:
            named = promised(directory)
        except UnreadableDirectory:
            unreadable += 1
            continue
        held = ledger.files.holding(source_id, number, [one.sop_uid for one in named])
        absent = [one for one in named if one.sop_uid not in held]
        lacking = [_lacking(one, charset) for one in absent]
        ledger.files.record(
            source_id,
            number,
            lacking,
            [FoundIdentity(study_uid=uid) for uid in {one.study_uid for one in absent}],
        )
        unlisted += ledger.files.beside(source_id, number, directory.parent, [one.sop_uid for one in named])
    return unreadable, unlisted
