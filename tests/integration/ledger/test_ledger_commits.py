"""What is committed is whole, expected, and chained into the study's custody."""

from dataclasses import replace
from datetime import timedelta

import pytest

from imaging.uid import Uid
from storage.errors import IntegrityError, LostClaim, Rejected
from storage.ledger.commits import ValidationCounts
from storage.ledger.evidence import first_broken_link
from storage.ledger.facts import SharedSop
from storage.ledger.records import CustodyNote, Problem, Severity
from storage.ledger.resolving import Resolution
from storage.packs.model import Container, Member, Part, Receipt
from storage.sinks.protocol import UploadState

NOTE = CustodyNote(event="written", payload={"associations": [1, 2], "source": "PACS"})
RECEIPT = Receipt(key="packs/1", container=Container.TAR, size=4096, crc64=2**64 - 1, etag="e", version_id="v")
MISMATCH = Problem(kind="DIGEST_MISMATCH", severity=Severity.CRITICAL, blocking=True, remedy="Look.", evidence={"n": 1})


def test_a_study_goes_from_found_to_proven_at_both_destinations(world) -> None:
    world.planned("1.2")

    world.write(world.pull())
    world.ledger.commits.fed(world.feed(), receipt=RECEIPT, note=NOTE)
    for claim in (world.validation(), world.validation()):
        world.ledger.commits.validated(claim, instances=2, digests_compared=2, note=NOTE)

    assert world.states("1.2") == ["validated", "validated"]
    assert [(proof.destination, proof.studies, proof.instances) for proof in world.ledger.facts.proven()] == [
        ("cloud", 1, 2),
        ("second", 1, 2),
    ]
    assert world.ledger.status.study("1.2").status == "done"


def test_a_fed_destination_waits_for_the_inline_one_and_is_given_its_receipt(world) -> None:
    world.planned("1.2")
    too_early = world.ledger.claims.feed("f", [world.second], timedelta(seconds=60))

    world.write(world.pull())
    claim = world.feed()

    assert too_early is None
    assert (claim.destination, claim.inline_destination, claim.receipt, claim.instances) == (
        "second",
        "cloud",
        RECEIPT,
        2,
    )


def test_the_facts_of_a_written_study_read_back_as_they_were(world) -> None:
    world.planned("1.2")
    claim = world.pull()
    facts = [replace(one, pd1=one.sto1) for one in world.facts("1.2")]

    world.ledger.commits.written(claim, facts=facts, expected_root=world.root(facts), receipt=RECEIPT, note=NOTE)

    assert world.ledger.facts.instances(claim.study_key, 1) == tuple(facts)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_other_set_than_the_expected_one_is_refused_whole(world, count: int) -> None:
    world.planned("1.2")
    claim = world.pull()

    with pytest.raises(IntegrityError):
        world.ledger.commits.written(
            claim,
            facts=world.facts("1.2", count),
            expected_root=world.root(world.facts("1.2", 2)),
            receipt=RECEIPT,
            note=NOTE,
        )

    assert world.sql("select * from instance") == world.sql("select * from receipt") == []
    assert world.ledger.claims.renew("mover-1", [claim], timedelta(seconds=60)) == ()


def test_an_instance_that_occurs_twice_or_is_of_another_study_is_refused(world) -> None:
    world.planned("1.2")
    claim = world.pull()
    one, two = world.facts("1.2")

    for facts in ([one, one], [one, replace(two, study_uid=Uid("1.9"))]):
        with pytest.raises(IntegrityError):
            world.ledger.commits.written(
                claim, facts=facts, expected_root=world.root(facts), receipt=RECEIPT, note=NOTE
            )


def test_a_uid_that_two_studies_hold_is_noticed_and_not_refused(world) -> None:
    world.planned("1.1", "1.2")
    world.write(world.pull())
    claim = world.pull()
    facts = [replace(one, study_uid=Uid("1.2")) for one in world.facts("1.1", 1)]

    shared = world.ledger.commits.written(
        claim, facts=facts, expected_root=world.root(facts), receipt=RECEIPT, note=NOTE
    )

    assert shared == (SharedSop(sop_uid=facts[0].sop_uid, other_study=Uid("1.1")),)
    assert world.sql("select count(*) from sop") == [(3,)]


