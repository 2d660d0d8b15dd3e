"""Writes one pack as one file on a device: appended, fsynced group by group, named once and never renamed."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from imaging.facts import InstanceFacts
from imaging.octets import Octets
from storage.durable import storage_error
from storage.errors import AlreadyThere, DeviceFull, Rejected, Retryable, StorageError, UploadLost
from storage.packs.crc64 import combine_parts, crc64
from storage.packs.format import PackEncoder
from storage.packs.index import Index, InvalidIndex, parse_index, serialise_index
from storage.packs.model import Container, Ended, Member, PackId, Part, Receipt
from storage.packs.naming import index_key_beside
from storage.packs.reader import PackReader
from storage.sinks.device import Device, lock_file
from storage.sinks.pack_file import Gathering, PackFile, fresh_file, resumed_file
from storage.sinks.protocol import Journal, UploadState
from storage.sinks.write_pace import WritePace

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
BROKEN = frozenset(
    {
        errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.EUCLEAN, errno.EREMOTEIO,
        errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN,
    }
)  # fmt: skip
"""A dying disk, one the kernel has made read-only, one that was pulled out or whose file system is damaged; a FUSE
daemon that died, an appliance's share that is gone."""

BEHIND = 64 << 10
"""Bytes for what stands behind the members beside their lines in the index, and for blocks that are filled in part."""
MEMBER = 3 << 10
"""Bytes that a member costs beside its own: a header, padding, and a line in the index, which is there twice; a line
has about 900."""
ROOM_KNOWN = 1 << 30
"""Others write on the device too: how much is free is asked again once no more than this is left by our own count."""


def cost(size: int, members: int) -> int:
    """Bytes that an instance of this size needs in a pack of so many members, itself included."""
    return size + size // 1024 + MEMBER * members + BEHIND


class Devices(Protocol):
    """What a writer needs of its sink."""

    @property
    def group_size(self) -> int: ...

    @property
    def largest_file(self) -> int: ...

    def room(self, device: Device) -> int: ...

    def check_room(self, device: Device, written: int) -> None: ...

    def mark_full(self, device: Device, size: int) -> None: ...

    def mark_failed(self, device: Device, code: str) -> None: ...

    def leave(self, device: Device, promised: int) -> None: ...


