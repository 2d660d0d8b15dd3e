"""Text of a dataset in Unicode, or the certainty that it cannot be had (PS3.5 section 6.1, PS3.3 C.12.1.1.2).

Nothing is ever guessed: bytes that are not in the declared character set stay bytes and are reported.
pydicom alone would read undeclared 8-bit text as Latin-1 and put U+FFFD for what it cannot decode.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from imaging.flags import Flag

_TERM = re.compile(r"ISO[ _-]?(2022)?[ _-]?IR[ _-]?([0-9]{1,3})", re.ASCII)
_ESCAPE = b"\x1b"
_BARE_ASCII = python_encoding["ISO_IR 6"]
"""pydicom's codec for plain ASCII; it would take any byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charset:
    """The character sets of one dataset or item."""

    codecs: tuple[str, ...] | None
    """Python codecs, the initial set first; None where a declared set is unknown."""
    declared: bool
    """False where only ASCII is promised: nothing declared, or ISO_IR 6."""


ASCII = Charset(codecs=("ascii",), declared=False)


class Undecodable(Exception):
    """The bytes are not in the character set declared for them."""

    def __init__(self, flag: Flag) -> None:
        self.flag = flag
        super().__init__(flag.value)


@lru_cache(maxsize=64)
def parse_charset(value: bytes) -> Charset:
    """The character sets a value of Specific Character Set (0008,0005) declares.

    Spellings such as ISO-IR 100 and ISO_2022_IR_87 occur and mean what they seem to mean.
    """
    terms = [_term(part) for part in value.split(b"\\")]
    if all(term in ("", "ISO_IR 6") for term in terms):
        return ASCII
    if any(term not in python_encoding for term in terms):
        return Charset(codecs=None, declared=True)
    return Charset(codecs=tuple(convert_encodings(terms)), declared=True)


def decode(raw: bytes, charset: Charset, *, person_name: bool) -> str:
    """The text of a value of VR SH, LO, PN, ST, LT, UC or UT.

    Raises
    ------
    Undecodable
        Some byte has no meaning in the declared sets.
    """
    if raw.isascii() and _ESCAPE not in raw:
        return raw.decode("ascii")
    if not charset.declared:
        raise Undecodable(Flag.CHARSET_UNDECLARED)
    if charset.codecs is None:
        raise Undecodable(Flag.CHARSET_UNDECODABLE)
    plain = raw[: raw.find(_ESCAPE)] if _ESCAPE in raw else raw
    if charset.codecs[0] == _BARE_ASCII and not plain.isascii():
        raise Undecodable(Flag.CHARSET_UNDECODABLE)
    if _ESCAPE not in raw:
        try:
            return raw.decode(charset.codecs[0])
        except UnicodeDecodeError:
            raise Undecodable(Flag.CHARSET_UNDECODABLE) from None
    try:
        text = decode_bytes(raw, list(charset.codecs), PN_DELIMS if person_name else TEXT_VR_DELIMS)
    except (LookupError, ValueError):
        raise Undecodable(Flag.CHARSET_UNDECODABLE) from None
    if "\ufffd" in text or "\x1b" in text:
        raise Undecodable(Flag.CHARSET_UNDECODABLE)
    return text


def _term(part: bytes) -> str:
    text = part.decode("ascii", "replace").strip(" \0").upper()
    if match := _TERM.fullmatch(text):
        return f"ISO {match[1]} IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"
    return text
