"""An archive that never comes to an end is left, in bounded memory and time, and the error says which bound it was."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import pytest

from actors.dimse import conversation, find, move, pdata
from actors.dimse.associate import Answer, AssociateAccept, Rejection
from actors.dimse.command import HAS_DATASET, NO_DATASET, RESPONSE, Command, Tag, encode_command, parse_command
from actors.dimse.connecting import Endpoint
from actors.dimse.conversation import Conversation
from actors.dimse.identifier import encode_identifier
from actors.dimse.items import decode_request, encode_accept, encode_rejection
from actors.dimse.negotiation import IMPLICIT_LE
from actors.dimse.scu import DimseSource
from actors.dimse.violation import PeerGone, ProtocolViolation
from actors.dimse.wire import Wire
from actors.options import DimseSource as DimseOptions
from actors.source import Bound, FindEnd, MoveTarget, SourceUnending, SourceUnreachable, StudyWindow
from imaging.uid import Uid

PENDING = 0xFF00
PATIENCE = timedelta(seconds=20)
STUDY = Uid("1.2.3")

Script = Callable[[Command, Callable[..., None]], object]
"""Answers one request by calling `say(status, dataset, values)` as often as it likes."""


class Archive:
    """Accepts every context in Implicit VR and answers each request by its script; one association at a time."""

    def __init__(self, script: Script, rejection: Rejection | None = None) -> None:
        self._script = script
        self._rejection = rejection
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.associations = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="archive")
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            wire = Wire(connection, self._stopped.is_set)
            try:
                self._converse(wire)
            except (PeerGone, ProtocolViolation):
                pass
            finally:
                wire.close()

    def _converse(self, wire: Wire) -> None:
        request = decode_request(wire.read_pdu(float("inf"), 20)[1])
        if self._rejection is not None:
            wire.send(encode_rejection(self._rejection), 20)
            return
        self.associations += 1
        answers = tuple(
            Answer(context=each.context, result=0, transfer_syntax=IMPLICIT_LE) for each in request.proposals
        )
        wire.send(encode_accept(AssociateAccept(called_ae="PACS", calling_ae=request.calling_ae, answers=answers)), 20)
        while True:
            number, command = heard(wire)
            self._script(command, partial(say, wire, number, command))


def heard(wire: Wire) -> tuple[int, Command]:
    """The next request and its presentation context; a dataset is read over."""
    command, number, last = None, 0, False
    while command is None or (command.has_dataset and not last):
        for context, control, data in pdata.fragments(wire.read_pdu(float("inf"), 20)[1]):
            if control & pdata.COMMAND:
                command, number = parse_command(data), context
            else:
                last = bool(control & pdata.LAST)
    return number, command


def say(
    wire: Wire,
    number: int,
    asked: Command,
    status: int,
    dataset: bytes | None = None,
    values: dict[int, int | bytes] | None = None,
) -> None:
    every = {Tag.RESPONDED_TO: asked.number(Tag.MESSAGE_ID) or 0, Tag.STATUS: status, **(values or {})}
    kind = NO_DATASET if dataset is None else HAS_DATASET
    octets = encode_command(asked.field | RESPONSE, every, dataset_type=kind)
    for pdu in pdata.encode_message(number, octets, None if dataset is None else [dataset], 1 << 14):
        wire.send(pdu, 20)


@pytest.fixture(autouse=True)
def short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    """These archives never read our A-ABORT."""
    monkeypatch.setattr(conversation, "LEAVING", timedelta(seconds=0.1))


@contextmanager
def archive(script: Script, rejection: Rejection | None = None) -> Iterator[Archive]:
    peer = Archive(script, rejection)
    try:
        yield peer
    finally:
        peer.close()


def source(port: int, **more: object) -> DimseSource:
    return DimseSource(DimseOptions.model_validate({"host": "127.0.0.1", "port": port, "ae_title": "PACS", **more}))


def answer(number: int) -> bytes:
    values = {
        "StudyInstanceUID": f"1.2.{number}",
        "SeriesInstanceUID": f"1.2.3.{number}",
        "SOPInstanceUID": f"1.2.3.4.{number}",
    }
    return encode_identifier(values, IMPLICIT_LE)


def endless(_: Command, say: Callable[..., None]) -> None:
    for number in itertools.count():
        say(PENDING, answer(number))


def slow(pause: float, stopped: threading.Event) -> Script:
    def drip(_: Command, say: Callable[..., None]) -> None:
        while not stopped.wait(pause):
            say(PENDING, answer(1))

    return drip


def ask(port: int, bounds: find.Bounds, patience: timedelta = PATIENCE) -> find.Answers:
    endpoint = Endpoint(host="127.0.0.1", port=port, called_ae="PACS", calling_ae="LIMOSA")
    asking = Conversation(endpoint, [(find.STUDY_ROOT_FIND, (IMPLICIT_LE,))])
    try:
        context = asking.context(find.STUDY_ROOT_FIND)
        assert context is not None
        return find.ask(asking, context, "STUDY", {}, patience, bounds)
    finally:
        asking.abort()


def test_answers_beyond_the_bound_end_the_query_with_what_came_before() -> None:
    with archive(endless) as peer:
        answers = ask(peer.port, find.Bounds(answers=50, octets=1 << 20))

    assert (answers.end, answers.beyond, answers.status) == (FindEnd.UNENDING, Bound.ANSWERS, None)
    assert answers.raw == tuple(map(answer, range(50)))


def test_as_many_answers_as_the_bound_allows_are_a_whole_answer() -> None:
    def exact(_: Command, say: Callable[..., None]) -> None:
        for number in range(50):
            say(PENDING, answer(number))
        say(0)

    with archive(exact) as peer:
        answers = ask(peer.port, find.Bounds(answers=50, octets=50 * len(answer(10))))

    assert (answers.end, len(answers.raw)) == (FindEnd.SUCCESS, 50)


def test_bytes_beyond_the_bound_end_the_query() -> None:
    with archive(lambda _, say: [say(PENDING, bytes(100_000)) for _ in itertools.count()]) as peer:
        answers = ask(peer.port, find.Bounds(answers=1000, octets=1 << 20))

    assert (answers.end, answers.beyond) == (FindEnd.UNENDING, Bound.BYTES)
    assert sum(map(len, answers.raw)) <= 1 << 20


def test_pending_answers_that_drip_end_the_query_after_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "PACE", timedelta(milliseconds=1))
    stopped = threading.Event()
    with archive(slow(0.1, stopped)) as peer:
        answers = ask(peer.port, find.STUDIES, timedelta(seconds=0.5))
        stopped.set()

    assert (answers.end, answers.beyond) == (FindEnd.UNENDING, Bound.TIME)
    assert len(answers.raw) < 100


def test_a_study_list_that_does_not_end_is_told_and_the_next_question_has_an_association_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(find, "STUDIES", find.Bounds(answers=5, octets=1 << 20))
    with archive(endless) as peer:
        asked = source(peer.port)
        first, second = asked.find_studies(StudyWindow()), asked.find_studies(StudyWindow())
        asked.close()

        assert (first.end, len(first.studies)) == (FindEnd.UNENDING, 5)
        assert second.studies == first.studies
        assert peer.associations == 2


@pytest.mark.parametrize("level", ["SERIES", "IMAGE"])
def test_a_list_of_instances_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    monkeypatch.setattr(find, "MEMBERS", find.Bounds(answers=5, octets=1 << 20))
    queries = itertools.count()

    def script(command: Command, say: Callable[..., None]) -> None:
        if level == "IMAGE" and next(queries) == 0:
            say(PENDING, answer(1))
            say(0)
            return
        endless(command, say)

    with archive(script) as peer, pytest.raises(SourceUnending) as unending:
        source(peer.port).list_instances(STUDY)

    assert unending.value.bound is Bound.ANSWERS


def test_many_series_of_allowed_length_do_not_add_up_to_a_list_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "MEMBERS", find.Bounds(answers=5, octets=1 << 20))

    def five(_: Command, say: Callable[..., None]) -> None:
        for number in range(5):
            say(PENDING, answer(number))
        say(0)

    with archive(five) as peer, pytest.raises(SourceUnending) as unending:
        source(peer.port).list_instances(STUDY)

    assert unending.value.bound is Bound.ANSWERS


def test_pending_answers_to_a_retrieve_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move, "PENDINGS", 100)
    with archive(lambda _, say: [say(PENDING, None, {Tag.COMPLETED: n}) for n in itertools.count()]) as peer:
        asked = source(peer.port)
        with pytest.raises(SourceUnending) as unending:
            asked.retrieve(MoveTarget(study_uid=STUDY), "LIMOSA", lambda: False)
        with pytest.raises(SourceUnending):
            asked.retrieve(MoveTarget(study_uid=STUDY), "LIMOSA", lambda: False)

        assert unending.value.bound is Bound.ANSWERS
        assert peer.associations == 2


def test_pending_answers_that_show_no_progress_are_waited_for_only_so_long() -> None:
    stopped = threading.Event()
    with archive(slow(0.05, stopped)) as peer:
        asked = source(peer.port, move_timeout=timedelta(seconds=0.25))
        with pytest.raises(SourceUnending) as unending:
            asked.retrieve(MoveTarget(study_uid=STUDY), "LIMOSA", lambda: False)
        stopped.set()

    assert unending.value.bound is Bound.TIME


def test_a_slow_retrieve_whose_counters_move_may_take_longer_than_any_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = itertools.count(step=10.0)
    monkeypatch.setattr(move.time, "monotonic", lambda: next(now))
    progress = move.Progress(timedelta(seconds=5))

    def completed(number: int) -> move.Response:
        values = {int(Tag.COMPLETED): number.to_bytes(2, "little")}
        return move.Response(command=Command(0x8021, False, values), status=PENDING, dataset=b"")

    for number in range(1, 100):
        progress.note(completed(number))

    with pytest.raises(SourceUnending):
        for _ in range(3):
            progress.note(completed(99))


def test_pending_is_no_answer_to_an_echo() -> None:
    with (
        archive(lambda _, say: [say(PENDING) for _ in itertools.count()]) as peer,
        pytest.raises(SourceUnreachable) as unreachable,
    ):
        source(peer.port).echo()

    assert not unreachable.value.refused


@pytest.mark.parametrize(
    ("rejection", "permanent", "words"),
    [
        (Rejection(result=1, source=1, reason=3), True, "for good: calling AE title not recognised"),
        (Rejection(result=1, source=1, reason=7), True, "for good: called AE title not recognised"),
        (Rejection(result=2, source=3, reason=2), False, "for now: local limit exceeded"),
        (Rejection(result=2, source=1, reason=1), False, "for now: source 1, reason 1"),
    ],
    ids=["calling title", "called title", "limit", "no reason"],
)
def test_a_rejection_for_good_is_told_from_one_for_now(rejection: Rejection, permanent: bool, words: str) -> None:
    with archive(endless, rejection) as peer, pytest.raises(SourceUnreachable, match=words) as unreachable:
        source(peer.port).echo()

    assert unreachable.value.refused
    assert unreachable.value.permanent is permanent


def test_nobody_listening_is_neither_a_refusal_nor_for_good() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(SourceUnreachable) as unreachable:
        source(port).echo()

    assert not unreachable.value.refused
    assert not unreachable.value.permanent
