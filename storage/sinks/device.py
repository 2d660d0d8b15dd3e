"""One seed device: a folder tree that may have been anywhere, so nothing on it is followed or overwritten.

Paths are walked component by component without following symbolic links; files are made with O_EXCL and
opened only when they are regular files with one name. Appliances refuse or mis-copy anything else.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Concatenate, ParamSpec, TypeVar

from imaging.octets import Octets
from storage.durable import storage_error, write_all
from storage.errors import Rejected, Retryable
from storage.sinks.cipher import HEADER, CipherReader, DiskKey, plain_size
from storage.sinks.deadline import HANGS_AFTER, Deadline
from storage.spool import FileOctets

LABEL = "limosa/device.json"
"""Where a device's id is written; its first component is a legal container name on Data Box."""
PAYLOAD = "data"
"""The folder of packs and their indexes: what BagIt (RFC 8493) calls the payload, so that a sealed device is a bag."""
PACKS = f"{PAYLOAD}/studies/"
"""What is encrypted where a device is: packs. Their names, indexes and lists hold UIDs and digests."""
SEALED = "limosa/seal.txt"
"""Once it is there, nothing more is written: what it says would no longer be true."""
READ_PIECE = 1 << 20

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK: a named pipe at our path must not hold the worker for ever."""
_MAX_LABEL = 4096
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TOLD = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""Serial numbers go onto slips, into seals and file names."""

P = ParamSpec("P")
T = TypeVar("T")


def _in_time(method: "Callable[Concatenate[Device, P], T]") -> "Callable[Concatenate[Device, P], T]":
    """The method raises `DeviceHangs` where the device does not answer."""

    @wraps(method)
    def bounded(device: "Device", *args: P.args, **named: P.kwargs) -> T:
        return device.deadline.do(method, device, *args, **named)

    return bounded


