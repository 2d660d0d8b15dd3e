"""A PACS that lies, through the whole engine: complete to the byte, or the right exception with the right evidence."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from actors.dimse.scu import DimseSource
from actors.options import SourceProfile
from actors.source import StudyFound
from imaging.uid import Uid
from infra.simulator import (
    Archive,
    Counts,
    Faults,
    Instance,
    Order,
    Originator,
    Simulator,
    Uids,
    synthetic_archive,
)
from infra.simulator.content import HeldContent
from storage.ledger.lifecycle import StudyStatus
from storage.ledger.pace import AssociationChange
from storage.ledger.records import Verdict as Recorded
from storage.ledger.resolving import Resolution

UNLISTED = SourceProfile(image_level=False)
JUNK = b"\x08\x00\x05\x00CS\xff\xff and no more"
"""An element longer than what follows it: cannot be split in either VR encoding."""


@pytest.fixture
def lying(engine, free_port):
    """`lying(archive, faults, **options)`: a running PACS and a job whose inventory has been taken from it."""

    @contextmanager
    def start(archive: Archive, faults: Faults, *, registered: bool = True, **options):
        port = free_port()
        known = {"MIG01": ("127.0.0.1", port)} if registered else {}
        with Simulator(archive, destinations=known, faults=faults) as pacs:
            yield pacs, engine(pacs.port, receiver_port=port, **options)

    return start


def small(studies: int = 3) -> Archive:
    """Studies of several series each, some with several images, all below a part's size."""
    return synthetic_archive(studies=studies, seed=18, instances=3, side=16)


def study_of(archive: Archive, *, instances: int) -> tuple[Instance, ...]:
    return next(held for held in archive.studies() if len(held) >= instances)


def assert_nothing_odd(job) -> None:
    assert job.kinds() == set()
    assert job.quarantined() == []
    assert job.unfinished_uploads() == set()


def more(what: str, than: int) -> Callable[[Simulator], bool]:
    return lambda pacs: pacs.stats.counts[what] > than


HARMLESS = {
    "final status before the last C-STORE": (Faults(final_before_last=0.1), more("late_pushes", 0)),
    "late push on an association of its own": (Faults(late_push=0.1), more("late_pushes", 0)),
    "images lost at the first retrieve only": (Faults(lost_per_study=1, lost_moves=1), more("moves", 3)),
    "no Move Originator, rows repeated": (
        Faults(originator=Originator.ABSENT, duplicate_rows=2),
        more("find_answers", 30),
    ),
    "itself as Move Originator, no pending answers": (
        Faults(originator=Originator.OWN, pending_every=0),
        more("stores", 0),
    ),
    "series listed per instance, counts absent": (
        Faults(series_per_instance=True, counts=Counts.ABSENT),
        more("find_answers", 0),
    ),
    "counts of zero, every image sent three times": (
        Faults(counts=Counts.ZERO, repeated_stores=2),
        more("stores", 30),
    ),
    "move association aborted": (
        Faults(abort_move_after=1, aborts=4, order=Order.REVERSED),
        more("aborts", 3),
    ),
    "store association aborted": (
        Faults(abort_store_after=1, aborts=4, order=Order.SHUFFLED),
        more("aborts", 3),
    ),
    "every retrieve aborted after one image": (Faults(abort_move_after=1), more("aborts", 3)),
    "images of other studies with every retrieve": (Faults(unasked=2), more("stores", 11)),
}


@pytest.mark.parametrize(("faults", "happened"), HARMLESS.values(), ids=HARMLESS.keys())
def test_a_lie_that_can_be_seen_through_costs_nothing(lying, faults, happened):
    archive = small()
    with lying(archive, faults) as (pacs, job):
        job.run()

    assert happened(pacs)
    job.assert_delivered(archive.manifest())
    assert_nothing_odd(job)


# What is missing, and what is too much.


def test_success_without_an_image_is_an_exception_that_names_it_and_a_retry_completes_the_study(lying):
    archive = small()
    study = study_of(archive, instances=3)
    lost = study[1].sop_uid
    with lying(archive, Faults(lost_sop_uids=(lost,))) as (pacs, job):
        job.run()
        [problem] = job.problems()
        statuses = job.statuses()

        pacs.faults = Faults()
        job.ledger.exceptions.resolve(problem.exception_id, Resolution.RETRY, by="test")
        job.move()

    assert (problem.kind, problem.study_uid, problem.blocking) == ("INCOMPLETE_STUDY", study[0].study_uid, True)
    assert problem.evidence["expected"] == len(study)
    assert problem.evidence["received"] == len(study) - 1
    assert problem.evidence["missing_uids"] == [lost]
    assert problem.evidence["attempts"] == 2
    assert statuses.pop(study[0].study_uid) is StudyStatus.EXCEPTION
    assert set(statuses.values()) == {StudyStatus.DONE}
    job.assert_delivered(archive.manifest())
    assert_nothing_odd(job)


