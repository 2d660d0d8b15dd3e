"""The bytes of a pack, member by member.

    TAR       [header instance padding]* [header index padding locator] [two zero blocks]
    TAR_ZST   [frame: header instance padding]* [frame: header index padding] [frame: two zero blocks]
              [skippable frame: locator] [skippable frame: seek table]

A pack is an ordinary tar: `tar t`, `zstd -dc | tar t` and `tar --zstd -t` read it. The locator, a JSON
line of fixed size, says where the index lies, so that a reader needs only the object's tail. The seek table
is zstd's seekable format 0.1.0.

Equal instances in equal order give equal bytes (with one version of the zstd library), so a resumed pack
goes on as if nothing had happened.
"""

import json
import struct
import tarfile
from collections.abc import Iterator, Sequence

import zstandard

from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets, Octets, chunks
from storage.packs.index import Index, serialise_index
from storage.packs.model import Container, Member, PackId
from storage.packs.naming import member_name

BLOCK = tarfile.BLOCKSIZE
LOCATOR = 512
"""Bytes of the locator line: a block, so that in a plain tar it is the last one before the two zero blocks."""
END = bytes(2 * BLOCK)

SKIPPABLE_LOCATOR = 0x184D2A50
SKIPPABLE_SEEK_TABLE = 0x184D2A5E
SEEKABLE_MAGIC = 0x8F92EAB1
SKIPPABLE_HEADER = 8
SEEK_FOOTER = 9
SEEK_ENTRY = 8

INDEX_NAME = "index.jsonl"

NATIVE_SYNTAXES = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.113619.5.2"})
"""Implicit and explicit little endian, explicit big endian (PS3.5 A.1, A.2, A.3) and GE's private mixture of them:
pixels are not compressed."""

RAW_LEVEL = 1
"""zstd level for native pixels: 355 MB/s at ratio 1.71 on CT; level 3 halves the speed for 13 %."""
PACKED_LEVEL = -100
"""For pixels that are compressed already: zstd finds that out at memory speed and stores them."""

_U32 = 1 << 32

Piece = bytes | memoryview


class PackEncoder:
    """Turns instances into the bytes of one pack, in order. Nothing is written here.

    Used by one thread at a time; the pieces of one call must be drained before the next.
    """

    def __init__(
        self, pack: PackId, container: Container, members: Sequence[Member] = (), *, last: bool = True
    ) -> None:
        """`members` are those of an interrupted pack; the encoder goes on behind them."""
        if container is Container.P10:
            raise ValueError("loose instances are not encoded")
        self._pack = pack
        self._container = container
        self._members = list(members)
        self.last = last
        """False: the study goes on in another volume; to be said before `finish`."""
        self._index = -1, True, b""
        """How many members, and of the last volume or not, the bytes beside it are the index of: it is needed in the
        pack and beside it."""
        self._offset = members[-1].offset + members[-1].length if members else 0

    @property
    def members(self) -> Sequence[Member]:
        return self._members

    @property
    def offset(self) -> int:
        """Bytes produced so far, those of earlier attempts included."""
        return self._offset

    def add(self, facts: InstanceFacts, part10: Octets) -> Iterator[Piece]:
        """The bytes of one member; it is the last of `members` once they are drained.

        Views among the pieces are valid until the next piece is asked for.
        """
        start = self._offset
        header = member_header(member_name(facts.sop_uid), part10.size)
        for piece in self._frame(header, part10, _level(facts)):
            self._offset += len(piece)
            yield piece
        self._members.append(Member(facts=facts, offset=start, length=self._offset - start, lead=len(header)))

    def index(self) -> bytes:
        """The index of the members so far, as it lies beside the pack."""
        count, last, body = self._index
        if (count, last) != (len(self._members), self.last):
            members = tuple(self._members)
            index = Index(pack=self._pack, container=self._container, members=members, last=self.last)
            body = serialise_index(index)
            self._index = len(members), self.last, body
        return body

    def finish(self) -> Iterator[Piece]:
        """The bytes behind the last member; afterwards the pack is complete."""
        members = tuple(self._members)
        body = self.index()
        # Blanks before the last line's end keep it JSON Lines.
        body = body[:-1].ljust(len(body) - 1 + _padding(len(body))) + b"\n"
        if self._container is Container.TAR:
            header = member_header(INDEX_NAME, len(body) + LOCATOR)
            locator = locator_line(self._offset, len(header) + len(body), len(header), len(body))
            tail = iter((header, body, locator, END))
        else:
            tail = self._zst_tail(members, body)
        for piece in tail:
            self._offset += len(piece)
            yield piece

    def _frame(self, header: bytes, content: Octets, level: int) -> Iterator[Piece]:
        padding = bytes(_padding(content.size))
        if self._container is Container.TAR:
            yield header
            yield from chunks(content, 0, content.size)
            yield padding
            return
        size = len(header) + content.size + len(padding)
        frame = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj(size=size)
        # Always the same steps, whatever the source of the bytes: zstd's output may depend on them.
        yield frame.compress(header)
        for piece in chunks(content, 0, content.size):
            yield frame.compress(piece)
        yield frame.compress(padding)
        yield frame.flush()

    def _zst_tail(self, members: tuple[Member, ...], body: bytes) -> Iterator[Piece]:
        table = [(member.length, _plain_size(member)) for member in members]
        start = self._offset
        header = member_header(INDEX_NAME, len(body))
        frame = b"".join(self._frame(header, MemoryOctets(body), RAW_LEVEL))
        table.append((len(frame), len(header) + len(body)))
        yield frame
        end = zstandard.ZstdCompressor(level=RAW_LEVEL, write_checksum=True).compress(END)
        table.append((len(end), len(END)))
        yield end
        locator = locator_line(start, len(frame), len(header), len(body))
        yield struct.pack("<II", SKIPPABLE_LOCATOR, LOCATOR) + locator
        table.append((SKIPPABLE_HEADER + LOCATOR, 0))
        yield _seek_table(table)


