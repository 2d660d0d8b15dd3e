"""Random access to bytes that may lie in memory or in a file, without saying which.

A CT slice is half a megabyte and lives in a buffer; an ultrasound loop is two gigabytes and lives in
the spool. Rules in this package read both through `Octets`, so that neither needs a copy of the whole.
"""

from collections.abc import Iterator
from typing import Protocol

CHUNK = 1 << 20
"""Bytes per step when a long range is walked: large enough that BLAKE3 runs at full speed (it needs
64 KiB or more per update), small enough that a thread holds next to nothing."""


class Octets(Protocol):
    """A fixed sequence of `size` bytes."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, length: int) -> memoryview:
        """Bytes [start, start + length), cut short only by the end of the sequence.

        The view is valid until the owner releases the sequence. `length` is at most a few MiB: a file
        behind this interface copies what it reads.
        """
        ...


class MemoryOctets:
    """Octets over a buffer the caller owns; `read` gives views, never copies."""

    __slots__ = ("_view",)

    def __init__(self, buffer: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(buffer)

    @property
    def size(self) -> int:
        return len(self._view)

    def read(self, start: int, length: int) -> memoryview:
        return self._view[start : start + length]


def chunks(octets: Octets, start: int, stop: int) -> Iterator[memoryview]:
    """The bytes [start, stop) in steps of at most `CHUNK`.

    Raises
    ------
    EOFError
        The sequence ends before `stop`.
    """
    while start < stop:
        piece = octets.read(start, min(CHUNK, stop - start))
        if not piece:
            raise EOFError(f"sequence ends at {start}, {stop - start} bytes short")
        yield piece
        start += len(piece)
