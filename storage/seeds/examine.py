"""Reads one pack from its first byte to its last, and says what is wrong with it.

Stricter than the reader that fetches instances: every byte has to be one that `PackEncoder` writes, tar headers,
padding and end blocks included, so that no other tool can see anything else in the pack than its index says: no
second member of a name, no path out of the folder, no link, nothing behind the end. Memory stays at a few MiB and
what a frame may unfold to is bounded by what the index says of it.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import zstandard
from blake3 import blake3

from imaging.uid import Uid
from storage.errors import IntegrityError
from storage.packs.crc64 import crc64
from storage.packs.format import BLOCK, END, INDEX_NAME, PackEncoder, member_header
from storage.packs.index import MAX_BODY, Index, InvalidIndex
from storage.packs.model import Container, Member, PackId
from storage.packs.naming import index_key_beside, member_name
from storage.packs.reader import MAX_WINDOW, Cutter, PackReader, Readable
from storage.sinks.protocol import ObjectReader

PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """One pack as it was read."""

    size: int
    crc64: int
    sha256: bytes
    blake3: bytes
    index: Index | None
    """None where neither the pack's own nor the one beside it can be read."""
    index_size: int
    index_sha256: bytes
    """Of the index beside the pack."""
    damaged: tuple[Uid, ...]
    """Instances whose bytes are not those that were written."""
    fault: str
    """What else is wrong; empty when nothing."""

    @property
    def sound(self) -> bool:
        return not self.damaged and not self.fault


class Sums:
    """Everything that is computed of bytes as they pass."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self.size = 0
        self.crc64 = 0
        self.sha256 = hashlib.sha256()
        self.blake3 = blake3()
        self._report = report

    def through(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces, summed up."""
        for piece in pieces:
            self.size += len(piece)
            self.crc64 = crc64(piece, self.crc64)
            self.sha256.update(piece)
            self.blake3.update(piece)
            self._report(len(piece))
            yield piece


def examine(
    objects: ObjectReader,
    pack: PackId,
    container: Container,
    key: str,
    *,
    device: str = "",
    report: Callable[[int], None] = lambda octets: None,
    whole: Iterator[bytes] | None = None,
) -> Examined:
    """The pack was read once, whole. `report` is told of bytes read; `whole` is the object, where its owner wants to
    see how it is read.

    Raises
    ------
    FileNotFoundError
        There is no such object.
    Retryable, Rejected
        It cannot be read.
    """
    size = objects.size(key, device=device)
    sums = Sums(report)
    cutter = Cutter(sums.through(objects.stream(key, 0, size, device=device) if whole is None else whole))
    beside = _beside(objects, pack, container, key, device)
    index, fault = _index_of(PackReader(objects, pack, container, key, device=device), container)
    members = () if index is None else index.members
    damaged = tuple(each.facts.sop_uid for each in members if not _sound(cutter, container, each))
    encoder = PackEncoder(pack, container, members, last=index is None or index.last)
    if members and not fault and not _ends_as_written(cutter.rest(), encoder, container):
        fault = "index, tar end or what is behind it"
    cutter.drain()
    if not fault and beside != encoder.index():
        fault = "index beside the pack is missing" if beside is None else "index beside the pack differs"
    return Examined(
        size=sums.size,
        crc64=sums.crc64,
        sha256=sums.sha256.digest(),
        blake3=sums.blake3.digest(),
        index=index,
        index_size=len(beside or b""),
        index_sha256=hashlib.sha256(beside or b"").digest(),
        damaged=damaged,
        fault=fault,
    )


def _index_of(reader: PackReader, container: Container) -> tuple[Index | None, str]:
    """The pack's own index; where it cannot be read, the one beside it, so that the damage can still be named."""
    try:
        index = reader.index()
    except InvalidIndex:
        try:
            beside = reader.sidecar()
        except (FileNotFoundError, InvalidIndex):
            return None, "index cannot be read"
        if beside.container is not container:
            return None, "index cannot be read"
        return beside, "own index cannot be read"
    return index, "" if index.members else "holds nothing"


def _sound(cutter: Cutter, container: Container, member: Member) -> bool:
    """The next bytes are this member as it is written; all of them were taken, whatever they are."""
    raw = cutter.take(member.length)
    facts = member.facts
    lead = member_header(member_name(facts.sop_uid), facts.sto_size)
    try:
        plain = _unfolded(raw) if container is Container.TAR_ZST else raw
        return len(lead) == member.lead and _matches(plain, lead, facts.sto_size, facts.sto1)
    except IntegrityError:
        return False
    finally:
        with suppress(IntegrityError):
            for _ in raw:
                pass


def _matches(plain: Iterator[bytes], lead: bytes, size: int, sto1: bytes) -> bool:
    """Exactly header, content and zeros up to a whole block."""
    digest = blake3()
    stop = len(lead) + size
    whole = stop + -stop % BLOCK
    at = 0
    for piece in plain:
        start, at = at, at + len(piece)
        if at > whole:
            return False
        if start < len(lead):
            cut = piece[: len(lead) - start]
            if cut != lead[start : start + len(cut)]:
                return False
        digest.update(piece[max(0, len(lead) - start) : max(0, stop - start)])
        if at > stop and piece[max(0, stop - start) :].strip(b"\x00"):
            return False
    return at == whole and digest.digest() == sto1


def _ends_as_written(raw: Iterator[bytes], encoder: PackEncoder, container: Container) -> bool:
    if container is Container.TAR:
        expected, pieces = b"".join(encoder.finish()), raw
    else:
        body = encoder.index()
        body = body[:-1].ljust(len(body) - 1 + -len(body) % BLOCK) + b"\n"
        # What any tool sees; the frames themselves may come from another version of zstd.
        expected, pieces = member_header(INDEX_NAME, len(body)) + body + END, _unfolded(raw)
    at = 0
    for piece in pieces:
        if expected[at : at + len(piece)] != piece:
            return False
        at += len(piece)
    return at == len(expected)


def _unfolded(raw: Iterator[bytes]) -> Iterator[bytes]:
    """The plain bytes of all frames, as `zstd -d` would have them, piece by piece. Raises IntegrityError."""
    context = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    reader = context.stream_reader(Readable(raw), read_size=PIECE, read_across_frames=True)  # pyright: ignore[reportArgumentType]
    try:
        while piece := reader.read(PIECE):
            yield piece
    except zstandard.ZstdError as error:
        raise IntegrityError("a frame cannot be decompressed", operation="read", place="pack") from error


def _beside(objects: ObjectReader, pack: PackId, container: Container, key: str, device: str) -> bytes | None:
    beside = index_key_beside(pack, container, key)
    try:
        size = objects.size(beside, device=device)
    except FileNotFoundError:
        return None
    # A longer one is cut off, and differs.
    return b"".join(objects.stream(beside, 0, min(size, MAX_BODY), device=device))
