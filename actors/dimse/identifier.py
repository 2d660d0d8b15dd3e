"""Identifiers of C-FIND and C-MOVE: questions written, answers read whatever is wrong with them."""

import codecs
import warnings
from collections.abc import Mapping
from struct import Struct

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from imaging.elements import Encoding, scan
from imaging.octets import MemoryOctets
from imaging.syntaxes import encoding_of
from imaging.uid import InvalidUid, Uid, parse_uid

_EXPLICIT = Struct("<HH2sH")
_IMPLICIT = Struct("<HHL")
_CHARSET = 0x00080005
_UTF_8 = "ISO_IR 192"
_SINGLE_BYTE = "iso8859"


def encode_identifier(keys: Mapping[str, str], transfer_syntax: str) -> bytes:
    """The dataset with the values of `keys`, by keyword; an empty value asks for the attribute back.

    Text outside ASCII is sent as UTF-8 and said to be. Only Implicit and Explicit VR Little Endian are proposed for
    queries, so nothing else can be asked for here.
    """
    values: dict[int, tuple[bytes, bytes]] = {}
    for keyword, text in keys.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ValueError("not a DICOM keyword")
        values[tag] = dictionary_VR(tag).encode(), text.encode()
    if not all(text.isascii() for text in keys.values()):
        values[_CHARSET] = b"CS", _UTF_8.encode()
    return encode_values(values, transfer_syntax)


def encode_values(values: Mapping[int, tuple[bytes, bytes]], transfer_syntax: str) -> bytes:
    """The dataset with these VRs and values by tag, in Implicit or Explicit VR Little Endian; none is longer than
    64 KiB."""
    implicit = encoding_of(transfer_syntax) is Encoding.IMPLICIT_LE
    parts: list[bytes] = []
    for tag in sorted(values):
        vr, value = values[tag]
        if len(value) % 2:
            value += b"\0" if vr == b"UI" else b" "
        group, element = tag >> 16, tag & 0xFFFF
        if implicit:
            parts.append(_IMPLICIT.pack(group, element, len(value)) + value)
        else:
            parts.append(_EXPLICIT.pack(group, element, vr, len(value)) + value)
    return b"".join(parts)


class Identifier:
    """One answer. What it does not hold is None, which is not the same as empty text."""

    def __init__(self, raw: bytes, transfer_syntax: str, charset: str) -> None:
        """`charset` is the source's defined term for answers that declare none.

        Raises
        ------
        MalformedDataset
            The bytes cannot be split into elements.
        """
        elements = scan(MemoryOctets(raw), 0, encoding_of(transfer_syntax)).elements
        self._values = {element.tag: raw[element.value : element.end] for element in elements}
        declared = self._values.get(_CHARSET, b"").decode("ascii", "replace").strip(" \0")
        self._encodings = _encodings(declared or charset)

    def text(self, keyword: str) -> str | None:
        """The decoded value without padding; several values stay joined by backslashes."""
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ValueError("not a DICOM keyword")
        raw = self._values.get(tag)
        if raw is None:
            return None
        raw = raw.rstrip(b" \0")
        if raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii").lstrip(" ")
        delimiters = PN_DELIMS if dictionary_VR(tag) == "PN" else TEXT_VR_DELIMS
        return _decode(raw, self._encodings, delimiters).strip(" \0")

    def texts(self, keyword: str) -> tuple[str, ...] | None:
        """The values of a multi-valued attribute, empty ones left out."""
        text = self.text(keyword)
        return None if text is None else tuple(part for one in text.split("\\") if (part := one.strip()))

    def uids(self, keyword: str) -> tuple[Uid, ...]:
        """The valid UIDs of a multi-valued attribute."""
        found: list[Uid] = []
        for text in self.texts(keyword) or ():
            try:
                found.append(parse_uid(text))
            except InvalidUid:
                continue
        return tuple(found)

    def uid(self, keyword: str) -> Uid | None:
        """The attribute as a UID; None where it is absent or no UID."""
        found = self.uids(keyword)
        return found[0] if len(found) == 1 else None

    def count(self, keyword: str) -> int | None:
        """The attribute as a non-negative number; None where it is absent, empty or something else."""
        text = (self.text(keyword) or "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _encodings(declared: str) -> list[str]:
    try:
        with warnings.catch_warnings():
            # pydicom warns about what archives get wrong here; the warning would print the value.
            warnings.simplefilter("ignore")
            return convert_encodings([term.strip() for term in declared.split("\\")])
    except (LookupError, ValueError):
        return [_SINGLE_BYTE]


def _decode(raw: bytes, encodings: list[str], delimiters: set[int]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return decode_bytes(raw, encodings, delimiters)
    except (LookupError, UnicodeError):
        return codecs.decode(raw, _SINGLE_BYTE)
