"""Bytes on local disk: for a moment (the spool), or until a person looks (the quarantine).

A `Landing` is where one arriving instance goes: memory first, the spool when it is large or when the
budget is spent. Names of files are random; nothing a peer sent ever becomes a path.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from blake3 import blake3

from imaging.octets import MemoryOctets, Octets, chunks
from storage.budget import BufferPool, MemoryBudget
from storage.durable import storage_error, sync_folder, write_all

FIRST_BUFFER = 1 << 20
"""A landing's first buffer: holds one CT or MR slice (half a megabyte) without growing."""

_PRIVATE = 0o600
_FOLDER = 0o700


class Spool:
    """A folder for instances that do not fit in memory; empty again after a crash.

    Each process works in its own sub-folder and holds a lock on it, so that a new process can remove what
    dead ones left and nothing else.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
        self._own = folder / f"spool-{secrets.token_hex(8)}"
        # Created under a name that the search below does not match, so that nobody sees it unlocked.
        unborn = folder / f"new-{secrets.token_hex(8)}"
        unborn.mkdir(mode=_FOLDER)
        self._lock = os.open(unborn, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unborn.rename(self._own)
        for left in folder.glob("spool-*"):
            if left != self._own:
                _remove_if_dead(left)

    @property
    def folder(self) -> Path:
        """This process's own folder."""
        return self._own

    def create(self) -> "SpoolFile":
        """An empty file of this process. Raises `Retryable` when the disk is full."""
        return SpoolFile(self._own / secrets.token_hex(16))

    def close(self) -> None:
        """The folder and every file still in it are gone."""
        shutil.rmtree(self._own, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _remove_if_dead(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return  # another new process removed it first
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # its process lives
    finally:
        os.close(descriptor)


class FileOctets:
    """Octets over an open file of a fixed size; each read is a copy."""

    __slots__ = ("_descriptor", "_place", "_size")

    def __init__(self, descriptor: int, size: int, place: str = "spool") -> None:
        """`place` is whose file it is, in errors."""
        self._descriptor = descriptor
        self._size = size
        self._place = place

    @property
    def size(self) -> int:
        return self._size

    def read(self, start: int, length: int) -> memoryview:
        left = max(0, min(length, self._size - start))
        pieces: list[bytes] = []
        while left:
            try:
                # Unlike a buffer to read into, what this returns is not filled with zeros first.
                piece = os.pread(self._descriptor, left, start)
            except OSError as error:
                raise storage_error(error, "read", self._place) from error
            if not piece:
                break
            pieces.append(piece)
            start += len(piece)
            left -= len(piece)
        return memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))


