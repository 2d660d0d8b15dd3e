"""P-DATA-TF: presentation data values taken apart and put together (PS3.8 section 9.3.5, annex E)."""

from collections.abc import Iterable, Iterator
from struct import Struct

from actors.dimse.violation import ProtocolViolation, Violation
from actors.dimse.wire import HEADER, HEADER_SIZE, Pdu

_PDV = Struct(">IBB")
_PDV_EXTRA = 2
"""Context id and message control header: counted by the PDV length, no part of the fragment."""
OVERHEAD = HEADER_SIZE + _PDV.size

COMMAND = 0b01
LAST = 0b10

Fragment = tuple[int, int, memoryview]
"""Presentation context id, message control header, bytes."""


def fragments(body: memoryview) -> Iterator[Fragment]:
    """The presentation data values of one P-DATA-TF, in order; views of `body`.

    Raises
    ------
    ProtocolViolation
        EMPTY_PDU, or PDV_LENGTH: a value shorter than its own header or longer than the PDU.
    """
    size = len(body)
    if not size:
        raise ProtocolViolation(Violation.EMPTY_PDU)
    position = 0
    while position < size:
        if size - position < _PDV.size:
            raise ProtocolViolation(Violation.PDV_LENGTH)
        length, context, control = _PDV.unpack_from(body, position)
        stop = position + 4 + length
        if length < _PDV_EXTRA or stop > size:
            raise ProtocolViolation(Violation.PDV_LENGTH)
        yield context, control, body[position + _PDV.size : stop]
        position = stop


def encode_fragment(context: int, control: int, data: bytes | memoryview) -> bytes:
    """One P-DATA-TF with one presentation data value."""
    size = len(data)
    return b"".join(
        (HEADER.pack(Pdu.P_DATA, size + _PDV.size), _PDV.pack(size + _PDV_EXTRA, context, control), bytes(data))
    )


def encode_message(
    context: int, command: bytes, dataset: Iterable[bytes | memoryview] | None, peer_max_pdu: int
) -> Iterator[bytes]:
    """The P-DATA-TFs of one message; command and the first dataset fragment leave in one piece.

    `dataset` is any sequence of pieces; each is cut to what the peer takes. `peer_max_pdu` counts the variable field
    of the PDU (PS3.8 annex D.1).
    """
    room = peer_max_pdu - _PDV.size
    pending = b"".join(
        encode_fragment(context, COMMAND | (LAST if at + room >= len(command) else 0), command[at : at + room])
        for at in range(0, len(command), room)
    )
    if dataset is None:
        yield pending
        return
    held: bytes | memoryview | None = None
    for cut in _cuts(dataset, room):
        if held is not None:
            yield pending + encode_fragment(context, 0, held)
            pending = b""
        held = cut
    yield pending + encode_fragment(context, LAST, b"" if held is None else held)


def _cuts(pieces: Iterable[bytes | memoryview], room: int) -> Iterator[memoryview]:
    for piece in pieces:
        view = memoryview(piece)
        for at in range(0, len(view), room):
            yield view[at : at + room]
