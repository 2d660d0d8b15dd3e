"""A header with some elements set or removed, and every other byte where and as it was.

Nothing is decoded and encoded again: the new file is spans of the old one with a few new pieces between
them. So pixels, private elements, odd VRs and undefined lengths come through as they are, whatever they are.

Two retired elements count bytes and are corrected with what they count: group lengths (gggg,0000), PS3.5
section 7.2, and Length to End (0008,0001). A group length that cannot be right is dropped, which PS3.5 allows.
A deflated dataset is inflated, spliced and deflated whole.
"""

import struct
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter

from imaging.elements import LONG_VRS, SHORT_VRS, UNDEFINED, Element, Encoding
from imaging.errors import Unspliceable
from imaging.flags import Flag
from imaging.header import Header
from imaging.octets import JoinedOctets, MemoryOctets, Octets, Span, chunks

GAP = 4 << 10
"""Bytes between two edits from which on they stay a span of the old file; fewer are copied, so that digests and
writers see one head and the rest, not dozens of crumbs."""
DEFLATE_LEVEL = 6
"""What zlib itself takes for a fair trade; deflated objects are rare."""
SHORT_LIMIT = 0xFFFE
"""Bytes a value with a 16-bit length can have (PS3.5 section 7.1.2), even."""

_LENGTH_TO_END = 0x00080001
_FILE_META, _PIXELS, _DELIMITERS = 0x0002, 0x7FE0, 0xFFFE
_SHORT = frozenset(SHORT_VRS.values())
_LONG = frozenset(LONG_VRS.values())
_TEXT_VRS = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"])
_SHORT_HEAD = {Encoding.EXPLICIT_LE: struct.Struct("<HH2sH"), Encoding.EXPLICIT_BE: struct.Struct(">HH2sH")}
_LONG_HEAD = {Encoding.EXPLICIT_LE: struct.Struct("<HH2sHL"), Encoding.EXPLICIT_BE: struct.Struct(">HH2sHL")}
_BARE_HEAD = {
    Encoding.IMPLICIT_LE: struct.Struct("<HHL"),
    Encoding.EXPLICIT_LE: struct.Struct("<HHL"),
    Encoding.EXPLICIT_BE: struct.Struct(">HHL"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What a top-level element shall be."""

    tag: int
    vr: str
    value: bytes | None
    """Encoded as the dataset is, a sequence with its items; None: the element shall be absent."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """The bytes [start, end) of the dataset give way to others."""

    start: int
    end: int
    by: bytes


def splice(part10: Octets, dataset_offset: int, header: Header, edits: Sequence[Edit]) -> JoinedOctets:
    """The Part-10 file with the edits made; `header` is that of the dataset at `dataset_offset`.

    It refers to `part10` (or to the inflated dataset), so it lives no longer than that.

    Raises
    ------
    Unspliceable
        An element to be edited is there twice: readers differ in which one they believe.
    ValueError
        An edit names file meta, a group length, a delimiter or pixels, or two name the same element.
    """
    cuts = _cuts(header, dataset_offset if header.octets is part10 else 0, edits)
    if header.octets is part10:
        return JoinedOctets(_spans(part10, 0, cuts))
    dataset = JoinedOctets(_spans(header.octets, 0, cuts))
    packed = MemoryOctets(_deflated(dataset))
    return JoinedOctets((Span(part10, 0, dataset_offset), Span(packed, 0, packed.size)))


def encode_element(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """One element, padded to even length as its VR asks (PS3.5 section 6.2)."""
    if len(value) & 1:
        value += b" " if vr in _TEXT_VRS else b"\0"
    if encoding is Encoding.IMPLICIT_LE or not vr:
        return _BARE_HEAD[encoding].pack(tag >> 16, tag & 0xFFFF, len(value)) + value
    if vr in _LONG:
        return _LONG_HEAD[encoding].pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, len(value)) + value
    if vr not in _SHORT or len(value) > SHORT_LIMIT:
        raise ValueError(f"a value of {len(value)} bytes and VR {vr} cannot be written")
    return _SHORT_HEAD[encoding].pack(tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(value)) + value


def _cuts(header: Header, dataset_start: int, edits: Sequence[Edit]) -> list[_Cut]:
    """In the order of the dataset, none overlapping another."""
    index, encoding = header.index, header.scan.encoding
    repeated = Flag.REPEATED_ELEMENT in header.scan.flags
    cuts: list[_Cut] = []
    grown: dict[int, int] = {}
    previous = -1
    for edit in sorted(edits, key=attrgetter("tag")):
        tag, group = edit.tag, edit.tag >> 16
        if tag == previous:
            raise ValueError("two edits name the same element")
        if group <= _FILE_META or group in (_PIXELS, _DELIMITERS) or not tag & 0xFFFF or tag == _LENGTH_TO_END:
            raise ValueError("this element cannot be edited")
        previous = tag
        held = index.get(tag)
        if held is None:
            if edit.value is None:
                continue
            start = end = _place(header, tag, dataset_start)
        else:
            if repeated and sum(element.tag == tag for element in header.scan.elements) > 1:
                raise Unspliceable("an element to be changed is there twice", tag)
            start, end = held.start, held.end
        by = b"" if edit.value is None else encode_element(tag, edit.vr, edit.value, encoding)
        cuts.append(_Cut(start, end, by))
        grown[group] = grown.get(group, 0) + len(by) - (end - start)
    for group, growth in grown.items():
        if growth and (counter := index.get(group << 16)) is not None:
            cuts.append(_recounted(header, counter, growth) or _Cut(counter.start, counter.end, b""))
    if (counter := index.get(_LENGTH_TO_END)) is not None:
        growth = sum(len(cut.by) - (cut.end - cut.start) for cut in cuts if cut.start >= counter.end)
        if growth and (cut := _recounted(header, counter, growth)) is not None:
            cuts.append(cut)
    cuts.sort(key=attrgetter("start", "end"))
    return cuts


def _place(header: Header, tag: int, dataset_start: int) -> int:
    """Where an element that is not there belongs: before the first that sorts behind it."""
    elements = header.scan.elements
    if Flag.OUT_OF_ORDER in header.scan.flags:
        return next((one.start for one in elements if one.tag > tag), elements[-1].end if elements else dataset_start)
    number = bisect_left(elements, tag, key=itemgetter(0))
    if number < len(elements):
        return elements[number].start
    return elements[-1].end if elements else dataset_start


def _recounted(header: Header, counter: Element, growth: int) -> _Cut | None:
    """The counting element with `growth` added; None where that gives no count."""
    if counter.length != 4:
        return None
    order = "big" if header.big_endian else "little"
    count = int.from_bytes(header.scan.walker.read(counter.value, 4), order) + growth
    return _Cut(counter.value, counter.end, count.to_bytes(4, order)) if 0 < count < UNDEFINED else None


def _spans(octets: Octets, start: int, cuts: Sequence[_Cut]) -> list[Span]:
    spans: list[Span] = []
    fresh: list[bytes | memoryview] = []
    for cut in cuts:
        if cut.start - start > GAP:
            _end_piece(spans, fresh)
            spans.append(Span(octets, start, cut.start))
        elif cut.start > start:
            fresh.append(octets.read(start, cut.start - start))
        fresh.append(cut.by)
        start = cut.end
    _end_piece(spans, fresh)
    spans.append(Span(octets, start, octets.size))
    return spans


def _end_piece(spans: list[Span], fresh: list[bytes | memoryview]) -> None:
    piece = b"".join(fresh)
    fresh.clear()
    spans.append(Span(MemoryOctets(piece), 0, len(piece)))


def _deflated(dataset: Octets) -> bytearray:
    """A raw deflate stream (PS3.5 section A.5), padded to even length."""
    state = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = bytearray()
    for piece in chunks(dataset, 0, dataset.size):
        packed += state.compress(piece)
    packed += state.flush()
    if len(packed) & 1:
        packed += b"\0"
    return packed
