"""Random access to bytes that may lie in memory or in a file, without saying which.

A CT slice is half a megabyte and lives in a buffer; an ultrasound loop is two gigabytes and lives in
the spool. Rules in this package read both through `Octets`, so that neither needs a copy of the whole.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

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


class Span(NamedTuple):
    """The bytes [start, stop) of a sequence."""

    octets: Octets
    start: int
    stop: int


class JoinedOctets:
    """Octets made of spans of others, one behind the other. Only a read across a border copies."""

    __slots__ = ("_starts", "size", "spans")

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = tuple(span for span in spans if span.stop > span.start)
        ends = list(accumulate((span.stop - span.start for span in self.spans), initial=0))
        self.size = ends.pop()
        self._starts = ends

    def read(self, start: int, length: int) -> memoryview:
        pieces = list(self.pieces(start, min(start + length, self.size), length))
        if len(pieces) == 1:
            return pieces[0]
        return memoryview(b"".join(pieces))

    def underneath(self, start: int, stop: int) -> tuple[Octets, int] | None:
        """The sequence that holds all of [start, stop), and where in it they start; None where several do."""
        number = bisect_right(self._starts, start) - 1
        if number < 0:
            return None
        octets, first, last = self.spans[number]
        position = first + start - self._starts[number]
        return (octets, position) if position + stop - start <= last else None

    def pieces(self, start: int, stop: int, step: int) -> Iterator[memoryview]:
        """The bytes [start, stop) in pieces of at most `step`, each from one span.

        Raises
        ------
        EOFError
            A sequence underneath ends early.
        """
        number = bisect_right(self._starts, start) - 1
        while start < stop:
            octets, first, last = self.spans[number]
            position = first + start - self._starts[number]
            piece = octets.read(position, min(step, stop - start, last - position))
            if not piece:
                raise EOFError(f"sequence ends at {start}, {stop - start} bytes short")
            yield piece
            start += len(piece)
            number += position + len(piece) == last


def chunks(octets: Octets, start: int, stop: int) -> Iterator[memoryview]:
    """The bytes [start, stop) in steps of at most `CHUNK`.

    Raises
    ------
    EOFError
        The sequence ends before `stop`.
    """
    if isinstance(octets, JoinedOctets):
        yield from octets.pieces(start, min(stop, octets.size), CHUNK)
        start = max(start, octets.size)
    while start < stop:
        piece = octets.read(start, min(CHUNK, stop - start))
        if not piece:
            raise EOFError(f"sequence ends at {start}, {stop - start} bytes short")
        yield piece
        start += len(piece)
