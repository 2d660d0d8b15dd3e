"""What a transfer syntax UID means for reading a dataset (PS3.5 annex A), and how a deflated one is opened."""

import struct
import zlib

from imaging.elements import Encoding
from imaging.errors import MalformedDataset
from imaging.octets import Octets, chunks

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
GE_BIG_PIXELS = "1.2.840.113619.5.2"
"""Private to one maker: implicit little endian headers around big endian pixels."""

_IMPLICIT = frozenset((IMPLICIT_LE, GE_BIG_PIXELS, "1.2.840.10008.1.20"))
_DEFLATED = frozenset((DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
_NATIVE = frozenset((IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, GE_BIG_PIXELS)) | _DEFLATED

_TRAILER = struct.Struct("<LL")

INFLATE_LIMIT = 256 << 20
"""Most bytes a deflated dataset may open to: it lies in memory, and deflate can grow a thousandfold."""


def encoding_of(transfer_syntax: str) -> Encoding:
    """How element headers are written; every syntax not named otherwise is explicit little endian."""
    if transfer_syntax in _IMPLICIT:
        return Encoding.IMPLICIT_LE
    return Encoding.EXPLICIT_BE if transfer_syntax == EXPLICIT_BE else Encoding.EXPLICIT_LE


def is_deflated(transfer_syntax: str) -> bool:
    """Whether the whole dataset is one raw deflate stream (RFC 1951)."""
    return transfer_syntax in _DEFLATED


def is_native(transfer_syntax: str) -> bool:
    """Whether pixels lie in the value itself, not in fragments."""
    return transfer_syntax in _NATIVE


def inflate(octets: Octets, start: int, limit: int = INFLATE_LIMIT) -> bytearray:
    """The dataset inside the deflate stream that begins at `start`.

    A pad byte may follow the stream, and some writers leave the trailer of a gzip member (RFC 1952 section
    2.3.1) there, which is then checked.

    Raises
    ------
    MalformedDataset
        Not a deflate stream, cut short, followed by anything else, or longer than `limit` when open.
    """
    state = zlib.decompressobj(-zlib.MAX_WBITS)
    opened, tail = bytearray(), b""
    position = start
    try:
        for piece in chunks(octets, start, octets.size):
            if state.eof:
                tail = tail[-_TRAILER.size :] + bytes(piece)
            else:
                opened += state.decompress(piece, limit - len(opened) + 1)
                if len(opened) > limit or state.unconsumed_tail:
                    raise MalformedDataset(f"deflated dataset opens to more than {limit} bytes", position)
                tail = state.unused_data
            if len(tail) > _TRAILER.size and any(tail):
                raise MalformedDataset("bytes behind the deflate stream", position)
            position += len(piece)
    except zlib.error:
        raise MalformedDataset("not a deflate stream", position) from None
    if not state.eof:
        raise MalformedDataset("deflate stream is cut short", position)
    if any(tail) and tail != _TRAILER.pack(zlib.crc32(opened), len(opened) & 0xFFFFFFFF):
        raise MalformedDataset("bytes behind the deflate stream", position)
    return opened
