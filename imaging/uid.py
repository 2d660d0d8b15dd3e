"""Unique identifiers, parsed once at the border (PS3.5 section 9).

A UID from the network becomes part of object keys, file names and rows, so nothing but digits and dots
ever gets past `parse_uid`. Components with leading zeros break the standard but occur in real archives;
they are harmless as names and are therefore accepted.
"""

import re
from functools import lru_cache
from typing import NewType
from uuid import UUID

from blake3 import blake3

Uid = NewType("Uid", str)
"""1 to 64 characters of [0-9.], starting and ending with a digit, no two dots in a row."""

MAX_LENGTH = 64
KNOWN = 4096
"""UIDs from the network that are remembered: each of an instance is read three times on its way through a mover."""
_SHAPE = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)


class InvalidUid(ValueError):
    """The value is not a DICOM unique identifier."""


def parse_uid(value: str | bytes | memoryview) -> Uid:
    """The UID in `value`, its padding (trailing NUL or spaces) removed.

    Raises
    ------
    InvalidUid
        Empty, longer than 64 characters, or holding anything but digits and single dots. The message
        names the length, not the value: a hostile value must not reach a log.
    """
    if isinstance(value, str):
        return _parsed(value)
    if len(value) > MAX_LENGTH + 2:
        raise InvalidUid(f"{len(value)} bytes long, 64 allowed")
    return _parsed_octets(bytes(value))


@lru_cache(KNOWN)
def _parsed_octets(value: bytes) -> Uid:
    try:
        return _parsed(value.decode("ascii"))
    except UnicodeDecodeError:
        raise InvalidUid("holds bytes outside ASCII") from None


def _parsed(value: str) -> Uid:
    text = value.rstrip("\0 ").lstrip(" ")
    if not text or len(text) > MAX_LENGTH:
        raise InvalidUid(f"{len(text)} characters long, 1 to 64 allowed")
    if _SHAPE.fullmatch(text) is None:
        raise InvalidUid("holds something other than digits and single dots")
    return Uid(text)


def derived_uid(purpose: str, *names: str) -> Uid:
    """The UID of something we make: the same for the same names, and nobody else's.

    Its root is 2.25 and what follows a UUID of version 8 (PS3.5 annex B.2, RFC 9562 section 5.8): 122 bits of BLAKE3.
    """
    named = "\0".join(("limosa", purpose, *names)).encode("utf-8")
    octets = bytearray(blake3(named).digest()[:16])
    octets[6] = octets[6] & 0x0F | 0x80
    octets[8] = octets[8] & 0x3F | 0x80
    return Uid(f"2.25.{UUID(bytes=bytes(octets)).int}")
