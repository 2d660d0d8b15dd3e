"""The number of associations finds the source's measure by itself, with real movers in front of a real archive.

Loaded machines are slow: each test waits for what it promises, and leaves the rest of the archive where it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from infra.simulator import Faults, Simulator
from infra.simulator.workloads import workload_archive

LATENCY = 0.02
"""Seconds for each sub-operation: what an archive on spinning disks takes."""

PATIENCE = 90.0


def levels(job: Any) -> list[tuple[int, int, str]]:
    """Every change: before, after, reason."""
    changes = job.ledger.paces.changes(job.job.source_id, 100)
    return [(change.before, change.after, change.reason) for change in reversed(changes)]


@pytest.fixture
def asked(engine, free_port) -> Callable[..., Any]:
    """`asked(faults, **options)`: a job whose source has more than the test will move."""

    @contextmanager
    def ask(faults: Faults, **options: Any) -> Iterator[tuple[Simulator, Any]]:
        receiver_port = free_port()
        archive = workload_archive(studies=400, instances=10, rows=64, columns=64)
        with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}, faults=faults) as pacs:
            job = engine(pacs.port, receiver_port=receiver_port, source={"associations": "2-8"}, **options)
            job.take_inventory()
            job.plan()
            yield pacs, job

    return ask


def test_a_source_with_latency_is_asked_with_more_until_the_limit(asked):
    with asked(Faults(store_latency=LATENCY), associations=8) as (pacs, job):
        job.start_movers()
        job.wait_until(lambda: levels(job)[-1:] and levels(job)[-1][1] == 8, PATIENCE, "all eight")
        job.wait_until(lambda: pacs.stats.peak_moves > 4, PATIENCE, "their use")
        job.stop()

        assert levels(job)[0] == (2, 4, "doubling")
        assert pacs.stats.peak_moves <= 8


def test_a_limit_of_the_source_is_found_and_kept_below(asked):
    faults = Faults(store_latency=LATENCY, busy_above=3)
    with asked(faults, associations=8, limits={"outage": timedelta(minutes=5)}) as (_, job):
        job.start_movers()
        job.wait_until(lambda: "refused" in {reason for _, _, reason in levels(job)}, PATIENCE, "the refusal")
        job.stop()

        assert levels(job)[:2] == [(2, 4, "doubling"), (4, 2, "refused")]
        assert max(after for _, after, _ in levels(job)) == 4
        assert job.rows("select count(*) from delivery where state = 'exception'") == [(0,)]


def test_two_movers_share_one_decision_and_the_death_of_one_changes_nothing(asked):
    with asked(Faults(store_latency=LATENCY), associations=8, processes=2) as (pacs, job):
        victim, _ = job.spawn_all()
        job.wait_until(lambda: levels(job), PATIENCE, "the first change")
        victim.kill()
        job.wait_until(lambda: len(levels(job)) > 1, PATIENCE, "a change by the other")

        found = levels(job)
        assert found[0] == (2, 4, "doubling")
        assert all(earlier[1] == later[0] for earlier, later in pairwise(found))
        assert pacs.stats.peak_moves <= 8
