"""One ledger, one job, one driver."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from storage.errors import StorageError
from storage.ledger.job import DestinationSpec, DeviceRoom, JobHeld, JobMismatch, Registered, SourceSpec
from storage.ledger.records import DestinationState

IDENTITY = "dimse://PACS@127.0.0.1:104"
SOURCE = SourceSpec(name="pacs", kind="dimse", pull_limit=4)
CLOUD = DestinationSpec(name="cloud", kind="s3", inline=True, fingerprint="a")
SECOND = DestinationSpec(name="second", kind="s3", inline=False, fingerprint="b")


def test_registering_again_gives_the_same_identity(world) -> None:
    first, second = (
        world.ledger.jobs.register("job", source_identity=IDENTITY, sources=[SOURCE], destinations=[CLOUD, SECOND])
        for _ in range(2)
    )

    assert first == second
    assert first.destinations == {"cloud": world.cloud, "second": world.second}


def test_a_command_registers_beside_a_transaction_that_takes_the_same_rows_in_another_order(world) -> None:
    def register() -> Registered:
        return world.ledger.jobs.register(
            "job", source_identity=IDENTITY, sources=[SOURCE], destinations=[CLOUD, SECOND]
        )

    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    with psycopg.connect(world.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("update destination set reason = reason where name = 'second'")
        registered = pool.submit(register)
        while world.sql(waiting) != [(1,)]:
            assert not registered.done(), "nothing stood in its way"
        other.execute("select from job for no key update")  # Postgres ends the one that waited first
        other.commit()

        assert registered.result(timeout=30).destinations == {"cloud": world.cloud, "second": world.second}


@pytest.mark.parametrize(("name", "identity"), [("other", IDENTITY), ("job", "dimse://OTHER@127.0.0.1:104")])
def test_a_ledger_with_studies_of_another_job_or_source_is_refused(world, name: str, identity: str) -> None:
    world.discover("1.2")

    with pytest.raises(JobMismatch):
        world.ledger.jobs.register(name, source_identity=identity, sources=[SOURCE], destinations=[CLOUD])


def test_a_source_that_was_never_asked_may_be_corrected(world) -> None:
    corrected = "dimse://OTHER@127.0.0.1:104"
    world.ledger.jobs.register("job", source_identity=corrected, sources=[SOURCE], destinations=[CLOUD, SECOND])

    world.discover("1.2")
    with pytest.raises(JobMismatch):
        world.ledger.jobs.register("job", source_identity=IDENTITY, sources=[SOURCE], destinations=[CLOUD, SECOND])


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


def test_what_is_learnt_about_a_source_outlives_registering(world) -> None:
    world.ledger.jobs.learn(world.source, {"find_cap": 100, "stable": True})

    world.ledger.jobs.register("job", source_identity=IDENTITY, sources=[SOURCE], destinations=[CLOUD, SECOND])
    world.ledger.jobs.learn(world.source, {"find_cap": 200})

    assert world.ledger.jobs.profile("pacs") == {"find_cap": 200, "stable": True}
    assert world.ledger.jobs.profile("unheard-of") == {}


def test_a_destination_that_was_full_or_away_is_reopened_once(world) -> None:
    world.ledger.jobs.set_destination(world.cloud, DestinationState.FULL, "every device is full")
    world.ledger.jobs.set_destination(world.second, DestinationState.STOPPED, "away")

    assert world.ledger.jobs.reopen(world.cloud)
    assert world.ledger.jobs.reopen(world.second)
    assert not world.ledger.jobs.reopen(world.second)


def test_a_device_that_was_sealed_is_not_loaded_again_and_never_changes_hands(world) -> None:
    known = {"device_id": "a" * 32, "path_label": "disk-1"}
    world.ledger.jobs.attach_device(world.second, **known, state=DeviceRoom.LOADING)
    world.ledger.jobs.set_device(world.second, **known, state="sealed")

    world.ledger.jobs.attach_device(world.second, **known, state=DeviceRoom.LOADING)

    assert world.ledger.jobs.devices(world.second) == {"a" * 32: "sealed"}
    with pytest.raises(JobMismatch, match="disk-1"):
        world.ledger.jobs.attach_device(world.cloud, **known, state=DeviceRoom.LOADING)
