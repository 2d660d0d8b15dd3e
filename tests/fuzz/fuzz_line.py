"""A connection in memory: what the peer says is known beforehand, what is said to it is kept."""

import socket
from collections.abc import Iterator

from actors.dimse.wire import HEADER, HEADER_SIZE

PIECES = (1 << 20, 1, 6, 7, 100, 4096, 16, 1000)
"""Bytes one receive gives at most: PDUs come whole, cut anywhere, or several at once."""
CUT = 100
"""Receives that are cut so; the rest comes at once, or the longest inputs would take seconds."""


class Line:
    """Stands for a connected socket as `actors.dimse.wire.Wire` uses one; ends after the peer's last byte.

    It says it is a local socket, as acknowledgements and Nagle's algorithm have no meaning here.
    """

    family = socket.AF_UNIX

    def __init__(self, octets: bytes, piece: int = PIECES[0]) -> None:
        self._octets = memoryview(octets)
        self._piece = piece
        self._at = 0
        self._receives = 0
        self.sent = bytearray()
        self.closed = False

    def settimeout(self, seconds: float | None) -> None:
        assert not self.closed

    def shutdown(self, how: int) -> None:
        assert not self.closed

    def recv_into(self, into: memoryview) -> int:
        assert not self.closed, "a closed connection is read"
        assert len(into), "an empty buffer is filled"
        self._receives += 1
        most = self._piece if self._receives <= CUT else PIECES[0]
        piece = self._octets[self._at : self._at + min(most, len(into))]
        into[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def send(self, view: memoryview | bytes) -> int:
        assert not self.closed, "a closed connection is written to"
        self.sent += view
        return len(view)

    def sendall(self, octets: bytes) -> None:
        self.send(octets)

    def close(self) -> None:
        self.closed = True


def pdus(octets: bytes | bytearray) -> Iterator[tuple[int, memoryview]]:
    """Type and variable field of each PDU of what we said; fails where it is not whole PDUs."""
    view = memoryview(octets)
    while view:
        kind, length = HEADER.unpack_from(view)
        assert len(view) >= HEADER_SIZE + length, "half a PDU was sent"
        yield kind, view[HEADER_SIZE : HEADER_SIZE + length]
        view = view[HEADER_SIZE + length :]
