"""The file of a pack that is being written, as it is or encrypted."""

import os
from typing import Protocol

from storage.durable import write_all
from storage.sinks.cipher import CipherWriter, DiskKey
from storage.sinks.deadline import Deadline

GATHERED = 1 << 20
"""Bytes handed over in one go: so many of them cost more than the change of threads."""


class PackFile(Protocol):
    """Takes a pack's bytes in order; what it is asked for and returns counts bytes of the pack."""

    def write(self, piece: bytes | memoryview) -> None:
        """The piece follows what was written."""
        ...

    def sync(self) -> None:
        """Everything written is on the medium."""
        ...


class PlainWriter:
    """The pack as it is."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, piece: bytes | memoryview) -> None:
        write_all(self._descriptor, piece)

    def sync(self) -> None:
        os.fsync(self._descriptor)


class Gathering:
    """Gathers pieces, and has them written within the device's time."""

    def __init__(self, file: PackFile, deadline: Deadline) -> None:
        self._file = file
        self._deadline = deadline
        self._gathered = bytearray()

    def write(self, piece: bytes | memoryview) -> None:
        # A copy: who is left behind in a write must not hold what belongs to the caller.
        self._gathered += piece
        if len(self._gathered) >= GATHERED:
            self._hand_over()

    def sync(self) -> None:
        self._hand_over()
        self._deadline.do(self._file.sync)

    def _hand_over(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, bytearray()
            self._deadline.do(self._file.write, memoryview(gathered))


def fresh_file(descriptor: int, key: DiskKey | None) -> PackFile:
    """A writer of the empty file."""
    return PlainWriter(descriptor) if key is None else CipherWriter.fresh(descriptor, key)


def resumed_file(descriptor: int, key: DiskKey | None, end: int) -> PackFile | None:
    """A writer behind `end` bytes of the pack, what lay beyond is cut off; None where the file does not hold them."""
    if key is not None:
        return CipherWriter.resumed(descriptor, key, end)
    if os.fstat(descriptor).st_size < end:
        return None
    os.ftruncate(descriptor, end)
    os.lseek(descriptor, end, os.SEEK_SET)
    return PlainWriter(descriptor)
