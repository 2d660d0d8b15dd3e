"""Movers that are killed or frozen at the worst moments: another completes the study, once, and to the byte."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from actors.options import Receiver
from infra.simulator import Faults, Simulator
from infra.simulator.faults import Counts, Order

LEASE = timedelta(seconds=2)
LINE = Faults(bandwidth=8 << 20)
"""Two seconds for the study's 15 MiB: long enough to be met half-way."""

COMMITTING = """
select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
and starts_with(query, 'insert into receipt')"""

ACTIVE = """
select from pg_stat_activity where datname = current_database() and state = 'active' and pid <> pg_backend_pid()"""

END_IDLE = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and state = 'idle in transaction'"""


def assert_moved_once(job, archive) -> None:
    job.assert_delivered(archive.manifest())
    assert job.kinds() == set()
    assert len(job.objects()) == 1
    assert job.unfinished_uploads() == set()
    assert job.rows("select event, count(*) from custody group by event order by event") == [
        ("validated", 1),
        ("written", 1),
    ]
    assert job.rows("select (select count(*) from receipt), (select count(*) from upload)") == [(1, 0)]
    assert job.rows("select count(*), count(distinct sop_uid) from instance") == [(len(archive.manifest()),) * 2]


@contextmanager
def nobody_commits(job) -> Iterator[None]:
    """The completing commit waits: receipts cannot be added until the block ends."""
    with psycopg.connect(job.job.ledger.url) as connection:
        connection.execute("lock table receipt in share mode")
        yield
        connection.rollback()


@pytest.fixture
def moving(engine, free_port, large):
    """`moving()`: a job with one study in three parts, planned, its source as slow as `LINE`."""

    @contextmanager
    def start(faults=LINE):
        ports = {"MIG01": free_port(), "MIG02": free_port()}
        known = {title: ("127.0.0.1", port) for title, port in ports.items()}
        with Simulator(large, destinations=known, faults=faults) as pacs:
            job = engine(pacs.port, receiver_port=ports["MIG01"], limits={"lease": LEASE, "attempts": 5})
            job.take_inventory()
            job.plan()
            yield pacs, job, Receiver(ae_title="MIG02", port=ports["MIG02"], associations=2)

    return start


def receiving(pacs, job) -> bool:
    return pacs.stats.stores > 3


def part_committed(pacs, job) -> bool:
    return bool(job.rows("select from upload_part"))


@pytest.mark.parametrize("moment", [receiving, part_committed])
def test_a_mover_killed_on_the_way_is_continued_by_its_successor(moving, large, moment):
    with moving() as (pacs, job, _):
        first = job.spawn_mover()
        job.wait_until(lambda: moment(pacs, job), what="the moment")
        first.kill()
        held = job.rows("select count(*) from upload_member")[0][0]
        before = pacs.stats.stores

        job.spawn_mover()
        job.start_validator()
        job.finish()
        job.stop()

    assert before < len(large.manifest())
    assert (held > 0) == (moment is part_committed)
    # What was under way when the first died may still be counted.
    assert pacs.stats.stores - before <= len(large.manifest()) - held + 1
    assert_moved_once(job, large)


def test_a_mover_killed_between_the_finished_object_and_the_commit_leaves_it_to_be_adopted(moving, large):
    with moving() as (pacs, job, _):
        with nobody_commits(job):
            first = job.spawn_mover()
            job.wait_until(lambda: job.rows(COMMITTING), what="the commit to wait")
            first.kill()
        before = pacs.stats.stores

        job.spawn_mover()
        job.start_validator()
        job.finish()
        job.stop()

    assert pacs.stats.stores == before, "nothing had to be sent again"
    assert_moved_once(job, large)


def test_a_surplus_instance_is_noticed_although_the_mover_that_set_it_aside_was_killed(moving, large):
    # The list ends two short of what is sent, and nothing else says so; those two come first.
    listed = len(large.manifest()) - 2
    with moving(replace(LINE, find_cap=listed, counts=Counts.ABSENT, order=Order.REVERSED)) as (pacs, job, _):
        first = job.spawn_mover()
        job.wait_until(lambda: job.quarantined() and part_committed(pacs, job), what="a surplus and a part")
        first.kill()

        job.spawn_mover()
        job.start_validator()
        job.finish()
        job.stop()

    [problem] = job.problems()
    assert (problem.kind, problem.evidence["surplus"]) == ("SURPLUS_INSTANCES", 2)
    assert set(problem.evidence["quarantine"]) <= {path.stem for path in job.quarantined()}
    assert job.objects() == job.unfinished_uploads() == set()


def test_a_frozen_mover_loses_its_claim_and_commits_nothing_when_it_wakes(moving, large):
    with moving() as (pacs, job, other):
        frozen = job.spawn_mover()
        job.wait_until(lambda: part_committed(pacs, job), what="a part")
        frozen.freeze()
        job.wait_until(lambda: not job.rows(ACTIVE), what="its last statement to end")
        job.rows(END_IDLE)

        job.spawn_mover("mover-other", other)
        job.start_validator()
        job.finish()
        [(beat,)] = job.rows("select beat_at from worker where name = %s", (frozen.name,))
        custody = job.rows("select * from custody order by study_key, seq")

        frozen.thaw()
        job.wait_until(
            lambda: job.rows("select beat_at > %s + %s from worker where name = %s", (beat, LEASE, frozen.name))[0][0],
            what="the frozen mover to be back",
        )
        job.finish()
        job.stop()

    assert job.rows("select * from custody order by study_key, seq") == custody
    assert job.rows("select actor from custody where event = 'written'") == [("mover-other",)]
    assert_moved_once(job, large)


def test_a_mover_frozen_before_its_commit_cannot_commit_once_another_has(moving, large):
    with moving() as (_, job, other):
        with nobody_commits(job):
            frozen = job.spawn_mover()
            job.wait_until(lambda: job.rows(COMMITTING), what="the commit to wait")
            frozen.freeze()
        # Postgres gives up on what stays idle within a transaction; here at once instead of after half a minute.
        job.wait_until(lambda: job.rows(END_IDLE), what="the frozen mover's transaction to be ended")

        job.spawn_mover("mover-other", other)
        job.start_validator()
        job.finish()
        frozen.thaw()
        [(beat,)] = job.rows("select max(beat_at) from worker where name = %s", (frozen.name,))
        job.wait_until(
            lambda: job.rows("select beat_at > %s from worker where name = %s", (beat, frozen.name))[0][0],
            what="the frozen mover to be back",
        )
        job.finish()
        job.stop()

    assert job.rows("select actor from custody where event = 'written'") == [("mover-other",)]
    assert_moved_once(job, large)
