"""A scanned dataset as rules see it: values as text, in the character set the dataset declares."""

import re
import struct
from decimal import Decimal
from typing import TYPE_CHECKING

from pydicom.charset import encode_string

from imaging.canonical import CHARSET_LIMIT
from imaging.coercion.attributes import NUMBER_VRS, unfit_value, vr_of
from imaging.coercion.errors import NotCoercible
from imaging.elements import UNDEFINED, Element, Encoding
from imaging.header import Header
from imaging.octets import chunks
from imaging.text import ASCII, Charset, Undecodable, decode, parse_charset
from imaging.values import Values

if TYPE_CHECKING:
    from imaging.coercion.rules import CopyPrivate

VALUE_LIMIT = 64 << 10
"""Bytes of a value that a rule reads; a regular expression over megabytes of report text would hold up the archive."""

COPY_LIMIT = 16 << 20
"""Bytes of earlier originals, or of one removed sequence, that are copied; they lie in memory."""

_CHARSET = 0x00080005
_IN_CHARSET = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
"""VRs whose text is in the declared character set; all others are ASCII (PS3.5 section 6.1.2.3)."""
_FORMS = {"FD": "d", "FL": "f", "SL": "l", "SS": "h", "UL": "L", "US": "H"}
_VALUES = re.compile(r"(\\)")
_DELIMITERS = {
    "PN": re.compile(r"([\\^=])"),
    **dict.fromkeys(["LO", "SH", "UC"], _VALUES),
    **dict.fromkeys(["LT", "ST", "UT"], re.compile(r"([\r\n\f\t])")),
}
"""Characters at which code extensions start anew (PS3.5 section 6.1.2.5.3)."""


