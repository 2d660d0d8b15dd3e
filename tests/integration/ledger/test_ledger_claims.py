"""A claim is one worker's, for as long as its lease; a lost one can do nothing."""

import threading
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from storage.errors import LostClaim
from storage.ledger.records import Claim, CustodyNote, DestinationState, Problem, Severity
from storage.packs.model import Container, Receipt

LEASE = timedelta(seconds=60)
NOTE = CustodyNote(event="written", payload={})
RECEIPT = Receipt(key="packs/1", container=Container.TAR, size=4096, crc64=1)
PROBLEM = Problem(kind="COUNT_SHORT", severity=Severity.ERROR, blocking=True, remedy="Look.", evidence={})


def test_a_claim_carries_what_a_mover_needs(world) -> None:
    world.planned("1.2")

    claim = world.pull()

    assert (claim.study_uid, claim.revision, claim.destination, claim.instance_count) == ("1.2", 1, "cloud", 2)
    assert (claim.epoch, claim.attempts, claim.worker, claim.modalities) == (1, 1, "mover-1", ["CT"])


def test_urgent_studies_are_claimed_first_then_in_order(world) -> None:
    world.planned("1.1", "1.2", "1.3")
    world.ledger.plan.prioritise(["1.3"], 10)

    assert [world.pull().study_uid for _ in range(3)] == ["1.3", "1.1", "1.2"]


def test_many_claimers_never_get_one_row_twice(world) -> None:
    world.planned(*[f"1.{n}" for n in range(40)])
    world.sql("update source set pull_limit = 100, allowed = 100")
    taken: list[Claim] = []

    def drain(worker: str) -> None:
        while claim := world.ledger.claims.pull(worker, world.source, LEASE):
            taken.append(claim)

    run_all([lambda worker=f"mover-{n}": drain(worker) for n in range(6)])

    assert sorted(claim.study_uid for claim in taken) == sorted(f"1.{n}" for n in range(40))


def test_claimers_at_once_never_exceed_the_throttle(world) -> None:
    world.planned(*[f"1.{n}" for n in range(20)])
    taken: list[Claim | None] = []

    run_all(
        [lambda worker=f"m{n}": taken.append(world.ledger.claims.pull(worker, world.source, LEASE)) for n in range(8)]
    )

    assert sum(claim is not None for claim in taken) == 4


