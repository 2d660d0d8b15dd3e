"""An archive that is away, or that does not want us, ends the work at it and says so; the rest goes on."""

from datetime import timedelta

import pytest

from cluster.exit import Exit
from cluster.summary import summarise
from infra.simulator import Faults, Simulator, synthetic_archive
from storage.ledger.records import LeaseKind


@pytest.fixture
def archive():
    return synthetic_archive(studies=4, seed=18, instances=3, side=16)


def attempts(job) -> set[int]:
    return {attempts for [attempts] in job.rows("select attempts from delivery where state = 'pending'")}


def test_a_source_that_is_gone_for_ever_stops_for_this_run_without_blaming_a_study(engine, free_port, archive):
    receiver_port = free_port()
    known = {"MIG01": ("127.0.0.1", receiver_port)}
    with Simulator(archive, destinations=known) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, limits={"outage": timedelta(seconds=1)})
        job.take_inventory()
        port = pacs.port
    job.plan()
    job.start()
    job.finish()
    left, summary, problems = attempts(job), summarise(job.ledger, {}), job.problems()
    more_to_pull = job.ledger.status.left_of(LeaseKind.PULL)

    with Simulator(archive, destinations=known, port=port):
        reopened = job.ledger.control.reopen_source(job.job.source_id)
        job.finish()
        job.stop()

    assert [(each.kind, each.blocking, each.study_uid) for each in problems] == [("SOURCE_AWAY", False, None)]
    assert f"127.0.0.1:{port}" in problems[0].evidence["error"]
    assert (left, more_to_pull, reopened) == ({0}, False, True)
    [source] = summary.stopped_sources
    assert (source.waiting, source.stopped) == (4, problems[0].evidence["error"])
    assert summary.exit is summary.exit_of_part is Exit.EXCEPTIONS
    job.assert_delivered(archive.manifest())


def test_a_source_that_does_not_know_us_is_told_at_once_and_not_waited_for(engine, free_port, archive):
    receiver_port = free_port()
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, limits={"outage": timedelta(hours=1)})
        job.take_inventory()
        job.plan()
        pacs.faults = Faults(known_callers=("OTHER",))
        job.start()
        job.finish()
        left, problems = attempts(job), job.problems()

        pacs.faults = Faults()
        job.ledger.control.reopen_source(job.job.source_id)
        job.finish()
        job.stop()

    assert [(each.kind, each.severity) for each in problems] == [("SOURCE_REFUSES_US", "critical")]
    assert "calling AE title not recognised" in problems[0].evidence["error"]
    assert left == {0}
    job.assert_delivered(archive.manifest())


def test_a_source_that_gave_a_study_a_moment_ago_is_not_stopped_for_one_worker(engine, free_port, archive):
    receiver_port = free_port()
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port)
        job.run()
    control, source_id = job.ledger.control, job.job.source_id

    first = control.stop_source(source_id, "no", silent_for=timedelta(hours=1))
    later = [control.stop_source(source_id, "no", silent_for=timedelta(0)) for _ in range(2)]

    assert (first, later) == (False, [True, False])
