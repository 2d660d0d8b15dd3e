"""What only an archive spoken to by DIMSE can do to us."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom.presentation import AllStoragePresentationContexts

from actors.destination_options import CommitmentOptions, DimseOptions
from actors.dimse.sending import ECHO, StorePool, proposal
from actors.dimse.sink import DimseSink
from actors.dimse.store import MOST_CONTEXTS, StoredAs
from imaging.uid import Uid
from infra.simulator.committing import CommittingArchive
from storage.dicomweb.options import WebAccess
from storage.errors import AlreadyThere, NotTaken, Rejected, Retryable
from storage.packs.model import Container, Receipt

RAW = Uid("1.2.840.10008.1.2.1")
SYNTAXES = ("1", "4.50", "4.70", "4.80", "5")


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def new(dimse_archive: CommittingArchive, web_archive: Any, waits: list[float]) -> Callable[..., DimseSink]:
    """The archive as a new process would open it; `readable` says whether its DICOMweb is known."""

    def make(*, readable: bool = True, **changes: Any) -> DimseSink:
        proof: dict[str, Any] = {"commitment": CommitmentOptions(port=11113)}
        if readable:
            proof = {"dicomweb": WebAccess(url=web_archive.url)}
        where = {"name": "vna", "host": "127.0.0.1", "port": dimse_archive.port, "ae_title": "VNA"}
        return DimseSink(DimseOptions.model_validate(where | proof | changes), wait=waits.append)

    return make


def write(sink: DimseSink, study: Any, journal: Any) -> Receipt:
    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)
    try:
        study.feed(writer)
        return writer.finish()
    finally:
        writer.close()


def names(study: Any) -> list[str]:
    return sorted(study.instances)


def test_a_study_goes_over_one_association_and_another_syntax_gets_its_own_context(
    dimse_archive: CommittingArchive, new: Callable[..., DimseSink], kit: SimpleNamespace
) -> None:
    sink = new(existing="replaced")
    first, second, third = (
        kit.ServiceStudy([10] * 5, number=1),
        kit.ServiceStudy([10] * 5, number=2, syntax=RAW),
        kit.ServiceStudy([10] * 5, number=3),
    )

    counts = []
    for study in (first, second, third):
        write(sink, study, kit.Journal())
        counts.append(dimse_archive.associations)

    assert sorted(dimse_archive.held) == sorted(names(first) + names(second) + names(third))
    assert counts == [1, 2, 2]


def test_an_archive_sees_few_associations_however_many_pairs_of_class_and_syntax_come(
    dimse_archive: CommittingArchive, new: Callable[..., DimseSink], kit: SimpleNamespace
) -> None:
    classes = [Uid(str(context.abstract_syntax)) for context in AllStoragePresentationContexts[:6]]
    syntaxes = [Uid(f"1.2.840.10008.1.2.{syntax}") for syntax in SYNTAXES]
    pairs = [(each, syntax) for each in classes for syntax in syntaxes]
    study = kit.ServiceStudy([10] * len(pairs), pairs=pairs)
    again = kit.ServiceStudy([10] * len(pairs), number=2, pairs=pairs[::-1])
    sink = new(existing="replaced")

    write(sink, study, kit.Journal())
    learnt = dimse_archive.associations
    write(sink, again, kit.Journal())

    assert sorted(dimse_archive.held) == sorted(names(study) + names(again))
    assert learnt <= len(classes) + len(syntaxes) < len(pairs) // 2
    assert dimse_archive.associations == learnt, "what was learnt from one study served no other"


def test_what_is_proposed_fits_one_association_and_begins_with_what_was_met_last() -> None:
    seen = [StoredAs(f"1.2.{number}", f"1.3.{number % 9}") for number in range(40)]

    few, many = proposal(seen[:3]), proposal(seen)

    assert few[:3] == tuple(seen[:3]) and set(few[:-1]) == {
        StoredAs(f"1.2.{one}", f"1.3.{other}") for one in range(3) for other in range(3)
    }
    assert many[:40] == tuple(seen) and len(many) == len(set(many)) == MOST_CONTEXTS
    assert few[-1] == many[-1] == ECHO


def test_however_pairs_come_no_more_associations_are_open_than_were_agreed(kit: SimpleNamespace) -> None:
    """Four threads, each with pairs of its own among 200: more than one association takes."""
    most, lock = 3, threading.Lock()
    counts = {"open": 0, "peak": 0, "opened": 0}

    class Counting:
        touched, usable = 0.0, True

        def __init__(self, pairs: Sequence[StoredAs]) -> None:
            self.pairs = pairs
            with lock:
                counts["opened"] += 1
                counts["open"] += 1
                counts["peak"] = max(counts["peak"], counts["open"])

        def send(self, part10: StoredAs, patience: object) -> StoredAs:
            assert part10 in self.pairs and len(self.pairs) <= MOST_CONTEXTS
            return part10

        def close(self) -> None:
            with lock:
                counts["open"] -= 1

    pool = StorePool(Counting, most)
    pairs = [StoredAs(f"1.2.{number}", f"1.3.{number}") for number in range(200)]
    with ThreadPoolExecutor(4) as threads:
        sent = list(threads.map(lambda pair: pool.send(pair, pair, None), [*pairs, *pairs]))

    assert sent == [*pairs, *pairs]
    assert counts["peak"] <= most


@pytest.mark.long
def test_more_pairs_of_class_and_syntax_than_one_association_takes_go_over_several(
    dimse_archive: CommittingArchive, new: Callable[..., DimseSink], kit: SimpleNamespace
) -> None:
    classes = [Uid(str(context.abstract_syntax)) for context in AllStoragePresentationContexts[:26]]
    pairs = [(each, Uid(f"1.2.840.10008.1.2.{syntax}")) for each in classes for syntax in SYNTAXES]
    study = kit.ServiceStudy([10] * len(pairs), pairs=pairs)

    write(new(existing="replaced"), study, kit.Journal())

    assert len(pairs) > MOST_CONTEXTS
    assert sorted(dimse_archive.held) == names(study)
    assert max(dimse_archive.proposed) == MOST_CONTEXTS
    assert {each.sop: each.sop_class for each in dimse_archive.held.values()} == {
        facts.sop_uid: facts.sop_class for facts, _ in study.instances.values()
    }


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0x0110])
def test_what_is_refused_for_now_is_sent_again(
    dimse_archive: CommittingArchive,
    new: Callable[..., DimseSink],
    kit: SimpleNamespace,
    waits: list[float],
    status: int,
) -> None:
    study = kit.ServiceStudy([10, 20])
    dimse_archive.conduct.statuses = {names(study)[0]: [status, status, 0]}

    write(new(), study, kit.Journal())

    assert sorted(dimse_archive.held) == names(study)
    assert dimse_archive.stores == 2 + 2
    assert waits == sorted(waits) and len(waits) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [(0xA700, Retryable), (0x0110, NotTaken), (0xA900, Rejected), (0xC001, Rejected), (0x0122, Rejected)],
)
def test_what_is_refused_in_the_end_says_how_it_may_go_on(
    dimse_archive: CommittingArchive,
    new: Callable[..., DimseSink],
    kit: SimpleNamespace,
    status: int,
    error: type[Exception],
) -> None:
    study, journal = kit.ServiceStudy([10]), kit.Journal()
    dimse_archive.conduct.statuses = {names(study)[0]: [status] * 20}

    with pytest.raises(error) as caught:
        write(new(), study, journal)

    assert type(caught.value) is error and getattr(caught.value, "code", "") == f"{status:04X}"
    assert journal.row.members == ()


def test_an_instance_the_archive_takes_no_context_for_is_not_sent_and_named(
    dimse_archive: CommittingArchive, new: Callable[..., DimseSink], kit: SimpleNamespace
) -> None:
    study = kit.ServiceStudy([10], syntax=Uid("1.2.840.10008.1.2.4.201"))

    with pytest.raises(Rejected) as caught:
        write(new(), study, kit.Journal())

    assert (caught.value.code, caught.value.sop_uids) == ("NO_CONTEXT", tuple(names(study)))
    assert dimse_archive.stores == 0


def test_after_a_lost_answer_the_list_is_asked_before_anything_is_sent_again(
    dimse_archive: CommittingArchive, new: Callable[..., DimseSink], kit: SimpleNamespace
) -> None:
    study, journal = kit.ServiceStudy([10, 20, 30]), kit.Journal()
    dimse_archive.conduct.lose_answers = 1

    write(new(), study, journal)

    assert dimse_archive.stores == 3
    assert {member.facts.sop_uid for member in journal.row.members} == set(study.instances)


def test_a_change_that_nothing_would_read_back_is_an_exception(
    dimse_archive: CommittingArchive, new: Callable[..., DimseSink], kit: SimpleNamespace
) -> None:
    for status, readable, ends in ((0xB000, True, None), (0xB007, False, None), (0xB000, False, Rejected)):
        study = kit.ServiceStudy([10], number=status + 10 * readable)
        dimse_archive.conduct.statuses = {names(study)[0]: [status]}
        if ends is None:
            write(new(readable=readable), study, kit.Journal())
        else:
            with pytest.raises(ends):
                write(new(readable=readable), study, kit.Journal())


def test_a_later_revision_is_not_sent_over_what_the_archive_would_keep_and_nobody_can_compare(
    dimse_archive: CommittingArchive, new: Callable[..., DimseSink], kit: SimpleNamespace
) -> None:
    study = kit.ServiceStudy([10, 20])
    write(new(readable=False), study, kit.Journal())
    study.pack = type(study.pack)(study_uid=study.pack.study_uid, revision=2)
    sent, journal = dimse_archive.stores, kit.Journal()

    for _ in range(2):  # as after `limosa exceptions resolve --as retry`
        with pytest.raises(AlreadyThere):
            write(new(readable=False), study, journal)
    write(new(readable=True), study, kit.Journal())
    same = dimse_archive.stores
    write(new(readable=False, existing="replaced"), study, kit.Journal())

    assert sent == same == 2
    assert dimse_archive.stores == 4


def test_a_lost_answer_of_a_later_revision_is_not_taken_from_the_earlier_one(
    dimse_archive: CommittingArchive, new: Callable[..., DimseSink], kit: SimpleNamespace
) -> None:
    study = kit.ServiceStudy([10])
    write(new(readable=False), study, kit.Journal())
    study.pack = type(study.pack)(study_uid=study.pack.study_uid, revision=2)
    dimse_archive.conduct.lose_answers = 1

    write(new(readable=False, existing="replaced"), study, kit.Journal())
    sent = dimse_archive.stores
    dimse_archive.conduct.statuses = {names(study)[0]: [0x0111]}

    assert sent == 3
    with pytest.raises(AlreadyThere):
        write(new(readable=False, existing="replaced"), study, kit.Journal())


def test_an_archive_that_does_not_know_us_is_told_apart_from_one_that_is_away(
    dimse_archive: CommittingArchive, new: Callable[..., DimseSink], kit: SimpleNamespace
) -> None:
    dimse_archive._ae.require_called_aet = True
    cases = [({"ae_title": "OTHER"}, Rejected, "ASSOCIATION_REFUSED"), ({"port": 9}, Retryable, "ASSOCIATION")]

    for changes, error, code in cases:
        with pytest.raises(error) as caught:
            write(new(**changes), kit.ServiceStudy([10]), kit.Journal())
        assert getattr(caught.value, "code", "") == code
        assert not next(iter(new(**changes).probe())).ok
