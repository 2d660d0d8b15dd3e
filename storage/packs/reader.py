"""Reads packs back: the index from the object's tail, one instance by one range, or everything in order.

Memory stays at a few MiB however large an instance is. What comes out was checked against STO1 only once
the iteration has ended: act on nothing before.
"""

import json
import struct
from collections.abc import Callable, Iterator

import zstandard
from blake3 import blake3

from storage.errors import IntegrityError
from storage.packs.format import (
    BLOCK,
    END,
    LOCATOR,
    SEEK_ENTRY,
    SEEK_FOOTER,
    SEEKABLE_MAGIC,
    SKIPPABLE_HEADER,
)
from storage.packs.index import MAX_BODY, Index, InvalidIndex, parse_index
from storage.packs.model import Container, Member, PackId
from storage.packs.naming import index_key_beside, member_key
from storage.sinks.protocol import ObjectReader

TAIL = 64 << 10
"""Bytes of the first read: locator and seek table of a study of up to 8,000 instances."""

MAX_WINDOW = 8 << 20
"""Largest zstd window accepted; level 1 writes at most 512 KiB. A hostile frame could ask for 2 GiB."""

PIECE = 1 << 20


class PackReader:
    """One pack at a destination."""

    def __init__(
        self, objects: ObjectReader, pack: PackId, container: Container, key: str, *, device: str = ""
    ) -> None:
        self._objects = objects
        self._pack = pack
        self._container = container
        self._key = key
        self._device = device
        self._index: Index | None = None
        self._size = 0
        """Of the object; known with the index."""

    def index(self) -> Index:
        """The pack's own index; for P10 the index object beside it. Read once.

        Raises
        ------
        FileNotFoundError
            There is no such object.
        InvalidIndex
            The object is no complete pack of this study and revision.
        """
        if self._index is None:
            index = self.sidecar() if self._container is Container.P10 else self._from_tail()
            if index.container is not self._container:
                raise InvalidIndex("says it is another container")
            self._index = index
        return self._index

    def sidecar(self) -> Index:
        """The index object beside the pack. Raises like `index`."""
        key = index_key_beside(self._pack, self._container, self._key)
        size = self._objects.size(key, device=self._device)
        if size > MAX_BODY:
            raise InvalidIndex(f"{size} bytes long, {MAX_BODY} allowed")
        return parse_index(self._fetch(key, 0, size), self._pack)

    def open(self, member: Member) -> Iterator[bytes]:
        """The Part-10 bytes of one instance, in pieces.

        Raises
        ------
        IntegrityError
            While iterating, at the latest at its end: the bytes are not those of STO1.
        """
        if self._container is Container.P10:
            key, size = member_key(self._key, member), member.facts.sto_size
            # One byte more than there should be: a longer object shows itself without a request for its size.
            pieces = _at_most(self._objects.stream(key, 0, size + 1, device=self._device), size)
        else:
            pieces = self._objects.stream(self._key, member.offset, member.length, device=self._device)
        return self._verified(member, pieces)

    def walk(self, tap: Callable[[bytes], None] | None = None) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Every instance in the order of the pack, each like `open`, with one request for the whole pack.

        An iterator that was not drained is drained (and so verified) before the next instance comes. `tap` is given
        each piece of the object, headers and all that stands behind the instances included; of P10, nothing.
        """
        members = self.index().members
        if self._container is Container.P10:
            for member in members:
                yield from _drained(member, self.open(member))
            return
        end = members[-1].offset + members[-1].length if members else 0
        pieces = self._objects.stream(self._key, 0, end if tap is None else self._size, device=self._device)
        source = Cutter(pieces if tap is None else _tapped(pieces, tap))
        for member in members:
            yield from _drained(member, self._verified(member, source.take(member.length)))
        source.drain()

    def pieces(self) -> Iterator[bytes]:
        """The object as it is. Empty before the index was read."""
        return self._objects.stream(self._key, 0, self._size, device=self._device)

    def _verified(self, member: Member, pieces: Iterator[bytes]) -> Iterator[bytes]:
        if self._container is Container.TAR_ZST:
            pieces = _decompressed(pieces)
        digest = blake3()
        for piece in _window(pieces, member.lead, member.facts.sto_size):
            digest.update(piece)
            yield piece
        if digest.digest() != member.facts.sto1:
            raise IntegrityError("an instance's bytes differ from STO1", operation="read", place="pack")

    def _from_tail(self) -> Index:
        size = self._size = self._objects.size(self._key, device=self._device)
        tail = self._fetch(self._key, max(0, size - TAIL), min(size, TAIL))
        behind = len(END) if self._container is Container.TAR else _seek_table_size(tail)
        back = behind + LOCATOR
        if back > size:
            raise InvalidIndex("object is too short")
        if back > len(tail):
            line = self._fetch(self._key, size - back, LOCATOR)
        else:
            line = tail[len(tail) - back : len(tail) - back + LOCATOR]
        offset, length, lead, body_size = _parse_locator(line, size)
        if offset >= size - len(tail):
            start = offset - (size - len(tail))
            raw = tail[start : start + length]
        else:
            raw = self._fetch(self._key, offset, length)
        plain = iter((raw,))
        if self._container is Container.TAR_ZST:
            plain = _decompressed(plain)
        try:
            body = b"".join(_window(plain, lead, body_size))
        except IntegrityError as error:
            raise InvalidIndex("cannot be unpacked") from error
        return parse_index(body, self._pack)

    def _fetch(self, key: str, start: int, length: int) -> bytes:
        return b"".join(self._objects.stream(key, start, length, device=self._device)) if length else b""


class Cutter:
    """Cuts one stream of pieces into runs of given lengths.

    The rest of a piece stays a view: a hostile index may name a hundred thousand members in one piece, and copying
    what is left for each of them would take minutes.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def take(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self._rest or memoryview(next(self._pieces, b""))
            if not piece:
                raise IntegrityError("the object ends too early", operation="read", place="pack")
            self._rest = piece[length:]
            cut = piece[:length]
            length -= len(cut)
            yield bytes(cut)

    def rest(self) -> Iterator[bytes]:
        """Everything that is left."""
        if self._rest:
            piece, self._rest = bytes(self._rest), memoryview(b"")
            yield piece
        yield from self._pieces

    def drain(self) -> None:
        """All that is left was asked for."""
        for _ in self._pieces:
            pass


def _tapped(pieces: Iterator[bytes], tap: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        tap(piece)
        yield piece


def _drained(member: Member, pieces: Iterator[bytes]) -> Iterator[tuple[Member, Iterator[bytes]]]:
    yield member, pieces
    for _ in pieces:
        pass


def _window(pieces: Iterator[bytes], lead: int, size: int) -> Iterator[bytes]:
    """Bytes [lead, lead + size) of the pieces; less than a block of padding may follow."""
    at = 0
    stop = lead + size
    for piece in pieces:
        cut = piece[max(0, lead - at) : max(0, stop - at)]
        at += len(piece)
        if at >= stop + BLOCK:
            raise IntegrityError("an instance goes on behind its end", operation="read", place="pack")
        if cut:
            yield cut
    if at < stop:
        raise IntegrityError("an instance ends too early", operation="read", place="pack")


def _at_most(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        size -= len(piece)
        if size < 0:
            raise IntegrityError("an instance is longer than it was", operation="read", place="pack")
        yield piece


def _decompressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    source = Readable(pieces)
    reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(source, read_size=PIECE)  # pyright: ignore[reportArgumentType]
    try:
        while piece := reader.read(PIECE):
            yield piece
    except zstandard.ZstdError as error:
        raise IntegrityError("a frame cannot be decompressed", operation="read", place="pack") from error
    if source.read(1):
        raise IntegrityError("bytes behind a frame", operation="read", place="pack")


class Readable:
    """The `read` that zstd wants, over pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int) -> bytes:
        del size  # the pieces are at most 1 MiB, which is what is asked for
        return next(self._pieces, b"")


def _seek_table_size(tail: bytes) -> int:
    if len(tail) < SEEK_FOOTER:
        raise InvalidIndex("object is too short")
    frames, _, magic = struct.unpack("<IBI", tail[-SEEK_FOOTER:])
    return SKIPPABLE_HEADER + frames * SEEK_ENTRY + SEEK_FOOTER if magic == SEEKABLE_MAGIC else 0


def _parse_locator(line: bytes, size: int) -> tuple[int, int, int, int]:
    if not (len(line) == LOCATOR and line.startswith(b"{") and line.endswith(b"\n")):
        raise InvalidIndex("no locator where it should be")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidIndex("locator is not JSON") from None
    if not isinstance(value, dict) or (value.get("format"), value.get("version")) != ("limosa-locator", 1):
        raise InvalidIndex("locator missing or of an unknown version")
    offset, length, lead, body_size = (_size(value.get(field)) for field in ("offset", "length", "lead", "size"))
    if offset + length > size or length > MAX_BODY or lead + body_size > MAX_BODY:
        raise InvalidIndex("locator points outside the object")
    return offset, length, lead, body_size


def _size(value: object) -> int:
    if type(value) is not int or value < 0:
        raise InvalidIndex("locator holds no sizes")
    return value