class Device:
    """A mounted device with its label; safe to use from several threads. Whatever asks it raises `DeviceHangs` where it
    does not answer in time."""

    def __init__(
        self, root: Path, label: Mapping[str, str] = MappingProxyType({}), *, hangs_after: timedelta = HANGS_AFTER
    ) -> None:
        """The device is labelled: with the id it has, or with a new random one and what `label` says of it.

        Raises
        ------
        Retryable
            It is not mounted there, or does not answer.
        Rejected
            It cannot be written, or its label is not ours.
        """
        self.root = root
        self.place = f"device {root.name}"
        self.deadline = Deadline(self.place, hangs_after)
        """What is done with an open file of the device goes through it, too."""
        self.deadline.do(self._begin, label)

    def _begin(self, label: Mapping[str, str]) -> None:
        try:
            found = self.root.stat()
        except OSError:
            raise self._away() from None
        self._is = (found.st_dev, found.st_ino)
        self.serial = self.profile = self.key_id = ""
        """What `limosa seed init` was told of it; empty for a device that was never prepared. `key_id` is empty where
        packs lie as they are, and else says which key they are encrypted with."""
        self.key: DiskKey | None = None
        """What packs are written and read with; see `unlock`."""
        try:
            self.id = self._read_label()
        except FileNotFoundError:
            self._write_label({"id": secrets.token_hex(16), **label})
            self.id = self._read_label()
        except OSError as error:
            raise storage_error(error, "open", self.place) from None

    def unlock(self, key: DiskKey | None) -> None:
        """Packs are written and read with this key from now on, or as they are.

        Raises
        ------
        Rejected
            The device was prepared for another key, for one, or for none.
        """
        if self.key_id != ("" if key is None else key.id):
            had, got = (each or "none" for each in (self.key_id, "" if key is None else key.id))
            raise Rejected(f"was prepared for disk key {had}, not for {got}", operation="unlock", place=self.place)
        self.key = key

    @property
    @_in_time
    def sealed(self) -> bool:
        """It is ready to be shipped, or was: what it holds is final."""
        try:
            return self.size(SEALED) > 0
        except FileNotFoundError:
            return False

    def free(self) -> int:
        """Bytes that may still be written. Raises `Retryable`."""
        usage = self._usage()
        return usage.f_bavail * usage.f_frsize

    def capacity(self) -> int:
        """Bytes that may be written while nothing is on it; what a file system keeps for root is not counted.
        Raises `Retryable`."""
        usage = self._usage()
        return (usage.f_blocks - usage.f_bfree + usage.f_bavail) * usage.f_frsize

    @_in_time
    def _usage(self) -> os.statvfs_result:
        root = self._open_root()
        try:
            return os.fstatvfs(root)
        except OSError as error:
            raise storage_error(error, "look at", self.place) from error
        finally:
            os.close(root)

    def create(self, key: str) -> int:
        """A new, empty file; its name is durable. Raises FileExistsError where there is anything at all."""
        return self.deadline.obtain(lambda: self._create(key), os.close)

    def _create(self, key: str) -> int:
        with _nameless(), self._parent(key, create=True) as (folder, name):
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FILE, 0o644, dir_fd=folder)
            try:
                os.fsync(folder)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def open(self, key: str, flags: int = os.O_RDONLY) -> int:
        """The regular file at `key`. Raises FileNotFoundError; `Rejected` for anything but such a file."""
        return self.deadline.obtain(lambda: self._open(key, flags), os.close)

    def close(self, descriptor: int) -> None:
        """The file is closed; where the device hangs, once it answers again."""
        self.deadline.release(lambda: os.close(descriptor))

    def _open(self, key: str, flags: int) -> int:
        try:
            with _nameless(), self._parent(key, create=False) as (folder, name):
                descriptor = os.open(name, flags | _FILE, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR):
                raise self._hostile() from error
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(descriptor)
            raise self._hostile()
        return descriptor

    @_in_time
    def size(self, key: str) -> int:
        """Bytes of the file; of an encrypted pack, those of the pack."""
        descriptor = self.open(key)
        try:
            stored = os.fstat(descriptor).st_size
            return plain_size(stored) if self._encrypted(key) else stored
        finally:
            os.close(descriptor)

    @contextmanager
    def octets(self, key: str) -> Iterator[Octets]:
        """The file, or the pack in it, with random access while the block runs."""
        descriptor = self.open(key)
        try:
            yield _InTime(self.deadline, self.deadline.do(self._octets, key, descriptor))
        finally:
            self.close(descriptor)

    def _octets(self, key: str, descriptor: int) -> Octets:
        if self._encrypted(key):
            return CipherReader(descriptor, self._held_key())
        return FileOctets(descriptor, os.fstat(descriptor).st_size)

    def stream(
        self, key: str, start: int, length: int, stored: Callable[[bytes], None] = lambda raw: None
    ) -> Iterator[bytes]:
        """Bytes [start, start + length) in pieces, as far as the file goes; of an encrypted pack, those of the pack,
        while `stored` is given what lies on the device for them, from the start with the header."""
        return self._each(self._stream(key, start, length, stored))

    def _each(self, items: Generator[T]) -> Iterator[T]:
        """The items, each of which comes in time."""
        end = object()
        try:
            while (item := self.deadline.do(next, items, end)) is not end:
                yield item  # pyright: ignore[reportReturnType]
        finally:
            self.deadline.release(items.close)

    def _stream(self, key: str, start: int, length: int, stored: Callable[[bytes], None]) -> Generator[bytes]:
        descriptor = self.open(key)
        try:
            if self._encrypted(key):
                if not start:
                    stored(os.pread(descriptor, HEADER, 0))
                yield from CipherReader(descriptor, self._held_key()).stream(start, length, stored)
                return
            while length > 0:
                piece = os.pread(descriptor, min(READ_PIECE, length), start)
                if not piece:
                    return
                start += len(piece)
                length -= len(piece)
                stored(piece)
                yield piece
        finally:
            os.close(descriptor)

    def _encrypted(self, key: str) -> bool:
        return bool(self.key_id) and key.startswith(PACKS)

    def _held_key(self) -> DiskKey:
        if self.key is None:
            raise Rejected(f"is encrypted: disk key {self.key_id} is needed", operation="read", place=self.place)
        return self.key

    def keys(self, prefix: str) -> Iterator[str]:
        """Every regular file below the folder `prefix`; links are not followed. Raises `Retryable`."""
        for names in self._each(self._folders(prefix)):
            yield from names

    def _folders(self, prefix: str) -> Generator[list[str]]:
        def unreadable(error: OSError) -> None:
            if error.errno != errno.ENOENT:
                raise storage_error(error, "list", self.place) from None

        os.close(self._open_root())
        for folder, _, names in os.walk(self.root / prefix, onerror=unreadable):
            inside = PurePosixPath(folder).relative_to(self.root)
            yield [str(inside / name) for name in names]

    @_in_time
    def remove(self, key: str) -> None:
        """There is no such file (any more), also after a power cut."""
        try:
            with _nameless(), self._parent(key, create=False) as (folder, name):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
        except FileNotFoundError:
            return

    @_in_time
    def remove_unused(self, key: str) -> None:
        """As `remove`, of a file that nobody writes. Raises `Retryable` while somebody does."""
        descriptor = self.open(key)
        try:
            lock_file(descriptor, self.place)
            self.remove(key)
        finally:
            os.close(descriptor)

    @_in_time
    def write_new(self, key: str, content: bytes) -> None:
        """A durable file with this content. Raises FileExistsError."""
        descriptor = self.create(key)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _parent(self, key: str, *, create: bool) -> Iterator[tuple[int, str]]:
        *folders, name = PurePosixPath(key).parts
        here = self._open_root()
        try:
            for folder in folders:
                if create:
                    _make_folder(folder, here)
                below = os.open(folder, _FOLDER, dir_fd=here)
                os.close(here)
                here = below
            yield here, name
        finally:
            os.close(here)

    def _open_root(self) -> int:
        """The root that was opened first. A disk that was pulled out leaves an empty folder of the system's disk
        in its place, which must not fill up with packs. Raises `Retryable`."""
        try:
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            raise self._away() from None
        found = os.fstat(root)
        if (found.st_dev, found.st_ino) != self._is:
            os.close(root)
            raise self._away()
        return root

    def _away(self) -> Retryable:
        return Retryable("is not mounted", operation="open", place=self.place)

    def _read_label(self) -> str:
        raw = b"".join(self.stream(LABEL, 0, _MAX_LABEL))
        try:
            label = json.loads(raw)
            identifier = label["id"]
            if label["format"] != "limosa-device" or label["version"] != 1 or _ID.fullmatch(identifier) is None:
                raise ValueError
            self.serial, self.profile, self.key_id = (_told(label, name) for name in ("serial", "profile", "key_id"))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Rejected("its label is not one of ours", operation="open", place=self.place) from None
        return identifier

    @_in_time
    def relabel(self, told: Mapping[str, str]) -> None:
        """The label keeps its id and says what it is told now."""
        try:
            self.remove(LABEL)
        except OSError as error:
            raise storage_error(error, "label", self.place) from error
        self._write_label({"id": self.id, **told})
        self._read_label()

    def _write_label(self, told: Mapping[str, str]) -> None:
        label = {"format": "limosa-device", "version": 1, **told}
        try:
            self.write_new(LABEL, json.dumps(label).encode("ascii") + b"\n")
        except FileExistsError:
            return  # another worker labels it at this moment
        except OSError as error:
            raise storage_error(error, "label", self.place) from error

    def _hostile(self) -> Rejected:
        return Rejected("something other than a plain file is at our path", operation="open", place=self.place)