def test_an_incomplete_study_keeps_its_upload_and_the_retry_asks_only_for_the_rest(lying, large):
    archive = large
    study = archive.studies()[0]
    lost = study[-1].sop_uid
    with lying(archive, Faults(lost_sop_uids=(lost,))) as (pacs, job):
        job.run()
        [problem] = job.problems()
        kept, orphans = job.unfinished_uploads(), job.orphans()
        sent_before = pacs.stats.stores

        pacs.faults = Faults()
        job.ledger.exceptions.resolve(problem.exception_id, Resolution.RETRY, by="test")
        job.move()

    assert (problem.kind, len(kept), orphans) == ("INCOMPLETE_STUDY", 1, set())
    assert pacs.stats.stores - sent_before < len(study)
    job.assert_delivered(archive.manifest())
    assert_nothing_odd(job)


def test_a_study_that_loses_an_image_at_the_source_between_two_attempts_is_delivered_without_it(lying, large):
    archive = large
    study = archive.studies()[0]
    with lying(archive, Faults(lost_sop_uids=(study[-1].sop_uid,))) as (pacs, job):
        job.run()
        [problem] = job.problems()

        archive.remove([study[0].sop_uid])
        pacs.faults = Faults()
        job.ledger.exceptions.resolve(problem.exception_id, Resolution.RETRY, by="test")
        job.move()

    job.assert_delivered(archive.manifest())
    assert job.unfinished_uploads() == set()


def test_a_count_above_the_list_is_checked_by_a_whole_retrieve_and_told(lying):
    archive = small()
    with lying(archive, Faults(counts=Counts.HIGH)) as (_, job):
        job.run()

    job.assert_delivered(archive.manifest())
    told = {problem.study_uid: problem for problem in job.problems("COUNT_EXCEEDS_LIST")}
    assert told.keys() == set(archive.manifest().study_uids) and job.kinds() == {"COUNT_EXCEEDS_LIST"}
    for study_uid, problem in told.items():
        held = len(archive.study(study_uid))
        assert problem.evidence == {"claimed": held + 1, "listed": held}
        assert not problem.blocking


@pytest.mark.parametrize("uids", [Uids.REWRITTEN, Uids.FRESH])
def test_uids_rewritten_on_retrieve_are_an_exception_and_nothing_is_delivered(lying, uids):
    archive = small(2)
    with lying(archive, Faults(uids=uids)) as (_, job):
        job.run()

    assert set(job.statuses().values()) == {StudyStatus.EXCEPTION}
    assert job.kinds() == {"SOURCE_UID_UNSTABLE"}
    kept = {evidence["name"]: evidence for evidence in job.evidence()}
    for problem in job.problems():
        truth = archive.manifest().sop_uids(problem.study_uid)
        assert problem.evidence["expected"] == problem.evidence["missing"] == len(truth)
        assert problem.evidence["surplus"] == len(truth)
        assert not set(problem.evidence["surplus_uids"]) & truth
        assert [kept[name]["sop_uid"] for name in problem.evidence["quarantine"]] == problem.evidence["surplus_uids"]
    assert job.objects() == set()
    assert job.unfinished_uploads() == set()


def test_bytes_that_differ_between_retrieves_are_delivered_once_and_the_other_kept_as_evidence(lying):
    archive = small()
    with lying(archive, Faults(unstable_bytes=True), profile=UNLISTED) as (_, job):
        job.run()

    assert set(job.statuses().values()) == {StudyStatus.DONE}
    for study_uid in archive.manifest().study_uids:
        assert job.datasets("cloud", study_uid).keys() == archive.manifest().sop_uids(study_uid)
    assert job.kinds() == {"DUPLICATE_DIFFERS"}
    assert sum(problem.times_seen for problem in job.problems()) == len(job.quarantined()) > 0
    assert {evidence["reason"] for evidence in job.evidence()} == {"DUPLICATE_DIFFERS"}
    assert differing(job) == {path.stem for path in job.quarantined()}


