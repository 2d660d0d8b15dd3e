"""One instance of gigabytes passes through a mover of half a gigabyte, killed once on the way."""

import time

import pytest

from infra.simulator.process import SimulatorProcess
from storage.ledger.lifecycle import StudyStatus

MIB = 1 << 20
MOST_MEMORY = 600 * MIB
"""Resident set of a mover: 320 MiB of buffers, the interpreter and its libraries."""


@pytest.mark.parametrize(
    "size", [192 * MIB, pytest.param(2048 * MIB, marks=[pytest.mark.big, pytest.mark.timeout(900)])]
)
def test_an_instance_larger_than_a_movers_memory_survives_a_kill(engine, free_port, size, record_property):
    receiver_port = free_port()
    known = {"MIG01": ("127.0.0.1", receiver_port)}
    with SimulatorProcess([f"big:size={size}"], destinations=known) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, part_size=16 * MIB, limits={"attempts": 5})
        job.take_inventory()
        job.plan()
        first = job.spawn_mover()
        job.wait_until(lambda: job.unfinished_uploads() or first.child.poll(), 300, "the upload to begin")
        begun = job.unfinished_uploads()
        first.kill()
        started = time.monotonic()

        second = job.spawn_mover()
        job.wait_until(lambda: StudyStatus.WRITTEN in job.statuses().values(), 600, "the study to be written")
        seconds, peak = time.monotonic() - started, second.peak_memory()
        job.start_validator()
        job.finish(600)
        job.stop()
        [row] = pacs.control.ask("manifest")["rows"]

    record_property("seconds", round(seconds, 1))
    record_property("peak_mib", peak // MIB)
    [(instances, raw_size)] = job.rows("select count(*), sum(raw_size)::bigint from instance")
    assert len(begun) == 1
    assert set(job.statuses().values()) == {StudyStatus.DONE}, job.problems()
    assert (instances, raw_size) == (1, row[-1])
    assert peak < MOST_MEMORY
    assert job.unfinished_uploads() == set()
    assert len(job.objects()) == 1
    assert list((job.job.folder / "spool").iterdir()) == []
