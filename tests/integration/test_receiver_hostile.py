"""What strangers, broken senders and port scans do to the receiver: nothing, and nobody else notices."""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from actors.dimse.associate import AssociateRequest, Proposal
from actors.dimse.command import Tag, Verb, encode_command, parse_command
from actors.dimse.incoming import Incoming
from actors.dimse.items import decode_accept, encode_request
from actors.dimse.limits import MAX_PDU, Limits
from actors.dimse.pdata import COMMAND, LAST, encode_fragment, fragments
from actors.dimse.receiver import Receiver
from actors.dimse.store import StoreConversation, StoredAs, StoreEnd
from actors.dimse.violation import Violation
from actors.options import Receiver as ReceiverOptions
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta
from storage.budget import MemoryBudget
from storage.errors import Retryable
from storage.spool import LandingPlace, Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAX = "1.2.840.10008.1.2.1"
SOP = "1.2.826.0.1.3680043.8.498.1"
DATASET = os.urandom(30_000)
LIMITS = Limits(
    associations=8,
    connections=24,
    dataset=1 << 20,
    opening=timedelta(seconds=0.5),
    idle=timedelta(seconds=20),
    stall=timedelta(seconds=0.5),
    leaving=timedelta(seconds=0.3),
)
WAIT = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def associate(called: str = "LIMOSA", proposals: tuple[Proposal, ...] | None = None) -> bytes:
    only = (Proposal(context=1, abstract_syntax=CT, transfer_syntaxes=(SYNTAX,)),)
    return encode_request(
        AssociateRequest(called_ae=called, calling_ae="STRANGER", proposals=only if proposals is None else proposals)
    )


def store_command(sop_uid: bytes = SOP.encode(), field: int = Verb.C_STORE) -> bytes:
    values: dict[int, int | bytes] = {
        Tag.MESSAGE_ID: 3,
        Tag.PRIORITY: 0,
        Tag.AFFECTED_SOP_CLASS: CT.encode(),
        Tag.AFFECTED_SOP_INSTANCE: sop_uid,
    }
    return encode_command(field, values, dataset_type=1)


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