class SeedPackWriter:
    """See `StudyWriter`."""

    def __init__(
        self, devices: Devices, device: Device, pack: PackId, key: str, journal: Journal, encoder: PackEncoder,
        container: Container, descriptor: int, file: PackFile, parts: list[Part], pace: WritePace | None,
    ) -> None:  # fmt: skip
        self.promised = 0
        self._device = device
        self.several = pack.volume > 1
        """It is certain that the study takes several packs."""
        self._devices = devices
        self._pack = pack
        self._key = key
        self._journal = journal
        self._encoder = encoder
        self._container = container
        self._descriptor = descriptor
        self._file = Gathering(file, device.deadline)
        self._parts = parts
        self._pace = pace
        self._lock = threading.RLock()
        self._held = {member.facts.sop_uid for member in encoder.members}
        self._written = parts[-1].offset + parts[-1].size if parts else 0
        self._sealed = self._written > encoder.offset
        self._group_start = self._written
        self._group_crc64 = 0
        self._ended: list[Member] = []
        self._room, self._room_at = 0, self._written
        """Bytes above the reserve, and how many were written when they were."""
        self._receipt: Receipt | None = None

    @classmethod
    def fresh(
        cls, devices: Devices, device: Device, pack: PackId, container: Container, key: str, journal: Journal,
        pace: WritePace | None,
    ) -> "SeedPackWriter":  # fmt: skip
        """A writer of a new file. The intent is in the journal already."""
        try:
            descriptor = device.create(key)
        except FileExistsError as error:
            raise AlreadyThere("a file has the name", operation="create", place=device.place) from error
        except OSError as error:
            raise _failed(error, "create", devices, device, journal) from error
        try:
            device.deadline.do(lock_file, descriptor, device.place)
            file = device.deadline.do(fresh_file, descriptor, device.key)
        except OSError as error:
            device.close(descriptor)
            raise _failed(error, "create", devices, device, journal) from error
        except StorageError:
            device.close(descriptor)
            raise
        encoder = PackEncoder(pack, container)
        return cls(devices, device, pack, key, journal, encoder, container, descriptor, file, [], pace)

    @classmethod
    def resumed(
        cls, devices: Devices, device: Device, pack: PackId, journal: Journal, state: UploadState,
        pace: WritePace | None,
    ) -> "SeedPackWriter | None":  # fmt: skip
        """A writer behind the last committed byte; what lay beyond is cut off.

        None where the file is missing or shorter than the journal says: it is removed, and the caller resets.
        """
        end = state.parts[-1].offset + state.parts[-1].size if state.parts else 0
        try:
            descriptor = device.open(state.key, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            device.deadline.do(lock_file, descriptor, device.place)
            found = device.deadline.do(os.fstat, descriptor)
            if found.st_nlink != 1:
                # Whoever held the lock until now has removed the file that we had opened already.
                device.close(descriptor)
                return None
            file = device.deadline.do(resumed_file, descriptor, device.key, end)
            if file is None:
                device.remove(index_key_beside(pack, state.container, state.key))
                device.remove(state.key)
                device.close(descriptor)
                return None
        except OSError as error:
            device.close(descriptor)
            raise _failed(error, "resume", devices, device, journal) from error
        except StorageError:
            device.close(descriptor)
            raise
        encoder, parts = PackEncoder(pack, state.container, state.members), list(state.parts)
        return cls(devices, device, pack, state.key, journal, encoder, state.container, descriptor, file, parts, pace)

    @property
    def held(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._held)

    @property
    def device(self) -> Device:
        return self._device

    @property
    def members(self) -> tuple[Member, ...]:
        with self._lock:
            return tuple(self._encoder.members)

    @property
    def key(self) -> str:
        return self._key

    @property
    def last(self) -> bool:
        """No other volume of the study follows, as far as the pack's index says."""
        return self._encoder.last

    @last.setter
    def last(self, value: bool) -> None:
        self._encoder.last = value

    @property
    def complete(self) -> bool:
        """The index was written by an earlier attempt."""
        return self._sealed

    def stops(self, size: int) -> Ended | None:
        """What keeps an instance of this size out of the pack; None where it has room, with all that belongs to it."""
        with self._lock:
            self._require_open()
            needed = cost(size, len(self._encoder.members) + 1)
            if self._written + needed > self._devices.largest_file:
                return Ended.FILE
            if self._left < needed + ROOM_KNOWN:
                with self._closing_on_error():
                    self._ask_room()
            # A share may not know yet of what was not synced.
            if self._left < needed + self._written - self._group_start:
                with self._closing_on_error():
                    if self._written > self._group_start:
                        self._commit()
                    self._ask_room()
            return None if self._left >= needed else Ended.DEVICE

    @property
    def _left(self) -> int:
        """Bytes above the reserve, by our own count since the device was asked."""
        return self._room - (self._written - self._room_at)

    def _ask_room(self) -> None:
        self._room, self._room_at = self._devices.room(self._device), self._written

    def add(self, facts: InstanceFacts, part10: Octets) -> None:
        with self._lock:
            self._require_open()
            if facts.sop_uid in self._held:
                raise ValueError("the instance is in the pack already")
            if part10.size != facts.sto_size or facts.study_uid != self._pack.study_uid:
                raise ValueError("the facts are not those of these bytes or of this study")
            with self._closing_on_error():
                if self._sealed:
                    self._cut_off_index()
                for piece in self._encoder.add(facts, part10):
                    self._write(piece)
                self._ended.append(self._encoder.members[-1])
                self._held.add(facts.sop_uid)
                if self._written - self._group_start >= self._devices.group_size:
                    self._commit()

    def finish(self, *, last: bool = True) -> Receipt:
        """See `StudyWriter.finish`; `last`: no other volume of the study follows."""
        with self._lock:
            if self._receipt is None:
                self._require_open()
                if not self._encoder.members:
                    raise ValueError("a pack holds at least one instance")
                self._encoder.last = last
                with self._closing_on_error():
                    if not self._sealed:
                        for piece in self._encoder.finish():
                            self._write(piece)
                        self._commit()
                    self._require_named()
                    self._write_sidecar()
                    self._receipt = Receipt(
                        key=self._key,
                        container=self._container,
                        size=self._written,
                        crc64=combine_parts(self._parts),
                        device=self._device.id,
                    )
                self.close()
            return self._receipt

    def abandon(self, reason: str) -> None:
        """Nothing of the pack is on the device, and the journal knows of none; the writer is closed."""
        with self._lock:
            self._require_open()
            try:
                with _telling(self._device):
                    self._remove()
                self._journal.reset(reason)
            finally:
                self.close()

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                self._device.close(self._descriptor)
                self._descriptor = -1
                self._devices.leave(self._device, self.promised)

    def _write(self, piece: bytes | memoryview) -> None:
        if self._pace is not None:
            self._pace.take(len(piece))
        self._file.write(piece)
        self._group_crc64 = crc64(piece, self._group_crc64)
        self._written += len(piece)

    def _commit(self) -> None:
        """What was written so far is on the platter, then in the journal."""
        self._devices.check_room(self._device, self._written)
        self._file.sync()
        part = Part(
            number=len(self._parts) + 1,
            offset=self._group_start,
            size=self._written - self._group_start,
            crc64=self._group_crc64,
            etag="",
        )
        self._journal.commit_group((part,), tuple(self._ended))
        self._parts.append(part)
        self._ended.clear()
        self._group_start, self._group_crc64 = self._written, 0

    def _cut_off_index(self) -> None:
        """Instances came after the index was written: the journal cannot forget single parts, so all starts over."""
        self._remove()
        self._journal.reset("instances came after the index")
        raise UploadLost("instances came after the index", operation="resume", place=self._device.place)

    def _remove(self) -> None:
        """The index first: left alone it would be in the way of the next pack of this name."""
        self._device.remove(index_key_beside(self._pack, self._container, self._key))
        self._device.remove(self._key)

    def _write_sidecar(self) -> None:
        encoder = self._encoder
        index = Index(pack=self._pack, container=self._container, members=tuple(encoder.members), last=encoder.last)
        put_sidecar(self._device, index, self._key)

    def _require_named(self) -> None:
        """A file that somebody removed meanwhile would be gone with our descriptor."""
        if self._device.deadline.do(os.fstat, self._descriptor).st_nlink != 1:
            self._journal.reset("the device lost the pack")
            raise UploadLost("the file was removed", operation="finish", place=self._device.place)

    def _require_open(self) -> None:
        if self._descriptor < 0:
            raise Retryable("the writer is closed", operation="write", place=self._device.place)

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                self._remove_and_reset()
                raise DeviceFull("is full", operation="write", place=self._device.place, code="ENOSPC") from error
            if error.errno == errno.EFBIG:
                self.abandon("file too large")
                raise Rejected(
                    "its file system takes no larger file: set `largest_file` of the destination",
                    operation="write",
                    place=self._device.place,
                    code="EFBIG",
                ) from error
            try:
                failure = _failed(error, "write", self._devices, self._device, self._journal)
                if error.errno in BROKEN:
                    with suppress(OSError):
                        # It may refuse this as well; sealing a seed looks for what the ledger does not know.
                        self._device.remove(self._key)
            finally:
                self.close()
            raise failure from error
        except DeviceFull:
            self._remove_and_reset()
            raise
        except Retryable as error:
            self.close()
            if error.place == self._device.place and error.code:
                # Another study would not fare better.
                self._devices.mark_failed(self._device, error.code)
                self._journal.reset("device failed")
            raise
        except BaseException:
            # Whatever it was, half an instance may be in the file: the next worker cuts it off.
            self.close()
            raise

    def _remove_and_reset(self) -> None:
        """A partial pack would be ingested as it is, so it goes before the journal forgets it; and before the lock
        does, or another worker takes over a file without a name."""
        try:
            # A pack is a little larger than its promise: refused by its size, the same study would come back for ever.
            # A volume would come back with its next instance: room was promised that is not there.
            size = 1 if self.several else min(self._written, self.promised or self._written)
            self._devices.mark_full(self._device, size)
            self._remove()
            self._journal.reset("device full")
        finally:
            self.close()


@contextmanager
def _telling(device: Device) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, "remove", device.place) from error