def test_bytes_that_differ_in_an_attempt_that_comes_to_nothing_are_told_all_the_same(lying):
    archive = small(2)
    lost = study_of(archive, instances=2)[0].sop_uid
    with lying(archive, Faults(unstable_bytes=True, lost_sop_uids=(lost,)), profile=UNLISTED) as (_, job):
        job.run()

    assert job.kinds() == {"DUPLICATE_DIFFERS", "EXPECTED_SET_UNKNOWN"}
    assert differing(job) == {path.stem for path in job.quarantined()}


def differing(job) -> set[str]:
    """What exceptions name of the quarantine as other bytes of an instance."""
    told = [problem.evidence for problem in job.problems("DUPLICATE_DIFFERS")]
    return {each["quarantine"] for evidence in told for each in (evidence, *evidence.get("earlier", ()))}


def test_an_image_that_came_while_the_study_moved_and_is_listed_by_then_belongs_to_it(lying):
    archive = small(2)
    study = study_of(archive, instances=2)
    late = study[-1]
    archive.remove([late.sop_uid])
    with lying(archive, Faults()) as (_, job):
        job.take_inventory()
        job.plan()
        listing = DimseSource.list_instances

        def grown(self, study_uid):
            listed = listing(self, study_uid)
            if study_uid == late.study_uid and late.sop_uid not in archive.manifest().sop_uids(study_uid):
                archive.add(late)
            return listed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DimseSource, "list_instances", grown)
            job.start()
            job.finish()
            job.stop()

    job.assert_delivered(archive.manifest())
    assert_nothing_odd(job)


# What nobody asked for.


def test_instances_of_unknown_studies_are_quarantined_and_the_job_goes_on(lying):
    archive = small(4)
    *known, stranger = archive.studies()
    with lying(archive, Faults()) as (pacs, job):
        archive.remove([instance.sop_uid for instance in stranger])
        job.take_inventory()
        job.plan()
        archive.add(*stranger)
        pacs.faults = Faults(unasked=len(archive.manifest()))
        job.move()

    truth = archive.manifest()
    job.assert_delivered(truth, [held[0].study_uid for held in known])
    kept = {evidence["name"]: evidence for evidence in job.evidence()}
    assert job.kinds() == {"UNSOLICITED"}
    assert {problem.sop_uid for problem in job.problems()} == {instance.sop_uid for instance in stranger}
    for problem in job.problems():
        evidence = kept[problem.evidence["quarantine"]]
        assert (evidence["sop_uid"], evidence["called_ae"]) == (problem.sop_uid, "MIG01")
        assert evidence["blake3"] == problem.evidence["blake3"]
        path = job.job.folder / "quarantine" / f"{evidence['name']}.dcm"
        assert path.read_bytes().endswith(truth.instance(problem.sop_uid).dataset())


def test_a_new_image_after_delivery_is_kept_and_its_study_delivered_anew(lying):
    archive = small(2)
    study = study_of(archive, instances=2)
    late = study[-1]
    archive.remove([late.sop_uid])
    other = next(held for held in archive.studies() if held[0].study_uid != late.study_uid)
    with lying(archive, Faults()) as (pacs, job):
        job.run()
        delivered_before = job.statuses()

        archive.add(late)
        pacs.faults = Faults(unasked=len(archive.manifest()))
        job.ledger.inventory.recount(1 + [row.study_uid for row in _rows(job)].index(other[0].study_uid))
        job.plan()
        job.start()
        job.finish()
        job.plan()
        job.finish()
        job.stop()

    assert set(delivered_before.values()) == {StudyStatus.DONE}
    [problem] = job.problems()
    assert (problem.kind, problem.study_uid, problem.sop_uid) == ("LATE_INSTANCE", late.study_uid, late.sop_uid)
    assert [evidence["sop_uid"] for evidence in job.evidence()] == [late.sop_uid]
    job.assert_delivered(archive.manifest(), revision=2)


def _rows(job):
    return job.ledger.status.list_studies()


# What cannot be understood.


def test_malformed_datasets_between_good_ones_are_quarantined_and_the_study_is_complete(lying):
    archive = small()
    with lying(archive, Faults(malformed=(JUNK, b""))) as (_, job):
        job.run()

    job.assert_delivered(archive.manifest())
    assert job.kinds() == {"MALFORMED_INSTANCE"}
    assert len(job.quarantined()) == sum(problem.times_seen for problem in job.problems()) == 2 * 3
    assert {evidence["reason"] for evidence in job.evidence()} == {"MALFORMED_INSTANCE"}
    assert not any(problem.blocking for problem in job.problems())