class Dataset:
    """One dataset while rules are applied: what the file holds, and what rules have changed of it so far.

    Values are encoded bytes without trailing pads; None is an absent element, b"" an empty one.
    """

    __slots__ = ("_changed", "_header", "asked", "charset", "private_asked")

    def __init__(self, header: Header, undeclared: str = "") -> None:
        """`undeclared`: the character set where none is declared, if somebody knows it."""
        self._header = header
        self._changed: dict[int, bytes | None] = {}
        self.private_asked = False
        """What is decided depends on private elements, too, wherever they lie."""
        self.asked: set[int] = set()
        """Tags of the elements of the file that were looked at: what is decided depends on nothing else in it."""
        declared = self.element(_CHARSET)
        self.charset: Charset = ASCII
        if declared is not None and declared.length:
            value = header.scan.walker.read(declared.value, min(declared.length, CHARSET_LIMIT))
            self.charset = parse_charset(value)
        if undeclared and not self.charset.declared:
            self.charset = parse_charset(undeclared.encode("ascii"))

    @property
    def encoding(self) -> Encoding:
        return self._header.scan.encoding

    def element(self, tag: int) -> Element | None:
        """The element as it is in the file, whatever rules have changed."""
        self.asked.add(tag)
        return self._header.index.get(tag)

    def content_encoding(self, element: Element) -> Encoding:
        """How the items of a sequence are written."""
        return self._header.scan.walker.content_encoding(element, self.encoding)

    def has(self, tag: int) -> bool:
        """The element is there and not empty."""
        if tag in self._changed:
            return bool(self._changed[tag])
        element = self.element(tag)
        return element is not None and element.length > 0

    def present(self, tag: int) -> bool:
        """The element is there, be it empty."""
        return self._changed[tag] is not None if tag in self._changed else self.element(tag) is not None

    def raw(self, tag: int) -> bytes | None:
        """The value of a text element as it is now.

        Raises
        ------
        NotCoercible
            It is longer than `VALUE_LIMIT`, or no plain value.
        """
        if tag in self._changed:
            return self._changed[tag]
        element = self.element(tag)
        return None if element is None else self.written(element)

    def plain(self, element: Element) -> bool:
        """The element has a value and not items."""
        return element.length != UNDEFINED and element.vr != "SQ" and vr_of(element.tag) != "SQ"

    def written(self, element: Element) -> bytes:
        """The value of an element as it is in the file. Raises like `raw`."""
        if not self.plain(element):
            raise NotCoercible("is a sequence in this dataset", tag=element.tag)
        if element.length > VALUE_LIMIT:
            raise NotCoercible(f"has more than {VALUE_LIMIT} bytes", tag=element.tag)
        return self._header.scan.walker.read(element.value, element.length).rstrip(b" \0")

    def octets(self, start: int, stop: int) -> bytes:
        """A copy of bytes of an element: of a sequence, or of what is kept elsewhere. Raises `NotCoercible`."""
        if stop - start > COPY_LIMIT:
            raise NotCoercible(f"more than {COPY_LIMIT} bytes would have to be kept")
        return b"".join(bytes(piece) for piece in chunks(self._header.octets, start, stop))

    def text(self, tag: int) -> str:
        """The value now, without trailing pads; empty where there is none.

        Raises
        ------
        NotCoercible
            As `raw`, and where the bytes are not in the declared character set.
        """
        raw = self.raw(tag)
        return "" if raw is None else self.decoded(tag, raw)

    def private(self, asked: "CopyPrivate") -> bytes | None:
        """The value of a private element, encoded as the attribute it is copied to wants it; None where there is none,
        or one that does not fit. Raises `NotCoercible` as `encoded`."""
        self.private_asked = True
        values = Values.of(self._header)
        element = values.private(asked.creator, asked.group, asked.low)
        if element is None:
            return None
        vr = vr_of(asked.tag)
        if vr in NUMBER_VRS:
            return _binary(values.numbers_of(element, asked.vr), vr, self.encoding)
        if asked.vr in NUMBER_VRS:
            text = "\\".join(_shortest(number) for number in values.numbers_of(element, asked.vr))
        else:
            text = values.text_of(element)
        return self.encoded(asked.tag, text) if text and not unfit_value(asked.tag, text) else None

    def decoded(self, tag: int, raw: bytes) -> str:
        """The text of an encoded value of this attribute. Raises `NotCoercible`."""
        try:
            if vr_of(tag) not in _IN_CHARSET:
                return raw.decode("ascii")
            return decode(raw, self.charset, person_name=vr_of(tag) == "PN")
        except (Undecodable, UnicodeDecodeError):
            raise NotCoercible("holds text that is not in the declared character set", tag=tag) from None

    def encoded(self, tag: int, text: str) -> bytes:
        """The text as this dataset writes it.

        Raises
        ------
        NotCoercible
            The declared character set has no code for one of its characters.
        """
        if text.isascii():
            return text.encode("ascii")
        raw = _encoded(text, self.charset, vr_of(tag)) if vr_of(tag) in _IN_CHARSET else None
        if raw is None:
            raise NotCoercible("the new value cannot be written in the dataset's character set", tag=tag)
        return raw

    def change(self, tag: int, value: bytes | None) -> None:
        """Rules that follow see this value."""
        self._changed[tag] = value


def _binary(numbers: tuple[Decimal, ...], vr: str, encoding: Encoding) -> bytes | None:
    order = ">" if encoding is Encoding.EXPLICIT_BE else "<"
    form = struct.Struct(order + _FORMS[vr])
    try:
        values = [float(one) if vr in ("FD", "FL") else _whole(one) for one in numbers]
        return b"".join(form.pack(value) for value in values) or None
    except (struct.error, OverflowError, ValueError):
        return None


def _whole(number: Decimal) -> int:
    if number != number.to_integral_value():
        raise ValueError("no whole number")
    return int(number)


def _shortest(number: Decimal) -> str:
    """As text; a number that needs more than a DS has is cut nowhere, but refused by whoever checks it."""
    plain = f"{number:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain and len(plain) > 16 else plain


def _encoded(text: str, charset: Charset, vr: str) -> bytes | None:
    if not charset.declared or not charset.codecs:
        return None
    raw = b"".join(encode_string(part, charset.codecs) for part in _DELIMITERS[vr].split(text))
    try:
        # pydicom writes a question mark for what it cannot encode.
        return raw if decode(raw, charset, person_name=vr == "PN") == text else None
    except Undecodable:
        return None
