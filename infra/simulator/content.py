"""Dataset bytes as an archive holds them: in memory, in a file, made on demand, or too large to hold."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol


class Content(Protocol):
    """The bytes of one stored dataset, from its first element to its last."""

    @property
    def size(self) -> int: ...

    def chunks(self, step: int) -> Iterator[memoryview]:
        """All bytes in order, each piece but the last `step` long."""
        ...


def whole(content: Content) -> bytes:
    """Every byte of `content`, in memory."""
    return b"".join(content.chunks(1 << 20))


class HeldContent:
    """Bytes in memory."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    @property
    def size(self) -> int:
        return len(self._octets)

    def chunks(self, step: int) -> Iterator[memoryview]:
        view = memoryview(self._octets)
        for start in range(0, len(view), step):
            yield view[start : start + step]


class FileContent:
    """The rest of a Part-10 file behind its file meta information."""

    __slots__ = ("_offset", "_path")

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset

    @property
    def size(self) -> int:
        return self._path.stat().st_size - self._offset

    def chunks(self, step: int) -> Iterator[memoryview]:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while piece := file.read(step):
                yield memoryview(piece)


class MadeContent:
    """Bytes that a pure function makes again whenever they are wanted, so that a large archive costs nothing."""

    __slots__ = ("_make", "_size")

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._size: int | None = None

    @property
    def size(self) -> int:
        if self._size is None:
            self._size = len(self._make())
        return self._size

    def chunks(self, step: int) -> Iterator[memoryview]:
        return HeldContent(self._make()).chunks(step)


class TiledContent:
    """A header, then one block repeated until `size` is reached: gigabytes that nobody holds."""

    __slots__ = ("_block", "_header", "_size")

    def __init__(self, header: bytes, block: bytes, size: int) -> None:
        self._header = header
        self._block = block
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def chunks(self, step: int) -> Iterator[memoryview]:
        # One stretch long enough that a piece starting anywhere in the block is a view of it, not a copy.
        stretch = memoryview(self._block * (step // len(self._block) + 2))
        first = self._header + bytes(stretch[: max(0, step - len(self._header))])
        first = first[: self._size]
        for start in range(0, len(first), step):
            yield memoryview(first)[start : start + step]
        position = len(first)
        while position < self._size:
            phase = (position - len(self._header)) % len(self._block)
            length = min(step, self._size - position)
            yield stretch[phase : phase + length]
            position += length
