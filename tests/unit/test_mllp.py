"""MLLP: frames from anybody, and an answer to each message that was one."""

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.mllp import MllpLine, MllpListener, NotAnswered
from imaging.hl7.acknowledge import Answer, acknowledgement, answer_of
from imaging.hl7.mllp import Frames, NoFrame, framed

AT = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
MESSAGE = b"MSH|^~\\&|ADT|NORTH|LIMOSA|MIG|20260101||ADT^A40^ADT_A39|4711|P|2.3\rPID|||1^^^NORTH\rMRG|2^^^NORTH\r"
LIMIT = 1000
PATIENCE = 10.0


@given(st.lists(st.binary(max_size=60)), st.integers(1, 7))
def test_messages_come_out_as_they_went_in_however_the_octets_are_cut(sent: list[bytes], step: int) -> None:
    plain = [bytes(octet for octet in one if octet not in (0x0B, 0x1C)) for one in sent]
    stream = b"\r\n".join(map(framed, plain))
    frames = Frames(LIMIT)

    found = [one for at in range(0, len(stream), step) for one in frames.feed(stream[at : at + step])]

    assert found == plain
    assert not frames.within


@pytest.mark.parametrize(
    "octets",
    [b"GET / HTTP/1.1\r\n", b"\x0bMSH|^~", b"\x0b" + b"x" * (LIMIT + 1), b"\x0bMSH|\x0bMSH|", b"\x0b\x1c\rX"],
    ids=["http", "unfinished", "endless", "nested", "behind"],
)
def test_what_is_no_frame_ends_and_is_never_a_message(octets: bytes) -> None:
    frames = Frames(LIMIT)
    found: list[bytes] = []

    if octets == b"\x0bMSH|^~":
        found += frames.feed(octets)
        assert frames.within
    else:
        with pytest.raises(NoFrame):
            found += frames.feed(octets)

    assert [one for one in found if one] == []


@given(st.binary(max_size=300))
def test_anything_is_answered_with_one_frame_that_can_be_read(message: bytes) -> None:
    said = acknowledgement(message, Answer.REJECTED, control_id="1", at=AT, why="no message")

    assert said.startswith(b"MSH") and b"\rMSA" in said
    assert list(Frames(1 << 20).feed(framed(said))) == [said]


def test_an_answer_names_the_message_and_changes_the_sides() -> None:
    said = acknowledgement(MESSAGE, Answer.ERROR, control_id="9", at=AT, why="HL7_TIME in EVN-2")

    assert said == (
        b"MSH|^~\\&|LIMOSA|MIG|ADT|NORTH|20261124180000+0000||ACK^A40|9|P|2.3\rMSA|AE|4711|HL7_TIME in EVN-2\r"
    )
    assert answer_of(said, "4711") is Answer.ERROR
    assert answer_of(said, "4712") is None


@pytest.mark.parametrize("said", [b"", b"MSH|^~\\&|x\r", b"MSA|AA|1\r", b"MSH|^~\\&|x\rMSA|ZZ|1\r", b"\xff\xfe"])
def test_an_answer_that_says_nothing_is_none(said: bytes) -> None:
    assert answer_of(said, "1") is None


Listening = Callable[..., MllpListener]


@pytest.fixture
def listening() -> Iterator[Listening]:
    """`listening(answer, **settings)` is a listener that is stopped with the test."""
    made: list[MllpListener] = []

    def start(answer: Callable[[bytes], bytes], **settings: object) -> MllpListener:
        made.append(MllpListener("127.0.0.1", 0, answer, **settings))  # pyright: ignore[reportArgumentType]
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()


def connected(listener: MllpListener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=PATIENCE)


def ends(connection: socket.socket) -> bool:
    with connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def test_messages_are_answered_one_by_one_over_one_connection(listening: Listening) -> None:
    heard: list[bytes] = []

    def answer(message: bytes) -> bytes:
        heard.append(message)
        return acknowledgement(message, Answer.ACCEPTED, control_id="1", at=AT)

    line = MllpLine("127.0.0.1", listening(answer).port, tls=None, timeout=PATIENCE)

    answers = [answer_of(line.send(MESSAGE), "4711") for _ in range(3)]
    line.close()

    assert answers == [Answer.ACCEPTED] * 3
    assert heard == [MESSAGE] * 3


def test_hostile_peers_are_turned_away_and_others_are_heard(listening: Listening) -> None:
    listener = listening(lambda message: b"MSH|^~\\&|a\rMSA|AA|4711\r", message_limit=LIMIT, stall=0.3)
    for octets in (b"GET / HTTP/1.1\r\n\r\n", b"\x0b" + b"x" * (LIMIT + 1), b"\x0bMSH|^~"):
        hostile = connected(listener)
        hostile.sendall(octets)
        assert ends(hostile)
    line = MllpLine("127.0.0.1", listener.port, tls=None, timeout=PATIENCE)

    said = line.send(MESSAGE)
    line.close()

    assert answer_of(said, "4711") is Answer.ACCEPTED
    assert listener.turned_away == {"frame": 2, "stall": 1}


def test_only_those_on_the_list_are_let_in(listening: Listening) -> None:
    listener = listening(lambda message: message, allow=("192.0.2.0/24",))

    assert ends(connected(listener))
    assert listener.turned_away == {"address": 1}


def test_what_is_being_answered_when_it_stops_is_answered(listening: Listening) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(message: bytes) -> bytes:
        asked.set()
        assert go_on.wait(PATIENCE)
        return message

    listener = listening(answer)
    connection = connected(listener)
    connection.sendall(framed(MESSAGE) + framed(MESSAGE))
    assert asked.wait(PATIENCE)
    stopping = threading.Thread(target=listener.stop)
    stopping.start()
    go_on.set()
    stopping.join(PATIENCE)

    with connection:
        said = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    # What came in one piece is answered as a whole; nothing is read any more.
    assert said == framed(MESSAGE) * 2
    with pytest.raises(OSError):
        connected(listener)


def test_a_line_without_an_answer_says_so_and_can_be_used_again(listening: Listening) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    line = MllpLine("127.0.0.1", silent.getsockname()[1], tls=None, timeout=0.2)

    with silent, pytest.raises(NotAnswered):
        line.send(MESSAGE)
    with pytest.raises(NotAnswered):
        line.send(MESSAGE)
