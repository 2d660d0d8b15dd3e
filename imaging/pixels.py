"""PD1: the digest of an instance's pixel value, equal however the dataset around it is encoded.

    PD1 = BLAKE3( "pd1" 00 || kind || 00 || canonical bytes )

The pixel value is the first of PixelData (7FE0,0010), FloatPixelData (7FE0,0008) and DoubleFloatPixelData
(7FE0,0009) in the top-level dataset; an icon's is not.

    kind            canonical bytes
    native          the value in little endian, cut to what rows, columns, samples, frames and bits need
    encap:<TS UID>  all fragments one after another without item headers and without the offset table
    of, od          the value in little endian

So a pad byte, the byte order, basic or extended offset tables and the cutting into fragments do not count.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from imaging.elements import PIXEL_DATA, UNDEFINED, Element
from imaging.flags import Flag
from imaging.header import Header
from imaging.octets import CHUNK, JoinedOctets, chunks
from imaging.syntaxes import GE_BIG_PIXELS, is_native

FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS = (
    0x00280002,
    0x00280004,
    0x00280008,
    0x00280010,
    0x00280011,
    0x00280100,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelDigest:
    """PD1, and what was odd about the value it is of."""

    pd1: bytes
    flags: frozenset[Flag]


def pixel_element(header: Header) -> Element | None:
    """The element PD1 is taken of; None where the instance has no pixels."""
    for tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA):
        if element := header.index.get(tag):
            return element
    return None


def digest_pixels(header: Header) -> PixelDigest | None:
    """PD1 of the instance; None where it has no pixels. Holds one step of `CHUNK` bytes at a time."""
    element = pixel_element(header)
    if element is None:
        return None
    flags: set[Flag] = set()
    encapsulated = element.length == UNDEFINED
    if encapsulated == is_native(header.transfer_syntax):
        flags.add(Flag.PIXEL_FORM)
    state = blake3(b"pd1\0" + _kind(header, element, encapsulated) + b"\0")
    if encapsulated:
        for piece in _fragment_bytes(header, element):
            state.update(piece)
        return PixelDigest(pd1=state.digest(), flags=frozenset(flags))
    length = element.length
    if element.tag == PIXEL_DATA:
        needed = native_length(header)
        if needed is None or needed > length:
            flags.add(Flag.PIXEL_LENGTH)
        else:
            if length - needed > 1:
                flags.add(Flag.PIXEL_EXCESS)
            length = needed
    for piece in _little_endian(header, element, length):
        state.update(piece)
    return PixelDigest(pd1=state.digest(), flags=frozenset(flags))


def same_pixels(header: Header, original: Header) -> bool:
    """Whether `header`, of a file spliced from that of `original`, has the very bytes of its pixels and reads them
    in the same way: then PD1 of one is PD1 of the other, and nothing need be digested."""
    ours, theirs = pixel_element(header), pixel_element(original)
    if ours is None or theirs is None or not isinstance(header.octets, JoinedOctets):
        return False
    return (
        header.octets.underneath(ours.value, ours.end) == (original.octets, theirs.value)
        and ours.end - ours.value == theirs.end - theirs.value
        and _reading(header, ours) == _reading(original, theirs)
    )


def _reading(header: Header, element: Element) -> tuple[object, ...]:
    """All that PD1 depends on but the bytes."""
    how = (element.tag, element.length, header.transfer_syntax, header.scan.encoding)
    return (*how, native_length(header), _swap_width(header, element))


def native_length(header: Header) -> int | None:
    """Bytes an uncompressed pixel value needs (PS3.5 section 8.1.1); None where the header does not say."""
    rows, columns, bits = header.unsigned(_ROWS), header.unsigned(_COLUMNS), header.unsigned(_BITS)
    if not rows or not columns or not bits:
        return None
    samples = header.unsigned(_SAMPLES) or 1
    frames = header.decimal(_FRAMES) or 1
    total = rows * columns * samples * frames * bits
    photometric = (header.value(_PHOTOMETRIC) or b"").strip(b" \0")
    if photometric == b"YBR_FULL_422" and bits == 8:
        # Two pixels share their colour: four bytes instead of six (PS3.3 C.7.6.3.1.2).
        total = total * 2 // 3
    return -(-total // 8)


def _kind(header: Header, element: Element, encapsulated: bool) -> bytes:
    if encapsulated:
        return b"encap:" + header.transfer_syntax.encode("ascii")
    return {FLOAT_PIXEL_DATA: b"of", DOUBLE_FLOAT_PIXEL_DATA: b"od"}.get(element.tag, b"native")


def _fragment_bytes(header: Header, element: Element) -> Iterator[memoryview | bytes]:
    """The fragments' bytes in pieces; the short ones gathered, for BLAKE3 is slow on small updates."""
    walker = header.scan.walker
    held = bytearray()
    fragments = walker.fragments(element, header.scan.encoding)
    next(fragments, None)
    for start, length in fragments:
        for piece in chunks(header.octets, start, start + length):
            if len(held) + len(piece) < CHUNK // 8:
                held += piece
                continue
            yield bytes(held)
            held.clear()
            yield piece
    yield bytes(held)


def _little_endian(header: Header, element: Element, length: int) -> Iterator[memoryview | bytes]:
    """The first `length` bytes of the value in little endian order."""
    width = _swap_width(header, element)
    if width == 1:
        yield from chunks(header.octets, element.value, element.value + length)
        return
    # The cut may fall inside a word: swap whole words, then cut.
    stop = min(element.end, element.value + -(-length // width) * width)
    for piece in chunks(header.octets, element.value, stop):
        swapped = swap(piece, width)
        yield swapped[:length]
        length -= len(swapped)


def _swap_width(header: Header, element: Element) -> int:
    """Bytes per word to turn around; 1 where the value is little endian or a string of bytes.

    8-bit pixels under OW are packed in 16-bit words, so a big endian value has each pair turned (PS3.5 8.1.1
    and annex A.3). 32-bit pixels under OW are turned as a whole, as every writer we know does it.
    """
    if not (header.big_endian or header.transfer_syntax == GE_BIG_PIXELS):
        return 1
    if element.tag in (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA):
        return 4 if element.tag == FLOAT_PIXEL_DATA else 8
    bits = header.unsigned(_BITS) or 0
    if element.vr == "OB" or (not header.big_endian and bits <= 8):
        return 1
    return bits // 8 if bits in (16, 32, 64) else 2


def swap(piece: bytes | memoryview, width: int) -> bytes:
    """The words of `width` bytes turned around; bytes behind the last whole word stay."""
    whole = len(piece) // width * width
    words = np.frombuffer(piece[:whole], dtype=f"<u{width}")
    return words.byteswap().tobytes() + bytes(piece[whole:])