def members_of(world, uid: str) -> list[Member]:
    return [Member(facts=facts, offset=n * 1024, length=1024, lead=512) for n, facts in enumerate(world.facts(uid))]


def test_a_journal_gives_the_next_worker_exactly_what_was_committed(world) -> None:
    world.planned("1.2")
    claim = world.pull()
    parts = [Part(number=1, offset=0, size=2048, crc64=2**64 - 2, etag="a")]
    members = members_of(world, "1.2")
    journal = world.ledger.uploads.journal(claim)

    nothing = world.ledger.uploads.state(claim)
    journal.begin(key="packs/1", container=Container.TAR, device="")
    journal.begin(key="packs/1", container=Container.TAR, device="")
    journal.opened("upload-1")
    journal.commit_group(parts, members)

    assert nothing is None
    assert world.ledger.uploads.state(claim) == UploadState(
        key="packs/1",
        container=Container.TAR,
        upload_id="upload-1",
        device="",
        parts=tuple(parts),
        members=tuple(members),
    )
    assert world.ledger.uploads.live_upload_ids(world.cloud) == {"upload-1"}


def test_another_intent_is_refused_until_the_first_is_reset(world) -> None:
    world.planned("1.2")
    journal = world.ledger.uploads.journal(world.pull())
    journal.begin(key="packs/1", container=Container.TAR, device="")

    with pytest.raises(Rejected):
        journal.begin(key="packs/2", container=Container.TAR, device="")
    journal.reset("gone at the endpoint")
    journal.begin(key="packs/2", container=Container.TAR, device="")

    assert world.sql("select key from upload") == [("packs/2",)]


def test_staged_members_become_the_instances_and_the_journal_is_forgotten(world) -> None:
    world.planned("1.2")
    claim = world.pull()
    members = members_of(world, "1.2")
    journal = world.ledger.uploads.journal(claim)
    journal.begin(key="packs/1", container=Container.TAR, device="")
    journal.commit_group([], members)

    world.ledger.commits.written(claim, expected_root=world.root(world.facts("1.2")), receipt=RECEIPT, note=NOTE)

    assert world.ledger.facts.instances(claim.study_key, 1) == tuple(member.facts for member in members)
    assert world.ledger.uploads.state(claim) is None


def test_a_read_back_of_too_few_instances_proves_nothing(world) -> None:
    world.planned("1.2")
    world.write(world.pull())
    claim = world.validation()

    for instances, compared in ((1, 1), (2, 1), (3, 3)):
        with pytest.raises(IntegrityError):
            world.ledger.commits.validated(claim, instances=instances, digests_compared=compared, note=NOTE)

    assert world.states("1.2")[0] == "written"


def test_a_failed_read_back_is_kept_with_its_counts_and_may_be_tried_again(world) -> None:
    world.planned("1.2")
    world.write(world.pull())
    counts = ValidationCounts(instances=2, digests_compared=2, mismatches=1, missing=0, surplus=0)

    exception_id = world.ledger.commits.fail(world.validation(), MISMATCH, counts=counts)
    stopped = world.states("1.2")[0]
    world.ledger.exceptions.resolve(exception_id, Resolution.RETRY, by="operator")

    assert stopped == "exception"
    assert world.states("1.2")[0] == "written"
    assert world.sql("select mismatches from validation") == [(1,)]


def test_an_empty_study_leaves_the_queue(world) -> None:
    world.planned("1.2")

    world.ledger.commits.empty_confirmed(world.pull())

    assert (world.study_state("1.2"), world.states("1.2")) == ("empty_confirmed", ["void", "void"])
    assert not world.ledger.status.work_left().any


