"""Files of the hospital, read into the ledger: HL7 messages, tables of numbers, the index, the list of orders."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

from blake3 import blake3

from actors.identity_options import IdentityOptions
from cluster.planning.order_list import orders_of
from imaging.hl7.adt import Feed, events
from imaging.hl7.defects import Fault
from imaging.hl7.reader import messages
from imaging.identity.crosswalk import RowFault, crosswalk
from imaging.identity.events import IdentityEvent, Source
from imaging.identity.snapshot import snapshot
from storage.ledger.identity import ORDERS, FileHead, HospitalFile, OrderLine, Told
from storage.ledger.ledger import Ledger

CHUNK = 1 << 20
DEFECTS_KEPT = 10_000
"""Defects of one file that are told one by one; the counts by class are complete."""
TABLE_LIMIT = 1 << 30
"""Bytes of a table; rows are read as they come, but its text is decoded at once."""


class Kind(StrEnum):
    """What a file is."""

    HL7 = "hl7"
    CROSSWALK = "crosswalk"
    OVERRIDES = "overrides"
    SNAPSHOT = "snapshot"


_SOURCES = {
    Kind.HL7: Source.HL7,
    Kind.CROSSWALK: Source.CROSSWALK,
    Kind.OVERRIDES: Source.MANUAL,
    Kind.SNAPSHOT: Source.SNAPSHOT,
}


class UnreadableFile(Exception):
    """The file as a whole cannot be used; the sentence says why and names no value of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defective:
    """One defect and where it is; nothing of what stands there."""

    file: str
    place: str
    defect: str
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class ReadFile:
    """What became of one file."""

    name: str
    kind: str
    again: bool = False
    """It was in the ledger already, read under the same issuers; what is wrong in it is told once more."""
    messages: int = 0
    events: int = 0
    """New ones."""
    defects: dict[str, int] = field(default_factory=dict[str, int])
    told: list[Defective] = field(default_factory=list[Defective])


class Reader:
    """Reads files of one job into its ledger."""

    def __init__(self, ledger: Ledger, options: IdentityOptions, time_zone: str) -> None:
        self._ledger = ledger
        self._options = options
        self._issuers = options.authorities()
        self._zone = ZoneInfo(time_zone)
        self._reading = options.reading(time_zone)

    def read(self, path: Path, kind: Kind | None) -> ReadFile:
        """The file is in the ledger; its kind is found out where it is not given.

        Raises
        ------
        UnreadableFile
            Nothing of it was taken.
        """
        kind = kind or kind_of(path)
        head = FileHead(kind=_SOURCES[kind], name=path.name, digest=digest_of(path), reading=self._reading)
        found = ReadFile(name=path.name, kind=kind)
        known = self._ledger.identity.known(head)
        if known is not None and not known.defects:
            return _again(found, known)
        counting = _Counting(found)
        told = Told(defects=found.defects)
        if kind is Kind.HL7:
            read = self._messages(path, told)
        elif kind is Kind.SNAPSHOT:
            read = snapshot(counted(rows_of(path), told), self._issuers)
        else:
            read = crosswalk(counted(rows_of(path), told), self._issuers, self._zone, source=_SOURCES[kind])
        events = counting.events(read)
        if known is not None:
            return _again(found, known, events)
        return _ended(found, self._ledger.identity.put_events(head, events, told))

    def read_orders(self, path: Path) -> ReadFile:
        """As `read`, for a list of orders."""
        head = FileHead(kind=ORDERS, name=path.name, digest=digest_of(path), reading=self._reading)
        found = ReadFile(name=path.name, kind=ORDERS)
        known = self._ledger.identity.known(head)
        if known is not None and not known.defects:
            return _again(found, known)
        counting = _Counting(found)
        told = Told(defects=found.defects)
        lines = counting.orders(orders_of(counted(rows_of(path), told), self._issuers))
        if known is not None:
            return _again(found, known, lines)
        return _ended(found, self._ledger.identity.put_orders(head, lines, told))

    def _messages(self, path: Path, told: Told) -> Iterator[IdentityEvent | Fault]:
        feed = Feed(issuers=self._issuers, zone=self._zone)
        for message in messages(_chunks(path), default_codec=self._options.hl7_charset):
            if isinstance(message, Fault):
                yield message
                continue
            told.messages += 1
            yield from events(message, feed)