def test_a_claimer_waits_for_the_turn_of_another(world, wait_until) -> None:
    world.planned("1.1", "1.2")
    taken: list[Claim | None] = []
    thread = threading.Thread(target=lambda: taken.append(world.ledger.claims.pull("m2", world.source, LEASE)))

    with psycopg.connect(world.url) as other:
        other.execute("select from source for update")
        thread.start()
        wait_until(
            lambda: world.sql(
                "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )
        )
        other.execute(
            "update delivery set lease_owner = 'm1', lease_until = now() + interval '1 hour', lease_kind = 'pull'"
            " where delivery_id = (select min(delivery_id) from delivery)"
        )
    thread.join()

    assert [claim and claim.study_uid for claim in taken] == ["1.2"]


def test_nothing_is_handed_out_while_paused_full_or_stopped(world) -> None:
    world.planned("1.2")

    world.ledger.control.pause("maintenance window")
    paused = world.ledger.claims.pull("m", world.source, LEASE)
    world.ledger.control.resume()
    world.ledger.jobs.set_destination(world.cloud, DestinationState.FULL, "all devices are full")
    full = world.ledger.claims.pull("m", world.source, LEASE)
    world.ledger.jobs.set_destination(world.cloud, DestinationState.OPEN)

    assert (paused, full) == (None, None)
    assert world.pull().study_uid == "1.2"


def test_only_the_named_studies_are_claimed(world) -> None:
    world.planned("1.1", "1.2", "1.3")
    keys = world.ledger.claims.next_studies(world.source, 2)

    claims = [world.ledger.claims.pull("m", world.source, LEASE, only=keys) for _ in range(3)]

    assert [claim and claim.study_uid for claim in claims] == ["1.1", "1.2", None]


def test_a_released_study_rests_and_comes_back(world) -> None:
    world.planned("1.2")

    world.ledger.claims.release(world.pull(), delay=timedelta(seconds=30), reason="BUSY", spent=True)
    at_once = world.ledger.claims.pull("m", world.source, LEASE)
    later = world.pull(ledger=world.later(31))

    assert at_once is None
    assert (later.attempts, later.epoch) == (2, 2)


def test_an_attempt_that_was_not_spent_does_not_count(world) -> None:
    world.planned("1.2")

    world.ledger.claims.release(world.pull(), delay=timedelta(0), reason="STOPPED", spent=False)

    assert world.pull().attempts == 1


def test_an_expired_lease_is_recovered_and_only_that(world) -> None:
    world.planned("1.1", "1.2")
    world.pull("dead")
    fresh = world.later(50)
    world.pull("alive", ledger=fresh)

    recovered = world.later(61).claims.recover()

    assert recovered == 1
    assert [claim.worker for claim in world.ledger.status.live_claims()] == ["alive"]
    assert world.states("1.1") == ["pending", "pending"]


def test_recovering_again_changes_nothing(world) -> None:
    world.planned("1.2")
    world.pull()
    later = world.later(61)

    assert [later.claims.recover() for _ in range(2)] == [1, 0]


def test_a_restarted_worker_gets_its_leases_back_into_the_pool(world) -> None:
    world.planned("1.1", "1.2")
    world.pull("mover-1")
    world.pull("mover-2")

    assert world.ledger.claims.recover_worker("mover-1") == 1
    assert world.pull("mover-1").study_uid == "1.1"


def test_renewing_keeps_a_claim_and_names_those_that_were_lost(world) -> None:
    world.planned("1.1", "1.2")
    kept, gone = world.pull(), world.pull()
    later = world.later(50)
    world.sql("update delivery set lease_epoch = lease_epoch + 1 where delivery_id = %s", gone.delivery_id)

    assert later.claims.renew("mover-1", [kept, gone], LEASE) == (gone,)
    assert world.later(61).claims.recover() == 1


def lost_claim(world) -> Claim:
    """A claim whose lease ran out and whose row another worker holds now."""
    world.planned("1.2")
    stale = world.pull("slow")
    world.ledger.uploads.journal(stale).begin(key="packs/1", container=Container.TAR, device="")
    later = world.later(61)
    later.claims.recover()
    world.pull("quick", ledger=later)
    return stale


LOSERS: dict[str, Callable] = {
    "written": lambda w, c: w.write(c),
    "fail": lambda w, c: w.ledger.commits.fail(c, PROBLEM),
    "empty": lambda w, c: w.ledger.commits.empty_confirmed(c),
    "release": lambda w, c: w.ledger.claims.release(c, delay=timedelta(0), reason="x", spent=True),
    "begin": lambda w, c: w.ledger.uploads.journal(c).begin(key="packs/1", container=Container.TAR, device=""),
    "opened": lambda w, c: w.ledger.uploads.journal(c).opened("upload"),
    "group": lambda w, c: w.ledger.uploads.journal(c).commit_group([], []),
    "reset": lambda w, c: w.ledger.uploads.journal(c).reset("x"),
}


@pytest.mark.parametrize("verb", LOSERS)
def test_a_lost_claim_can_commit_nothing(world, verb: str) -> None:
    stale = lost_claim(world)
    before = snapshot(world)

    with pytest.raises(LostClaim):
        LOSERS[verb](world, stale)

    assert snapshot(world) == before
    assert world.ledger.claims.renew("slow", [stale], LEASE) == (stale,)


def test_a_recovered_claim_is_lost_even_before_anyone_else_takes_it(world) -> None:
    world.planned("1.2")
    stale = world.pull()
    world.later(61).claims.recover()

    with pytest.raises(LostClaim):
        world.write(stale)


def test_a_lost_validation_or_feed_can_commit_nothing(world) -> None:
    world.planned("1.2")
    world.write(world.pull())
    feed, validation = world.feed(), world.validation()
    world.later(61).claims.recover()
    before = snapshot(world)

    with pytest.raises(LostClaim):
        world.ledger.commits.fed(feed, receipt=RECEIPT, note=NOTE)
    with pytest.raises(LostClaim):
        world.ledger.commits.validated(validation, instances=2, digests_compared=2, note=NOTE)

    assert snapshot(world) == before


def test_work_is_left_until_everything_is_validated(world) -> None:
    world.planned("1.2")
    seen = [world.ledger.status.work_left()]

    world.write(world.pull())
    world.ledger.commits.fed(world.feed(), receipt=RECEIPT, note=NOTE)
    first, second = world.validation(), world.validation()
    seen.append(world.ledger.status.work_left())
    for claim in (first, second):
        world.ledger.commits.validated(claim, instances=2, digests_compared=2, note=NOTE)
    seen.append(world.ledger.status.work_left())

    assert [(left.claimable, left.leased, left.any) for left in seen] == [
        (True, False, True),
        (False, True, True),
        (False, False, False),
    ]


def snapshot(world) -> list[tuple]:
    """Everything a commit could change."""
    return [
        world.sql(f"select * from {table} order by 1")
        for table in ("delivery", "study", "receipt", "validation", "custody", "exception", "upload", "instance", "sop")
    ]


def run_all(calls: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