def locator_line(offset: int, length: int, lead: int, size: int) -> bytes:
    """The locator: fetch [offset, offset + length), decompress, and the index is `size` bytes behind `lead`."""
    line = json.dumps(
        {"format": "limosa-locator", "version": 1, "offset": offset, "length": length, "lead": lead, "size": size},
        separators=(",", ":"),
    ).encode("ascii")
    return line.ljust(LOCATOR - 1) + b"\n"


def _seek_table(frames: Sequence[tuple[int, int]]) -> bytes:
    """The seek table, or nothing where a frame is too long for its 32-bit entries.

    Our reader needs no table; other tools then read the pack from its start.
    """
    if any(packed >= _U32 or plain >= _U32 for packed, plain in frames):
        return b""
    entries = b"".join(struct.pack("<II", packed, plain) for packed, plain in frames)
    footer = struct.pack("<IBI", len(frames), 0, SEEKABLE_MAGIC)
    return struct.pack("<II", SKIPPABLE_SEEK_TABLE, len(entries) + len(footer)) + entries + footer


def member_header(name: str, size: int) -> bytes:
    """What precedes a member: a ustar header, preceded by a PAX header where the size has more than 33 bits."""
    if size > _USTAR_LIMIT:
        return _full_header(name, size)
    # The same bytes as below: tarfile needs 30 us for what differs in two fields and their sum.
    head, digits = name.encode("ascii"), b"%011o" % size
    if len(head) > _NAME:
        raise ValueError("a name of more than 100 bytes")
    block = bytearray(_BLANK)
    block[: len(head)] = head
    block[_SIZE : _SIZE + len(digits)] = digits
    block[_SUM : _SUM + 6] = b"%06o" % (_BLANK_SUM + sum(head) + sum(digits))
    return bytes(block)


def _full_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    info.mtime = 0
    return info.tobuf(format=tarfile.PAX_FORMAT, encoding="ascii", errors="strict")


_NAME, _SIZE, _SUM = 100, 124, 148
"""Bytes a name has, and where size and checksum stand (POSIX.1-1988 ustar)."""
_USTAR_LIMIT = (1 << 33) - 1
_BLANK = _full_header("", 0)
_BLANK_SUM = int(_BLANK[_SUM : _SUM + 6], 8) - sum(b"%011o" % 0)


def _padding(size: int) -> int:
    return -size % BLOCK


def _plain_size(member: Member) -> int:
    size = member.facts.sto_size
    return member.lead + size + _padding(size)


def _level(facts: InstanceFacts) -> int:
    return RAW_LEVEL if facts.transfer_syntax in NATIVE_SYNTAXES else PACKED_LEVEL