class _Counting:
    """Defects are set aside and counted; what is left goes on."""

    def __init__(self, found: ReadFile) -> None:
        self._found = found
        self._counts: Counter[str] = Counter()

    def events(self, read: Iterable[IdentityEvent | Fault | RowFault]) -> Iterator[IdentityEvent]:
        for one in read:
            if isinstance(one, Fault):
                self._note(f"message {one.message}, byte {one.offset}{_segment(one)}", one.defect, one.detail)
            elif isinstance(one, RowFault):
                self._note_row(one)
            else:
                yield one
        self._found.defects.update(self._counts)

    def orders(self, read: Iterable[OrderLine | RowFault]) -> Iterator[OrderLine]:
        for one in read:
            if isinstance(one, RowFault):
                self._note_row(one)
            else:
                yield one
        self._found.defects.update(self._counts)

    def _note_row(self, fault: RowFault) -> None:
        column = f", column {fault.column}" if fault.column else ""
        self._note(f"line {fault.line}{column}", fault.defect, fault.detail)

    def _note(self, place: str, defect: str, detail: str) -> None:
        self._counts[str(defect)] += 1
        if len(self._found.told) < DEFECTS_KEPT:
            self._found.told.append(Defective(file=self._found.name, place=place, defect=str(defect), detail=detail))


def _segment(fault: Fault) -> str:
    if not fault.segment:
        return ""
    return f", {fault.segment}-{fault.field}" if fault.field else f", {fault.segment}"


def _again(found: ReadFile, known: HospitalFile, read: Iterable[object] = ()) -> ReadFile:
    """Nothing is put anywhere; `read` comes to its end, so that its defects are told with their places."""
    for _ in read:
        pass
    found.again, found.messages = True, known.messages
    return found


def _ended(found: ReadFile, row: HospitalFile) -> ReadFile:
    found.messages, found.events = row.messages, row.events
    return found


def kind_of(path: Path) -> Kind:
    """By its first bytes: a table by its column names, anything else is taken for messages."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise UnreadableFile((error.strerror or "cannot be read").lower()) from None
    line = next(iter(start.removeprefix(b"\xef\xbb\xbf").splitlines()), b"").lower()
    if b"old_issuer" in line:
        return Kind.CROSSWALK
    return Kind.SNAPSHOT if b"issuer" in line and b"birth_date" in line else Kind.HL7


def digest_of(path: Path) -> bytes:
    """BLAKE3 of the file. Raises `UnreadableFile`."""
    taken = blake3()
    for chunk in _chunks(path):
        taken.update(chunk)
    return taken.digest()


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise UnreadableFile((error.strerror or "cannot be read").lower()) from None


def rows_of(path: Path) -> Iterator[dict[str, str | None]]:
    """The rows of a table in UTF-8 with a line of column names; cells are parted by commas, semicolons or tabs."""
    raw = bytearray()
    for chunk in _chunks(path):
        raw += chunk
        if len(raw) > TABLE_LIMIT:
            raise UnreadableFile("longer than 1 GiB; split it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFile("not UTF-8 text; export it as CSV in UTF-8") from None
    names = text.partition("\n")[0]
    delimiter = max(",;\t", key=names.count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="")
    try:
        table.fieldnames = [name.strip().lower() for name in table.fieldnames or ()]
        yield from table
    except csv.Error:
        raise UnreadableFile(f"no CSV any more at line {table.line_num}") from None


def counted(rows: Iterable[dict[str, str | None]], told: Told) -> Iterator[dict[str, str | None]]:
    """The same rows, each counted as a message."""
    for row in rows:
        told.messages += 1
        yield row
