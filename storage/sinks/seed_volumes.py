"""Writes a study as one pack, or as several where no file or no device takes it whole.

    pack -> finish                                            nearly every study
    volume 1 -> end_volume -> volume 2 -> ... -> finish       one that a file or a device has no room for

Each volume is a pack that is complete in itself: an instance is never split, and its index says which volume it is
and whether it is the last. A study spreads over devices only where it is certain that none holds it whole: by the size
it was announced with, or because it alone has filled the largest. Else it starts over on another device.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from imaging.facts import InstanceFacts
from imaging.octets import Octets
from storage.durable import storage_error
from storage.errors import DeviceFull, Rejected, Retryable, StorageError, UploadLost, VolumeSealed
from storage.packs.crc64 import combine
from storage.packs.model import Container, Ended, PackId, Receipt, Volume
from storage.packs.naming import MAX_VOLUME, index_key_beside, pack_key, pack_of_key
from storage.sinks.device import PAYLOAD
from storage.sinks.protocol import Journal
from storage.sinks.seed_pack import SeedPackWriter, cost
from storage.sinks.seed_slots import Slot, Slots

ELSEWHERE = "its device is away or lost it"
"""Half a pack on a device that comes back is taken off when the study is met there again, or when it is sealed."""
TOO_LARGE = "INSTANCE_TOO_LARGE"
"""Code of the error for an instance that no device, or no file on one, takes."""


class VolumesWriter:
    """See `StudyWriter`."""

    def __init__(
        self, slots: Slots, pack: PackId, container: Container, journal: Journal, size_hint: int,
        volumes: Sequence[Volume], writer: SeedPackWriter | None, *, began: bool = False,
    ) -> None:  # fmt: skip
        """`volumes` have ended; `writer` is of the one behind them, None where it is not begun; `began`: it was, on a
        device that is away or lost it, and the journal still says so."""
        self._slots = slots
        self._pack = pack
        self._container = container
        self._journal = journal
        self._size_hint = size_hint
        self._volumes = list(volumes)
        self._writer = writer
        self._lock = threading.Lock()
        self._earlier: set[str] = {member.facts.sop_uid for volume in volumes for member in volume.members}
        self._began = began
        self._closed = False
        if writer is not None:
            writer.several = writer.several or self._outgrown
            if writer.complete and not writer.last:
                # Killed between the end of a volume and the journal's line of it.
                try:
                    self._end_volume(writer, self._why_ended(writer))
                except BaseException:
                    writer.close()
                    raise

    @property
    def held(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._earlier) if self._writer is None else self._writer.held | self._earlier

    def add(self, facts: InstanceFacts, part10: Octets) -> None:
        with self._lock:
            self._require_open()
            if facts.sop_uid in self._earlier:
                raise ValueError("the instance is in a pack of the study already")
            try:
                self._with_room(facts, part10.size).add(facts, part10)
            except (StorageError, OSError):
                self._close()
                raise

    def finish(self) -> Receipt:
        with self._lock:
            if self._writer is None or (self._volumes and not self._writer.members):
                self._require_open()
                try:
                    if self._writer is not None:
                        self._writer.abandon("nothing came behind the last volume")
                    self._start_over("nothing came behind the last volume")
                finally:
                    self._close()
                raise UploadLost("nothing came behind the last volume", operation="finish", place=self._place)
            receipt = self._writer.finish()
            if not self._volumes:
                return receipt
            return _of_all((*(volume.receipt for volume in self._volumes), receipt))

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._closed = True
        if self._writer is not None:
            self._writer.close()

    def _require_open(self) -> None:
        if self._closed:
            raise Retryable("the writer is closed", operation="write", place=self._place)

    @property
    def _place(self) -> str:
        return "device" if self._writer is None else self._writer.device.place

    @property
    def _outgrown(self) -> bool:
        """It is known that no device holds the study whole."""
        return any(volume.ended is Ended.DEVICE for volume in self._volumes) or (
            self._size_hint > 0 and self._slots.outgrown(self._size_hint)
        )

    def _with_room(self, facts: InstanceFacts, size: int) -> SeedPackWriter:
        """The writer that takes an instance of this size."""
        if self._writer is None:
            self._writer = self._begin(facts, size)
        if self._writer.complete:
            # Its index says that nothing follows, so it starts over.
            return self._writer
        stopped = self._writer.stops(size)
        if stopped is None:
            return self._writer
        self._check_size(facts, size)
        if not self._writer.members:
            return self._writer
        if stopped is Ended.DEVICE and not self._may_spread(self._writer):
            if self._volumes:
                self._go_elsewhere(self._writer)
            # What is left of the device may do; if not, the pack itself gives up.
            return self._writer
        self._end_volume(self._writer, stopped)
        self._writer = self._begin(facts, size)
        return self._writer

    def _may_spread(self, writer: SeedPackWriter) -> bool:
        here = {volume.receipt.key for volume in self._volumes} | {writer.key}
        return self._outgrown or self._slots.outgrown_by_packs(writer.device, here)

    def _end_volume(self, writer: SeedPackWriter, ended: Ended) -> None:
        receipt = writer.finish(last=False)
        self._journal.end_volume(receipt, ended)
        self._volumes.append(Volume(receipt=receipt, members=writer.members, ended=ended))
        self._earlier.update(writer.held)
        self._writer = None

    def _why_ended(self, writer: SeedPackWriter) -> Ended:
        return writer.stops(max(member.facts.sto_size for member in writer.members)) or Ended.DEVICE

    def _begin(self, facts: InstanceFacts, size: int) -> SeedPackWriter:
        """A writer of the next volume, where an instance of this size has room."""
        number = len(self._volumes) + 1
        self._check_size(facts, size)
        if number > MAX_VOLUME:
            raise Rejected(f"a study of more than {MAX_VOLUME} volumes", operation="begin volume", place=self._place)
        last = self._volumes[-1]
        needed = cost(size, 1)
        slot: Slot | None = None
        if last.ended is Ended.FILE:
            slot = self._slots.enter_again(last.receipt.device, needed)
            if slot is None and not self._outgrown and not last.sealed:
                self._go_elsewhere(None)
        if slot is None:
            slot = self._slots.choose_for_volume(needed)
        pack = replace(self._pack, volume=number)
        began, self._began = self._began, False
        return begin_pack(self._slots, slot, pack, self._container, self._journal, 0, began=began)

    def _check_size(self, facts: InstanceFacts, size: int) -> None:
        """Raises `Rejected` for an instance that nothing here takes, however empty."""
        needed = cost(size, 1)
        if needed > self._slots.largest_file:
            what = "an instance too large for one file of such a device"
        elif self._slots.outgrown(needed):
            what = "an instance larger than every device"
        else:
            return
        if self._writer is not None:
            self._writer.abandon(what)
        raise Rejected(what, operation="choose", place=self._place, code=TOO_LARGE, sop_uids=(facts.sop_uid,))

    def _go_elsewhere(self, writer: SeedPackWriter | None) -> None:
        """The study may fit another device, emptier or larger, where it is not spread over several.

        Raises
        ------
        DeviceFull
            It starts over there.
        Retryable
            The device it is on is away.
        """
        device = self._slots[self._volumes[-1].receipt.device].device
        size = sum(volume.receipt.size for volume in self._volumes)
        if writer is not None:
            writer.abandon("device full")
        self._slots.mark_full(device, min(size, self._size_hint or size))
        self._start_over("device full")
        raise DeviceFull("has no room for the study", operation="write", place=device.place, code="ENOSPC")

    def _start_over(self, reason: str) -> None:
        remove_volumes(self._slots, self._volumes)
        self._journal.start_over(reason)


def begin_pack(
    slots: Slots, slot: Slot, pack: PackId, container: Container, journal: Journal, promised: int, *, began: bool
) -> SeedPackWriter:
    """A writer of a new pack, whose intent is in the journal. The device was entered, with so many bytes promised; it
    is left again where this fails. `began`: the journal still has what an earlier attempt had begun elsewhere."""
    key = pack_key(pack, container, PAYLOAD)
    try:
        if began:
            journal.reset(ELSEWHERE)
        if pack.volume > 1:
            _remove_half(slot, pack, container, key)
        journal.begin(key=key, container=container, device=slot.device.id)
        writer = SeedPackWriter.fresh(slots, slot.device, pack, container, key, journal, slot.pace)
    except BaseException:
        slots.leave(slot.device, promised)
        raise
    writer.promised = promised
    return writer


def _remove_half(slot: Slot, pack: PackId, container: Container, key: str) -> None:
    """What an earlier attempt left of the pack there, without an index beside it, is gone."""
    try:
        slot.device.size(index_key_beside(pack, container, key))
    except FileNotFoundError:
        with suppress(FileNotFoundError):
            slot.device.remove_unused(key)
    except OSError as error:
        raise storage_error(error, "look at", slot.device.place) from error


def remove_volumes(slots: Slots, volumes: Sequence[Volume]) -> None:
    """Volumes that have ended are on no device any more, but for one that has failed and takes no more orders.

    Raises
    ------
    VolumeSealed
        One of them is final; nothing was removed.
    Retryable
        The device of one is away; nothing was removed.
    """
    devices = {slot.device.id: slot for slot in slots}
    for volume in volumes:
        slot = devices.get(volume.receipt.device)
        place = f"device {volume.receipt.device[:8]}"
        if volume.sealed or (slot is not None and not slot.failed and slot.device.sealed):
            raise VolumeSealed("a volume of the study is on a sealed device", operation="discard", place=place)
        if slot is None:
            raise Retryable("is not attached, and holds a volume of the study", operation="discard", place=place)
        if not slot.failed:
            slot.device.free()
    for volume in volumes:
        slot = devices[volume.receipt.device]
        if not slot.failed:
            remove_pack(slot, volume.receipt.key, volume.receipt.container)


def remove_pack(slot: Slot, key: str, container: Container) -> None:
    """Neither the pack nor the index beside it is on the device. Raises OSError."""
    slot.device.remove(key)
    slot.device.remove(index_key_beside(pack_of_key(key, container), container, key))


def _of_all(receipts: tuple[Receipt, ...]) -> Receipt:
    """The receipt of a study in several volumes."""
    crc64 = 0
    for receipt in receipts:
        assert receipt.crc64 is not None  # a pack's
        crc64 = combine(crc64, receipt.crc64, receipt.size)
    return Receipt(
        key=receipts[0].key,
        container=receipts[0].container,
        size=sum(receipt.size for receipt in receipts),
        crc64=crc64,
        volumes=receipts,
    )
