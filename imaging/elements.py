"""Where the elements of a dataset lie: a lean walk over element headers that decodes no value.

Every instance of the archive passes through here, so the loop is plain `struct` over a window of bytes;
values are skipped, not read. Nothing in the input is believed: each length is checked against what
encloses it, and depth, elements per dataset and elements in all are bounded.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import NamedTuple

from imaging.errors import MalformedDataset
from imaging.flags import Flag
from imaging.octets import Octets

UNDEFINED = 0xFFFFFFFF
"""A length that says: read until the delimiter (PS3.5 section 7.1.1)."""

PIXEL_DATA = 0x7FE00010
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
NOTHING = 0
"""The closer of a dataset that no delimiter ends."""

WINDOW = 32 << 10
"""Bytes looked at in one piece: most headers fit, and a jump over pixels in a file wastes little."""
MAX_DEPTH = 64
"""Nested sequences; the deepest structured reports have about 15."""
MAX_ELEMENTS = 50_000
"""Elements in one dataset or item; the fullest vendor headers have about 2,000."""
MAX_VISITS = 20_000_000
"""Element and item headers looked at per walker, about 10 s of work: a slide of 100,000 tiles needs 4 million."""
LEAST_VISITS = 100_000
VISITS_PER_BYTE = 2
"""Headers looked at for each byte of the object, beyond `LEAST_VISITS`. A header has at least eight bytes and is looked
at twice for each level above it, so 15 levels stay below; nested emptiness made to keep us busy does not."""

_SHORT = "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US"
_LONG = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"
SHORT_VRS = {vr.encode(): vr for vr in _SHORT.split()}
LONG_VRS = {vr.encode(): vr for vr in _LONG.split()}
"""VRs with two reserved bytes and a 32-bit length (PS3.5 section 7.1.2)."""


class Encoding(Enum):
    """How element headers and numbers are written (PS3.5 annex A)."""

    IMPLICIT_LE = "implicit-le"
    EXPLICIT_LE = "explicit-le"
    EXPLICIT_BE = "explicit-be"


class Element(NamedTuple):
    """One element: offsets are from the start of the octets."""

    tag: int
    vr: str
    """As written; empty where the header carries none."""
    start: int
    """First byte of the header."""
    value: int
    """First byte of the value."""
    length: int
    """Of the value; `UNDEFINED` as written, though `end` is known."""
    end: int
    """First byte behind the element, delimiter included."""


_NEW_ELEMENT: Callable[[tuple[int, str, int, int, int, int]], Element] = partial(
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType]
    Element,
)
"""Three times as fast as calling the class, in the one loop where that is felt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The top-level elements of a dataset in the order they lie there."""

    walker: "Walker"
    encoding: Encoding
    elements: Sequence[Element]
    flags: frozenset[Flag]


_EXPLICIT = {Encoding.EXPLICIT_LE: struct.Struct("<HH2sH"), Encoding.EXPLICIT_BE: struct.Struct(">HH2sH")}
_BARE = {
    Encoding.IMPLICIT_LE: struct.Struct("<HHL"),
    Encoding.EXPLICIT_LE: struct.Struct("<HHL"),
    Encoding.EXPLICIT_BE: struct.Struct(">HHL"),
}
_LENGTH = {Encoding.EXPLICIT_LE: struct.Struct("<L"), Encoding.EXPLICIT_BE: struct.Struct(">L")}
_BIG_ITEM = b"\xff\xfe\xe0\x00"
_OPEN_VRS = frozenset(("SQ", "UN", ""))
"""What may have undefined length besides pixels (PS3.5 section 7.1.1); readers look for the end of others by their own
lights."""
_SMALLEST, _LONGEST = 8, 12
"""Bytes of the shortest and longest header of an element or item."""


def scan(octets: Octets, start: int, encoding: Encoding) -> Scan:
    """The dataset that begins at `start` and ends with the octets.

    Some archives store implicit datasets under an explicit transfer syntax; the first element gives them away.

    Raises
    ------
    MalformedDataset
        The bytes cannot be split into elements, or a bound of this module is passed.
    """
    walker = Walker(octets)
    if encoding is not Encoding.IMPLICIT_LE and octets.size - start >= _SMALLEST:
        code = bytes(octets.read(start + 4, 2))
        if not _is_capitals(code):
            encoding = Encoding.IMPLICIT_LE
            walker.flags.add(Flag.IMPLICIT_IN_EXPLICIT)
    elements, _ = walker.walk(start, octets.size, encoding, 0)
    if Flag.OUT_OF_ORDER in walker.flags and len({element.tag for element in elements}) < len(elements):
        walker.flags.add(Flag.REPEATED_ELEMENT)
    return Scan(walker=walker, encoding=encoding, elements=elements, flags=frozenset(walker.flags))


class Walker:
    """Walks datasets and items of one object through a window. For one thread; `flags` grows as it walks.

    The first window is kept: headers lie there, and are asked for after the walk has come to the end.
    """

    __slots__ = ("_base", "_data", "_first", "_first_base", "flags", "guessed", "most", "octets", "size", "visits")

    def __init__(self, octets: Octets, held: bytes = b"", base: int = 0) -> None:
        """`held`: bytes of the octets from `base` on that were read already."""
        self.octets = octets
        self.size = octets.size
        self.visits = 0
        self.most = min(MAX_VISITS, LEAST_VISITS + VISITS_PER_BYTE * self.size)
        self.flags: set[Flag] = set()
        self.guessed = False
        """How a sequence is written was told by what surrounds it, not by its own bytes alone."""
        self._data = self._first = held
        self._base = self._first_base = base

    def read(self, start: int, length: int) -> bytes:
        """The bytes of a value that was found by walking, so they exist."""
        at = start - self._base
        if 0 <= at <= len(self._data) - length:
            return self._data[at : at + length]
        at = start - self._first_base
        if 0 <= at <= len(self._first) - length:
            return self._first[at : at + length]
        if length > WINDOW:
            return bytes(self.octets.read(start, length))
        return self.window(start)[0][:length]

    def walk(
        self, position: int, limit: int, encoding: Encoding, depth: int, closer: int = NOTHING
    ) -> tuple[list[Element], int]:
        """The elements from `position` to `limit` or to the delimiter `closer`, and where they end."""
        if depth > MAX_DEPTH:
            raise MalformedDataset("sequences nested too deep", position)
        try:
            if encoding is Encoding.IMPLICIT_LE:
                elements, position, oddness = self._walk_implicit(position, limit, depth, closer)
            else:
                elements, position, oddness = self._walk_explicit(position, limit, encoding, depth, closer)
        except struct.error:
            raise MalformedDataset("dataset ends inside an element header", limit) from None
        if oddness & 1:
            self.flags.add(Flag.ODD_LENGTH)
        self._count(len(elements), position)
        return elements, position

    def items(self, element: Element, encoding: Encoding, depth: int) -> Iterator[list[Element]]:
        """The elements of each item of a sequence whose parent dataset is `depth` deep."""
        position = element.value
        while position < element.end:
            tag, length = self._item(position, element.end, encoding)
            if tag == SEQUENCE_END:
                return
            position += _SMALLEST
            if length == UNDEFINED:
                elements, position = self.walk(position, element.end, encoding, depth + 1, ITEM_END)
            else:
                elements, position = self.walk(position, position + length, encoding, depth + 1)
            yield elements

    def fragments(self, element: Element, encoding: Encoding) -> Iterator[tuple[int, int]]:
        """Start and length of each item's value of an encapsulated element, the offset table first."""
        position = element.value
        while position < element.end:
            tag, length = self._item(position, element.end, encoding)
            if tag == SEQUENCE_END:
                return
            if length == UNDEFINED:
                raise MalformedDataset("fragment of undefined length", position)
            yield position + _SMALLEST, length
            position += _SMALLEST + length

    def content_encoding(self, element: Element, encoding: Encoding) -> Encoding:
        """How the items of a sequence are written: under VR UN implicit (PS3.5 section 6.2.2).

        Some writers relabel a sequence and leave its items as they were, so the first item is looked at.
        """
        if element.vr == "SQ" or encoding is Encoding.IMPLICIT_LE:
            return encoding
        head = self.read(element.value, min(16, element.end - element.value))
        if encoding is Encoding.EXPLICIT_BE and head[:4] == _BIG_ITEM:
            return encoding
        if len(head) == 16 and (head[12:14] in SHORT_VRS or head[12:14] in LONG_VRS):
            self.guessed = True
            as_implicit = int.from_bytes(head[12:16], "little")
            if element.value + 16 + as_implicit > element.end:
                return encoding
        return Encoding.IMPLICIT_LE

    def _walk_explicit(
        self, position: int, limit: int, encoding: Encoding, depth: int, closer: int
    ) -> tuple[list[Element], int, int]:
        unpack = _EXPLICIT[encoding].unpack_from
        unpack_length = _LENGTH[encoding].unpack_from
        unpack_bare = _BARE[encoding].unpack_from
        short, long, new = SHORT_VRS, LONG_VRS, _NEW_ELEMENT
        elements: list[Element] = []
        append = elements.append
        oddness, previous = 0, -1
        data, base, safe = self._look(position, limit)
        for _ in range(MAX_ELEMENTS):
            if position > safe:
                if position >= limit:
                    return self._ended(elements, position, limit, closer, oddness)
                if limit - position < _SMALLEST and self._only_zeros(position, limit, depth):
                    return elements, limit, oddness
                data, base, safe = self._look(position, limit)
            group, number, code, length = unpack(data, position - base)
            tag = group << 16 | number
            vr = short.get(code)
            if vr is not None:
                value = position + 8
            elif code in long:
                vr = long[code]
                value = position + 12
                (length,) = unpack_length(data, position - base + 8)
            else:
                if tag == closer != NOTHING:
                    return elements, position + 8, oddness
                if tag == 0 and self._only_zeros(position, limit, depth):
                    return elements, limit, oddness
                if group == 0xFFFE:
                    raise MalformedDataset("stray delimiter", position)
                value = position + 8
                if _is_capitals(code):
                    # pydicom takes these for VRs with a 16-bit length as well.
                    self.flags.add(Flag.UNKNOWN_VR)
                    vr = code.decode("ascii")
                else:
                    # Writers that fall back to implicit headers in the middle of an explicit dataset exist.
                    self.flags.add(Flag.IMPLICIT_IN_EXPLICIT)
                    vr = ""
                    length = unpack_bare(data, position - base)[2]
            if length == UNDEFINED:
                if vr not in _OPEN_VRS and tag != PIXEL_DATA:
                    self.flags.add(Flag.UNDEFINED_LENGTH)
                element = Element(tag, vr, position, value, length, 0)
                end = self.skip(element, limit, encoding, depth)
                data, base, safe = self._look(end, limit)
            else:
                end = value + length
                oddness |= length
                if end > limit:
                    end = self._overrun(tag, position, limit, depth)
                    length = end - value
            if tag <= previous:
                self.flags.add(Flag.OUT_OF_ORDER)
            previous = tag
            append(new((tag, vr, position, value, length, end)))
            position = end
        raise MalformedDataset("too many elements", position)

    def _walk_implicit(self, position: int, limit: int, depth: int, closer: int) -> tuple[list[Element], int, int]:
        unpack = _BARE[Encoding.IMPLICIT_LE].unpack_from
        new = _NEW_ELEMENT
        elements: list[Element] = []
        append = elements.append
        oddness, previous = 0, -1
        data, base, safe = self._look(position, limit)
        for _ in range(MAX_ELEMENTS):
            if position > safe:
                if position >= limit:
                    return self._ended(elements, position, limit, closer, oddness)
                if limit - position < _SMALLEST and self._only_zeros(position, limit, depth):
                    return elements, limit, oddness
                data, base, safe = self._look(position, limit)
            group, number, length = unpack(data, position - base)
            tag = group << 16 | number
            value = position + 8
            if group == 0xFFFE:
                if tag == closer:
                    return elements, value, oddness
                raise MalformedDataset("stray delimiter", position)
            if tag == 0 and self._only_zeros(position, limit, depth):
                return elements, limit, oddness
            if length == UNDEFINED:
                element = Element(tag, "", position, value, length, 0)
                end = self.skip(element, limit, Encoding.IMPLICIT_LE, depth)
                data, base, safe = self._look(end, limit)
            else:
                end = value + length
                oddness |= length
                if end > limit:
                    end = self._overrun(tag, position, limit, depth)
                    length = end - value
            if tag <= previous:
                self.flags.add(Flag.OUT_OF_ORDER)
            previous = tag
            append(new((tag, "", position, value, length, end)))
            position = end
        raise MalformedDataset("too many elements", position)

    def held(self) -> tuple[bytes, int, int]:
        """The present window, the offset of its first byte and the offset behind its last."""
        return self._data, self._base, self._base + len(self._data)

    def window(self, position: int) -> tuple[bytes, int, int]:
        """The `WINDOW` bytes from `position` on, the offset of the first and the offset behind the last."""
        self._data = bytes(self.octets.read(position, WINDOW))
        self._base = position
        if not self._first:
            self._first, self._first_base = self._data, position
        return self._data, position, position + len(self._data)

    def _look(self, position: int, limit: int) -> tuple[bytes, int, int]:
        """A window that holds the header at `position`, its first offset, and the last where a header surely fits."""
        data, base, edge = self.held()
        if position < base or position + _LONGEST > edge < self.size:
            data, base, edge = self.window(position)
        return data, base, min(limit - 1, edge - _LONGEST)

    def _ended(
        self, elements: list[Element], position: int, limit: int, closer: int, oddness: int
    ) -> tuple[list[Element], int, int]:
        if closer != NOTHING:
            raise MalformedDataset("item without its delimiter", limit)
        return elements, position, oddness

    def _only_zeros(self, position: int, limit: int, depth: int) -> bool:
        """Whether nothing but zeros is left of the top-level dataset: archives pad files to their block size."""
        if depth or limit - position > WINDOW:
            return False
        if any(self.octets.read(position, limit - position)):
            return False
        self.flags.add(Flag.TRAILING_BYTES)
        return True

    def _overrun(self, tag: int, position: int, limit: int, depth: int) -> int:
        """The end of an element that claims more than there is: allowed to the pixels, as damaged files have it."""
        if tag != PIXEL_DATA or depth:
            raise MalformedDataset("value runs past the end of what holds it", position)
        self.flags.add(Flag.PIXEL_TRUNCATED)
        return limit

    def skip(self, element: Element, limit: int, encoding: Encoding, depth: int) -> int:
        """The offset behind an element of undefined length."""
        encoding = self.content_encoding(element._replace(end=limit), encoding)
        position, found = element.value, 0
        while True:
            tag, length = self._item(position, limit, encoding)
            position += _SMALLEST
            if tag == SEQUENCE_END:
                self._count(found, position)
                return position
            if length == UNDEFINED:
                _, position = self.walk(position, limit, encoding, depth + 1, ITEM_END)
            else:
                position += length
            found += 1
            if not found & 0xFFFF:
                self._count(0x10000, position)
                found = 0

    def _item(self, position: int, limit: int, encoding: Encoding) -> tuple[int, int]:
        """Tag and length of an item header, which is checked to be one and to lie inside `limit`."""
        if position + _SMALLEST > limit:
            raise MalformedDataset("sequence without its delimiter", position)
        at = position - self._base
        if not 0 <= at <= len(self._data) - _SMALLEST:
            # Fragments of a long loop lie megabytes apart: eight bytes are enough here.
            group, number, length = _BARE[encoding].unpack(self.octets.read(position, _SMALLEST))
        else:
            group, number, length = _BARE[encoding].unpack_from(self._data, at)
        tag = group << 16 | number
        if tag == ITEM:
            if length != UNDEFINED and position + _SMALLEST + length > limit:
                raise MalformedDataset("item runs past the end of its sequence", position)
        elif tag != SEQUENCE_END:
            raise MalformedDataset("neither an item nor a delimiter", position)
        return tag, length

    def _count(self, visits: int, position: int) -> None:
        self.visits += visits
        if self.visits > self.most:
            raise MalformedDataset("too many elements in all", position)


def _is_capitals(code: bytes) -> bool:
    return len(code) == 2 and code.isalpha() and code.isupper()