class AdoptingWriter:
    """Takes a study whose finished pack lies on a device already: nothing is written, everything is compared."""

    def __init__(self, device: Device, reader: PackReader, key: str, journal: Journal) -> None:
        self._device = device
        self._index = reader.index()
        self._key = key
        self._journal = journal
        self._lock = threading.Lock()
        self._members: dict[str, Member] = {}
        self._receipt: Receipt | None = None

    @property
    def held(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._members)

    def add(self, facts: InstanceFacts, part10: Octets) -> None:
        del part10  # its digest is in the facts
        with self._lock:
            if facts.sop_uid in self._members:
                raise ValueError("the instance is in the pack already")
            self._members[facts.sop_uid] = Member(facts=facts, offset=0, length=0, lead=0)

    def finish(self) -> Receipt:
        with self._lock:
            if self._receipt is None:
                self._receipt = self._adopt()
            return self._receipt

    def close(self) -> None:
        """Nothing is held."""

    def _adopt(self) -> Receipt:
        if not self._index.holds(self._members.values()):
            raise AlreadyThere("the pack holds other instances", operation="adopt", place=self._device.place)
        size = self._device.size(self._key)
        checksum = 0
        for piece in self._device.stream(self._key, 0, size):
            checksum = crc64(piece, checksum)
        container = self._index.container
        self._journal.begin(key=self._key, container=container, device=self._device.id)
        part = Part(number=1, offset=0, size=size, crc64=checksum, etag="")
        self._journal.commit_group((part,), self._index.members)
        put_sidecar(self._device, self._index, self._key)
        return Receipt(key=self._key, container=container, size=size, crc64=checksum, device=self._device.id)


