"""What fuzzing, and reading for it, brought to light, one promise each; the inputs go through the targets, too."""

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import fuzz_association
import fuzz_pack
import pytest
from fuzz_line import Line

from actors.dimse.association import Association
from actors.dimse.violation import PeerGone, ProtocolViolation
from actors.dimse.wire import Wire
from storage.packs.index import InvalidIndex, parse_index
from storage.packs.reader import _Cutter

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
    cutter = _Cutter(iter([bytes(1 << 20)]))

    began = time.process_time()
    for _ in range(1 << 16):
        assert b"".join(cutter.take(16)) == bytes(16)

    assert time.process_time() - began < 2


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