class _InTime:
    """Octets of a device, each reading of which ends in time."""

    def __init__(self, deadline: Deadline, octets: Octets) -> None:
        self._deadline = deadline
        self._octets = octets

    @property
    def size(self) -> int:
        return self._octets.size

    def read(self, start: int, length: int) -> memoryview:
        return self._deadline.do(self._octets.read, start, length)


class AttachedDevice(Device):
    """A device that was labelled before. Where a disk was pulled out, its folder is left, on the system's own disk,
    and must not be taken for a new one."""

    def _write_label(self, told: Mapping[str, str]) -> None:
        raise Retryable(
            "has no label: nothing is mounted there, or a new device that `limosa seed init` has to prepare",
            operation="open",
            place=self.place,
        )


class ReadOnlyDevice(Device):
    """A device that is only read: one without a label is none of ours."""

    def _write_label(self, told: Mapping[str, str]) -> None:
        raise Rejected("has no label: no device of Limosa's", operation="open", place=self.place)


def _told(label: dict[str, object], name: str) -> str:
    value = label.get(name, "")
    if not isinstance(value, str) or (value and _TOLD.fullmatch(value) is None):
        raise ValueError(name)
    return value


@contextmanager
def _nameless() -> Iterator[None]:
    """An OSError leaves without its file name: names hold study UIDs, and tracebacks end in logs."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror) from None


def lock_file(descriptor: int, place: str) -> None:
    """Nobody else on this machine writes the file while the descriptor is open.

    A worker that lost its claim may still be writing; on a device, unlike an endpoint, it can be told apart.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Retryable("another worker is still writing the pack", operation="lock", place=place) from None


def _make_folder(name: str, parent: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return
    os.fsync(parent)
