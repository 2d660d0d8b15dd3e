"""What one attempt at a study comes to, for every way an archive can answer."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from blake3 import blake3

from actors.intake import Arrival
from actors.options import DimseSource, SourceProfile
from actors.pull import Pull
from actors.routing import Router
from actors.source import InstanceList, InstanceRef, MoveEnd, MoveOutcome
from actors.verdict import End, Verdict
from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets
from imaging.uid import Uid
from storage.errors import Retryable
from storage.packs.model import Container, Receipt

STUDY = Uid("1.2.3")
OPTIONS = DimseSource(
    host="127.0.0.1",
    port=104,
    ae_title="PACS",
    quiet=timedelta(milliseconds=60),
    quiet_limit=timedelta(seconds=2),
)


def facts_of(sop_uid: str, content: bytes = b"a") -> InstanceFacts:
    digest = blake3(sop_uid.encode() + content).digest()
    return InstanceFacts(
        study_uid=STUDY,
        series_uid=Uid("1.2.3.1"),
        sop_uid=Uid(sop_uid),
        sop_class=Uid("1.2.840.10008.5.1.4.1.1.2"),
        transfer_syntax=Uid("1.2.840.10008.1.2.1"),
        raw_size=1,
        sto_size=1,
        raw1=digest,
        sto1=digest,
        pd1=None,
        can1=digest,
    )


class Packer:
    """Takes instances into a set; fails on demand."""

    def __init__(self) -> None:
        self.resumed: tuple[InstanceFacts, ...] = ()
        self.written: list[str] = []
        self.finished = False
        self.started_over = ""
        self.spoiled_after: int | None = None
        self.error: Exception | None = None

    def add(self, facts, part10) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(facts.sop_uid)

    def spoil(self) -> None:
        self.spoiled_after = len(self.written)

    def start_over(self, reason: str) -> None:
        self.started_over = reason

    def finish(self) -> Receipt:
        self.finished = True
        return Receipt(key="k", container=Container.TAR, size=1, crc64=1)

    def close(self) -> None:
        pass


class ParkedInstance:
    def __init__(self, facts: InstanceFacts) -> None:
        self.facts = facts
        self.name = f"quarantined {facts.sop_uid}"

    def discard(self) -> None:
        pass

    @contextmanager
    def opened(self):
        yield Came(self.facts)


class Came:
    """An instance whose facts are made up."""

    def __init__(self, facts: InstanceFacts) -> None:
        self.sop_uid, self.raw1 = facts.sop_uid, facts.raw1
        self.part10 = MemoryOctets(b"x")
        self.facts = lambda: facts


class Archive:
    """A scripted source: each retrieve runs the next step of `script`, which delivers what it likes."""

    def __init__(self, router: Router, listed: list[str], script) -> None:
        self.router = router
        self.lists = [listed]
        self.script = list(script)
        self.asked = []

    def list_instances(self, study_uid):
        listed = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        refs = tuple(InstanceRef(series_uid=Uid("1.2.3.1"), sop_uid=Uid(uid)) for uid in listed)
        return InstanceList(instances=refs, complete=True)

    def retrieve(self, target, receiver, stop):
        self.asked.append(target)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return step(self, target)

    def deliver(self, *sop_uids: str, content: bytes = b"a") -> list[Arrival | None]:
        arrivals = []
        for uid in sop_uids:
            intake = self.router.find(STUDY)
            arrivals.append(intake.accept(Came(facts_of(uid, content))) if intake else None)
        return arrivals


def success(completed=None, failed=None):
    return MoveOutcome(end=MoveEnd.SUCCESS, completed=completed, failed=failed)


@pytest.fixture
def packer():
    return Packer()


def set_aside(facts, octets) -> ParkedInstance:
    return ParkedInstance(facts)


def pull(archive, packer, *, claimed=None, options=OPTIONS, park=set_aside):
    return Pull(
        study_uid=STUDY,
        claimed_count=claimed,
        source=archive,
        options=options,
        receiver_ae="MIG01",
        router=archive.router,
        pack=lambda: packer,
        park=park,
        stop=lambda: False,
    ).run()


def test_a_study_is_written_when_the_received_set_equals_the_list(packer):
    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return success(completed=2)

    verdict = pull(Archive(Router(), ["1.1", "1.2"], [step]), packer)

    assert verdict.end is End.WRITTEN
    assert {facts.sop_uid for facts in verdict.facts} == {"1.1", "1.2"}
    assert packer.finished


def test_success_with_a_missing_image_is_not_complete(packer):
    def step(archive, target):
        archive.deliver("1.1")
        return success(completed=2)

    verdict = pull(Archive(Router(), ["1.1", "1.2"], [step]), packer)

    assert verdict.end is End.AGAIN
    assert verdict.reason == "INCOMPLETE_STUDY"
    assert verdict.evidence["missing_uids"] == ["1.2"]
    assert not packer.finished


def test_what_the_study_move_left_out_is_asked_for_image_by_image(packer):
    def whole(archive, target):
        archive.deliver("1.1")
        return MoveOutcome(end=MoveEnd.FAILED, status=0xC000, completed=0, failed=0)

    def images(archive, target):
        if len(target.sop_uids) == 1:
            archive.deliver(*target.sop_uids)
        return MoveOutcome(end=MoveEnd.FAILED, status=0xC000)

    archive = Archive(Router(), ["1.1", "1.2", "1.3"], [whole, images])

    verdict = pull(archive, packer)

    assert verdict.end is End.WRITTEN
    assert sorted(packer.written) == ["1.1", "1.2", "1.3"]


def test_an_answer_that_precedes_the_data_is_waited_for(packer):
    late = []

    def step(archive, target):
        timer = threading.Timer(0.03, archive.deliver, args=("1.1",))
        timer.start()
        late.append(timer)
        return success()

    verdict = pull(Archive(Router(), ["1.1"], [step]), packer)

    late[0].join()
    assert verdict.end is End.WRITTEN


def test_rewritten_uids_are_an_exception_and_nothing_is_packed(packer):
    def step(archive, target):
        archive.deliver("9.1")
        return success(completed=1)

    verdict = pull(Archive(Router(), ["1.1"], [step]), packer)

    assert verdict.end is End.EXCEPTION
    assert verdict.reason == "SOURCE_UID_UNSTABLE"
    assert packer.written == []


def test_a_surplus_instance_the_source_lists_when_asked_again_belongs_to_the_study(packer):
    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return success(completed=2)

    archive = Archive(Router(), ["1.1"], [step])
    archive.lists.append(["1.1", "1.2"])

    verdict = pull(archive, packer)

    assert verdict.end is End.WRITTEN
    assert sorted(packer.written) == ["1.1", "1.2"]


def test_a_surplus_instance_the_source_does_not_list_is_an_exception(packer):
    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return success(completed=2)

    verdict = pull(Archive(Router(), ["1.1"], [step]), packer)

    assert verdict.end is End.EXCEPTION
    assert verdict.reason == "SURPLUS_INSTANCES"
    assert verdict.evidence["surplus_uids"] == ["1.2"]


def test_the_same_uid_with_other_bytes_keeps_the_first_and_is_counted(packer):
    def step(archive, target):
        archive.deliver("1.1")
        assert archive.deliver("1.1", content=b"other") == [Arrival.DIFFERS]
        assert archive.deliver("1.1") == [Arrival.REPEATED]
        archive.deliver("1.2")
        return success(completed=2)

    verdict = pull(Archive(Router(), ["1.1", "1.2"], [step]), packer)

    assert verdict.end is End.WRITTEN
    assert verdict.counts.differing == 1
    assert packer.written == ["1.1", "1.2"]


@pytest.mark.parametrize(("end", "expected"), [(MoveEnd.BUSY, End.BUSY), (MoveEnd.UNKNOWN_DESTINATION, End.HALTED)])
def test_a_busy_source_or_an_unknown_receiver_is_no_fault_of_the_study(packer, end, expected):
    verdict = pull(Archive(Router(), ["1.1"], [lambda archive, target: MoveOutcome(end=end)]), packer)

    assert verdict.end is expected


def test_an_empty_list_is_only_believed_when_a_retrieve_brings_nothing_either(packer):
    empty = pull(Archive(Router(), [], [lambda archive, target: success(completed=0)]), packer)

    def step(archive, target):
        archive.deliver("1.1")
        return success(completed=1)

    doubtful = pull(Archive(Router(), [], [step]), packer)

    assert empty.end is End.EMPTY
    assert doubtful.end is End.AGAIN
    assert doubtful.reason == "EXPECTED_SET_UNKNOWN"


def test_an_empty_list_against_a_claimed_count_is_not_an_empty_study(packer):
    verdict = pull(Archive(Router(), [], [lambda archive, target: success()]), packer, claimed=3)

    assert verdict.reason == "NO_INSTANCES_LISTED"


def test_without_a_list_two_retrieves_must_agree(packer):
    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return success()

    def less(archive, target):
        archive.deliver("1.1")
        return success()

    unlisted = OPTIONS.model_copy(update={"profile": SourceProfile(image_level=False)})

    agreed = pull(Archive(Router(), [], [step]), Packer(), options=unlisted)
    disagreed = pull(Archive(Router(), [], [step, less]), Packer(), options=unlisted)

    assert agreed.end is End.WRITTEN
    assert agreed.grade == "double_retrieve"
    assert disagreed.reason == "EXPECTED_SET_UNKNOWN"


def test_a_destination_that_fails_stops_the_retrieve_and_surfaces_its_error(packer):
    packer.error = Retryable("away")

    def step(archive, target):
        assert archive.deliver("1.1", "1.2") == [Arrival.FAILED, Arrival.FAILED]
        return MoveOutcome(end=MoveEnd.LOST)

    with pytest.raises(Retryable):
        pull(Archive(Router(), ["1.1", "1.2"], [step]), packer)


def test_instances_that_come_after_the_study_is_done_find_no_intake(packer):
    def step(archive, target):
        archive.deliver("1.1")
        return success(completed=1)

    archive = Archive(Router(), ["1.1"], [step])
    pull(archive, packer)

    assert archive.deliver("1.1") == [None]


def pulled_with_surplus(packer, *, second) -> Verdict:
    """A study of two listed instances, of which the first retrieve brings one and one that is not listed."""

    def first(archive, target):
        archive.deliver("1.1", "1.9")
        return success(completed=2)

    return pull(Archive(Router(), ["1.1", "1.2"], [first, second]), packer)


def test_a_pack_that_saw_unlisted_instances_is_not_resumed_when_its_attempt_ends_early(packer):
    def busy(archive, target):
        return MoveOutcome(end=MoveEnd.BUSY)

    verdict = pulled_with_surplus(packer, second=busy)

    assert verdict.end is End.BUSY
    assert packer.started_over == "SOURCE_BUSY"


def test_a_pack_that_saw_unlisted_instances_is_not_resumed_when_its_attempt_breaks(packer):
    def broken(archive, target):
        packer.error = Retryable("away")
        archive.deliver("1.2")
        return MoveOutcome(end=MoveEnd.LOST)

    with pytest.raises(Retryable):
        pulled_with_surplus(packer, second=broken)

    assert packer.started_over


def test_a_person_who_retries_a_surplus_gets_the_whole_study_asked_for(packer):
    def rest(archive, target):
        archive.deliver("1.2")
        return success(completed=1)

    verdict = pulled_with_surplus(packer, second=rest)

    assert verdict.reason == "SURPLUS_INSTANCES"
    assert packer.started_over == "SURPLUS_INSTANCES"


def test_an_attempt_without_surplus_leaves_its_pack_to_be_resumed(packer):
    def busy(archive, target):
        archive.deliver("1.1")
        return MoveOutcome(end=MoveEnd.BUSY)

    pull(Archive(Router(), ["1.1", "1.2"], [busy]), packer)

    assert packer.started_over == ""


@pytest.mark.parametrize(
    "outcome",
    [
        MoveOutcome(end=MoveEnd.SUCCESS, completed=4),
        MoveOutcome(end=MoveEnd.PARTIAL, completed=2, failed=2, failed_sop_uids=("1.8", "1.9")),
    ],
)
def test_what_the_archive_says_of_instances_beyond_its_list_is_noted(packer, outcome):
    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return outcome

    verdict = pull(Archive(Router(), ["1.1", "1.2"], [step]), packer)

    assert verdict.end is End.WRITTEN
    assert verdict.evidence["announced"] == 4
    assert verdict.evidence.get("failed_uids", []) == list(outcome.failed_sop_uids)


def test_an_unlisted_instance_that_follows_the_answer_is_waited_for(packer):
    late = []

    def step(archive, target):
        archive.deliver("1.1")
        timer = threading.Timer(0.03, archive.deliver, args=("1.9",))
        timer.start()
        late.append(timer)
        return success(completed=2)

    verdict = pull(Archive(Router(), ["1.1"], [step]), packer)

    late[0].join()
    assert verdict.reason == "SURPLUS_INSTANCES"


def test_a_count_beyond_the_list_needs_a_retrieve_that_brings_all_it_announces(packer):
    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return success(completed=3)

    verdict = pull(Archive(Router(), ["1.1", "1.2"], [step]), packer, claimed=3)

    assert verdict.reason == "EXPECTED_SET_UNKNOWN"
    assert verdict.end is End.AGAIN


def test_an_empty_list_is_not_believed_of_an_archive_that_says_it_sent_something(packer):
    verdict = pull(Archive(Router(), [], [lambda archive, target: success(completed=5)]), packer)

    assert verdict.end is End.AGAIN
    assert verdict.evidence["announced"] == 5


def test_an_empty_list_is_not_believed_when_something_that_came_was_malformed(packer):
    def step(archive, target):
        archive.router.find(STUDY).reject("1.1")
        return success(completed=0)

    verdict = pull(Archive(Router(), [], [step]), packer)

    assert verdict.end is End.AGAIN


def test_an_empty_list_is_not_believed_when_its_repetition_cannot_be_decoded(packer):
    class Garbling(Archive):
        def list_instances(self, study_uid):
            return InstanceList(instances=(), complete=True, undecodable=len(self.asked))

    verdict = pull(Garbling(Router(), [], [lambda archive, target: success(completed=0)]), packer)

    assert verdict.reason == "INSTANCE_LIST_INCOMPLETE"


def test_a_writer_that_breaks_in_any_way_ends_the_attempt_instead_of_hanging_it(packer):
    packer.error = FileNotFoundError("upload part: no such object")

    def step(archive, target):
        assert archive.deliver("1.1") == [Arrival.FAILED]
        return MoveOutcome(end=MoveEnd.LOST)

    with pytest.raises(FileNotFoundError):
        pull(Archive(Router(), ["1.1"], [step]), packer)


def test_a_parked_instance_that_cannot_be_opened_ends_the_attempt_instead_of_hanging_it(packer, monkeypatch):
    def unreadable(self):
        raise Retryable("too many open files", place="quarantine")

    monkeypatch.setattr(ParkedInstance, "opened", unreadable)

    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return success(completed=2)

    archive = Archive(Router(), ["1.1"], [step])
    archive.lists.append(["1.1", "1.2"])

    with pytest.raises(Retryable):
        pull(archive, packer)


def test_the_pack_is_spoiled_before_anything_unlisted_is_set_aside(packer):
    spoiled_when_parked = []

    def park(facts, octets):
        spoiled_when_parked.append(packer.spoiled_after)
        return ParkedInstance(facts)

    def step(archive, target):
        archive.deliver("1.1", "1.9", "1.8", "1.2")
        return success(completed=4)

    verdict = pull(Archive(Router(), ["1.1", "1.2"], [step]), packer, park=park)

    assert (verdict.end, verdict.reason) == (End.EXCEPTION, "SURPLUS_INSTANCES")
    assert spoiled_when_parked == [1, 1]


def test_the_pack_is_spoiled_when_the_source_announces_more_than_it_lists(packer):
    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return success(completed=2, failed=1)

    pull(Archive(Router(), ["1.1", "1.2"], [step]), packer)

    assert packer.spoiled_after == 2


class Adding:
    """Adds one instance to every study, and has to see all of it."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []

    def must_see(self, resumed) -> bool:
        return bool(resumed)

    def made(self, held):
        self.asked.append(set(held))
        return [(facts_of("1.9"), MemoryOctets(b"x"))]


