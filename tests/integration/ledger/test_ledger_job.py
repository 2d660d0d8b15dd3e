"""One ledger, one job, one driver."""

from dataclasses import replace

import pytest

from storage.errors import StorageError
from storage.ledger.job import DestinationSpec, JobHeld, JobMismatch, SourceSpec

IDENTITY = "dimse://PACS@127.0.0.1:104"
SOURCE = SourceSpec(name="pacs", kind="dimse", pull_limit=4, profile={})
CLOUD = DestinationSpec(name="cloud", kind="s3", inline=True, fingerprint="a")
SECOND = DestinationSpec(name="second", kind="s3", inline=False, fingerprint="b")


def test_registering_again_gives_the_same_identity(world) -> None:
    first, second = (
        world.ledger.jobs.register("job", source_identity=IDENTITY, sources=[SOURCE], destinations=[CLOUD, SECOND])
        for _ in range(2)
    )

    assert first == second
    assert first.destinations == {"cloud": world.cloud, "second": world.second}


@pytest.mark.parametrize(("name", "identity"), [("other", IDENTITY), ("job", "dimse://OTHER@127.0.0.1:104")])
def test_a_ledger_of_another_job_or_source_is_refused(world, name: str, identity: str) -> None:
    with pytest.raises(JobMismatch):
        world.ledger.jobs.register(name, source_identity=identity, sources=[SOURCE], destinations=[CLOUD])


def test_a_destination_that_holds_studies_cannot_move_elsewhere(world) -> None:
    world.planned("1.2")
    world.write(world.pull())

    with pytest.raises(JobMismatch):
        world.ledger.jobs.register(
            "job", source_identity=IDENTITY, sources=[SOURCE], destinations=[replace(CLOUD, fingerprint="elsewhere")]
        )


def test_a_destination_that_holds_nothing_may_move(world) -> None:
    moved = replace(CLOUD, fingerprint="elsewhere")

    known = world.ledger.jobs.register("job", source_identity=IDENTITY, sources=[SOURCE], destinations=[moved])

    assert known.destinations == {"cloud": world.cloud}


def test_a_lower_source_limit_lowers_what_is_allowed(world) -> None:
    lower = replace(SOURCE, pull_limit=2)

    world.ledger.jobs.register("job", source_identity=IDENTITY, sources=[lower], destinations=[CLOUD])

    assert world.ledger.control.throttle(world.source).allowed == 2


def test_a_second_driver_is_told_who_holds_the_job(world) -> None:
    with world.ledger.job_lock("job") as lock, pytest.raises(JobHeld, match=r"process \d+ on"):
        lock.check()
        with world.ledger.job_lock("job"):
            pass


def test_the_job_is_free_when_its_driver_ends(world) -> None:
    with world.ledger.job_lock("job"):
        pass

    with world.ledger.job_lock("job") as lock:
        lock.check()


def test_a_lock_whose_session_died_says_so(world) -> None:
    with pytest.raises(StorageError), world.ledger.job_lock("job") as lock:
        world.sql("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = 267")
        lock.check()
