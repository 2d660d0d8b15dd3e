"""C-MOVE of the simulated archive: truthful and byte for byte first, then every way it can lie."""

import contextlib
import threading
import time
from dataclasses import dataclass, field

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt

from infra.simulator import Faults, Order, Originator, Simulator, Uids, big_archive, synthetic_archive
from infra.simulator.archive import Archive, Instance
from infra.simulator.content import HeldContent

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
DEADLINE = 20.0


@dataclass
class Receiver:
    """What a pynetdicom storage SCP got."""

    port: int = 0
    datasets: dict[str, bytes] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    originators: set[tuple[str | None, int | None]] = field(default_factory=set)
    associations: int = 0
    status: int = 0x0000
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def store(self, event):
        with self.arrived:
            uid = str(event.request.AffectedSOPInstanceUID)
            self.datasets[uid] = event.request.DataSet.getvalue()
            self.order.append(uid)
            self.originators.add(
                (event.request.MoveOriginatorApplicationEntityTitle, event.request.MoveOriginatorMessageID)
            )
            self.arrived.notify_all()
        return self.status

    def accepted(self, _):
        self.associations += 1

    def wait_for(self, count):
        with self.arrived:
            return self.arrived.wait_for(lambda: len(self.order) >= count, DEADLINE)


@pytest.fixture
def receiver(monkeypatch):
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", True)
    kept = Receiver()
    ae = AE("LIMOSA")
    ae.maximum_associations = 50
    ae.add_supported_context("1.2.840.10008.1.1")
    handlers = [(evt.EVT_C_STORE, kept.store), (evt.EVT_ACCEPTED, kept.accepted)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    kept.port = server.socket.getsockname()[1]
    yield kept
    server.shutdown()


@pytest.fixture
def pacs(receiver):
    archive = synthetic_archive(studies=8, instances=4)
    with Simulator(archive, destinations={"LIMOSA": ("127.0.0.1", receiver.port)}) as simulator:
        yield simulator


@contextlib.contextmanager
def association(pacs):
    ae = AE("MIGRATOR")
    ae.add_requested_context(MOVE)
    assoc = ae.associate("127.0.0.1", pacs.port, ae_title="SIMPACS")
    assert assoc.is_established
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def move(pacs, level="STUDY", to="LIMOSA", message_id=7, **keys):
    """All statuses of a retrieve, the last one final; empty when the association was lost."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    with association(pacs) as assoc:
        answers = [status for status, _ in assoc.send_c_move(identifier, to, MOVE, msg_id=message_id)]
    return [status for status in answers if status]


def largest(pacs):
    return max(pacs.archive.manifest().study_uids, key=lambda uid: len(pacs.archive.study(uid)))


def truth(pacs, study):
    return {instance.sop_uid: instance.dataset() for instance in pacs.archive.study(study)}


def eventually(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_every_study_arrives_as_it_is_stored(pacs, receiver):
    for study in pacs.archive.manifest().study_uids:
        final = move(pacs, StudyInstanceUID=study)[-1]
        assert (final.Status, final.NumberOfCompletedSuboperations) == (0, len(pacs.archive.study(study)))

    assert receiver.datasets == {i.sop_uid: i.dataset() for i in pacs.archive.manifest()}
    assert pacs.stats.moves == 8
    assert pacs.stats.stores == len(pacs.archive.manifest())


def test_series_and_images_can_be_retrieved_alone(pacs, receiver):
    held = pacs.archive.study(largest(pacs))
    series = held[-1].series_uid

    move(pacs, "SERIES", StudyInstanceUID=held[0].study_uid, SeriesInstanceUID=series)
    of_series = set(receiver.datasets)
    receiver.datasets.clear()
    wanted = [i.sop_uid for i in held if i.series_uid == held[0].series_uid][:2]
    move(pacs, "IMAGE", StudyInstanceUID=held[0].study_uid, SeriesInstanceUID=held[0].series_uid, SOPInstanceUID=wanted)

    assert of_series == {i.sop_uid for i in held if i.series_uid == series}
    assert set(receiver.datasets) == set(wanted)


def test_pending_answers_count_down(pacs, receiver):
    study = largest(pacs)

    answers = move(pacs, StudyInstanceUID=study)

    remaining = [answer.NumberOfRemainingSuboperations for answer in answers[:-1]]
    assert remaining == list(range(len(pacs.archive.study(study)) - 1, -1, -1))
    assert {answer.Status for answer in answers[:-1]} == {0xFF00}


def test_the_requester_is_named_as_originator(pacs, receiver):
    move(pacs, StudyInstanceUID=largest(pacs), message_id=321)

    assert receiver.originators == {("MIGRATOR", 321)}


@pytest.mark.parametrize(
    ("originator", "named"), [(Originator.OWN, ("SIMPACS", 321)), (Originator.ABSENT, (None, None))]
)
def test_the_originator_is_somebody_else_or_nobody(pacs, receiver, originator, named):
    pacs.faults = Faults(originator=originator)

    move(pacs, StudyInstanceUID=largest(pacs), message_id=321)

    assert receiver.originators == {named}


def test_a_study_nobody_has_is_moved_with_success(pacs, receiver):
    final = move(pacs, StudyInstanceUID="1.2.3")[-1]

    assert final.Status == 0 and not receiver.order


def test_an_unregistered_destination_is_refused(pacs):
    assert move(pacs, to="ELSEWHERE", StudyInstanceUID=largest(pacs))[-1].Status == 0xA801


def test_a_move_without_its_unique_key_is_refused(pacs):
    assert move(pacs, "IMAGE", StudyInstanceUID=largest(pacs))[-1].Status == 0xA900


def test_images_are_lost_silently_and_always_the_same(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(lost_per_study=2)

    first = move(pacs, StudyInstanceUID=study)[-1]
    got = set(receiver.datasets)
    move(pacs, StudyInstanceUID=study)

    assert (first.Status, first.NumberOfCompletedSuboperations) == (0, len(pacs.archive.study(study)))
    assert len(got) == len(pacs.archive.study(study)) - 2
    assert set(receiver.datasets) == got


def test_images_lost_at_the_first_retrieve_come_at_the_second(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(lost_per_study=2, lost_moves=1)

    move(pacs, StudyInstanceUID=study)
    lost = set(truth(pacs, study)) - set(receiver.datasets)
    move(pacs, StudyInstanceUID=study)

    assert len(lost) == 2
    assert receiver.datasets == truth(pacs, study)


def test_the_final_answer_leaves_before_the_last_image(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(final_before_last=0.3)

    final = move(pacs, StudyInstanceUID=study)[-1]
    at_the_answer = len(receiver.order)

    assert final.NumberOfCompletedSuboperations == len(pacs.archive.study(study)) == at_the_answer + 1
    assert receiver.wait_for(at_the_answer + 1)


def test_the_last_image_comes_late_on_an_association_of_its_own(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(late_push=0.3)

    final = move(pacs, StudyInstanceUID=study)[-1]
    at_the_answer = len(receiver.order)

    assert final.NumberOfCompletedSuboperations == len(pacs.archive.study(study)) == at_the_answer + 1
    assert receiver.wait_for(at_the_answer + 1)
    assert receiver.datasets == truth(pacs, study)
    assert receiver.associations == 2


def test_the_move_association_dies_as_often_as_told(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(abort_move_after=2, aborts=1)

    first = move(pacs, StudyInstanceUID=study)
    second = move(pacs, StudyInstanceUID=study)

    assert all(answer.Status == 0xFF00 for answer in first)
    assert second[-1].Status == 0
    assert [record.status for record in pacs.stats.move_records] == [None, 0]


def test_a_dead_store_association_fails_what_was_not_sent(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(abort_store_after=2)

    final = move(pacs, StudyInstanceUID=study)[-1]

    assert final.Status == 0xB000
    assert final.NumberOfCompletedSuboperations == 2
    assert final.NumberOfFailedSuboperations == len(pacs.archive.study(study)) - 2


@pytest.mark.parametrize("status", [0xA701, 0xA702])
def test_more_moves_than_allowed_are_refused(pacs, receiver, status):
    study = largest(pacs)
    pacs.faults = Faults(busy_above=1, busy_status=status, store_latency=0.3)
    runner = threading.Thread(target=move, args=(pacs,), kwargs={"StudyInstanceUID": study})

    runner.start()
    assert eventually(lambda: pacs.stats.running_moves == 1)
    refused = move(pacs, StudyInstanceUID=study)[-1]
    runner.join()

    assert refused.Status == status
    assert pacs.stats.peak_moves == 2


def test_several_moves_run_at_the_same_time(pacs, receiver):
    studies = pacs.archive.manifest().study_uids[:3]
    pacs.faults = Faults(store_latency=0.1)
    runners = [threading.Thread(target=move, args=(pacs,), kwargs={"StudyInstanceUID": uid}) for uid in studies]

    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()

    assert pacs.stats.peak_moves == 3
    assert set(receiver.datasets) == {uid for study in studies for uid in truth(pacs, study)}


def test_uids_are_rewritten_the_same_way_every_time(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(uids=Uids.REWRITTEN)

    move(pacs, StudyInstanceUID=study)
    first = set(receiver.datasets)
    move(pacs, StudyInstanceUID=study)

    assert first == set(receiver.datasets)
    assert first.isdisjoint(truth(pacs, study)) and len(first) == len(truth(pacs, study))


def test_uids_are_new_at_every_retrieve(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(uids=Uids.FRESH)

    move(pacs, StudyInstanceUID=study)
    move(pacs, StudyInstanceUID=study)

    assert len(receiver.datasets) == 2 * len(truth(pacs, study))


def test_bytes_differ_between_two_retrieves(pacs, receiver):
    study = next(i.study_uid for i in pacs.archive.manifest() if i.name == "ct-ge")
    pacs.faults = Faults(unstable_bytes=True)

    move(pacs, StudyInstanceUID=study)
    first = dict(receiver.datasets)
    move(pacs, StudyInstanceUID=study)

    assert first.keys() == receiver.datasets.keys()
    assert all(first[uid] != receiver.datasets[uid] for uid in first)


def test_images_nobody_asked_for_and_junk_come_along(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(unasked=2, malformed=(b"\x08\x00junk",), repeated_stores=1)

    final = move(pacs, StudyInstanceUID=study)[-1]

    mine = truth(pacs, study)
    assert final.NumberOfCompletedSuboperations == len(mine)
    assert len(receiver.order) == 2 * len(mine) + 3
    assert b"\x08\x00junk" in receiver.datasets.values()
    strays = {uid for uid in receiver.datasets if uid not in mine}
    assert len(strays & {i.sop_uid for i in pacs.archive.manifest()}) == 2


@pytest.mark.parametrize("order", [Order.REVERSED, Order.SHUFFLED])
def test_images_come_out_of_order(pacs, receiver, order):
    study = largest(pacs)
    pacs.faults = Faults(order=order)

    move(pacs, StudyInstanceUID=study)

    assert receiver.order != list(truth(pacs, study))
    assert receiver.datasets == truth(pacs, study)


def test_a_refused_image_counts_as_failed_and_is_named(pacs, receiver):
    study = largest(pacs)
    receiver.status = 0xA700

    final = move(pacs, StudyInstanceUID=study)[-1]

    assert final.Status == 0xA702
    assert final.NumberOfFailedSuboperations == len(truth(pacs, study))
    assert pacs.stats.store_statuses == {0xA700: len(truth(pacs, study))}


def test_the_first_image_without_a_context_can_end_it_all(pacs, receiver, monkeypatch):
    study = largest(pacs)
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
    pacs.faults = Faults(first_refusal_fatal=True)

    final = move(pacs, StudyInstanceUID=study)[-1]

    assert (final.Status, final.NumberOfCompletedSuboperations) == (0xC000, 0)


def test_a_destination_that_does_not_listen_fails_the_move(pacs):
    study = largest(pacs)
    pacs.destinations["NOBODY"] = ("127.0.0.1", 1)

    final = move(pacs, to="NOBODY", StudyInstanceUID=study)[-1]

    assert (final.Status, final.NumberOfFailedSuboperations) == (0xA702, len(truth(pacs, study)))


def test_a_move_can_be_cancelled(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(store_latency=0.1)
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study

    with association(pacs) as assoc:
        answers = assoc.send_c_move(identifier, "LIMOSA", MOVE, msg_id=5)
        next(answers)
        assoc.send_c_cancel(5, query_model=MOVE)
        final = [status for status, _ in answers][-1]

    assert final.Status == 0xFE00
    assert len(receiver.order) < len(truth(pacs, study))


def test_more_kinds_than_an_association_holds_take_a_second_one(receiver):
    held = synthetic_archive(studies=1).manifest().instances[0]
    many = [
        Instance(
            study_uid="1.2.3", series_uid="1.2.3.1", sop_uid=f"1.2.3.1.{number}", sop_class=f"1.2.999.{number}",
            transfer_syntax=held.transfer_syntax, attributes=held.attributes, content=HeldContent(b"\0\0" * number),
        )
        for number in range(130)
    ]  # fmt: skip

    with Simulator(Archive(many), destinations={"LIMOSA": ("127.0.0.1", receiver.port)}) as pacs:
        final = move(pacs, StudyInstanceUID="1.2.3")[-1]

    assert final.NumberOfCompletedSuboperations == 130
    assert receiver.associations == 2


@pytest.mark.parametrize("faults", [Faults(), Faults(small_writes=True), Faults(store_pdu=16384)])
def test_an_instance_too_long_to_hold_is_streamed_whole(receiver, faults):
    archive = big_archive(size=24 << 20)
    (instance,) = archive.manifest()
    with Simulator(archive, destinations={"LIMOSA": ("127.0.0.1", receiver.port)}, faults=faults) as pacs:
        move(pacs, StudyInstanceUID=instance.study_uid)

    assert receiver.datasets[instance.sop_uid] == instance.dataset()


def test_small_writes_carry_the_same_bytes(pacs, receiver):
    pacs.faults = Faults(small_writes=True)
    study = largest(pacs)

    move(pacs, StudyInstanceUID=study)

    assert receiver.datasets == truth(pacs, study)


def test_bandwidth_is_what_was_allowed(receiver):
    archive = big_archive(size=3 << 20)
    (instance,) = archive.manifest()
    faults = Faults(bandwidth=6 << 20)
    with Simulator(archive, destinations={"LIMOSA": ("127.0.0.1", receiver.port)}, faults=faults) as pacs:
        began = time.monotonic()
        move(pacs, StudyInstanceUID=instance.study_uid)
        took = time.monotonic() - began

    assert took > 0.4


def test_a_silent_move_ends_only_when_the_simulator_stops(pacs, receiver):
    study = largest(pacs)
    pacs.faults = Faults(silent_move=True, pending_every=0)
    answers = []
    runner = threading.Thread(target=lambda: answers.extend(move(pacs, StudyInstanceUID=study)))

    runner.start()
    assert receiver.wait_for(len(truth(pacs, study)))
    still_asking = runner.is_alive()
    pacs.stop()
    runner.join(DEADLINE)

    assert still_asking and not runner.is_alive() and answers == []
