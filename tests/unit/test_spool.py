"""Memory is owned before it is used, and what does not fit goes to disk and comes back equal."""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blake3 import blake3

from imaging.octets import MemoryOctets
from storage.budget import BufferPool, MemoryBudget
from storage.errors import Retryable
from storage.spool import FIRST_BUFFER, Evidence, LandingPlace, Quarantine, Spool

MIB = 1 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def land(place: LandingPlace, content: bytes, step: int = 100_000):
    landing = place.open()
    for start in range(0, len(content), step):
        landing.write(memoryview(content)[start : start + step])
    return landing


def all_of(octets) -> bytes:
    return b"".join(bytes(octets.read(at, MIB)) for at in range(0, octets.size, MIB))


@pytest.mark.parametrize(
    ("size", "budget", "in_memory"),
    [(0, 8 * MIB, True), (MIB, 8 * MIB, True), (3 * MIB, 16 * MIB, True), (5 * MIB, 64 * MIB, False), (10, 100, False)],
)
def test_an_instance_lands_in_memory_while_it_may_and_in_the_spool_otherwise(
    size: int, budget: int, in_memory: bool, spool: Spool
) -> None:
    owner = MemoryBudget(budget)
    content = os.urandom(size)

    landing = land(LandingPlace(spool, owner, 4 * MIB), content)

    assert landing.in_memory is in_memory
    assert all_of(landing.octets()) == content
    landing.release()
    landing.release()
    assert owner.use.used == 0
    assert list(spool.folder.iterdir()) == []


def test_a_landing_owns_its_memory_in_steps(spool: Spool) -> None:
    owner = MemoryBudget(64 * MIB)
    place = LandingPlace(spool, owner, 8 * MIB)

    small, large = land(place, bytes(1000)), land(place, bytes(3 * MIB))

    assert owner.use.used == FIRST_BUFFER + 4 * MIB
    small.release()
    large.release()
    assert owner.use.peak <= FIRST_BUFFER + (2 + 4) * MIB


def test_a_buffer_that_was_released_is_used_again(spool: Spool) -> None:
    place = LandingPlace(spool, MemoryBudget(8 * MIB), 4 * MIB)
    first = land(place, b"a" * 1000)
    buffer = first._buffer
    first.release()

    assert land(place, b"b" * 1000)._buffer is buffer


def test_a_pool_keeps_no_more_than_it_may() -> None:
    pool = BufferPool(keep=MIB)
    buffers = [pool.take(MIB), pool.take(MIB)]

    for buffer in buffers:
        pool.give(buffer)

    assert pool.take(MIB) is buffers[0]
    assert pool.take(MIB) is not buffers[1]


def test_a_full_spool_is_retryable_and_holds_no_memory(spool: Spool) -> None:
    owner = MemoryBudget(100)
    landing = LandingPlace(spool, owner, MIB).open()
    with Path("/dev/full").open("wb", buffering=0) as full:
        landing.write(b"x")
        os.dup2(full.fileno(), landing._file._descriptor)

        with pytest.raises(Retryable) as caught:
            landing.write(b"y")

    assert caught.value.code == "ENOSPC"
    landing.release()
    assert owner.use.used == 0


def test_what_a_dead_process_left_is_gone_and_what_a_live_one_holds_stays(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    live = Spool(folder)
    kept = live.create()
    kept.append(b"alive")
    dead = folder / "spool-0123"
    dead.mkdir()
    (dead / "left").write_bytes(b"left")

    newer = Spool(folder)

    assert not dead.exists()
    assert all_of(kept) == b"alive" and live.folder.exists()
    live.close()
    newer.close()


def test_a_kept_file_outlives_its_release_and_replaces_nothing(spool: Spool, tmp_path: Path) -> None:
    file = spool.create()
    file.append(b"kept")
    file.keep(tmp_path / "here")
    file.release()
    other = spool.create()
    other.append(b"other")

    with pytest.raises(Retryable):
        other.keep(tmp_path / "here")
    other.release()

    assert (tmp_path / "here").read_bytes() == b"kept"
    assert list(spool.folder.iterdir()) == []


EVIDENCE = Evidence(
    reason="UNSOLICITED",
    calling_ae="../../etc",
    called_ae="LIMOSA",
    address="127.0.0.1",
    sop_class="1.2",
    sop_uid="../passwd\0",
    transfer_syntax="1.2.840.10008.1.2",
    received=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
)


def test_quarantined_bytes_lie_beside_their_evidence_under_a_name_of_our_own(tmp_path: Path) -> None:
    content = os.urandom(2 * MIB + 3)
    quarantine = Quarantine(tmp_path / "quarantine")

    stored = quarantine.store(MemoryOctets(content), EVIDENCE)

    names = sorted(path.name for path in (tmp_path / "quarantine").iterdir())
    assert names == [f"{stored.name}.dcm", f"{stored.name}.json"]
    assert (tmp_path / "quarantine" / names[0]).read_bytes() == content
    document = json.loads((tmp_path / "quarantine" / names[1]).read_text())
    assert document["sop_uid"] == EVIDENCE.sop_uid
    assert (
        document["blake3"] == blake3(content).hexdigest() and document["sha256"] == hashlib.sha256(content).hexdigest()
    )
    assert (document["size"], document["received"]) == (len(content), "2026-11-24T12:00:00+00:00")


def test_a_quarantine_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine = Quarantine(tmp_path)
    fsync = os.fsync
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "no space")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(Retryable):
        quarantine.store(MemoryOctets(b"x"), EVIDENCE)

    assert list(tmp_path.iterdir()) == []


def test_reserving_waits_until_memory_is_given_back(wait_until: Callable[..., None]) -> None:
    budget = MemoryBudget(10)
    assert budget.reserve(8)
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(budget.reserve(5)))
    thread.start()
    assert budget.reserve(3, timeout=0.05) is False
    assert got == []

    budget.release(8)
    thread.join(10)

    assert got == [True]
    assert (budget.use.used, budget.use.peak) == (5, 8)


def test_a_large_reservation_is_not_overtaken_by_a_later_small_one(wait_until: Callable[..., None]) -> None:
    budget = MemoryBudget(10)
    budget.reserve(5)
    order: list[str] = []

    def ask(name: str, size: int) -> None:
        budget.reserve(size)
        order.append(name)

    large = threading.Thread(target=ask, args=("large", 8))
    large.start()
    wait_until(lambda: len(budget._queue) == 1)
    small = threading.Thread(target=ask, args=("small", 2))
    small.start()
    wait_until(lambda: len(budget._queue) == 2)
    assert order == []

    budget.release(5)
    large.join(10)
    small.join(10)

    assert order == ["large", "small"]


def test_an_arriving_instance_never_waits_and_refusals_are_counted() -> None:
    budget = MemoryBudget(10)

    assert budget.try_reserve(10) and not budget.try_reserve(1)

    assert budget.use.refused == 1
    with pytest.raises(ValueError):
        budget.reserve(11)
    with pytest.raises(ValueError):
        budget.release(11)


def test_a_spool_folder_is_locked_while_its_process_lives(spool: Spool) -> None:
    descriptor = os.open(spool.folder, os.O_RDONLY)

    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
