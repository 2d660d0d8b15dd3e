"""The seed sink: packs on devices that will be shipped."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from errno import errorcode

from storage.durable import storage_error
from storage.errors import AlreadyThere, Retryable, StorageError
from storage.packs.index import InvalidIndex
from storage.packs.model import Container, HeldPack, PackId
from storage.packs.naming import index_key_beside, pack_key, pack_named, pack_of_key, studies_prefix
from storage.packs.reader import PackReader
from storage.sinks.device import PAYLOAD, Device
from storage.sinks.options import RAW_PIXELS, SeedOptions
from storage.sinks.protocol import Journal, Probe, SinkTraits, StudyWriter, UploadState
from storage.sinks.seed_pack import BROKEN, AdoptingWriter, SeedPackWriter
from storage.sinks.seed_slots import Slot, Slots
from storage.sinks.seed_volumes import ELSEWHERE, VolumesWriter, begin_pack, remove_pack, remove_volumes

WRITER_MEMORY = 8 << 20
"""Pieces pass into the page cache a MiB at a time: a zstd context of level 1 and what is gathered beside it."""

PROBE_KEY = "limosa/probe"


class SeedSink:
    """See `Sink`."""

    def __init__(self, options: SeedOptions) -> None:
        """Opened with those of its devices that are there. Raises as `Slots`."""
        self._options = options
        self._slots = Slots(options)

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
        volumes = () if resume is None else resume.volumes
        if resume is not None:
            container = resume.container
            if resume.key and (writer := self._resumed(pack, journal, resume)) is not None:
                return VolumesWriter(self._slots, pack, container, journal, size_hint, volumes, writer)
        container = Container.TAR if container is Container.P10 else container
        if volumes:
            began = bool(resume is not None and resume.key)
            return VolumesWriter(self._slots, pack, container, journal, size_hint, volumes, None, began=began)
        key = pack_key(pack, container, PAYLOAD)
        found = self._finished(pack, container, key)
        if found is not None:
            if resume is not None:
                journal.reset(ELSEWHERE)
            slot, reader = found
            return AdoptingWriter(slot.device, reader, key, journal)
        outgrown = size_hint > 0 and self._slots.outgrown(size_hint)
        slot = self._slots.choose_for_volume(1) if outgrown else self._slots.choose(size_hint)
        promised = 0 if outgrown else size_hint
        writer = begin_pack(self._slots, slot, pack, container, journal, promised, began=resume is not None)
        return VolumesWriter(self._slots, pack, container, journal, size_hint, (), writer)

    def _resumed(self, pack: PackId, journal: Journal, resume: UploadState) -> SeedPackWriter | None:
        slot = self._slots.answering(resume.device)
        if slot is None:
            return None
        pack = replace(pack, volume=len(resume.volumes) + 1)
        writer = SeedPackWriter.resumed(self._slots, slot.device, pack, journal, resume, slot.pace)
        if writer is None:
            return None
        self._slots.enter(slot, 0)
        if writer.complete:
            try:
                writer.last = PackReader(self, pack, resume.container, resume.key, device=slot.device.id).index().last
            except BaseException:
                writer.close()
                raise
        return writer

    def discard(self, state: UploadState) -> None:
        slot = self._slots.answering(state.device)
        try:
            remove_volumes(self._slots, state.volumes)
            # Where its device is away: sealing a device looks for what the ledger does not know.
            if slot is not None:
                self._remove_unfinished(slot, state)
        except OSError as error:
            place = self.name if slot is None else slot.device.place
            if error.errno not in BROKEN or slot is None:
                raise storage_error(error, "discard", place) from error
            # Nothing can be removed any more.
            self._slots.mark_failed(slot.device, errorcode.get(error.errno, "unknown"))

    def _remove_unfinished(self, slot: Slot, state: UploadState) -> None:
        pack = pack_of_key(state.key, state.container)
        try:
            index = PackReader(self, pack, state.container, state.key, device=slot.device.id).sidecar()
        except (FileNotFoundError, InvalidIndex):
            # An index beside a pack is the last thing written, so without one the pack is unfinished.
            index = None
        if index is None or not index.whole:
            remove_pack(slot, state.key, state.container)

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
        return self._slots[device].device.size(key)

    def stream(self, key: str, start: int, length: int, *, device: str = "") -> Iterator[bytes]:
        return self._slots[device].device.stream(key, start, length)

    def probe(self) -> Iterator[Probe]:
        for error in self._slots.away:
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
                yield Probe(what=what, ok=False, detail=str(error), place=error.place, code=error.code)
            else:
                yield Probe(what=what, ok=True, detail=device.id)
            what = f"{device.place}: free space"
            try:
                left = device.free() - self._options.room_kept
            except Retryable as error:
                yield Probe(what=what, ok=False, detail=str(error), place=error.place, code=error.code)
            else:
                yield Probe(what=what, ok=left > 0, detail=f"{left} bytes above the reserve")

    def _finished(self, pack: PackId, container: Container, key: str) -> tuple[Slot, PackReader] | None:
        """A complete pack that some device holds although the journal knows none (a ledger restored from a backup)."""
        for slot in self._slots:
            if slot.gone:
                continue
            reader = PackReader(self, pack, container, key, device=slot.device.id)
            try:
                whole = reader.index().whole
            except FileNotFoundError:
                continue
            except InvalidIndex as error:
                if _holds(slot.device, index_key_beside(pack, container, key)):
                    raise AlreadyThere("a file without our index has the name", place=slot.device.place) from error
                # The index beside a pack is the last that is written: what a device held when it went away.
                slot.device.remove_unused(key)
                continue
            except OSError as error:
                self._slots.mark_failed(slot.device, errorcode.get(error.errno or 0, "unknown"))
                continue
            except Retryable:
                continue
            if not whole:
                # Said before all of a large study is pulled to be compared with a part of it.
                raise AlreadyThere("a volume that the ledger does not know has the name", place=slot.device.place)
            return slot, reader
        return None


def _holds(device: Device, key: str) -> bool:
    try:
        return device.size(key) >= 0
    except FileNotFoundError:
        return False
