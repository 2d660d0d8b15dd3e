"""Slow, full and dead destinations: nothing waits for ever, and none of them holds another."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import ByteSize

from infra.simulator import Simulator, synthetic_archive, workload_archive
from storage.ledger.lifecycle import StudyStatus
from storage.ledger.records import DestinationState
from storage.sinks.device import Device
from storage.spool import Spool

MIB = 1 << 20


class SlowLine:
    """A TCP relay on 127.0.0.1 that lets so many bytes a second through, all connections together."""

    def __init__(self, port: int, target: tuple[str, int], bytes_per_second: int) -> None:
        self._target = target
        self._rate = bytes_per_second
        self._due = time.monotonic()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *tuple(self._sockets)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets |= {near, far}
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._relay, args=pair, daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(64 << 10):
                self._pace(len(piece))
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _pace(self, size: int) -> None:
        with self._lock:
            self._due = max(self._due, time.monotonic()) + size / self._rate
            wait = self._due - time.monotonic()
        time.sleep(max(0.0, wait))


@contextmanager
def slow_line(port: int, url: str, bytes_per_second: int) -> Iterator[str]:
    parts = urlsplit(url)
    line = SlowLine(port, (parts.hostname or "", parts.port or 0), bytes_per_second)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        line.close()


def spans(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def small_devices(tmp_path, monkeypatch):
    """`small_devices(MiB, ...)`: folders that say they are devices with so much room."""
    room: dict[Path, int] = {}
    monkeypatch.setattr(Device, "free", lambda device: room[device.root] - spans(device.root))

    def make(*sizes: int) -> tuple[Path, ...]:
        folders = tuple(tmp_path / f"device-{number}" for number, _ in enumerate(sizes))
        room.update({folder: size * MIB for folder, size in zip(folders, sizes, strict=True)})
        return folders

    make.room = room
    return make


def test_eight_lanes_with_next_to_no_memory_and_a_slow_store_neither_deadlock_nor_lose(
    engine, free_port, s3, monkeypatch
):
    spooled = []
    create = Spool.create
    monkeypatch.setattr(Spool, "create", lambda spool: spooled.append(spool) or create(spool))
    receiver_port = free_port()
    archive = workload_archive(studies=8, instances=8)
    known = {"MIG01": ("127.0.0.1", receiver_port)}
    with (
        Simulator(archive, destinations=known) as pacs,
        slow_line(free_port(), s3.endpoint_url, 24 * MIB) as endpoint,
    ):
        job = engine(
            pacs.port,
            receiver_port=receiver_port,
            associations=8,
            seed=True,
            s3_options={"endpoint_url": endpoint},
            # Eight writers need 148 MiB; what is left holds one or two of eight arriving slices.
            limits={"memory": ByteSize(150 * MIB)},
        )

        job.run()

        assert pacs.stats.peak_moves == 8
        assert spooled
        job.assert_delivered(archive.manifest())
        assert job.kinds() == set()
        assert job.unfinished_uploads() == set()


def test_a_dead_fed_destination_holds_only_itself_and_is_fed_once_it_is_back(engine, free_port, tmp_path):
    receiver_port = free_port()
    archive = synthetic_archive(studies=3, seed=18, instances=3, side=16)
    device = tmp_path / "device"
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, devices=(device,))
        job.take_inventory()
        job.plan()
        job.start_feeder()
        device.rename(tmp_path / "unplugged")
        job.start_movers()
        job.start_validator_of("cloud")
        job.finish()
        there = {destination: (studies, size) for destination, studies, size in job.rows(PROVEN)}
        problems = job.problems()

        (tmp_path / "unplugged").rename(device)
        job.ledger.jobs.reopen(job.registered.destinations["disk"])
        job.start_validator_of("disk")
        job.finish()
        job.stop()

    assert there["cloud"][0] == 3 and "disk" not in there
    assert [(problem.destination, problem.kind, problem.blocking) for problem in problems] == [
        ("disk", "DESTINATION_AWAY", False)
    ]
    job.assert_delivered(archive.manifest())


PROVEN = """
select x.name, count(*), sum(r.size)::bigint from delivery d join destination x using (destination_id)
join receipt r using (delivery_id) where d.state = 'validated' group by x.name"""


def test_a_mover_starts_although_a_device_is_not_there(engine, free_port, tmp_path):
    receiver_port = free_port()
    archive = synthetic_archive(studies=1, seed=18, instances=2, side=16)
    device = tmp_path / "device"
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, devices=(device,))
        device.rename(tmp_path / "unplugged")
        job.take_inventory()
        job.plan()

        job.start_movers()
        job.start_validator_of("cloud")
        job.wait_until(lambda: job.rows(PROVEN), what="the study to be proven in the cloud")
        job.stop()

    assert [name for name, *_ in job.rows(PROVEN)] == ["cloud"]


def test_a_full_device_hands_on_to_the_next(engine, free_port, small_devices):
    receiver_port = free_port()
    archive = workload_archive(studies=4, instances=4)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        job = engine(pacs.port, receiver_port=receiver_port, devices=small_devices(4, 64))

        job.run()

    used = {device for [device] in job.rows("select distinct device from receipt where device <> ''")}
    assert len(used) == 2
    assert job.destination_states() == {"cloud": DestinationState.OPEN, "disk": DestinationState.OPEN}
    job.assert_delivered(archive.manifest())


def test_when_every_device_is_full_the_destination_says_so_and_the_rest_is_done(engine, free_port, small_devices):
    receiver_port = free_port()
    archive = workload_archive(studies=4, instances=4)
    with Simulator(archive, destinations={"MIG01": ("127.0.0.1", receiver_port)}) as pacs:
        devices = small_devices(3, 3)
        job = engine(pacs.port, receiver_port=receiver_port, devices=devices)

        job.run()
        states, proven = job.destination_states(), {name: studies for name, studies, _ in job.rows(PROVEN)}
        statuses = list(job.statuses().values())

        small_devices.room[devices[1]] = 64 * MIB
        job.ledger.jobs.set_destination(job.registered.destinations["disk"], DestinationState.OPEN)
        job.move()

    assert states == {"cloud": DestinationState.OPEN, "disk": DestinationState.FULL}
    assert proven["cloud"] == 4 and 0 < proven["disk"] < 4
    assert statuses.count(StudyStatus.WAITING) == 4 - proven["disk"]
    assert job.kinds() == set()
    job.assert_delivered(archive.manifest())