@pytest.mark.parametrize("profile", [SourceProfile(), UNLISTED], ids=["listed", "unlisted"])
def test_a_study_with_a_malformed_image_is_an_exception_and_the_others_are_complete(lying, profile):
    archive = small(4)
    broken = [archive.studies()[0][0], study_of(Archive(archive.manifest().instances[3:]), instances=2)[0]]
    archive.remove(instance.sop_uid for instance in broken)
    archive.add(*(replace(instance, content=HeldContent(JUNK)) for instance in broken))
    damaged = {instance.study_uid for instance in broken}
    counts = Counts.TRUE if profile.image_level else Counts.ABSENT
    with lying(archive, Faults(counts=counts), profile=profile, associations=1) as (_, job):
        job.run()

    sound = set(archive.manifest().study_uids) - damaged
    job.assert_delivered(archive.manifest(), sound)
    stopped = {p.study_uid for p in job.problems("MALFORMED_INSTANCES") if p.blocking}
    assert stopped == {uid for uid, status in job.statuses().items() if status is StudyStatus.EXCEPTION} == damaged
    assert {e["sop_uid"] for e in job.evidence()} == {instance.sop_uid for instance in broken}
    assert job.unfinished_uploads() == set()


# Where the source cannot list instances.


def test_without_image_lists_two_retrieves_that_agree_are_believed(lying):
    archive = small()
    with lying(archive, Faults(image_find_refused=True), profile=UNLISTED) as (pacs, job):
        job.run()

    job.assert_delivered(archive.manifest())
    assert_nothing_odd(job)
    assert pacs.stats.moves == 2 * len(archive.studies())


def test_a_refused_image_list_is_done_without_at_the_next_attempt(lying):
    archive = small(2)
    with lying(archive, Faults(image_find_refused=True)) as (_, job):
        job.run()

    job.assert_delivered(archive.manifest())
    assert_nothing_odd(job)


UNAGREED = {
    "fewer than counted": Faults(lost_per_study=1),
    "fewer the first time": Faults(lost_per_study=1, lost_moves=1, counts=Counts.ABSENT),
    "aborted, and no counts": Faults(abort_move_after=1, counts=Counts.ABSENT),
    "other UIDs each time": Faults(uids=Uids.FRESH, counts=Counts.ABSENT),
}


@pytest.mark.parametrize("faults", UNAGREED.values(), ids=UNAGREED.keys())
def test_without_image_lists_retrieves_that_do_not_agree_deliver_nothing(lying, faults):
    archive = Archive(study_of(small(), instances=3))
    with lying(archive, faults, profile=UNLISTED, limits={"attempts": 1}) as (_, job):
        job.run()

    [problem] = job.problems()
    assert problem.kind == "EXPECTED_SET_UNKNOWN"
    assert set(job.statuses().values()) == {StudyStatus.EXCEPTION}
    assert job.objects() == set()
    assert job.unfinished_uploads() == set()


# Empty studies.


@pytest.mark.parametrize("profile", [SourceProfile(), UNLISTED], ids=["listed", "unlisted"])
def test_a_study_without_images_is_confirmed_empty(lying, profile):
    archive = small(2)
    with lying(archive, Faults(), profile=profile) as (_, job):
        job.take_inventory()
        job.ledger.inventory.record_studies(job.job.source_id, [StudyFound(study_uid=Uid("1.2.3"), instance_count=0)])
        job.move()

    assert job.statuses()["1.2.3"] is StudyStatus.EMPTY
    job.assert_delivered(archive.manifest())
    assert_nothing_odd(job)


def test_a_study_the_source_counts_images_in_and_lists_none_of_is_not_empty(lying):
    archive = small(1)
    with lying(archive, Faults()) as (_, job):
        job.ledger.inventory.record_studies(job.job.source_id, [StudyFound(study_uid=Uid("1.2.3"), instance_count=4)])
        job.move()

    [problem] = job.problems()
    assert (problem.kind, problem.evidence["claimed"]) == ("NO_INSTANCES_LISTED", 4)
    assert job.statuses() == {"1.2.3": StudyStatus.EXCEPTION}


