"""The answer of the far side: what of a device arrived, signed by whoever received it.

{"format":"limosa-receipt","version":1,"device","serial","seal","to","at"}     seal: SHA-256 of the seal's file
{"study_uid","revision","container","size","crc64","sha256","state","what","to"}      one line per pack by key; "volume"
                                                               of a study in several, but for the first
{"sop_uid"}                                                    behind a damaged pack, one line per damaged instance
{"end":N,"note":"..."}             a signed note over the SHA-256 of all lines before; N counts the packs
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from imaging.uid import InvalidUid, Uid, parse_uid
from storage.errors import Rejected
from storage.packs.model import Container, PackId
from storage.packs.naming import MAX_REVISION, MAX_VOLUME
from storage.seeds.errors import SeedRefused
from storage.seeds.lines import line_of, lines_of, object_of
from storage.seeds.notes import SigningKey, VerifyingKey, open_note, text_of

_ORIGIN = "limosa/receipt/"
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CRC = re.compile(r"[0-9a-f]{16}", re.ASCII)
_DEVICE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PLACE = "receipt"


class PackState(StrEnum):
    """What became of a pack at the far side."""

    ARRIVED = "arrived"
    """Every byte and every instance was compared with the seal's lists, and it is in the bucket."""
    DAMAGED = "damaged"
    """It is not what was sealed; it was not used."""
    MISSING = "missing"
    """It is not on the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptHead:
    """Of what, where to and when."""

    device: str
    serial: str
    seal: str
    """SHA-256 of the seal's file, in hexadecimal."""
    to: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRow:
    """One pack."""

    pack: PackId
    container: Container
    size: int
    crc64: int
    sha256: bytes
    state: PackState
    what: str = ""
    """What is wrong with it."""
    to: str = ""
    """Its key in the bucket."""
    instances: tuple[Uid, ...] = ()
    """Those that are damaged."""

    def lines(self) -> Iterator[bytes]:
        yield line_of(
            {
                "study_uid": self.pack.study_uid,
                "revision": self.pack.revision,
                "container": self.container.value,
                "size": self.size,
                "crc64": f"{self.crc64:016x}",
                "sha256": self.sha256.hex(),
                "state": self.state.value,
                "what": self.what,
                "to": self.to,
                **({"volume": self.pack.volume} if self.pack.volume > 1 else {}),
            }
        )
        for sop_uid in self.instances:
            yield line_of({"sop_uid": sop_uid})