class SpoolFile:
    """A growing file that is also `Octets`; gone when released, durable when kept."""

    def __init__(self, path: Path) -> None:
        self._path: Path | None = path
        self._size = 0
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
        except OSError as error:
            raise storage_error(error, "create", "spool") from error

    @property
    def size(self) -> int:
        return self._size

    def append(self, piece: bytes | bytearray | memoryview) -> None:
        """The piece is at the end of the file. Raises `Retryable` when the disk is full."""
        try:
            write_all(self._descriptor, piece)
        except OSError as error:
            raise storage_error(error, "append", "spool") from error
        self._size += len(piece)

    def read(self, start: int, length: int) -> memoryview:
        return FileOctets(self._descriptor, self._size).read(start, length)

    def keep(self, destination: Path) -> None:
        """The file is durable under `destination`, which must be on the same file system and not exist."""
        if self._path is None:
            raise ValueError("released or kept already")
        try:
            os.fsync(self._descriptor)
            # link, unlike rename, never replaces a file that is there already.
            os.link(self._path, destination)
            self._path.unlink()
            sync_folder(destination.parent)
        except OSError as error:
            raise storage_error(error, "keep", "spool") from error
        self._path = None

    def release(self) -> None:
        """Closed; the file is gone unless it was kept. Idempotent."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        if self._path is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()
            self._path = None


class LandingPlace:
    """What the landings of one process share."""

    def __init__(self, spool: Spool, budget: MemoryBudget, in_memory: int) -> None:
        """`in_memory` bytes is the largest instance held in memory."""
        self.spool = spool
        self.budget = budget
        self.in_memory = in_memory
        self.pool = BufferPool()

    def open(self) -> "Landing":
        return Landing(self)


class Landing:
    """Takes the bytes of one arriving instance; used by one thread at a time.

    Its memory doubles from `FIRST_BUFFER` on, each step reserved before it is taken.
    """

    def __init__(self, place: LandingPlace) -> None:
        self._place = place
        self._buffer: bytearray | None = None
        self._file: SpoolFile | None = None
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    @property
    def in_memory(self) -> bool:
        return self._file is None

    def write(self, view: bytes | bytearray | memoryview) -> None:
        """The bytes are held. Raises `Retryable` when neither memory nor disk has room."""
        end = self._size + len(view)
        if self._file is None and not self._fits(end):
            self._move_to_spool()
        if self._file is not None:
            self._file.append(view)
        elif self._buffer is not None:
            # Straight into a bytearray, a slice that is none itself would be copied twice.
            memoryview(self._buffer)[self._size : end] = view
        self._size = end

    def octets(self) -> Octets:
        """Everything written so far; valid until `release` or the next `write`."""
        if self._file is not None:
            return self._file
        return MemoryOctets(memoryview(self._buffer or b"")[: self._size])

    def release(self) -> None:
        """Memory and file are given back; views of the octets must no longer be used. Idempotent."""
        self._drop_buffer()
        if self._file is not None:
            self._file.release()

    def _fits(self, end: int) -> bool:
        have = len(self._buffer) if self._buffer is not None else 0
        if end <= have:
            return True
        if end > self._place.in_memory:
            return False
        step = have or FIRST_BUFFER
        while step < end:
            step *= 2
        step = min(step, self._place.in_memory)
        if not self._place.budget.try_reserve(step):
            return False
        larger = self._place.pool.take(step)
        if self._buffer is not None:
            memoryview(larger)[: self._size] = memoryview(self._buffer)[: self._size]
        self._drop_buffer()
        self._buffer = larger
        return True

    def _move_to_spool(self) -> None:
        file = self._place.spool.create()
        self._file = file
        if self._buffer is not None:
            file.append(memoryview(self._buffer)[: self._size])
        self._drop_buffer()

    def _drop_buffer(self) -> None:
        if self._buffer is not None:
            size = len(self._buffer)
            self._place.pool.give(self._buffer)
            self._buffer = None
            self._place.budget.release(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Why bytes were put aside and where they came from. Texts are as the peer sent them."""

    reason: str
    """A class of exception, e.g. UNSOLICITED; not free text."""
    calling_ae: str
    called_ae: str
    address: str
    sop_class: str
    sop_uid: str
    transfer_syntax: str
    received: datetime
    """Aware, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Bytes that are durable in the quarantine."""

    name: str
    size: int
    blake3: str
    sha256: str


class Quarantine:
    """A folder of rejected and unsolicited instances, each with a JSON file that says why.

    An instance counts as stored once its evidence exists: the evidence is written last.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
        self._folder = folder

    def store(self, part10: Octets, evidence: Evidence) -> Quarantined:
        """Bytes and evidence are durable. Raises `Retryable` when the disk is full: then nothing is left."""
        name = f"{evidence.received.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}"
        file = SpoolFile(self._folder / f"{name}.part")
        try:
            strong, standard = blake3(), hashlib.sha256()
            for piece in chunks(part10, 0, part10.size):
                file.append(piece)
                strong.update(piece)
                standard.update(piece)
            stored = Quarantined(name=name, size=part10.size, blake3=strong.hexdigest(), sha256=standard.hexdigest())
            file.keep(self._folder / f"{name}.dcm")
        finally:
            file.release()
        try:
            self._write_evidence(stored, evidence)
        except BaseException:
            (self._folder / f"{name}.dcm").unlink()
            raise
        return stored

    @contextmanager
    def opened(self, stored: Quarantined) -> Iterator[Octets]:
        """The bytes that were stored, read only. Raises `Retryable` when they cannot be read."""
        try:
            descriptor = os.open(self._folder / f"{stored.name}.dcm", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise storage_error(error, "open", "quarantine") from error
        try:
            yield FileOctets(descriptor, stored.size)
        finally:
            os.close(descriptor)

    def discard(self, stored: Quarantined) -> None:
        """Bytes and evidence are gone: what was put aside turned out to belong elsewhere, and is safe there."""
        for suffix in ("json", "dcm"):
            (self._folder / f"{stored.name}.{suffix}").unlink(missing_ok=True)

    def _write_evidence(self, stored: Quarantined, evidence: Evidence) -> None:
        document = asdict(evidence) | asdict(stored) | {"received": evidence.received.astimezone(UTC).isoformat()}
        file = SpoolFile(self._folder / f"{stored.name}.json.part")
        try:
            file.append(json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")
            file.keep(self._folder / f"{stored.name}.json")
        finally:
            file.release()