def put_sidecar(device: Device, index: Index, pack_key: str) -> None:
    """The index lies beside its pack, durable. A torn one of an earlier attempt is replaced."""
    key = index_key_beside(index.pack, index.container, pack_key)
    body = serialise_index(index)
    try:
        device.write_new(key, body)
    except FileExistsError:
        there = b"".join(device.stream(key, 0, len(body) + 1))
        if there == body:
            return
        try:
            parse_index(there)
        except InvalidIndex:
            device.remove(key)
            device.write_new(key, body)
            return
        raise AlreadyThere("another index lies there", operation="write index", place=device.place) from None


def _failed(error: OSError, operation: str, devices: Devices, device: Device, journal: Journal) -> StorageError:
    """The typed error; a broken device is put out of use and the study starts over on another one."""
    failure = storage_error(error, operation, device.place)
    if error.errno in _FULL:
        devices.mark_full(device, 1)
        journal.reset("device full")
        return DeviceFull("is full", operation=operation, place=device.place, code=failure.code)
    if error.errno in BROKEN:
        devices.mark_failed(device, failure.code)
        journal.reset("device failed")
        return Retryable("the device has failed", operation=operation, place=device.place, code=failure.code)
    if isinstance(failure, Rejected) and error.errno in (errno.ELOOP, errno.ENOTDIR):
        return Rejected("something other than a plain folder is at our path", operation=operation, place=device.place)
    return failure