def pull_adding(archive, packer, adding) -> Verdict:
    return Pull(
        study_uid=STUDY,
        claimed_count=None,
        source=archive,
        options=OPTIONS,
        receiver_ae="MIG01",
        router=archive.router,
        pack=lambda: packer,
        park=set_aside,
        stop=lambda: False,
        additions=adding,
    ).run()


def test_what_is_added_is_written_last_and_expected(packer):
    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return success(completed=2)

    adding = Adding()
    verdict = pull_adding(Archive(Router(), ["1.1", "1.2"], [step]), packer, adding)

    assert verdict.end is End.WRITTEN
    assert packer.written == ["1.1", "1.2", "1.9"]
    assert verdict.expected == {facts.sop_uid for facts in verdict.facts} == {"1.1", "1.2", "1.9"}
    assert adding.asked == [{"1.1", "1.2"}]


def test_nothing_is_added_to_a_study_that_is_incomplete(packer):
    def step(archive, target):
        archive.deliver("1.1")
        return success(completed=2)

    adding = Adding()
    verdict = pull_adding(Archive(Router(), ["1.1", "1.2"], [step]), packer, adding)

    assert verdict.end is End.AGAIN
    assert adding.asked == []
    assert packer.written == ["1.1"]


def test_a_pack_whose_instances_have_to_be_seen_again_is_started_over(packer):
    packer.resumed = (facts_of("1.1"),)

    def step(archive, target):
        archive.deliver("1.1", "1.2")
        return success(completed=2)

    def forget(reason: str) -> None:
        packer.started_over, packer.resumed = reason, ()

    packer.start_over = forget
    verdict = pull_adding(Archive(Router(), ["1.1", "1.2"], [step]), packer, Adding())

    assert packer.started_over == "HAS_TO_BE_SEEN"
    assert verdict.end is End.WRITTEN
    assert packer.written == ["1.1", "1.2", "1.9"]