def test_no_study_is_called_empty_by_a_source_that_cannot_send_to_us(lying):
    with lying(small(1), Faults(), registered=False) as (_, job):
        job.ledger.inventory.record_studies(job.job.source_id, [StudyFound(study_uid=Uid("1.2.3"), instance_count=0)])
        job.plan()
        job.start_movers()
        job.wait_until(lambda: "RECEIVER_UNKNOWN" in job.kinds(), what="the exception")
        job.stop()

    assert job.statuses() == {"1.2.3": StudyStatus.WAITING}


# A source that wants less of us, or does not know us.


def busy(job) -> int:
    return job.ledger.control.throttle(job.job.source_id).busy_count


def changes(job) -> list[AssociationChange]:
    """The oldest first."""
    return list(reversed(job.ledger.paces.changes(job.job.source_id, 100)))


def allowed(job) -> float:
    return job.ledger.control.throttle(job.job.source_id).allowed


@pytest.mark.parametrize(
    "faults",
    [
        Faults(busy_above=0, busy_status=0xA701),
        Faults(busy_above=0, busy_status=0xA702),
        Faults(association_limit=1, store_latency=0.05),
    ],
    ids=["A701", "A702", "association limit"],
)
def test_a_source_that_asks_for_less_gets_less_and_everything_completes(lying, faults):
    archive = small(5)
    patient = {"outage": timedelta(minutes=5)}
    with lying(archive, Faults(), associations=4, pull_limit=4, limits=patient) as (pacs, job):
        job.take_inventory()
        job.plan()
        pacs.faults = faults
        job.start()
        job.wait_until(lambda: busy(job) > 0, what="the refusal")
        job.wait_until(lambda: allowed(job) == 2, what="the throttle")
        pacs.faults = Faults()
        job.finish()
        job.stop()

    assert [(row.before, row.after, row.reason) for row in changes(job)][:1] == [(4, 2, "refused")]
    job.assert_delivered(archive.manifest())
    assert_nothing_odd(job)
    assert job.rows("select max(attempts) from delivery") == [(0,)]


def test_an_unknown_receiver_halts_until_it_is_registered_and_nothing_is_lost(lying):
    archive = small()
    with lying(archive, Faults(), registered=False) as (pacs, job):
        job.take_inventory()
        job.plan()
        job.start()
        job.wait_until(lambda: "RECEIVER_UNKNOWN" in job.kinds(), what="the exception")
        halted = job.processes[0].report()["halted"]
        waiting = set(job.statuses().values())
        [problem] = job.problems()

        pacs.destinations["MIG01"] = ("127.0.0.1", job.receiver.port)
        job.finish()
        report = job.processes[0].report()
        job.stop()

    assert "RECEIVER_UNKNOWN" in halted and "MIG01" in halted
    assert waiting == {StudyStatus.WAITING}
    assert (problem.evidence, problem.blocking) == ({"ae_title": "MIG01"}, False)
    assert report["halted"] == ""
    job.assert_delivered(archive.manifest())


def test_an_archive_that_gives_up_at_the_first_unsendable_image_sends_all_the_others(lying):
    archive = small()
    study = study_of(archive, instances=3)
    odd = study[0]
    archive.remove(instance.sop_uid for instance in study)
    # Neither an abstract nor a transfer syntax: no presentation context is accepted for it.
    archive.add(replace(odd, sop_class="1.2.840.10008.1.20.1"), *study[1:])
    with lying(archive, Faults(first_refusal_fatal=True)) as (pacs, job):
        job.run()

    statuses = {record.status for record in pacs.stats.move_records if record.study_uid == odd.study_uid}
    [problem] = job.problems()
    assert 0xC000 in statuses
    assert (problem.kind, problem.study_uid) == ("INCOMPLETE_STUDY", odd.study_uid)
    assert problem.evidence["missing_uids"] == [odd.sop_uid]
    job.assert_delivered(archive.manifest(), set(archive.manifest().study_uids) - {odd.study_uid})


# An archive that cuts its C-FIND answers.


def test_an_archive_that_cuts_its_answers_silently_loses_no_study_dated_or_not(lying):
    archive = synthetic_archive(studies=45, seed=3, instances=1, side=8)
    with lying(archive, Faults(find_cap=20), associations=4) as (_, job):
        progress = job.walk_inventory()
        job.move()

    truth = archive.manifest()
    assert any(not instance.attributes.get(0x00080020) for instance in truth)
    assert job.ledger.inventory.verdicts(job.job.source_id)[Recorded.SPLIT] > 0
    assert progress.unsplittable == 0
    job.assert_delivered(truth)
    assert job.statuses().keys() == set(truth.study_uids)
    assert_nothing_odd(job)
