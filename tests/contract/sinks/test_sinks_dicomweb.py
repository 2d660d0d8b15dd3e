"""What only a DICOMweb service can do to us."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.proxy import Fault, Kind, Proxy, on
from infra.simulator.webarchive import WebArchive
from storage.errors import AlreadyThere, NotTaken, Rejected, Retryable
from storage.packs.model import Container, Receipt
from storage.sinks.dicomweb import DicomwebSink
from storage.sinks.options import DicomwebOptions

MIB = 1 << 20


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def new(web_archive: WebArchive, waits: list[float]) -> Callable[..., DicomwebSink]:
    """The service as a new process would open it; pauses are noted and take no time."""

    def make(**changes: Any) -> DicomwebSink:
        options = DicomwebOptions.model_validate({"name": "web", "url": web_archive.url, **changes})
        return DicomwebSink(options, wait=waits.append)

    return make


def write(sink: DicomwebSink, study: Any, journal: Any) -> Receipt:
    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)
    try:
        study.feed(writer)
        return writer.finish()
    finally:
        writer.close()


def names(study: Any) -> list[str]:
    return sorted(study.instances)


def test_a_study_goes_in_batches_of_the_size_and_count_that_are_set(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace
) -> None:
    write(new(batch_count=4), kit.ServiceStudy([1000] * 10, number=1), kit.Journal())
    by_count = web_archive.count("POST")
    write(new(batch_size=MIB), kit.ServiceStudy([400_000] * 6, number=2), kit.Journal())

    assert by_count == 3
    assert web_archive.count("POST") - by_count == 3
    assert len(web_archive.held) == 16


def test_too_large_a_message_is_halved_until_it_is_taken_and_later_ones_are_smaller(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace
) -> None:
    web_archive.faults.largest = 600_000
    study = kit.ServiceStudy([100_000] * 40)

    write(new(batch_size=2 * MIB), study, kit.Journal())

    assert sorted(web_archive.held) == names(study)
    refused_first = 1 + 2  # 2 MiB, then each half of it
    assert web_archive.count("POST") <= 40 // 4 + refused_first + 1


def test_an_instance_that_is_too_large_by_itself_is_refused_for_good(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace
) -> None:
    web_archive.faults.largest = 100_000

    with pytest.raises(Rejected) as caught:
        write(new(), kit.ServiceStudy([10, 200_000, 10]), kit.Journal())

    assert caught.value.code == "413"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_gets_the_pause_it_asks_for(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace, waits: list[float], status: int
) -> None:
    web_archive.faults.statuses = [(status, {"Retry-After": "7"}), (status, {})]
    study = kit.ServiceStudy([10, 20])

    write(new(), study, kit.Journal())

    assert sorted(web_archive.held) == names(study)
    assert waits[0] == 7 and waits[1] > 0


@pytest.mark.parametrize(("after", "tries"), [("3600", 1), ("1", 4)])
def test_a_service_that_stays_busy_costs_no_attempt_and_no_lane(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace, after: str, tries: int
) -> None:
    web_archive.faults.statuses = [(503, {"Retry-After": after})] * 10

    with pytest.raises(Retryable):
        write(new(), kit.ServiceStudy([10]), kit.Journal())

    assert web_archive.count("POST") == tries


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Rejected),
        (401, Rejected),
        (403, Rejected),
        (415, Rejected),
        (301, Rejected),
        (500, Retryable),
        (502, Retryable),
    ],
)
def test_other_statuses_are_errors_that_say_what_to_do(
    web_archive: WebArchive,
    new: Callable[..., DicomwebSink],
    kit: SimpleNamespace,
    status: int,
    error: type[Exception],
) -> None:
    web_archive.faults.statuses = [(status, {"Location": "http://127.0.0.1:9/elsewhere"})]

    with pytest.raises(error) as caught:
        write(new(), kit.ServiceStudy([10]), kit.Journal())

    assert getattr(caught.value, "code", "") == str(status)


def test_a_message_that_is_refused_whole_for_one_instance_is_taken_apart_until_that_one_is_named(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace
) -> None:
    study = kit.ServiceStudy([10] * 8)
    culprit = names(study)[5]
    web_archive.faults.unreadable = {culprit}

    with pytest.raises(Rejected) as caught:
        write(new(), study, kit.Journal())

    assert (caught.value.code, caught.value.sop_uids) == ("400", (culprit,))
    assert culprit not in str(caught.value)


@pytest.mark.parametrize(("reason", "sizes"), [(0x0110, [10, 20]), (0xA700, [10, 20]), (0x0110, [10])])
def test_what_is_refused_for_now_is_sent_again_and_nothing_else(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace, reason: int, sizes: list[int]
) -> None:
    study = kit.ServiceStudy(sizes)
    web_archive.faults.refuse = {names(study)[0]: reason}
    web_archive.faults.refuse_times = 1

    write(new(), study, kit.Journal())

    assert sorted(web_archive.held) == names(study)
    assert web_archive.count("POST") == 2


@pytest.mark.parametrize(
    ("reason", "error", "code"),
    [
        (0xA900, Rejected, "A900"),
        (0xC122, Rejected, "C122"),
        (0x0122, Rejected, "0122"),
        (0xA700, Retryable, "A700"),
        (0x0110, NotTaken, "0110"),
    ],
)
def test_what_is_refused_in_the_end_says_how_it_may_go_on(
    web_archive: WebArchive,
    new: Callable[..., DicomwebSink],
    kit: SimpleNamespace,
    reason: int,
    error: type[Exception],
    code: str,
) -> None:
    study, journal = kit.ServiceStudy([10, 20]), kit.Journal()
    web_archive.faults.refuse = {names(study)[0]: reason}

    with pytest.raises(error) as caught:
        write(new(), study, journal)

    assert type(caught.value) is error and getattr(caught.value, "code", "") == code
    assert journal.row.members == ()


def test_an_instance_in_neither_list_is_looked_for_before_it_is_sent_again(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace
) -> None:
    there, lost = kit.ServiceStudy([10, 20], number=1), kit.ServiceStudy([10, 20], number=2)
    web_archive.faults.unnamed = {*names(there)}

    write(new(), there, kit.Journal())
    asked_once = web_archive.count("POST")
    web_archive.faults.unnamed, web_archive.faults.unnamed_are_stored = {names(lost)[0]}, False
    with pytest.raises(NotTaken) as caught:
        write(new(), lost, kit.Journal())

    assert asked_once == 1
    assert caught.value.code == "unnamed"
    assert web_archive.count("POST") == 1 + 3


def test_an_answer_that_was_lost_is_resumed_without_sending_what_is_there(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace
) -> None:
    study, journal = kit.ServiceStudy([10, 20, 30]), kit.Journal()
    web_archive.faults.lose_answers = 1
    with pytest.raises(Retryable):
        write(new(), study, journal)
    sent = web_archive.count("POST")

    write(new(), study, journal)

    assert web_archive.count("POST") == sent
    assert {member.facts.sop_uid for member in journal.row.members} == set(study.instances)


def test_a_service_that_keeps_what_it_has_is_never_sent_another_version(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace
) -> None:
    write(new(), kit.ServiceStudy([10, 20]), kit.Journal())
    sent = web_archive.count("POST")
    journal = kit.Journal()

    with pytest.raises(AlreadyThere):
        write(new(existing="kept"), kit.ServiceStudy([10, 22]), journal)

    assert web_archive.count("POST") == sent
    assert journal.row.members == ()


def test_a_service_that_replaces_is_sent_every_instance_without_being_asked(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace
) -> None:
    web_archive.faults.overwrites = True
    write(new(), kit.ServiceStudy([10, 20]), kit.Journal())
    study = kit.ServiceStudy([10, 22])
    asked = web_archive.count("GET")

    receipt = write(new(existing="replaced"), study, kit.Journal())

    assert web_archive.count("GET") == asked
    for key, (_, content) in zip(sorted(new().loose(study.pack, receipt.key)), study.instances.values(), strict=True):
        assert b"".join(new().stream(key, 0, MIB)) == content


def test_an_instance_that_nobody_spoke_of_is_not_taken_from_the_earlier_revision(
    web_archive: WebArchive, new: Callable[..., DicomwebSink], kit: SimpleNamespace
) -> None:
    write(new(), kit.ServiceStudy([10, 20]), kit.Journal())
    study = kit.ServiceStudy([10, 22])
    study.pack = type(study.pack)(study_uid=study.pack.study_uid, revision=2)
    web_archive.faults.unnamed, web_archive.faults.unnamed_are_stored = {*names(study)}, False

    with pytest.raises(NotTaken) as caught:
        write(new(existing="replaced"), study, kit.Journal())

    assert (caught.value.code, len(caught.value.sop_uids)) == ("unnamed", 1)


@pytest.mark.parametrize(
    ("header", "settings"),
    [
        ("Bearer t0ken", {"token": "env:WEB_SECRET"}),
        ("Basic bWU6dDBrZW4=", {"user": "me", "password": "env:WEB_SECRET"}),
    ],
)
def test_credentials_go_with_every_request_and_into_no_message(
    web_archive: WebArchive,
    new: Callable[..., DicomwebSink],
    kit: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    header: str,
    settings: dict[str, str],
) -> None:
    monkeypatch.setenv("WEB_SECRET", "t0ken")
    web_archive.authorization = header
    study = kit.ServiceStudy([10])

    write(new(**settings), study, kit.Journal())
    monkeypatch.setenv("WEB_SECRET", "0ther")
    with pytest.raises(Rejected) as caught:
        write(new(**settings), kit.ServiceStudy([10], number=2), kit.Journal())

    assert sorted(web_archive.held) == names(study)
    assert caught.value.code == "401"
    assert "0ther" not in str(caught.value)
    assert not next(iter(new(**settings).probe())).ok


def test_a_dead_service_is_retryable_and_names_nobody(kit: SimpleNamespace) -> None:
    sink = DicomwebSink(DicomwebOptions(name="web", url="http://127.0.0.1:9/dicom-web"))
    study = kit.ServiceStudy([10])

    with pytest.raises(Retryable) as caught:
        write(sink, study, kit.Journal())

    assert study.pack.study_uid not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "attempts", "sent"),
    [
        (Fault(Kind.RESET, on("POST"), after=300_000), 2, 3),
        (Fault(Kind.LOST, on("POST")), 2, 2),
        (Fault(Kind.ANSWER, on("POST"), status=503, headers={"retry-after": "1"}), 1, 3),
        (Fault(Kind.ANSWER, on("POST"), status=429), 1, 3),
        # The batch goes in halves, and no later message is larger than they are.
        (Fault(Kind.ANSWER, on("POST"), status=413), 1, 5),
        (Fault(Kind.CUT, on("POST"), after=10), 2, 2),
    ],
    ids=["reset", "lost answer", "503", "429", "413", "answer cut"],
)
def test_a_line_that_fails_costs_an_attempt_at_most_and_doubles_nothing(
    web_archive: WebArchive,
    new: Callable[..., DicomwebSink],
    kit: SimpleNamespace,
    fault: Fault,
    attempts: int,
    sent: int,
) -> None:
    study, journal, made = kit.ServiceStudy([400_000] * 4), kit.Journal(), 0
    with Proxy(urlsplit(web_archive.url).port or 0, faults=[fault]) as proxy:
        while made < 3:
            made += 1
            try:
                write(
                    new(url=web_archive.url.replace(str(proxy.store_port), str(proxy.port)), batch_size=MIB),
                    study,
                    journal,
                )
                break
            except Retryable:
                continue

        assert (made, proxy.waiting) == (attempts, 0)
        assert sum(each.asked.method == "POST" for each in proxy.passed) == sent
    assert sorted(web_archive.held) == names(study)
    assert {member.facts.sop_uid for member in journal.row.members} == set(study.instances)
