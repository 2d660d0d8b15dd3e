"""multipart/related (RFC 2387, PS3.18 section 8.6.1) in both directions, piece by piece: nothing is held whole."""

import re
from collections.abc import Iterator, Sequence
from secrets import token_hex

from imaging.octets import Octets, chunks
from storage.dicomweb.client import Body
from storage.errors import IntegrityError

DICOM = "application/dicom"
HEADER_CAP = 16 << 10
"""Bytes of one part's headers; real ones have about 200."""
BOUNDARY_CAP = 200
"""Characters of a boundary we follow; RFC 2046 allows 70."""

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)


def fresh_boundary() -> str:
    """A boundary that no image holds: 192 random bits, so nothing has to be searched for it."""
    return f"limosa-{token_hex(24)}"


def related(parts: Sequence[Octets], boundary: str) -> Body:
    """A message with one instance a part. `parts` must stay as they are until it was sent."""
    head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode("ascii")
    end = f"--{boundary}--\r\n".encode("ascii")

    def pieces() -> Iterator[bytes | memoryview]:
        for part in parts:
            yield head
            yield from chunks(part, 0, part.size)
            yield b"\r\n"
        yield end

    size = sum(len(head) + part.size + 2 for part in parts) + len(end)
    # The type with its quotes: several servers refuse the message without them (PS3.18 section 8.7.1 has them).
    return Body(content_type=f'multipart/related; type="{DICOM}"; boundary={boundary}', size=size, pieces=pieces)


def boundary_of(content_type: str) -> str | None:
    """The boundary of a multipart message, None for any other type."""
    if not content_type.lower().lstrip().startswith("multipart/"):
        return None
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] or found[2]) if found else ""
    return boundary if 0 < len(boundary) <= BOUNDARY_CAP and boundary.isascii() else None


def parts(pieces: Iterator[bytes], boundary: str) -> Iterator[Iterator[bytes]]:
    """The content of each part of a message, in pieces; what the caller leaves of one is passed over.

    Raises
    ------
    IntegrityError
        It is no such message, or it ends before its last part does.
    """
    source = _Source(pieces)
    mark = b"--" + boundary.encode("ascii")
    source.skip(mark, HEADER_CAP)  # a preamble is allowed and means nothing
    while source.peek(2) != b"--":
        source.skip(b"\r\n\r\n", HEADER_CAP)
        content = source.until(b"\r\n" + mark)
        yield content
        for _ in content:
            pass


def first_part(pieces: Iterator[bytes], boundary: str) -> Iterator[bytes]:
    """The content of the only part of a message, in pieces.

    Raises
    ------
    IntegrityError
        It is no such message, it ends before the part does, or another part follows.
    """
    every = parts(pieces, boundary)
    for content in every:
        yield from content
        if next(every, None) is not None:
            raise _broken("another part follows")
        return
    raise _broken("no part where one should be")


class _Source:
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def peek(self, count: int) -> bytes:
        while len(self._held) < count and self._fill():
            pass
        return self._held[:count]

    def skip(self, mark: bytes, most: int) -> None:
        """Everything up to and with `mark` is gone."""
        while (found := self._held.find(mark)) < 0:
            if len(self._held) > most or not self._fill():
                raise _broken("no part where one should be")
        self._held = self._held[found + len(mark) :]

    def until(self, mark: bytes) -> Iterator[bytes]:
        """Everything before `mark`; the mark is gone, too."""
        keep = len(mark) - 1
        while (found := self._held.find(mark)) < 0:
            if len(self._held) > keep:
                yield self._held[: len(self._held) - keep]
                self._held = self._held[len(self._held) - keep :]
            if not self._fill():
                raise _broken("it ends inside a part")
        if found:
            yield self._held[:found]
        self._held = self._held[found + len(mark) :]

    def _fill(self) -> bool:
        piece = next(self._pieces, b"")
        self._held += piece
        return bool(piece)


def _broken(why: str) -> IntegrityError:
    return IntegrityError(f"an answer is no whole multipart message: {why}", operation="read", place="dicomweb")
