"""What the far side says arrived, in the words of each carrier: Snowball's CSVs, Data Box's logs, a bucket's listing.

Paths come with a bucket, container or prefix before them that the sender does not know; what is ours is found by its
own end: `studies/` or `index/` with two folders and the name of a pack.
"""

import base64
import csv
import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import Rejected

MAX_DOCUMENT = 2 << 30
"""Bytes of one document; a bill of materials of a million packs has 200 MB."""
_OURS = re.compile(r"(?:^|/)((?:studies|index)/[0-9a-f]{2}/[0-9a-f]{2}/[^/]+)$")
_FILE = re.compile(r"<file\b([^>]{0,4096})>([^<]{1,4096})</file>", re.IGNORECASE)
_ERRORED = re.compile(r"<ErroredEntity\b([^>]{0,4096})>(.{0,4096}?)</ErroredEntity>", re.IGNORECASE | re.DOTALL)
_ATTRIBUTE = re.compile(r"([A-Za-z0-9_]+)\s*=\s*\"([^\"]*)\"")
_TEXT = re.compile(r"<(?:Path|Name|BlobPath|FilePath)>([^<]+)</", re.IGNORECASE)
_STATUS = re.compile(r"<Status>\s*([A-Za-z]+)\s*</Status>", re.IGNORECASE)
_SIZE = re.compile(r"size|length", re.IGNORECASE)
_DONE = frozenset({"completed", "succeeded", "completedwithwarnings", "completedwitherrors"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One object that a document speaks of."""

    path: str
    """From `studies/` or `index/` on; as it was written where it is none of these."""
    failed: str = ""
    """Why it did not arrive; empty when it did."""
    size: int | None = None
    crc64: int | None = None


def ours(path: str) -> str:
    """The part of a path that the sender knows."""
    plain = path.replace("\\", "/").strip("/")
    found = _OURS.search(plain)
    return found[1] if found else plain


def read_text(path: Path) -> str:
    """The document. Raises `Rejected`."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise Rejected(error.strerror or "failed", operation="read", place=path.name) from None
    if len(raw) > MAX_DOCUMENT:
        raise Rejected(f"longer than {MAX_DOCUMENT} bytes", operation="read", place=path.name)
    # Appliances write with a byte order mark, or in UTF-16.
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return raw.decode(encoding, errors="replace")


def snowball(text: str, failed: str) -> Iterator[Seen]:
    """The rows of a success report (`failed` empty) or of a failure report.

    AWS documents neither the columns nor their order, so the object is the cell that ends like one of ours, else the
    first; a size is believed only under a heading that says so.
    """
    rows = csv.reader(io.StringIO(text))
    sizes: list[int] = []
    for number, row in enumerate(rows):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if number == 0 and not any(_OURS.search(cell.replace("\\", "/")) for cell in cells):
            sizes = [at for at, cell in enumerate(cells) if _SIZE.search(cell)]
            if sizes or any(re.search(r"key|object|file|path|name", cell, re.IGNORECASE) for cell in cells):
                continue
        path = next((cell for cell in cells if _OURS.search(cell.replace("\\", "/"))), cells[0])
        size = next((int(cells[at]) for at in sizes if at < len(cells) and cells[at].isdecimal()), None)
        yield Seen(path=ours(path), failed=failed, size=None if failed else size)


def databox_bom(text: str) -> Iterator[Seen]:
    """What a Data Box held when it was prepared to ship: `<file size= crc64=>` of its bill of materials."""
    for attributes, path in _FILE.findall(text):
        told = {name.lower(): value for name, value in _ATTRIBUTE.findall(attributes)}
        yield Seen(
            path=ours(html.unescape(path)),
            size=int(told["size"]) if told.get("size", "").isdecimal() else None,
            crc64=_hexadecimal(told.get("crc64", "")),
        )


def databox_errors(text: str) -> Iterator[Seen]:
    """What a Data Box's copy log says was not uploaded. Raises `Rejected` for the log of an upload that goes on."""
    status = _STATUS.search(text)
    if status is None or status[1].lower() not in _DONE:
        raise Rejected("is no log of a finished upload", operation="read", place="copy log")
    for attributes, content in _ERRORED.findall(text):
        told = {name.lower(): value for name, value in _ATTRIBUTE.findall(attributes)}
        inside = _TEXT.search(content)
        path = told.get("path") or told.get("name") or (inside[1] if inside else re.sub(r"<[^>]*>", "", content))
        yield Seen(path=ours(html.unescape(path.strip())), failed="not uploaded")


def listing(text: str) -> Iterator[Seen]:
    """The objects of `aws s3api list-objects-v2`, one answer or several behind each other; a `ChecksumCRC64NVME` beside
    them is believed. Raises `Rejected`."""
    decoder = json.JSONDecoder()
    at = 0
    while (at := _next(text, at)) < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            raise Rejected("is no JSON", operation="read", place="listing") from None
        for entry in _contents(value):
            yield Seen(path=ours(entry["Key"]), size=entry["Size"], crc64=_crc64nvme(entry.get("ChecksumCRC64NVME")))


def _contents(value: Any) -> Iterator[dict[str, Any]]:
    entries = value.get("Contents", []) if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise Rejected("lists no objects", operation="read", place="listing")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("Key"), str) or type(entry.get("Size")) is not int:
            raise Rejected("an object has no Key or Size", operation="read", place="listing")
        yield entry


def _crc64nvme(value: Any) -> int | None:
    """The checksum as S3 writes it: base64 of eight bytes. Raises `Rejected`."""
    if value is None:
        return None
    try:
        raw = base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        raw = b""
    if len(raw) != 8:
        raise Rejected("an object has a checksum that is none", operation="read", place="listing")
    return int.from_bytes(raw, "big")


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _hexadecimal(text: str) -> int | None:
    digits = text.lower().removeprefix("0x")
    # All zeros is what a Data Box writes where it computed none.
    return int(digits, 16) or None if re.fullmatch(r"[0-9a-f]{1,16}", digits) else None
