"""The seed sink: packs on devices that will be shipped."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from errno import errorcode

from storage.durable import storage_error
from storage.errors import AlreadyThere, DeviceFull, Rejected, Retryable, SinkFull, StorageError
from storage.packs.index import InvalidIndex
from storage.packs.model import Container, HeldPack, PackId
from storage.packs.naming import index_key_beside, pack_key, pack_named, pack_of_key, studies_prefix
from storage.packs.reader import PackReader
from storage.seeds.profiles import PROFILES
from storage.sinks.deadline import HANGS
from storage.sinks.device import PAYLOAD, AttachedDevice, Device
from storage.sinks.options import RAW_PIXELS, SeedOptions
from storage.sinks.protocol import Journal, Probe, SinkTraits, StudyWriter, UploadState
from storage.sinks.seed_pack import BROKEN, AdoptingWriter, SeedPackWriter
from storage.sinks.unlocking import unlocked
from storage.sinks.write_pace import WritePace

WRITER_MEMORY = 8 << 20
"""Pieces pass straight into the page cache: a zstd context of level 1 and a piece on either side of it."""

PROBE_KEY = "limosa/probe"
_ELSEWHERE = "its device is away or lost it"
"""Half a pack on a device that comes back is taken off when the study is met there again, or when it is sealed."""


@dataclass(slots=True)
class _Slot:
    """What is remembered of a device while this process lives."""

    device: Device
    pace: WritePace | None = None
    """None: as fast as it takes."""
    writers: int = 0
    """That are open."""
    promised: int = 0
    """Bytes that they expect to write."""
    refused: int | None = None
    """A study of this size did not fit; smaller ones still may."""
    failed: str = ""
    """What ended its use."""

    @property
    def gone(self) -> bool:
        """It is not used: for good, or while it hangs."""
        return bool(self.failed or self.device.deadline.hanging)

    def takes(self, size_hint: int) -> bool:
        """Whether a study of this size may be tried, as far as this process knows."""
        return not self.failed and (self.refused is None or 0 < size_hint < self.refused)


class SeedSink:
    """See `Sink`."""

    def __init__(self, options: SeedOptions) -> None:
        """Opened with those of its devices that are there; the others are left, as they are when they go later."""
        self._options = options
        self._lock = threading.Lock()
        self._slots: list[_Slot] = []
        self._away: list[Retryable] = []
        for root in options.devices:
            try:
                self._slots.append(
                    _Slot(unlocked(AttachedDevice(root, hangs_after=options.hangs_after), options.disk_key))
                )
            except Retryable as error:
                self._away.append(error)
        if not self._slots:
            raise self._away[0]
        if len({slot.device.id for slot in self._slots}) != len(self._slots):
            raise Rejected("two devices carry the same id: one is a copy of the other", place=options.name)
        if options.write_rate is not None:
            for slot in self._slots:
                slot.pace = WritePace(slot.device.id, options.write_rate)

    @property
    def name(self) -> str:
        return self._options.name

    @property
    def traits(self) -> SinkTraits:
        raw_pixels = RAW_PIXELS[self._options.compression]
        return SinkTraits(writer_memory=WRITER_MEMORY, local=True, raw_pixels=raw_pixels)

    @property
    def devices(self) -> frozenset[str]:
        return frozenset(slot.device.id for slot in self._slots)

    @property
    def hanging(self) -> Mapping[str, int]:
        return {slot.device.id: count for slot in self._slots if (count := slot.device.deadline.hanging)}

    def writer(
        self, pack: PackId, container: Container, size_hint: int, journal: Journal, resume: UploadState | None
    ) -> StudyWriter:
        if resume is not None:
            slot = self._answering(resume.device)
            if slot is not None:
                writer = SeedPackWriter.resumed(self, slot.device, pack, journal, resume, slot.pace)
                if writer is not None:
                    self._enter(slot, 0)
                    return writer
            container = resume.container
        container = Container.TAR if container is Container.P10 else container
        key = pack_key(pack, container, PAYLOAD)
        found = self._finished(pack, container, key)
        if found is not None:
            if resume is not None:
                journal.reset(_ELSEWHERE)
            slot, reader = found
            return AdoptingWriter(slot.device, reader, key, journal)
        slot = self._choose(size_hint)
        try:
            if resume is not None:
                journal.reset(_ELSEWHERE)
            journal.begin(key=key, container=container, device=slot.device.id)
            writer = SeedPackWriter.fresh(self, slot.device, pack, container, key, journal, slot.pace)
        except BaseException:
            self.leave(slot.device, size_hint)
            raise
        writer.promised = size_hint
        return writer

    def discard(self, state: UploadState) -> None:
        slot = self._answering(state.device)
        if slot is None:
            return  # sealing a device looks for what the ledger does not know
        try:
            self._remove_unfinished(slot.device, state)
        except OSError as error:
            if error.errno not in BROKEN:
                raise storage_error(error, "discard", slot.device.place) from error
            # Nothing can be removed any more.
            self.mark_failed(slot.device, errorcode.get(error.errno, "unknown"))

    def _remove_unfinished(self, device: Device, state: UploadState) -> None:
        pack = pack_of_key(state.key, state.container)
        try:
            PackReader(self, pack, state.container, state.key, device=device.id).sidecar()
        except (FileNotFoundError, InvalidIndex):
            # An index beside a pack is the last thing written, so without one the pack is unfinished.
            device.remove(state.key)
            device.remove(index_key_beside(pack, state.container, state.key))

    def sweep(self, live_upload_ids: frozenset[str]) -> int:
        """Devices have no uploads of their own; what the ledger does not know is found when a seed is sealed."""
        del live_upload_ids
        return 0

    def packs(self) -> Iterator[HeldPack]:
        for slot in self._slots:
            folder, indexes = "", frozenset[str]()
            for key in slot.device.keys(studies_prefix(PAYLOAD)):
                named = pack_named(key)
                if named is None:
                    continue
                beside = index_key_beside(*named, key)
                if beside.rpartition("/")[0] != folder:
                    folder = beside.rpartition("/")[0]
                    indexes = frozenset(slot.device.keys(folder))
                # Without its index it is half a pack, of a device that went away and came back.
                if beside in indexes:
                    yield HeldPack(pack=named[0], container=named[1], device=slot.device.id)

    def loose(self, pack: PackId, key: str) -> Iterator[str]:
        """Devices hold packs only."""
        yield from ()

    def size(self, key: str, *, device: str = "") -> int:
        return self._slot(device).device.size(key)

    def stream(self, key: str, start: int, length: int, *, device: str = "") -> Iterator[bytes]:
        return self._slot(device).device.stream(key, start, length)

    def probe(self) -> Iterator[Probe]:
        for error in self._away:
            yield Probe(what=f"{error.place}: open", ok=False, detail=str(error), place=error.place, code=error.code)
        for slot in self._slots:
            device = slot.device
            what = f"{device.place}: write, fsync, delete"
            try:
                device.remove(PROBE_KEY)
                device.write_new(PROBE_KEY, b"limosa\n")
                device.remove(PROBE_KEY)
            except OSError as error:
                yield Probe(what=what, ok=False, detail=str(storage_error(error, "probe", device.place)))
            except StorageError as error:
                yield Probe(what=what, ok=False, detail=str(error))
            else:
                yield Probe(what=what, ok=True, detail=device.id)
            what = f"{device.place}: free space"
            try:
                left = device.free() - self._options.room_kept
            except Retryable as error:
                yield Probe(what=what, ok=False, detail=str(error), place=error.place, code=error.code)
            else:
                yield Probe(what=what, ok=left > 0, detail=f"{left} bytes above the reserve")

    # What a writer tells its sink.

    @property
    def group_size(self) -> int:
        return self._options.group_size

    def check_room(self, device: Device, written: int) -> None:
        """The reserve is untouched. Raises `DeviceFull`, or `Rejected` for a file that no such device takes."""
        if written > PROFILES[self._options.profile].largest_file:
            raise Rejected("a study too large for one file of such a device", operation="write", place=device.place)
        if device.free() < self._options.room_kept:
            raise DeviceFull("reserve reached", operation="write", place=device.place)

    def mark_full(self, device: Device, size: int) -> None:
        """Studies of at least `size` bytes, or of unknown size, go to other devices from now on."""
        with self._lock:
            slot = self._slot(device.id)
            slot.refused = min(size, slot.refused) if slot.refused is not None else size

    def mark_failed(self, device: Device, code: str) -> None:
        """The device is used no more by this process; one that hangs, not before it answers again."""
        if code == HANGS:
            return
        with self._lock:
            self._slot(device.id).failed = code

    def leave(self, device: Device, promised: int) -> None:
        """A writer has ended; what it had been promised is free for others."""
        with self._lock:
            slot = self._slot(device.id)
            slot.writers -= 1
            slot.promised -= promised

    def _enter(self, slot: _Slot, promised: int) -> None:
        with self._lock:
            slot.writers += 1
            slot.promised += promised

    def _choose(self, size_hint: int) -> _Slot:
        """The least busy device that has room, of the first `parallel` that have; a writer has entered it.

        One that hangs keeps the writers it has, so it is soon the busiest and nobody else waits for it. No device is
        asked while the lock is held.
        """
        refusing: set[str] = set()
        away: list[Retryable] = []
        while True:
            with self._lock:
                takers = [each for each in self._slots if each.takes(size_hint)]
                hanging = [each for each in takers if each.gone]
                able = [each for each in takers if not each.gone and each.device.id not in refusing]
                if not able:
                    break
                slot = min(able[: self._options.parallel], key=lambda each: each.writers)
                slot.writers += 1
                slot.promised += size_hint
                promised = slot.promised
            try:
                if self._has_room(slot, promised):
                    return slot
            except Retryable as error:
                away.append(error)
            self.leave(slot.device, size_hint)
            refusing.add(slot.device.id)
        if hanging:
            # It may take the study yet: the destination is not full.
            raise hanging[0].device.deadline.gone()
        if len(away) == len(self._slots):
            raise away[-1]
        if not (away or self._away) and all(self._never_holds(slot, size_hint) for slot in self._slots):
            # Of the study, not of the destination: the others go on.
            raise Rejected("a study larger than every device", operation="choose", place=self._options.name)
        gone = sum(slot.gone for slot in self._slots) + len(away) + len(self._away)
        raise SinkFull(f"no device has room for the study; {gone} are away or have failed", place=self._options.name)

    def _never_holds(self, slot: _Slot, size: int) -> bool:
        # Less room than the reserve is a mistake in the job file, and no study's fault.
        return not slot.gone and size > slot.device.capacity() - self._options.room_kept > 0

    def _has_room(self, slot: _Slot, promised: int) -> bool:
        """Raises `Retryable` for one that is away, and may come back."""
        try:
            return not slot.device.sealed and slot.device.free() - self._options.room_kept > promised
        except OSError as error:
            return self._give_up(slot, errorcode.get(error.errno or 0, "unknown"))
        except Retryable as error:
            return self._give_up(slot, error.code)

    def _give_up(self, slot: _Slot, code: str) -> bool:
        """False; the device is used no more if it is broken. Raises `Retryable` if it is only away."""
        if not code:
            raise Retryable("is not mounted", operation="open", place=slot.device.place)
        self.mark_failed(slot.device, code)
        return False

    def _answering(self, device_id: str) -> _Slot | None:
        """The device of that id; None where it is not attached or does not answer."""
        slot = next((slot for slot in self._slots if slot.device.id == device_id), None)
        if slot is None or slot.gone:
            return None
        try:
            slot.device.free()
        except StorageError:
            return None
        return slot

    def _slot(self, device_id: str) -> _Slot:
        for slot in self._slots:
            if slot.device.id == device_id:
                return slot
        raise Retryable("the device is not attached here", operation="open", place=self._options.name)

    def _finished(self, pack: PackId, container: Container, key: str) -> tuple[_Slot, PackReader] | None:
        """A complete pack that some device holds although the journal knows none (a ledger restored from a backup)."""
        for slot in self._slots:
            if slot.gone:
                continue
            reader = PackReader(self, pack, container, key, device=slot.device.id)
            try:
                reader.index()
            except FileNotFoundError:
                continue
            except InvalidIndex as error:
                if _holds(slot.device, index_key_beside(pack, container, key)):
                    raise AlreadyThere("a file without our index has the name", place=slot.device.place) from error
                # The index beside a pack is the last that is written: what a device held when it went away.
                slot.device.remove_unused(key)
                continue
            except OSError as error:
                self.mark_failed(slot.device, errorcode.get(error.errno or 0, "unknown"))
                continue
            except Retryable:
                continue
            return slot, reader
        return None


def _holds(device: Device, key: str) -> bool:
    try:
        return device.size(key) >= 0
    except FileNotFoundError:
        return False
