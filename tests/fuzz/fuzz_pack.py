"""Packs and indexes from devices and endpoints we do not own: believed to the last byte, or a named error."""

import json
import time
from collections.abc import Iterator
from unittest.mock import patch

import zstandard
from blake3 import blake3

from imaging.uid import Uid
from storage.errors import IntegrityError
from storage.packs import index as index_module
from storage.packs import reader as reader_module
from storage.packs.format import BLOCK, END, LOCATOR, SKIPPABLE_HEADER, SKIPPABLE_LOCATOR, locator_line
from storage.packs.index import Index, InvalidIndex, parse_index, serialise_index
from storage.packs.model import Container, PackId
from storage.packs.naming import index_key, instance_key, pack_key
from storage.packs.reader import PackReader

SECONDS = 5.0
PACK = PackId(study_uid=Uid("1.2.3"), revision=1)
MAX_BODY = 1 << 20
"""Bytes of an index here; the true bound is 512 MiB, which no input of a few KiB must reach."""
PIECE = 700
"""Bytes of one piece of a stream here: neither a block nor a power of two."""


class Objects:
    """One object under every key."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.served = 0

    def size(self, key: str, *, device: str = "") -> int:
        return len(self._octets)

    def stream(self, key: str, start: int, length: int, *, device: str = "") -> Iterator[bytes]:
        assert start >= 0
        assert length >= 0
        self.served += length
        wanted = self._octets[start : start + length]
        for at in range(0, len(wanted), PIECE):
            yield wanted[at : at + PIECE]


def run(data: bytes) -> None:
    """The first byte chooses: an index, an index with its digest made good, a whole object, or such an index in one."""
    if not data:
        return
    shape, body = data[0], data[1:]
    began = time.process_time()
    with patch.object(index_module, "MAX_BODY", MAX_BODY), patch.object(reader_module, "MAX_BODY", MAX_BODY):
        match shape % 6:
            case 0:
                check_index(body)
            case 1:
                check_index(made_good(body))
            case 2:
                check_object(body, Container.TAR)
            case 3:
                check_object(body, Container.TAR_ZST)
            case 4:
                check_object(in_tar(*apart(body)), Container.TAR)
            case _:
                check_object(in_zst(*apart(body)), Container.TAR_ZST)
    assert time.process_time() - began < SECONDS, "took too long"


def check_index(body: bytes) -> None:
    try:
        index = parse_index(body)
    except InvalidIndex as error:
        assert len(str(error)) < 200
        return
    check_names(index)
    assert parse_index(serialise_index(index), index.pack) == index


def check_names(index: Index) -> None:
    """What an index says becomes keys and rows: nothing in it may be more than it should."""
    key = pack_key(index.pack, index.container)
    index_key(index.pack)
    for member in index.members:
        facts = member.facts
        if index.container is Container.P10:
            instance_key(key, facts.series_uid, facts.sop_uid)
        assert all(flag.isascii() and flag.isprintable() and 0 < len(flag) <= 64 for flag in facts.flags)
        assert all(0 <= size < 1 << 63 for size in (member.offset, member.length, member.lead, facts.sto_size))


def check_object(octets: bytes, container: Container) -> None:
    objects = Objects(octets)
    reader = PackReader(objects, PACK, container, pack_key(PACK, container))
    try:
        index = reader.index()
    except InvalidIndex:
        assert objects.served <= 3 * len(octets) + LOCATOR
        return
    check_names(index)
    objects.served = 0
    walked: dict[str, bytes] = {}
    tapped = 0

    def tap(piece: bytes) -> None:
        nonlocal tapped
        tapped += len(piece)

    try:
        for member, pieces in reader.walk(tap):
            content = b"".join(pieces)
            assert blake3(content).digest() == member.facts.sto1, "bytes that are not STO1 were believed"
            assert len(content) == member.facts.sto_size
            walked[member.facts.sop_uid] = content
        assert tapped == len(octets)
        assert len(walked) == len(index.members)
    except IntegrityError:
        pass
    for member in index.members:
        try:
            content = b"".join(reader.open(member))
        except IntegrityError:
            continue
        assert walked.get(member.facts.sop_uid, content) == content


def made_good(body: bytes) -> bytes:
    """The lines of `body` as an index whose header counts them and whose last line has their digest."""
    header, *members = body.split(b"\n")
    try:
        says = json.loads(header)
        says["members"] = len(members)
        header = json.dumps(says).encode()
    except (ValueError, TypeError, RecursionError):
        pass
    lines = b"".join(line + b"\n" for line in (header, *members))
    end = json.dumps({"end": len(members), "blake3": blake3(lines).hexdigest()}).encode()
    return lines + end + b"\n"


def apart(body: bytes) -> tuple[bytes, bytes]:
    """The members' bytes and the index's lines: the first two bytes say how long the former are."""
    size = int.from_bytes(body[:2], "little")
    return body[2 : 2 + size], body[2 + size :]


def in_tar(content: bytes, lines: bytes) -> bytes:
    index = made_good(lines)
    locator = locator_line(len(content), BLOCK + len(index), BLOCK, len(index))
    return content + bytes(BLOCK) + index + locator + END


def in_zst(content: bytes, lines: bytes) -> bytes:
    index = made_good(lines)
    frame = zstandard.compress(bytes(BLOCK) + index, 1)
    locator = locator_line(len(content), len(frame), BLOCK, len(index))
    head = SKIPPABLE_LOCATOR.to_bytes(4, "little") + LOCATOR.to_bytes(4, "little")
    assert len(head) == SKIPPABLE_HEADER
    return content + frame + head + locator
