"""One row per source gathers what all movers see, and one of them decides."""

import threading
from datetime import timedelta

import psycopg
import pytest

from storage.ledger.job import SourceSpec
from storage.ledger.pace import Heard, Judgement, Standing

IDENTITY = "dimse://PACS@127.0.0.1:104"
SLICE = timedelta(hours=1)
HOUR = 3600.0


def judged(allowed: int, seen: list[Standing]):
    def judge(standing: Standing) -> Judgement:
        seen.append(standing)
        return Judgement(
            state={"version": 1, "seen": len(seen)},
            allowed=allowed,
            reason="more",
            instances_per_second=40.0,
            bytes_per_second=2e7,
        )

    return judge


def test_a_slice_gathers_all_movers_and_is_judged_once_when_it_is_over(world) -> None:
    seen: list[Standing] = []
    fresh = world.later(1.5 * HOUR)
    fresh.paces.report(world.source, Heard(), slice_length=SLICE, judge=judged(4, []))

    for mover in (fresh, world.later(2.0 * HOUR), world.later(2.3 * HOUR)):
        mover.paces.report(
            world.source, Heard(instances=10, bytes=5, busy=0.5), slice_length=SLICE, judge=judged(4, seen)
        )
    world.later(2.7 * HOUR).paces.report(
        world.source, Heard(ended=2, failed=1), slice_length=SLICE, judge=judged(4, seen)
    )

    (standing,) = seen
    assert standing.heard == Heard(instances=30, bytes=15, busy=1.5, ended=2, failed=1)
    assert (standing.allowed, standing.limit, standing.state) == (4, 4, {"version": 1, "seen": 1})
    assert standing.seconds == pytest.approx(1.2 * HOUR, rel=0.1)


def test_a_change_is_allowed_at_once_and_kept_as_evidence(world) -> None:
    change = world.later(2 * HOUR).paces.report(world.source, Heard(busy=1.0), slice_length=SLICE, judge=judged(3, []))

    assert world.ledger.control.throttle(world.source).allowed == 3
    assert (change,) == world.ledger.paces.changes(world.source, 10)
    assert (change.before, change.after, change.reason, change.instances_per_second) == (4, 3, "more", 40.0)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        world.sql("update association_change set reason = 'other'")


def test_a_refusal_is_judged_without_waiting_for_the_slice_and_bursts_are_told_as_one(world) -> None:
    seen: list[Standing] = []
    world.later(2 * HOUR).paces.report(world.source, Heard(), slice_length=SLICE, judge=judged(4, []))

    for _ in range(3):
        world.ledger.control.source_busy(world.source, "A702")
    world.later(2.1 * HOUR).paces.report(world.source, Heard(busy=0.1), slice_length=SLICE, judge=judged(2, seen))

    assert [standing.refused for standing in seen] == [3]
    assert world.ledger.control.throttle(world.source).busy_count == 1


def test_movers_that_report_at_once_decide_once(world) -> None:
    seen: list[Standing] = []
    late = world.later(2 * HOUR, pool_size=8)
    start = threading.Barrier(8)

    def report() -> None:
        start.wait()
        late.paces.report(world.source, Heard(instances=1), slice_length=SLICE, judge=judged(3, seen))

    threads = [threading.Thread(target=report) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 1
    assert len(world.ledger.paces.changes(world.source, 10)) == 1


def test_another_limit_forgets_what_was_learnt_under_the_old_one(world) -> None:
    world.later(2 * HOUR).paces.report(world.source, Heard(busy=1.0), slice_length=SLICE, judge=judged(3, []))

    world.ledger.jobs.register(
        "job",
        source_identity=IDENTITY,
        sources=[SourceSpec(name="pacs", kind="dimse", pull_limit=9, start=2)],
        destinations=[],
    )

    assert world.sql("select state from pace where source_id = %s", world.source) == [({},)]
    assert world.ledger.control.throttle(world.source).allowed == 2


def test_an_unknown_source_has_no_pace(world) -> None:
    with pytest.raises(LookupError):
        world.ledger.paces.report(world.source + 1, Heard(), slice_length=SLICE, judge=judged(1, []))
