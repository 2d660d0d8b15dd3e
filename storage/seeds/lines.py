"""JSON Lines that come back from a device: read with bounds, refused at the first thing that is not as written."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from storage.seeds.errors import SeedRefused

MAX_LINE = 4096
"""Bytes of one line; ours have about 600."""
_COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def line_of(value: dict[str, Any]) -> bytes:
    """The value as one line, its break included; equal values give equal bytes."""
    return _COMPACT(value).encode("ascii") + b"\n"


def lines_of(file: BinaryIO, place: str) -> Iterator[bytes]:
    """Each line with its break. Raises `SeedRefused` for one that is too long or has no end."""
    while line := file.readline(MAX_LINE + 1):
        if not line.endswith(b"\n"):
            raise SeedRefused("a line is too long or has no end", operation="read", place=place)
        yield line


def object_of(line: bytes, place: str) -> dict[str, Any]:
    """The JSON object of a line. Raises `SeedRefused`."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise SeedRefused("a line is not JSON", operation="read", place=place) from None
    if not isinstance(value, dict):
        raise SeedRefused("a line is not a JSON object", operation="read", place=place)
    return value
