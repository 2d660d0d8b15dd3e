"""Values of one dataset or item, looked up by tag or by private creator, as text or exact numbers.

For rules that read a handful of elements of many files. What cannot be read as asked is absent: nothing is guessed.
"""

import re
import struct
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from math import isfinite

import numpy as np

from imaging.canonical import CREATOR_LIMIT, Items, Level, top_level
from imaging.coercion.attributes import vr_of
from imaging.elements import UNDEFINED, Element, Encoding
from imaging.errors import MalformedDataset
from imaging.header import Header
from imaging.pixels import swap
from imaging.text import Undecodable, decode

VALUE_LIMIT = 64 << 10
"""Bytes of a value that is read; numbers, codes and names have a few."""
NUMBERS_LIMIT = 256
"""Numbers read of one value; the longest of interest are vectors of a few."""
MAGNITUDE = 30
"""Powers of ten beyond which a number measures nothing, and would be written in hundreds of digits."""

_DECIMAL = re.compile(rb"[+-]?(?:[0-9]{1,16}(?:\.[0-9]{0,16})?|\.[0-9]{1,16})(?:[eE][+-]?[0-9]{1,3})?")
_IN_CHARSET = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT", "UN"])
_BINARY = {
    "FD": struct.Struct("<d"), "FL": struct.Struct("<f"), "SL": struct.Struct("<l"), "SS": struct.Struct("<h"),
    "UL": struct.Struct("<L"), "US": struct.Struct("<H"), "SV": struct.Struct("<q"), "UV": struct.Struct("<Q"),
}  # fmt: skip
_PADS = b" \0"


class Values:
    """One dataset or item while it is read; as long-lived as its octets."""

    __slots__ = ("_blocks", "_index", "level")

    def __init__(self, level: Level) -> None:
        self.level = level
        self._index = {element.tag: element for element in level.elements}
        self._blocks: dict[tuple[int, str], tuple[int, ...]] | None = None

    @classmethod
    def of(cls, header: Header) -> "Values":
        """Those of the dataset itself, without its pixels."""
        return cls(top_level(header))

    def element(self, tag: int) -> Element | None:
        return self._index.get(tag)

    def private(self, creator: str, group: int, low: int) -> Element | None:
        """The element of that creator, in whichever block this dataset gave it (PS3.5 section 7.8.1)."""
        for block in self.blocks.get((group, creator), ()):
            if (element := self._index.get(group << 16 | block << 8 | low)) is not None:
                return element
        return None

    @property
    def blocks(self) -> dict[tuple[int, str], tuple[int, ...]]:
        """Block numbers by group and creator, the creator without surrounding blanks."""
        if self._blocks is None:
            found: dict[tuple[int, str], tuple[int, ...]] = {}
            for tag, element in self._index.items():
                if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF and element.length not in (0, UNDEFINED):
                    raw = self.level.walker.read(element.value, min(element.length, CREATOR_LIMIT))
                    key = (tag >> 16, raw.split(b"\0")[0].decode("latin-1").strip())
                    found[key] = (*found.get(key, ()), tag & 0xFF)
            self._blocks = found
        return self._blocks

    def raw(self, element: Element | None) -> bytes:
        """The value in little endian without trailing pads; empty where there is none, or a very large one."""
        if element is None or element.length == UNDEFINED or element.length > VALUE_LIMIT:
            return b""
        raw = self.level.walker.read(element.value, element.length)
        if self.level.encoding is Encoding.EXPLICIT_BE and (form := _BINARY.get(element.vr)) is not None:
            raw = swap(raw, form.size)
        return raw

    def text(self, tag: int) -> str:
        """The value as text, without surrounding blanks; empty where it is absent or cannot be decoded."""
        return self.text_of(self._index.get(tag))

    def text_of(self, element: Element | None) -> str:
        if element is None or element.vr == "SQ":
            return ""
        vr = vr_of(element.tag) if not element.tag & 0x10000 else "UN"
        raw = self.raw(element).strip(_PADS)
        try:
            if vr in _IN_CHARSET:
                return decode(raw, self.level.charset, person_name=vr == "PN").strip()
            return raw.decode("ascii").strip()
        except (Undecodable, UnicodeDecodeError):
            return ""

    def strings(self, tag: int) -> tuple[str, ...]:
        """The values of a multi-valued text."""
        text = self.text(tag)
        return tuple(part.strip() for part in text.split("\\")) if text else ()

    def numbers(self, tag: int) -> tuple[Decimal, ...]:
        """The values of a standard element as exact decimals; those that are none are left out."""
        element = self._index.get(tag)
        return () if element is None else self.numbers_of(element, vr_of(tag))

    def numbers_of(self, element: Element, vr: str) -> tuple[Decimal, ...]:
        """The values as exact decimals. `vr` is what the element is where the file does not say: archives hand
        private elements on as UN."""
        written = element.vr if element.vr not in ("", "UN") else vr
        raw = self.raw(element)
        form = _BINARY.get(written)
        if form is None:
            parts = raw.split(b"\\")[:NUMBERS_LIMIT]
            return tuple(found for part in parts if (found := _from_text(part.strip(_PADS))) is not None)
        whole = len(raw) // form.size * form.size
        values = [form.unpack_from(raw, at)[0] for at in range(0, min(whole, NUMBERS_LIMIT * form.size), form.size)]
        return tuple(found for value in values if (found := _from_binary(value, written)) is not None)

    def items(self, tag: int) -> tuple["Values", ...]:
        """The items of a sequence; none where it is absent or cannot be read."""
        return self.items_of(self._index.get(tag))

    def items_of(self, element: Element | None) -> tuple["Values", ...]:
        if element is None or not element.length:
            return ()
        walker = self.level.walker
        try:
            encoding = walker.content_encoding(element, self.level.encoding)
            return tuple(Values(level) for level in Items(self.level, element, encoding).levels())
        except MalformedDataset:
            return ()

    def __iter__(self) -> Iterator[Element]:
        return iter(self._index.values())


@lru_cache(maxsize=4096)
def _from_text(raw: bytes) -> Decimal | None:
    return _within(Decimal(raw.decode("ascii"))) if _DECIMAL.fullmatch(raw) else None


@lru_cache(maxsize=4096)
def _from_binary(value: float, vr: str) -> Decimal | None:
    """The shortest decimal that is read back as the same number."""
    if not isfinite(value):
        return None
    return _within(Decimal(str(np.float32(value)) if vr == "FL" else repr(value)))


def _within(value: Decimal) -> Decimal | None:
    return value if not value or abs(value.adjusted()) <= MAGNITUDE else None
