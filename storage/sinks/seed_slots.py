"""The devices of one seed destination: which are in use, which take what, and where a study goes."""

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from errno import errorcode

from storage.errors import DeviceFull, Rejected, Retryable, SinkFull, StorageError
from storage.packs.naming import studies_prefix
from storage.sinks.deadline import HANGS
from storage.sinks.device import PAYLOAD, AttachedDevice, Device
from storage.sinks.options import SeedOptions
from storage.sinks.unlocking import unlocked
from storage.sinks.write_pace import WritePace


@dataclass(slots=True)
class Slot:
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


class Slots:
    """Thread-safe. No device is asked while the lock is held: one that hangs keeps the writers it has, so it is soon
    the busiest and nobody else waits for it."""

    def __init__(self, options: SeedOptions) -> None:
        """Opened with those of its devices that are there; the others are left, as they are when they go later.

        Raises
        ------
        Retryable
            None is there.
        Rejected
            Two carry the same id, or one is not what the options say.
        """
        self._options = options
        self._lock = threading.Lock()
        self._slots: list[Slot] = []
        self.away: list[Retryable] = []
        """Why others could not be opened."""
        for root in options.devices:
            try:
                attached = AttachedDevice(root, hangs_after=options.hangs_after)
                self._slots.append(Slot(unlocked(attached, options.disk_key)))
            except Retryable as error:
                self.away.append(error)
        if not self._slots:
            raise self.away[0]
        if len({slot.device.id for slot in self._slots}) != len(self._slots):
            raise Rejected("two devices carry the same id: one is a copy of the other", place=options.name)
        if options.write_rate is not None:
            for slot in self._slots:
                slot.pace = WritePace(slot.device.id, options.write_rate)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def __getitem__(self, device_id: str) -> Slot:
        """Raises `Retryable` for one that is not attached."""
        for slot in self._slots:
            if slot.device.id == device_id:
                return slot
        raise Retryable("the device is not attached here", operation="open", place=self._options.name)

    def answering(self, device_id: str) -> Slot | None:
        """The device of that id; None where it is not attached or does not answer."""
        slot = next((slot for slot in self._slots if slot.device.id == device_id), None)
        if slot is None or slot.gone:
            return None
        try:
            slot.device.free()
        except StorageError:
            return None
        return slot

    # What a writer asks and tells.

    @property
    def group_size(self) -> int:
        return self._options.group_size

    @property
    def largest_file(self) -> int:
        return self._options.file_limit

    def room(self, device: Device) -> int:
        """Bytes above the reserve that may still be written. Raises `Retryable`."""
        return device.free() - self._options.room_kept

    def check_room(self, device: Device, written: int) -> None:
        """The reserve is untouched. Raises `DeviceFull`, or `Rejected` for a file that no such device takes."""
        if written > self.largest_file:
            raise Rejected("an instance too large for one file of such a device", operation="write", place=device.place)
        if self.room(device) < 0:
            raise DeviceFull("reserve reached", operation="write", place=device.place)

    def mark_full(self, device: Device, size: int) -> None:
        """Studies of at least `size` bytes, or of unknown size, go to other devices from now on."""
        with self._lock:
            slot = self[device.id]
            slot.refused = min(size, slot.refused) if slot.refused is not None else size

    def mark_failed(self, device: Device, code: str) -> None:
        """The device is used no more by this process; one that hangs, not before it answers again."""
        if code == HANGS:
            return
        with self._lock:
            self[device.id].failed = code

    def enter(self, slot: Slot, promised: int) -> None:
        """A writer is open there."""
        with self._lock:
            slot.writers += 1
            slot.promised += promised

    def leave(self, device: Device, promised: int) -> None:
        """A writer has ended; what it had been promised is free for others."""
        with self._lock:
            slot = self[device.id]
            slot.writers -= 1
            slot.promised -= promised

    # Where a study goes.

    def choose(self, size_hint: int) -> Slot:
        """The least busy device that has room, of the first `parallel` that have; a writer has entered it."""
        refusing: set[str] = set()
        away: list[Retryable] = []
        while True:
            with self._lock:
                takers = [each for each in self._slots if each.takes(size_hint)]
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
        raise self._none(takers, away)

    def choose_for_volume(self, size: int) -> Slot:
        """The device with the most room, so that a study gets few volumes; a writer has entered it.

        `size` is that of the first instance in it, with all that belongs to it.
        """
        found: list[tuple[int, Slot]] = []
        away: list[Retryable] = []
        takers = [each for each in self._slots if each.takes(size)]
        for slot in (each for each in takers if not each.gone):
            try:
                if self._has_room(slot, size):
                    found.append((self.room(slot.device), slot))
            except Retryable as error:
                away.append(error)
        if not found:
            raise self._none(takers, away)
        _, slot = max(found, key=lambda each: each[0])
        self.enter(slot, 0)
        return slot

    def enter_again(self, device_id: str, size: int) -> Slot | None:
        """The device, entered once more, where it has room for so much."""
        slot = self.answering(device_id)
        if slot is None or not slot.takes(size) or not self._has_room(slot, size):
            return None
        self.enter(slot, 0)
        return slot

    def outgrown(self, size: int) -> bool:
        """No device that may be loaded holds so much, however empty; False while one is away that might."""
        return self._everywhere(lambda slot: self._capacity(slot) < size)

    def outgrown_by_packs(self, device: Device, keys: Collection[str]) -> bool:
        """The device is full of these packs alone, and no other is larger; False while one is away that might be."""
        if any(key not in keys for key in device.keys(studies_prefix(PAYLOAD))):
            return False
        largest = device.capacity()
        return self._everywhere(lambda slot: slot.device.capacity() <= largest)

    def _everywhere(self, small: Callable[[Slot], bool]) -> bool:
        if self.away or any(slot.gone for slot in self._slots):
            return False
        try:
            return all(small(slot) for slot in self._slots if not slot.device.sealed)
        except (OSError, Retryable):
            return False

    def _capacity(self, slot: Slot) -> float:
        loadable = slot.device.capacity() - self._options.room_kept
        # Less room than the reserve is a mistake in the job file, and no study's fault.
        return loadable if loadable > 0 else float("inf")

    def _none(self, takers: list[Slot], away: list[Retryable]) -> StorageError:
        hanging = next((slot for slot in takers if slot.device.deadline.hanging), None)
        if hanging is not None:
            # It may take the study yet: the destination is not full.
            return hanging.device.deadline.gone()
        if len(away) == len(self._slots):
            return away[-1]
        gone = sum(slot.gone for slot in self._slots) + len(away) + len(self.away)
        return SinkFull(f"no device has room for the study; {gone} are away or have failed", place=self._options.name)

    def _has_room(self, slot: Slot, promised: int) -> bool:
        """Raises `Retryable` for one that is away, and may come back."""
        try:
            return not slot.device.sealed and self.room(slot.device) > promised
        except OSError as error:
            return self._give_up(slot, errorcode.get(error.errno or 0, "unknown"))
        except Retryable as error:
            return self._give_up(slot, error.code)

    def _give_up(self, slot: Slot, code: str) -> bool:
        """False; the device is used no more if it is broken. Raises `Retryable` if it is only away."""
        if not code:
            raise Retryable("is not mounted", operation="open", place=slot.device.place)
        self.mark_failed(slot.device, code)
        return False
