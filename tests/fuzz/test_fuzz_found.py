"""What fuzzing, and reading for it, brought to light, one promise each; the inputs go through the targets, too."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import fuzz_association
import fuzz_pack
import pytest
from fuzz_dataset import identity
from fuzz_line import Line

from actors.dimse.association import Association
from actors.dimse.violation import PeerGone, ProtocolViolation
from actors.dimse.wire import Wire
from imaging.errors import MalformedDataset
from imaging.facts import InstanceFacts
from imaging.flags import Flag
from imaging.instance import describe
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta
from imaging.syntaxes import EXPLICIT_LE
from storage.packs.index import InvalidIndex, parse_index
from storage.packs.reader import Cutter

HERE = Path(__file__).parent


def lines(change: Callable[[list[dict[str, object]]], None]) -> bytes:
    """A sound index, changed, with a digest that is right."""
    seed = (HERE / "corpus" / "pack" / "tar-lines").read_bytes()[1:]
    records = [json.loads(line) for line in seed.splitlines()]
    change(records)
    return fuzz_pack.made_good(b"\n".join(json.dumps(record).encode() for record in records))


def test_the_index_these_tests_start_from_is_sound() -> None:
    assert len(parse_index(lines(lambda records: None)).members) == 2


@pytest.mark.parametrize("revision", [0, 10_000, 1 << 62])
def test_an_index_of_a_revision_that_no_key_can_name_is_refused(revision: int) -> None:
    with pytest.raises(InvalidIndex, match="revision"):
        parse_index(lines(lambda records: records[0].update(revision=revision)))


@pytest.mark.parametrize("flag", ["", "\0", "\x1b[2J", "A\ud800", "patient name", "A" * 65])
def test_flags_that_are_no_names_are_refused(flag: str) -> None:
    with pytest.raises(InvalidIndex, match="flags"):
        parse_index(lines(lambda records: records[1].update(flags=[flag])))


def test_a_flag_of_a_later_version_is_taken() -> None:
    index = parse_index(lines(lambda records: records[1].update(flags=["NEWER_FLAG_2"])))

    assert index.members[0].facts.flags == ("NEWER_FLAG_2",)


@pytest.mark.parametrize("spoil", [str.upper, lambda text: " " + text, lambda text: text[:2] + " " + text[2:]])
def test_a_digest_that_is_not_written_as_ours_is_refused(spoil: Callable[[str], str]) -> None:
    with pytest.raises(InvalidIndex, match="sto1"):
        parse_index(lines(lambda records: records[1].update(sto1=spoil(str(records[1]["sto1"])))))


def test_many_tiny_members_of_one_piece_cost_no_more_than_their_bytes() -> None:
    cutter = Cutter(iter([bytes(1 << 20)]))

    began = time.process_time()
    for _ in range(1 << 16):
        assert b"".join(cutter.take(16)) == bytes(16)

    assert time.process_time() - began < 2


ITEM, ITEM_END = b"\xfe\xff\x00\xe0" + b"\xff" * 4, b"\xfe\xff\x0d\xe0" + bytes(4)
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)
META = encode_meta(None, None, EXPLICIT_LE)


def nested(depth: int, inside: bytes, vr: bytes = b"SQ") -> bytes:
    for _ in range(depth):
        inside = struct.pack("<HH2sHL", 0x0040, 0xA730, vr, 0, 0xFFFFFFFF) + ITEM + inside + ITEM_END + SEQUENCE_END
    return inside


def described(dataset: bytes) -> InstanceFacts:
    return describe(MemoryOctets(META + dataset + identity(EXPLICIT_LE)), len(META), EXPLICIT_LE, bytes(32))


def test_nested_emptiness_keeps_nobody_busy_for_longer_than_its_bytes_deserve() -> None:
    empty = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + (ITEM + ITEM_END) * 20_000 + SEQUENCE_END
    began = time.process_time()

    with pytest.raises(MalformedDataset, match="too many elements in all"):
        described(nested(60, empty))

    assert time.process_time() - began < 10


def test_a_dataset_that_would_be_read_as_file_meta_is_refused() -> None:
    another = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", 18) + b"1.2.840.10008.1.2\0"

    with pytest.raises(MalformedDataset, match="file meta inside the dataset"):
        described(another)


def test_a_report_nested_as_deep_as_any_is_described() -> None:
    text = struct.pack("<HH2sH", 0x0040, 0xA040, b"CS", 4) + b"TEXT"

    assert described(nested(15, nested(1, text) * 500)).flags == (Flag.OUT_OF_ORDER,)


def test_a_value_of_undefined_length_that_is_no_sequence_is_flagged() -> None:
    assert Flag.UNDEFINED_LENGTH in described(nested(2, b"", b"OB")).flags
    assert Flag.UNDEFINED_LENGTH not in described(nested(2, b"")).flags


@pytest.mark.parametrize("path", sorted((HERE / "corpus" / "association").iterdir()), ids=lambda path: path.name)
def test_a_real_socket_hears_what_the_line_in_memory_hears(path: Path) -> None:
    stream = fuzz_association.stream_of(path.read_bytes())
    line, heard = Line(stream), bytearray()
    serve(line)
    ours, theirs = socket.socketpair()

    def peer() -> None:
        while piece := theirs.recv(1 << 16):
            heard.extend(piece)
        theirs.close()

    hearing = threading.Thread(target=peer)
    hearing.start()
    sending = threading.Thread(target=send, args=(theirs, stream))
    sending.start()
    serve(ours)
    sending.join(10)
    hearing.join(10)

    assert heard == line.sent


def serve(connection: object) -> None:
    site = fuzz_association.Site(fuzz_association.LIMITS.dataset + 4096, 0)
    try:
        Association(Wire(connection), "192.0.2.1", site.service()).serve()  # type: ignore[arg-type]
    except (ProtocolViolation, PeerGone):
        assert all(landing.released for landing in site.landings)


def send(connection: socket.socket, stream: bytes) -> None:
    try:
        connection.sendall(stream)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return  # cut off already, which is an answer too