def test_every_step_is_a_link_of_an_unbroken_chain(world) -> None:
    world.planned("1.2")
    world.write(world.pull())
    world.ledger.commits.fed(world.feed(), receipt=RECEIPT, note=NOTE)
    world.ledger.custody.record("1.2", "operator", CustodyNote(event="remark", payload={"text": "Grüße \\u0001"}))

    chain = world.ledger.custody.chain("1.2")

    assert [entry.seq for entry in chain] == [1, 2, 3]
    assert first_broken_link(Uid("1.2"), chain) is None
    assert world.ledger.custody.heads()[0].hash == chain[-1].hash


def test_a_link_that_was_tampered_with_is_found(world) -> None:
    world.planned("1.2")
    world.write(world.pull())
    world.ledger.commits.fed(world.feed(), receipt=RECEIPT, note=NOTE)
    world.sql(
        "set session_replication_role = replica; update custody set payload = '{\"associations\": []}' where seq = 2"
    )

    assert first_broken_link(Uid("1.2"), world.ledger.custody.chain("1.2")) == 2


def test_errors_of_the_database_never_carry_a_uid(world) -> None:
    world.planned("1.2.840.99")
    world.write(world.pull())

    with pytest.raises(Rejected) as caught:
        world.ledger.inventory.record_studies(world.source, [world.found("1.2.840.99", instance_count=-1)])

    assert "counts_are_not_negative" in str(caught.value)
    assert "1.2.840.99" not in str(caught.value)


def test_a_late_instance_is_recognised_by_its_digest(world) -> None:
    world.planned("1.1", "1.2")
    world.write(world.pull())
    one = world.facts("1.1")[0]

    known = world.ledger.facts.arrival(Uid("1.1"), one.sop_uid)
    late = world.ledger.facts.arrival(Uid("1.1"), Uid("9.9"))
    awaited = world.ledger.facts.arrival(Uid("1.2"), Uid("9.9"))
    strange = world.ledger.facts.arrival(Uid("7.7"), Uid("9.9"))

    assert (known.raw1, known.pending) == (one.raw1, False)
    assert (late.raw1, late.pending, late.study_key) == (None, False, known.study_key)
    assert awaited.pending
    assert strange.study_key is None


def test_what_was_odd_about_a_written_study_is_told_with_it_or_not_at_all(world) -> None:
    world.planned("1.2")
    claim = world.pull()
    facts = world.facts("1.2")
    odd = Problem(kind="COUNT_EXCEEDS_LIST", severity=Severity.WARNING, blocking=False, remedy="Look.", evidence={})

    def commit() -> None:
        world.ledger.commits.written(
            claim,
            facts=facts,
            expected_root=world.root(facts),
            receipt=RECEIPT,
            note=NOTE,
            problems=lambda shared: [odd] if not shared else [],
        )

    commit()
    once = [(problem.kind, problem.times_seen) for problem in world.ledger.exceptions.list_open()]
    with pytest.raises(LostClaim):
        commit()

    assert once == [("COUNT_EXCEEDS_LIST", 1)]
    assert [(problem.kind, problem.times_seen) for problem in world.ledger.exceptions.list_open()] == once


def test_a_late_instance_is_told_of_and_its_study_planned_anew_both_or_neither(world) -> None:
    late = replace(MISMATCH, kind="LATE_INSTANCE", blocking=False)
    unheard = replace(late, kind="no kind at all")
    world.planned("1.2", "1.3")
    keys = {}
    for _ in range(2):
        claim = world.pull()
        keys[claim.study_uid] = claim.study_key
        world.write(claim)

    world.ledger.exceptions.open_late(late, study_key=keys["1.2"])
    with pytest.raises(Rejected):
        world.ledger.exceptions.open_late(unheard, study_key=keys["1.3"])
    with pytest.raises(ValueError):
        world.ledger.exceptions.open_late(MISMATCH, study_key=keys["1.3"])

    assert [(one.kind, one.study_uid) for one in world.ledger.exceptions.list_open()] == [("LATE_INSTANCE", "1.2")]
    assert [world.ledger.status.study(uid).recount for uid in ("1.2", "1.3")] == [True, False]