class Stranger:
    """A raw connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT)

    def associated(self) -> "Stranger":
        self.socket.sendall(associate())
        kind, body = self.read_pdu()
        assert kind == 2
        assert decode_accept(memoryview(body)).answers[0].result == 0
        return self

    def send(self, octets: bytes) -> None:
        with contextlib.suppress(OSError):  # cut off already: what it was told is read next
            self.socket.sendall(octets)

    def read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def status(self) -> int | None:
        kind, body = self.read_pdu()
        assert kind == 4
        ((_, control, data),) = fragments(memoryview(body))
        assert control == COMMAND | LAST
        return parse_command(data).number(Tag.STATUS)

    def last_words(self) -> int:
        """The type of the last PDU before the end; 0 where the connection just ended."""
        kind = 0
        try:
            while True:
                kind, _ = self.read_pdu()
        except (EOFError, ConnectionError):
            return kind

    def _exactly(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            piece = self.socket.recv(size - len(parts))
            if not piece:
                raise EOFError
            parts += piece
        return parts


class Site:
    """A receiver, what it got, and a well-behaved sender on an association of its own."""

    def __init__(self, folder: Path, limits: Limits = LIMITS) -> None:
        self.got: list[tuple[str, int]] = []
        self.answer = 0
        self.place = LandingPlace(Spool(folder), MemoryBudget(64 << 20), 8 << 20)
        options = ReceiverOptions(ae_title="LIMOSA", port=free_port())
        self.receiver = Receiver(options, self.place.open, self._take, limits=limits)
        self.receiver.start()
        self.sender = StoreConversation(
            host="127.0.0.1",
            port=self.receiver.port,
            called_ae="LIMOSA",
            calling_ae="HEALTHY",
            pairs=[StoredAs(CT, SYNTAX)],
        )

    def _take(self, incoming: Incoming) -> int:
        self.got.append((incoming.sop_uid, incoming.part10.size))
        return self.answer

    def healthy(self) -> bool:
        file = MemoryOctets(encode_meta(CT, SOP, SYNTAX) + DATASET)
        before = len(self.got)
        return self.sender.send(file).end is StoreEnd.STORED and self.got[before:] == [(SOP, file.size)]

    def stranger(self) -> Stranger:
        return Stranger(self.receiver.port)


@pytest.fixture
def site(tmp_path: Path, wait_until: Callable[..., None]) -> Iterator[Site]:
    site = Site(tmp_path / "spool")
    assert site.healthy()
    yield site
    assert site.healthy()
    site.sender.close()
    assert site.receiver.stop(timedelta(seconds=5))
    assert site.place.budget.use.used == 0
    assert list(site.place.spool.folder.iterdir()) == []
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "dimse"], what="no thread is left")


BEFORE = {
    "http": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Violation.UNKNOWN_PDU),
    "tls": (bytes.fromhex("16030102000100") + os.urandom(500), Violation.UNKNOWN_PDU),
    "zeros": (bytes(4000), Violation.UNKNOWN_PDU),
    "data before association": (
        encode_fragment(1, COMMAND | LAST, store_command()),
        Violation.UNEXPECTED_PDU,
    ),
    "release before association": (pdu(5, bytes(4)), Violation.UNEXPECTED_PDU),
    "absurd request length": (pdu(1, b"", 0xFFFFFFFF), Violation.PDU_TOO_LONG),
    "empty request": (pdu(1, b""), Violation.ASSOCIATE),
    "cut request": (associate()[:40], Violation.SILENT),
    "half a header": (b"\1\0\0", Violation.SILENT),
    "item beyond the end": (pdu(1, associate()[6:-3]), Violation.ASSOCIATE),
    "silence": (b"", Violation.SILENT),
}


@pytest.mark.parametrize("case", BEFORE)
def test_what_is_no_association_request_is_turned_away(site: Site, case: str, wait_until: Callable[..., None]) -> None:
    octets, reason = BEFORE[case]
    stranger = site.stranger()

    stranger.send(octets)

    assert stranger.last_words() == 7
    wait_until(lambda: site.receiver.stats.rejected[reason.value] == 1)
    assert site.receiver.stats.associations == 1


def fragment(control: int, data: bytes, context: int = 1) -> bytes:
    return encode_fragment(context, control, data)


WHOLE = fragment(COMMAND | LAST, store_command())
INSIDE = {
    "empty pdu": (pdu(4, b""), Violation.EMPTY_PDU),
    "longer than offered": (pdu(4, b"", MAX_PDU + 1), Violation.PDU_TOO_LONG),
    "absurd length": (pdu(4, b"", 0xFFFFFFFF), Violation.PDU_TOO_LONG),
    "value beyond the pdu": (pdu(4, struct.pack(">IBB", 500, 1, 3) + b"abc"), Violation.PDV_LENGTH),
    "value of one byte": (pdu(4, struct.pack(">IBB", 1, 1, 3)), Violation.PDV_LENGTH),
    "unknown pdu": (pdu(9, bytes(4)), Violation.UNKNOWN_PDU),
    "second request": (associate(), Violation.UNEXPECTED_PDU),
    "release with a body": (pdu(5, bytes(40)), Violation.PDU_TOO_LONG),
    "context never accepted": (fragment(COMMAND | LAST, store_command(), context=77), Violation.CONTEXT),
    "dataset first": (fragment(LAST, b"abc"), Violation.SEQUENCE),
    "command inside a dataset": (WHOLE + fragment(0, b"abc") + WHOLE, Violation.SEQUENCE),
    "context changes": (WHOLE + fragment(LAST, b"abc", context=3), Violation.CONTEXT),
    "command of noise": (fragment(COMMAND | LAST, os.urandom(7)), Violation.COMMAND),
    "command without message id": (
        fragment(COMMAND | LAST, encode_command(Verb.C_ECHO, {})),
        Violation.COMMAND,
    ),
    "uid of 64 KiB": (fragment(COMMAND | LAST, store_command(b"1" * 65536)), Violation.COMMAND_TOO_LONG),
    "command without end": (fragment(COMMAND, bytes(1000)) * 20, Violation.COMMAND_TOO_LONG),
    "response nobody asked for": (fragment(COMMAND | LAST, store_command(field=0x8001)), Violation.MESSAGE_ID),
    "dataset too long": (WHOLE + fragment(0, bytes(100_000)) * 11, Violation.DATASET_TOO_LONG),
    "discarded dataset too long": (
        fragment(COMMAND | LAST, store_command(field=Verb.C_FIND)) + fragment(0, bytes(100_000)) * 11,
        Violation.DATASET_TOO_LONG,
    ),
    "release inside a message": (WHOLE + fragment(0, b"abc") + pdu(5, bytes(4)), Violation.SEQUENCE),
    "half a pdu": (WHOLE[:20], Violation.SILENT),
    "dataset that stops": (WHOLE + fragment(0, b"abc"), Violation.SILENT),
}


@pytest.mark.parametrize("case", INSIDE)
def test_a_broken_message_aborts_its_association_only(site: Site, case: str, wait_until: Callable[..., None]) -> None:
    octets, reason = INSIDE[case]
    stranger = site.stranger().associated()

    stranger.send(octets)

    assert stranger.last_words() == 7
    wait_until(lambda: site.receiver.stats.aborted[reason.value] == 1)
    wait_until(lambda: site.receiver.stats.open_associations == 1)


@pytest.mark.parametrize(
    "octets", [WHOLE + fragment(0, bytes(100_000)), WHOLE[:20], WHOLE], ids=["in data", "in a pdu", "before data"]
)
def test_a_sender_that_vanishes_leaves_nothing(site: Site, octets: bytes, wait_until: Callable[..., None]) -> None:
    stranger = site.stranger().associated()
    stranger.send(octets)
    wait_until(lambda: site.receiver.stats.open_associations == 2)

    stranger.socket.close()

    wait_until(lambda: site.receiver.stats.open_associations == 1)
    assert sum(site.receiver.stats.aborted.values()) == 1


def test_an_abort_in_the_middle_of_an_instance_leaves_nothing(site: Site, wait_until: Callable[..., None]) -> None:
    stranger = site.stranger().associated()

    stranger.send(WHOLE + fragment(0, bytes(100_000)) + pdu(7, bytes(4)))

    assert stranger.last_words() == 0
    wait_until(lambda: site.receiver.stats.aborted["peer_gone"] == 1)


def test_dripping_bytes_are_no_progress(site: Site, wait_until: Callable[..., None]) -> None:
    stranger = site.stranger().associated()
    stranger.send(WHOLE)
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.1):
            stranger.send(fragment(0, b"x"))

    dripper = threading.Thread(target=drip)
    dripper.start()
    try:
        wait_until(lambda: site.receiver.stats.aborted["silent"] == 1)
    finally:
        ended.set()
        dripper.join()


@pytest.mark.parametrize("sop_uid", [b"../../etc/passwd", b"", b"1..2", b"1" * 65, b"1" * 10_000, b"1.2\xff"])
def test_a_dataset_under_a_uid_that_is_none_lands_whole_and_the_handler_answers(site: Site, sop_uid: bytes) -> None:
    stranger = site.stranger().associated()
    site.answer = 0xC000
    handled = len(site.got)

    stranger.send(fragment(COMMAND | LAST, store_command(sop_uid)) + fragment(0, bytes(9000)) + fragment(LAST, b"ab"))

    assert stranger.status() == 0xC000
    said = sop_uid.decode("ascii", "replace")[:128]
    assert site.got[handled:] == [(said, len(encode_meta(CT, None, SYNTAX)) + 9002)]
    site.answer = 0x0000
    stranger.send(WHOLE + fragment(LAST, b"abcd"))
    assert stranger.status() == 0x0000
    assert site.got[handled + 1 :] == [(SOP, len(encode_meta(CT, SOP, SYNTAX)) + 4)]
    stranger.send(pdu(5, bytes(4)))
    assert stranger.last_words() == 6


def test_a_store_without_a_dataset_is_counted_as_refused(site: Site) -> None:
    stranger = site.stranger().associated()

    stranger.send(fragment(COMMAND | LAST, encode_command(Verb.C_STORE, {Tag.MESSAGE_ID: 1})))

    assert stranger.status() == 0xC000
    assert site.receiver.stats.refused_instances == 1
    stranger.socket.close()


@pytest.mark.parametrize(
    ("command", "dataset", "status"),
    [
        (encode_command(Verb.C_ECHO, {Tag.MESSAGE_ID: 1}), None, 0x0000),
        (encode_command(Verb.C_FIND, {Tag.MESSAGE_ID: 1}, dataset_type=1), bytes(200), 0x0211),
        (encode_command(0x0140, {Tag.MESSAGE_ID: 1}), None, 0x0211),
        (encode_command(Verb.C_STORE, {Tag.MESSAGE_ID: 1}), None, 0xC000),
    ],
    ids=["echo", "find", "create", "store without dataset"],
)
def test_every_request_gets_an_answer(site: Site, command: bytes, dataset: bytes | None, status: int) -> None:
    stranger = site.stranger().associated()

    stranger.send(fragment(COMMAND | LAST, command) + (fragment(LAST, dataset) if dataset else b""))

    assert stranger.status() == status
    stranger.socket.close()


def test_a_cancel_is_passed_over(site: Site) -> None:
    stranger = site.stranger().associated()
    cancel = encode_command(Verb.C_CANCEL, {Tag.RESPONDED_TO: 1})

    stranger.send(fragment(COMMAND | LAST, cancel) + WHOLE + fragment(LAST, b"abcd"))

    assert stranger.status() == 0x0000
    stranger.socket.close()


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (associate(called="OTHER"), (1, 1, 7)),
        (associate()[:6] + b"\0\2" + associate()[8:], (1, 2, 2)),
        (associate().replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9"), (1, 1, 2)),
    ],
    ids=["called title", "protocol version", "application context"],
)
def test_who_may_not_come_in_is_told_why(site: Site, octets: bytes, said: tuple[int, int, int]) -> None:
    stranger = site.stranger()

    stranger.send(octets)

    kind, body = stranger.read_pdu()
    assert (kind, tuple(body[1:])) == (3, said)


def test_a_request_without_contexts_is_answered_without_any(site: Site) -> None:
    stranger = site.stranger()

    stranger.send(associate(proposals=()))

    kind, body = stranger.read_pdu()
    assert kind == 2
    assert decode_accept(memoryview(body)).answers == ()
    stranger.socket.close()


def test_128_contexts_with_many_syntaxes_each_are_answered_one_by_one(site: Site) -> None:
    syntaxes = ("1.2.840.10008.1.2", *(f"1.2.840.10008.1.2.4.{n}" for n in range(50, 110)))
    proposals = tuple(
        Proposal(context=2 * n + 1, abstract_syntax=f"1.2.840.10008.5.1.4.1.1.{n}.9", transfer_syntaxes=syntaxes)
        for n in range(128)
    )
    stranger = site.stranger()

    stranger.send(associate(proposals=proposals))

    kind, body = stranger.read_pdu()
    answers = decode_accept(memoryview(body)).answers
    assert kind == 2
    assert [answer.context for answer in answers] == [2 * n + 1 for n in range(128)]
    assert {answer.transfer_syntax for answer in answers if answer.result == 0} == {syntaxes[1]}
    stranger.socket.close()


def test_300_connections_are_bounded_and_end(site: Site, wait_until: Callable[..., None]) -> None:
    strangers = [site.stranger() for _ in range(300)]

    assert len([t for t in threading.enumerate() if t.name == "dimse"]) <= LIMITS.connections
    assert site.healthy()
    wait_until(lambda: sum(site.receiver.stats.rejected.values()) == 300)
    assert site.receiver.stats.rejected["connections"] > 0
    for stranger in strangers:
        stranger.socket.close()


def test_more_associations_than_places_are_told_to_come_back(site: Site, wait_until: Callable[..., None]) -> None:
    inside = [site.stranger().associated() for _ in range(LIMITS.associations - 1)]
    late = site.stranger()

    late.send(associate())

    kind, body = late.read_pdu()
    assert (kind, tuple(body[1:])) == (3, (2, 3, 2))
    for stranger in inside:
        stranger.socket.close()
    wait_until(lambda: site.receiver.stats.open_associations == 1)
    site.stranger().associated().socket.close()


def test_an_instance_that_finds_no_room_is_asked_for_later_and_drained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "spool")
    monkeypatch.setattr(site.place, "in_memory", 10_000)

    def full() -> None:
        raise Retryable("no space left", operation="create", place="spool")

    with monkeypatch.context() as disk:
        disk.setattr(site.place.spool, "create", full)
        assert site.sender.send(MemoryOctets(encode_meta(CT, SOP, SYNTAX) + DATASET)).status == 0xA700

    assert site.healthy()
    assert site.receiver.stats.refused_instances == 1
    site.sender.close()
    assert site.receiver.stop(timedelta(seconds=5))


def test_a_fault_of_the_handler_ends_one_association(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    site = Site(tmp_path / "spool")
    stranger = site.stranger().associated()
    site.got = None  # type: ignore[assignment]

    stranger.send(WHOLE + fragment(LAST, b"abcd"))

    assert stranger.last_words() == 7
    wait_until(lambda: site.receiver.stats.aborted["fault"] == 1)
    site.got = []
    assert site.healthy()
    site.sender.close()
    assert site.receiver.stop(timedelta(seconds=5))


def test_who_is_turned_away_is_told_each_time_the_count_has_doubled(
    site: Site, wait_until: Callable[..., None]
) -> None:
    with structlog.testing.capture_logs() as logs:
        for count in range(1, 6):
            stranger = site.stranger()
            stranger.send(associate(called="OTHER"))
            assert stranger.last_words() == 3
            wait_until(lambda count=count: site.receiver.stats.rejected["called_ae"] == count)

    assert [(each["event"], each["reason"], each["count"]) for each in logs] == [
        ("association_refused", "called_ae", 1),
        ("association_refused", "called_ae", 2),
        ("association_refused", "called_ae", 4),
    ]
