"""CAN1: the digest of everything in a header that means something, equal however it is encoded.

Equal for implicit, explicit, big endian and deflated encodings, for defined and undefined lengths, with or
without group lengths and pads, in any character set that can be decoded, and in any block a private creator
is given. Different when any value differs. Left out: group 0002, group lengths (gggg,0000), Length to End
(0008,0001), Specific Character Set (0008,0005), trailing padding (FFFC,FFFC), private creators themselves,
and the top-level pixel element with its offset tables, which PD1 covers.

    CAN1    = BLAKE3( "can1" 00 || dataset )
    dataset = number of records (u32) || records sorted by key
    record  = key || form (1 byte) || length (u64) || content          integers big endian
    key     = group (u16) || 00 || element (u16), or, private with a creator,
              group (u16) || creator text || 00 || low byte of the element

    form  length      content
    T     of content  text in UTF-8, stripped as `Kind` says
    B     of content  bytes in little endian, padded to even length
    H     of value    BLAKE3 of such bytes where there are more than `LARGE`
    U     of content  text that cannot be decoded, as bytes
    F     0           BLAKE3 over the fragments of an encapsulated value, offset table left out
    S     0           for each item 01 and its dataset, then 00

Private values, and standard ones the dictionary does not know, are B (or H) whatever VR the file gives them,
since an implicit file gives none; bytes that parse as items to the last one are S.
The dictionary is pydicom's, so digests are to be compared under one version of it.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from blake3 import blake3

from imaging.elements import UNDEFINED, WINDOW, Element, Encoding, Walker
from imaging.errors import MalformedDataset
from imaging.flags import Flag
from imaging.header import Header
from imaging.octets import chunks
from imaging.pixels import swap
from imaging.text import ASCII, Charset, Undecodable, decode, parse_charset
from imaging.vocabulary import STANDARD, Kind, private_prefix, public_key, rare_entry

LARGE = 64 << 10
"""Bytes from which on a value stands in the record as its digest, so that records stay small."""
TEXT_LIMIT = 4 << 20
"""Bytes of text decoded at once, as much as one read of `Octets` may ask for; a longer text is compared as bytes."""
CHARSET_LIMIT = 1024
"""Bytes of Specific Character Set read; the longest real ones have about 100."""
CREATOR_LIMIT = 1024
"""Bytes of a private creator read; an LO has 64 characters."""
_FLUSH = 4096
"""Pieces gathered before BLAKE3 is fed."""

_CHARSET_TAG = 0x00080005
PIXELS = frozenset((0x7FE00010, 0x7FE00008, 0x7FE00009, 0x7FE00001, 0x7FE00002, 0x7FE00003))
"""What PD1 covers or what only says where it lies; left out at the top level."""
_TEXT_VRS = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"])
_WIDTHS = {
    **dict.fromkeys(["AT", "OW", "SS", "US"], 2),
    **dict.fromkeys(["FL", "OF", "OL", "SL", "UL"], 4),
    **dict.fromkeys(["FD", "OD", "OV", "SV", "UV"], 8),
}
"""Bytes per number, for VRs whose values a big endian dataset turns around."""
_ITEM_TAG = b"\xfe\xff\x00\xe0"
_PREFIX = b"can1\0"
_FORM = struct.Struct(">cQ")
_COUNT = struct.Struct(">L")
_PADS = b" \0"


class Level(NamedTuple):
    """One dataset or item with all that is needed to read its values; elements ascend by tag."""

    walker: Walker
    elements: Sequence[Element]
    encoding: Encoding
    charset: Charset
    depth: int


class Items(NamedTuple):
    """The content of a sequence, walked as it is asked for."""

    parent: Level
    element: Element
    encoding: Encoding

    def levels(self) -> Iterator[Level]:
        """Each item as a dataset of its own; it inherits the character set (PS3.3 C.12.1.1.2)."""
        walker, charset, depth = self.parent.walker, self.parent.charset, self.parent.depth
        for elements in walker.items(self.element, self.encoding, depth):
            yield _level(walker, elements, self.encoding, charset, depth + 1)


class Row(NamedTuple):
    """One record before it is written out."""

    key: bytes
    form: bytes
    length: int
    content: bytes | Items
    tag: int
    """As in the file; for differences, not hashed."""


_NEW_ROW: Callable[[tuple[bytes, bytes, int, bytes | Items, int]], Row] = partial(
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType]
    Row,
)


def can1(header: Header) -> bytes:
    """CAN1 of the dataset, its pixels unread; oddities of its text are added to the walker's flags.

    Raises
    ------
    MalformedDataset
        A sequence inside is broken: better no digest than one of half a header.
    """
    state = blake3(_PREFIX)
    pieces: list[bytes] = []
    _write(state.update, pieces, rows(top_level(header)))
    state.update(b"".join(pieces))
    return state.digest()


def encoded(records: Sequence[Row]) -> bytes:
    """These records as CAN1 is fed with them, for `can1_of`; small ones, since they are held."""
    octets = bytearray()
    pieces: list[bytes] = []
    _write_records(octets.extend, pieces, records)
    octets += b"".join(pieces)
    return bytes(octets)


def can1_of(count: int, records: Iterable[bytes]) -> bytes:
    """CAN1 of `count` records that were `encoded` before, in the order of their keys."""
    return blake3(b"".join((_PREFIX, _COUNT.pack(count), *records))).digest()


def top_level(header: Header) -> Level:
    """The dataset itself as a level, pixels and offset tables left out."""
    elements = [element for element in header.scan.elements if element.tag not in PIXELS]
    return _level(header.scan.walker, elements, header.scan.encoding, ASCII, 0)


def rows(level: Level) -> list[Row]:
    """The records of one dataset or item, sorted by key."""
    walker, elements, encoding, charset, _ = level
    found: list[Row] = []
    append, new, lookup = found.append, _NEW_ROW, STANDARD.get
    little = encoding is not Encoding.EXPLICIT_BE
    bytes_kind, code_kind, skipped_kind, sequence_kind = Kind.BYTES, Kind.CODE, Kind.SKIPPED, Kind.SEQUENCE
    creators: dict[int, bytes] = {}
    data, base, edge = walker.held()
    for element in elements:
        tag, vr, _, start, length, _ = element
        plain = length <= WINDOW and vr != "SQ"
        raw = b""
        if plain:
            if start < base or start + length > edge:
                data, base, edge = walker.window(start)
            raw = data[start - base : start - base + length]
        if tag & 0x10000:
            number = tag & 0xFFFF
            if number < 0x0100:
                if number >= 0x0010:
                    if creator := _creator(level, element):
                        creators[tag] = private_prefix(tag, creator)
                    continue
                if number == 0:
                    continue
            prefix = creators.get(tag & 0xFFFF0000 | number >> 8)
            key = prefix + number.to_bytes(2, "big")[1:] if prefix else public_key(tag)
            if plain and little and not length & 1 and raw[:4] != _ITEM_TAG:
                append(new((key, b"B", length, raw, tag)))
            else:
                append(_opaque(level, element, key))
            continue
        entry = lookup(tag)
        kind, key = entry or rare_entry(tag)
        if kind is skipped_kind:
            continue
        if kind is code_kind and plain:
            raw = raw.strip(_PADS)
            if b"\\" in raw:
                raw = _each_stripped(raw)
            append(new((key, b"T", len(raw), raw, tag)))
        elif kind is sequence_kind or length == UNDEFINED or vr == "SQ":
            append(_structured(level, element, kind, key))
        elif kind is bytes_kind:
            if plain and little and not length & 1:
                append(new((key, b"B", length, raw, tag)))
            else:
                append(_bytes(level, element, key))
        elif length > TEXT_LIMIT:
            append(_bytes(level, element, key))
        else:
            form, raw = _text(walker, raw if plain else walker.read(start, length), kind, charset)
            append(new((key, form, len(raw), raw, tag)))
    found.sort(key=itemgetter(0))
    return found


def _write(feed: Callable[[bytes], object], pieces: list[bytes], records: Sequence[Row]) -> None:
    pieces.append(_COUNT.pack(len(records)))
    _write_records(feed, pieces, records)


def _write_records(feed: Callable[[bytes], object], pieces: list[bytes], records: Sequence[Row]) -> None:
    extend, pack = pieces.extend, _FORM.pack
    for key, form, length, content, _ in records:
        if isinstance(content, bytes):
            extend((key, pack(form, length), content))
            continue
        extend((key, pack(form, length)))
        for item in content.levels():
            pieces.append(b"\1")
            _write(feed, pieces, rows(item))
        pieces.append(b"\0")
    if len(pieces) > _FLUSH:
        feed(b"".join(pieces))
        pieces.clear()


def _level(walker: Walker, elements: Sequence[Element], encoding: Encoding, inherited: Charset, depth: int) -> Level:
    if Flag.OUT_OF_ORDER in walker.flags:
        elements = sorted(elements, key=itemgetter(0))
    charset = inherited
    for element in elements:
        if element.tag >= _CHARSET_TAG:
            if element.tag == _CHARSET_TAG:
                charset = parse_charset(walker.read(element.value, min(element.length, CHARSET_LIMIT)))
            break
    return Level(walker, elements, encoding, charset, depth)


def _structured(level: Level, element: Element, kind: Kind, key: bytes) -> Row:
    """A standard element that is a sequence or encapsulated, by the dictionary or by its form."""
    if kind is Kind.SEQUENCE and (element.length == UNDEFINED or element.vr in ("SQ", "UN", "")):
        encoding = level.walker.content_encoding(element, level.encoding)
        return Row(key, b"S", 0, Items(level, element, encoding), element.tag)
    if element.vr == "SQ":
        return Row(key, b"S", 0, Items(level, element, level.encoding), element.tag)
    if element.length == UNDEFINED:
        return Row(key, b"F", 0, _fragments(level, element), element.tag)
    return _bytes(level, element, key)


def _opaque(level: Level, element: Element, key: bytes) -> Row:
    """An element whose meaning only its creator knows: items where it parses as such, else bytes."""
    walker = level.walker
    if element.length == 0:
        return Row(key, b"B", 0, b"", element.tag)
    if element.vr != "SQ" and element.length != UNDEFINED and walker.read(element.value, 4) != _ITEM_TAG:
        return _bytes(level, element, key)
    encoding = walker.content_encoding(element, level.encoding)
    flags = set(walker.flags)
    try:
        count = sum(1 for _ in walker.items(element, encoding, level.depth))
    except MalformedDataset:
        if element.vr == "SQ":
            raise
        walker.flags = flags
        if element.length != UNDEFINED:
            return _bytes(level, element, key)
        return Row(key, b"F", 0, _fragments(level, element), element.tag)
    if not count:
        return Row(key, b"B", 0, b"", element.tag)
    return Row(key, b"S", 0, Items(level, element, encoding), element.tag)


def _bytes(level: Level, element: Element, key: bytes) -> Row:
    """The value in little endian, padded as an encoder must (PS3.5 section 6.2), digested where it is long."""
    width = _WIDTHS.get(element.vr, 1) if level.encoding is Encoding.EXPLICIT_BE else 1
    pad = (b" " if element.vr in _TEXT_VRS else b"\0") * (element.length & 1)
    if element.length <= LARGE:
        raw = level.walker.read(element.value, element.length)
        if width > 1:
            raw = swap(raw, width)
        return Row(key, b"B", len(raw) + len(pad), raw + pad, element.tag)
    state = blake3()
    for piece in chunks(level.walker.octets, element.value, element.value + element.length):
        state.update(piece if width == 1 else swap(piece, width))
    state.update(pad)
    return Row(key, b"H", element.length + len(pad), state.digest(), element.tag)


def _fragments(level: Level, element: Element) -> bytes:
    walker, state = level.walker, blake3()
    fragments = walker.fragments(element, walker.content_encoding(element, level.encoding))
    next(fragments, None)
    for start, length in fragments:
        for piece in chunks(walker.octets, start, start + length):
            state.update(piece)
    return state.digest()


def _text(walker: Walker, raw: bytes, kind: Kind, charset: Charset) -> tuple[bytes, bytes]:
    """Form and content of a text: UTF-8 where it can be had, else the bytes as they are."""
    if kind is not Kind.CODE and (not raw.isascii() or b"\x1b" in raw):
        try:
            raw = decode(raw, charset, person_name=kind is Kind.NAME).encode("utf-8")
        except Undecodable as error:
            walker.flags.add(error.flag)
            return b"U", raw.rstrip(_PADS)
    if kind is Kind.PROSE:
        return b"T", raw.rstrip(_PADS)
    if kind is Kind.NAME:
        return b"T", b"\\".join(map(_name, raw.split(b"\\")))
    return b"T", _each_stripped(raw) if b"\\" in raw else raw.strip(_PADS)


def _each_stripped(raw: bytes) -> bytes:
    return b"\\".join([part.strip(_PADS) for part in raw.split(b"\\")])


def _name(value: bytes) -> bytes:
    """A person name without trailing empty components and groups (PS3.5 section 6.2.1)."""
    if b"=" not in value:
        return value.strip(_PADS).rstrip(b"^ ")
    return b"=".join([group.strip(_PADS).rstrip(b"^ ") for group in value.split(b"=")]).rstrip(b"=")


def _creator(level: Level, element: Element) -> bytes:
    """The text that identifies a private block; a NUL ends it, as it does for most readers."""
    if element.length == UNDEFINED:
        return b""
    raw = level.walker.read(element.value, min(element.length, CREATOR_LIMIT))
    return _text(level.walker, raw, Kind.WORDS, level.charset)[1].split(b"\0")[0]