def write_receipt(file: BinaryIO, head: ReceiptHead, rows: Iterable[ReceiptRow], key: SigningKey) -> int:
    """The receipt is in the file, signed; how many packs it names."""
    digest = hashlib.sha256()
    count = 0

    def put(line: bytes) -> None:
        digest.update(line)
        file.write(line)

    put(
        line_of(
            {
                "format": "limosa-receipt",
                "version": 1,
                "device": head.device,
                "serial": head.serial,
                "seal": head.seal,
                "to": head.to,
                "at": head.at.isoformat(timespec="seconds"),
            }
        )
    )
    for row in rows:
        count += 1
        for line in row.lines():
            put(line)
    note = key.sign(f"{_ORIGIN}{head.device}\n{count}\n{digest.hexdigest()}\n{key.verifier}\n")
    file.write(line_of({"end": count, "note": note}))
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A receipt whose signature holds."""

    path: Path
    head: ReceiptHead
    key: VerifyingKey
    """Who signed it."""

    def rows(self) -> Iterator[ReceiptRow]:
        """Every pack it names, in its order."""
        with _opened(self.path) as file:
            lines = lines_of(file, _PLACE)
            next(lines)
            row: ReceiptRow | None = None
            damaged: list[Uid] = []
            for line in lines:
                value = object_of(line, _PLACE)
                if value.keys() == {"sop_uid"}:
                    damaged.append(_uid(value["sop_uid"]))
                    continue
                if row is not None:
                    yield _with(row, damaged)
                if value.keys() == {"end", "note"}:
                    return
                row, damaged = _row(value), []


def open_receipt(path: Path, trusted: VerifyingKey | None) -> Receipt:
    """The receipt in the file, signed by `trusted`; None: by the key that it names itself.

    Raises
    ------
    SeedRefused
        It is none, was changed, or somebody else signed it.
    Rejected
        It cannot be read.
    """
    digest = hashlib.sha256()
    count = 0
    with _opened(path) as file:
        lines = lines_of(file, _PLACE)
        first = next(lines, b"\n")
        head = _head(object_of(first, _PLACE))
        digest.update(first)
        for line in lines:
            value = object_of(line, _PLACE)
            if value.keys() == {"end", "note"}:
                if next(lines, None) is not None or value["end"] != count:
                    raise SeedRefused("count differs, or goes on after its end", operation="read", place=_PLACE)
                key = _signed_by(value["note"], head, count, digest.hexdigest(), trusted)
                return Receipt(path=path, head=head, key=key)
            count += value.keys() != {"sop_uid"}
            digest.update(line)
    raise SeedRefused("ends too early", operation="read", place=_PLACE)


def _signed_by(note: Any, head: ReceiptHead, count: int, digest: str, trusted: VerifyingKey | None) -> VerifyingKey:
    if not isinstance(note, str):
        raise SeedRefused("is not signed", operation="read", place=_PLACE)
    try:
        key = trusted or VerifyingKey.parse(text_of(note).splitlines()[3])
    except (ValueError, IndexError):
        raise SeedRefused("names no key", operation="read", place=_PLACE) from None
    lines = open_note(note, key).splitlines()
    if lines[:3] != [f"{_ORIGIN}{head.device}", str(count), digest]:
        raise SeedRefused("was changed after it was signed", operation="read", place=_PLACE)
    return key


def _head(value: dict[str, Any]) -> ReceiptHead:
    try:
        if (value["format"], value["version"]) != ("limosa-receipt", 1):
            raise ValueError
        at = datetime.fromisoformat(value["at"])
        if at.tzinfo is None:
            raise ValueError
        return ReceiptHead(
            device=_like(_DEVICE, value["device"]),
            serial=str(value["serial"])[:64],
            seal=_like(_DIGEST, value["seal"]),
            to=str(value["to"])[:2048],
            at=at,
        )
    except (KeyError, ValueError, TypeError):
        raise SeedRefused("not a receipt", operation="read", place=_PLACE) from None


def _row(value: dict[str, Any]) -> ReceiptRow:
    try:
        revision, size, volume = value["revision"], value["size"], value.get("volume", 1)
        if type(volume) is not int or not 1 <= volume <= MAX_VOLUME:
            raise ValueError
        if type(revision) is not int or not 1 <= revision <= MAX_REVISION or type(size) is not int or size < 0:
            raise ValueError
        return ReceiptRow(
            pack=PackId(study_uid=parse_uid(value["study_uid"]), revision=revision, volume=volume),
            container=Container(value["container"]),
            size=size,
            crc64=int(_like(_CRC, value["crc64"]), 16),
            sha256=bytes.fromhex(_like(_DIGEST, value["sha256"])),
            state=PackState(value["state"]),
            what=str(value["what"]),
            to=str(value["to"]),
        )
    except (KeyError, ValueError, TypeError, InvalidUid):
        raise SeedRefused("a line does not describe a pack", operation="read", place=_PLACE) from None


def _with(row: ReceiptRow, damaged: list[Uid]) -> ReceiptRow:
    return ReceiptRow(
        pack=row.pack,
        container=row.container,
        size=row.size,
        crc64=row.crc64,
        sha256=row.sha256,
        state=row.state,
        what=row.what,
        to=row.to,
        instances=tuple(damaged),
    )


def _uid(value: object) -> Uid:
    try:
        return parse_uid(str(value))
    except InvalidUid:
        raise SeedRefused("a line names no instance", operation="read", place=_PLACE) from None


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise Rejected(error.strerror or "failed", operation="read receipt", place=path.name) from None


def _like(pattern: re.Pattern[str], text: object) -> str:
    if not isinstance(text, str) or pattern.fullmatch(text) is None:
        raise ValueError("unexpected")
    return text
