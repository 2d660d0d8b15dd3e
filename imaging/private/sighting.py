"""The private elements of one dataset, items included, each by creator, group and low byte."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from imaging.elements import UNDEFINED, Element
from imaging.header import Header
from imaging.private.dictionary import Meaning, meaning_of
from imaging.values import Values

DEPTH = 8
"""Sequences inside each other that are looked into; vendors nest three deep."""
MOST = 20_000
"""Private elements of one dataset that are reported; the fullest headers have about 1,500."""
EXAMPLE = 24
"""Characters of a masked example."""

_TEXT = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
_NUMBERS = frozenset(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"))
_FREE = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""Text in which a name may stand."""
_WORD = re.compile(rb"[A-Za-z]{3,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One private element of one dataset."""

    creator: str
    """Empty where the dataset reserves no such block: nobody can say whose it is."""
    group: int
    low: int
    vr: str
    """As written; empty in an implicit dataset."""
    nested: bool
    length: int
    example: str
    """Masked: the shape of the value and never the value."""
    suspect: bool
    """It is text that could name a patient."""

    @property
    def meaning(self) -> Meaning:
        return meaning_of(self.creator, self.group, self.low)


def sightings(header: Header) -> Iterator[Sighting]:
    """At most `MOST` private elements in the order they lie there; creators themselves are left out."""
    for number, found in enumerate(_level(Values.of(header), 0), 1):
        yield found
        if number == MOST:
            return


def _level(values: Values, depth: int) -> Iterator[Sighting]:
    creators = {(group, block): creator for (group, creator), blocks in values.blocks.items() for block in blocks}
    for element in values:
        private, number = element.tag & 0x10000, element.tag & 0xFFFF
        if private and number > 0xFF:
            group = element.tag >> 16
            creator = creators.get((group, number >> 8), "")
            known = meaning_of(creator, group, number & 0xFF)
            vr = element.vr if element.vr not in ("", "UN") else known.vr
            raw = values.raw(element)[:256] if element.length != UNDEFINED else b""
            yield Sighting(
                creator=creator,
                group=group,
                low=number & 0xFF,
                vr=element.vr,
                nested=depth > 0,
                length=0 if element.length == UNDEFINED else element.length,
                example=masked(raw, vr, element.length),
                suspect=suspects(raw, vr),
            )
        if depth < DEPTH and (element.vr == "SQ" or element.length == UNDEFINED or _begins_with_item(values, element)):
            for item in values.items_of(element):
                yield from _level(item, depth + 1)


def _begins_with_item(values: Values, element: Element) -> bool:
    return element.length >= 8 and values.level.walker.read(element.value, 4) == b"\xfe\xff\x00\xe0"


def masked(raw: bytes, vr: str, length: int) -> str:
    """The shape of a value: letters and digits replaced, anything that is no text by its size."""
    if not raw:
        return "" if not length else "items"
    if vr in _NUMBERS:
        return f"{vr}, {length} bytes"
    text = raw.rstrip(b" \0")
    if vr in _TEXT or (vr in ("", "UN") and text.isascii() and text.decode("ascii").isprintable()):
        shape = "".join(_shape(character) for character in text.decode("latin-1"))
        return shape if len(shape) <= EXAMPLE else shape[: EXAMPLE - 1] + "…"
    return f"{length} bytes"


def _shape(character: str) -> str:
    if character.isdigit():
        return "9"
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return character if character.isprintable() and character.isascii() else "?"


def suspects(raw: bytes, vr: str) -> bool:
    """Text with a word in it, in a VR that may hold a name or in one that nobody knows."""
    if vr not in _FREE and vr not in ("", "UN"):
        return False
    text = raw.rstrip(b" \0")
    printable = bool(text) and all(byte >= 0x20 for byte in text)
    return printable and _WORD.search(text) is not None
