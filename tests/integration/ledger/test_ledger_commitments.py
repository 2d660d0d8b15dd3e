"""What a service is asked to answer for is known before it is asked, and its answer is never lost."""

from datetime import timedelta

import psycopg
import pytest

from imaging.uid import Uid
from storage.errors import IntegrityError, LostClaim
from storage.ledger.records import CustodyNote

NOTE = CustodyNote(event="validated", payload={"proof": "commitment"})
TRANSACTION = Uid("2.25.1")


@pytest.fixture
def claim(world):
    world.planned("1.2")
    world.write(world.pull())
    return world.validation()


def test_a_report_finds_its_transaction_by_its_uid_alone_and_wakes_who_waits(world, claim) -> None:
    first, second = (one.sop_uid for one in world.facts("1.2"))
    world.ledger.commitments.ask(claim, TRANSACTION, [first, second])
    world.ledger.claims.release(claim, delay=timedelta(hours=1), reason="AWAITING_COMMITMENT", spent=False)

    heard = world.ledger.commitments.report(TRANSACTION, [first, Uid("9.9")], {second: 0x0112, "9.8": 1})

    again = world.validation()
    [kept] = world.ledger.commitments.of(again)
    assert heard and again.delivery_id == claim.delivery_id
    assert (list(kept.committed), kept.failed) == ([first], {second: 0x0112})
    assert kept.answered_at is not None and kept.closed_at is None


def test_an_answer_to_what_nobody_asked_is_told_apart(world, claim) -> None:
    assert not world.ledger.commitments.report(Uid("2.25.2"), [], {})


def test_the_first_answer_counts_and_comes_even_to_what_is_waited_for_no_longer(world, claim) -> None:
    first, second = (one.sop_uid for one in world.facts("1.2"))
    world.ledger.commitments.ask(claim, TRANSACTION, [first, second])
    world.ledger.commitments.close(claim)

    heard = [world.ledger.commitments.report(TRANSACTION, uids, {}) for uids in ([first, second], [])]

    [kept] = world.ledger.commitments.of(claim)
    assert heard == [True, True]
    assert set(kept.committed) == {first, second} and kept.closed_at is not None


def test_a_lost_claim_asks_for_nothing(world, claim) -> None:
    world.ledger.claims.release(claim, delay=timedelta(0), reason="x", spent=False)

    with pytest.raises(LostClaim):
        world.ledger.commitments.ask(claim, TRANSACTION, [Uid("1.2.1.1")])


def test_a_delivery_proven_by_commitment_says_so_and_forgets_its_transactions(world, claim) -> None:
    world.ledger.commitments.ask(claim, TRANSACTION, [one.sop_uid for one in world.facts("1.2")])

    with pytest.raises(IntegrityError):
        world.ledger.commits.committed(claim, instances=1, note=NOTE)
    world.ledger.commits.committed(claim, instances=2, note=NOTE)

    assert world.states("1.2")[0] == "validated"
    assert world.sql("select proof, digests_compared from validation") == [("commitment", 0)]
    assert world.sql("select count(*) from commitment") == [(0,)]


def test_digests_are_not_proven_by_saying_so(world, claim) -> None:
    with pytest.raises(IntegrityError):
        world.ledger.commits.validated(claim, instances=2, digests_compared=0, note=NOTE)

    with pytest.raises(psycopg.errors.CheckViolation):
        world.sql(
            "with v as (insert into validation (delivery_id, instances, digests_compared, mismatches, missing, surplus)"
            " values (%s, 2, 0, 0, 0, 0)) update delivery set state = 'validated', validated_at = limosa_now(),"
            " lease_owner = null, lease_until = null, lease_kind = null where delivery_id = %s",
            claim.delivery_id,
            claim.delivery_id,
        )
