"""MLLP frames: <VT> message <FS> <CR>, one message in each (HL7 v2 Minimal Lower Layer Protocol, release 1).

A sender may be anybody: what is no frame ends the connection, and a frame is never longer than the limit.
"""

from collections.abc import Iterator

START, END, CLOSE = 0x0B, 0x1C, 0x0D

_BETWEEN = b"\r\n \t\0"
"""Between frames: the <CR> behind <FS>, and what senders keep a connection alive with."""


class NoFrame(Exception):
    """What came is no frame, or is longer than one may be; the sentence says which. Nothing more can be read."""


class Frames:
    """Takes octets in pieces of any size; memory is one frame."""

    def __init__(self, limit: int) -> None:
        """`limit` is of one message, in octets."""
        self._limit = limit
        self._held = bytearray()
        self._within = False

    @property
    def within(self) -> bool:
        """A frame has begun and is not whole."""
        return self._within

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """Every message that is whole by now. Raises `NoFrame`."""
        rest = octets
        while rest:
            if not self._within:
                rest = rest.lstrip(_BETWEEN)
                if rest and rest[0] != START:
                    raise NoFrame("octets outside of a frame")
                self._within, rest = bool(rest), rest[1:]
                continue
            end = rest.find(END)
            self._held += rest if end < 0 else rest[:end]
            if len(self._held) > self._limit:
                raise NoFrame(f"a frame of more than {self._limit} octets")
            if self._held.find(START) >= 0:
                raise NoFrame("a frame inside a frame")
            if end < 0:
                return
            rest = rest[end + 1 :]
            message, self._held, self._within = bytes(self._held), bytearray(), False
            yield message


def framed(message: bytes) -> bytes:
    """The message as it is sent."""
    return bytes((START, *message, END, CLOSE))
