"""How the value of each standard element is compared: pydicom's dictionary, boiled down to five kinds.

The dictionary decides, never the VR in the stream: an implicit dataset has none, and some writers put UN or
a wrong one. Elements the dictionary does not know are compared as raw bytes.
"""

import struct
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR


class Kind(Enum):
    """What canonical form a value has."""

    CODE = "code"
    """ASCII text (AE AS CS DA DS DT IS TM UI UR), pads stripped from each value."""
    WORDS = "words"
    """Text in the declared character set (SH LO UC), pads stripped from each value."""
    NAME = "name"
    """As WORDS, with trailing empty components and groups of each person name stripped too."""
    PROSE = "prose"
    """One text (ST LT UT) whose leading spaces count."""
    BYTES = "bytes"
    """Numbers and strings of bytes, in little endian."""
    SEQUENCE = "sequence"
    SKIPPED = "skipped"
    """Says how the object is encoded, not what it is."""


class Entry(NamedTuple):
    """One row of the table."""

    kind: Kind
    key: bytes
    """What the element sorts by and is hashed under."""


_KINDS = {
    **dict.fromkeys(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"], Kind.CODE),
    **dict.fromkeys(["SH", "LO", "UC"], Kind.WORDS),
    **dict.fromkeys(["ST", "LT", "UT"], Kind.PROSE),
    "PN": Kind.NAME,
    "SQ": Kind.SEQUENCE,
}
_SKIPPED = frozenset((0x00080001, 0x00080005, 0xFFFCFFFC))
"""Length to End, Specific Character Set, Data Set Trailing Padding."""
_REPEATING = frozenset((0x10, 0x20, 0x28, 0x50, 0x60, 0x7F))
"""First bytes of the groups whose numbers repeat (overlays, curves and older ones)."""


def public_key(tag: int) -> bytes:
    """The key of a standard element, or of a private one nobody claims: group, nothing, element."""
    return struct.pack(">HBH", tag >> 16, 0, tag & 0xFFFF)


def private_prefix(tag: int, creator: bytes) -> bytes:
    """What the keys of one creator's elements in one group begin with; the element's low byte follows.

    So the block a file happens to reserve does not count (PS3.5 section 7.8.1).
    """
    return struct.pack(">H", tag >> 16) + creator + b"\0"


def _kind_of(tag: int, vr: str) -> Kind:
    if tag in _SKIPPED or tag >> 16 == 0x0002:
        return Kind.SKIPPED
    return _KINDS.get(vr, Kind.BYTES)


STANDARD = {tag: Entry(_kind_of(tag, row[0]), public_key(tag)) for tag, row in DicomDictionary.items()}


@lru_cache(maxsize=4096)
def rare_entry(tag: int) -> Entry:
    """The row of an even-group tag that is not in `STANDARD`: a repeating group, a group length or unknown."""
    if tag & 0xFFFF == 0:
        return Entry(Kind.SKIPPED, b"")
    if tag >> 24 in _REPEATING:
        try:
            return Entry(_kind_of(tag, dictionary_VR(tag)), public_key(tag))
        except KeyError:
            pass
    return Entry(Kind.BYTES, public_key(tag))
