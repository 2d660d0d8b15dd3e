"""A device that neither answers nor fails: whoever asks it goes on, and it is used again once it answers."""

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage.errors import DeviceHangs
from storage.packs.model import Container
from storage.packs.naming import pack_key
from storage.sinks import device as device_module
from storage.sinks import pack_file
from storage.sinks.device import PAYLOAD, Device
from storage.sinks.options import SeedOptions
from storage.sinks.seed import SeedSink

MIB = 1 << 20
PATIENCE = timedelta(seconds=2)


class Stuck:
    """Operations on files below a folder hang until `let_go`: the system calls themselves, as seen from our code."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._gate = threading.Event()
        self.waiting = 0

    def let_go(self) -> None:
        self._gate.set()

    def write_all(self, descriptor: int, piece: Any) -> None:
        self._wait(descriptor)
        view = memoryview(piece)
        while view:
            view = view[os.write(descriptor, view) :]

    def pread(self, descriptor: int, length: int, start: int) -> bytes:
        self._wait(descriptor)
        return os.pread(descriptor, length, start)

    def __getattr__(self, name: str) -> Any:
        """Stands for the module `os`, too."""
        return getattr(os, name)

    def _wait(self, descriptor: int) -> None:
        if self._folder in Path(f"/proc/self/fd/{descriptor}").readlink().parents:
            self.waiting += 1
            assert self._gate.wait(60), "the test never let go"
            self.waiting -= 1


@pytest.fixture
def stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    """The folder `slow` hangs, reading and writing, from the moment its `strike` is called."""
    struck = Stuck(tmp_path / "slow")

    def strike() -> None:
        monkeypatch.setattr(pack_file, "write_all", struck.write_all)
        monkeypatch.setattr(device_module, "os", struck)

    struck.strike = strike  # type: ignore[attr-defined]
    yield struck
    struck.let_go()


def sink_of(*devices: Path) -> SeedSink:
    for device in devices:
        device.mkdir(exist_ok=True)
        Device(device)
    return SeedSink(
        SeedOptions(name="seed", devices=devices, reserve=0, group_size=MIB, parallel=1, hangs_after=PATIENCE)
    )


def store(sink: SeedSink, study: Any, journal: Any) -> str:
    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)
    study.feed(writer)
    return writer.finish().device


def test_a_write_that_hangs_ends_and_the_study_goes_to_another_device_until_this_one_answers(
    tmp_path: Path, kit: SimpleNamespace, stuck: Any, wait_until: Any
) -> None:
    sink = sink_of(tmp_path / "slow", tmp_path / "other")
    slow, other = (Device(tmp_path / name).id for name in ("slow", "other"))
    study, journal = kit.Study([2 * MIB, MIB]), kit.Journal()
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    stuck.strike()

    with pytest.raises(DeviceHangs, match="device slow: does not answer; 1 operations hang in it"):
        study.feed(writer)

    assert (dict(sink.hanging), stuck.waiting) == ({slow: 1}, 1)
    assert journal.row is None, "the study is still bound to the device"
    assert store(sink, study, journal) == other
    assert store(sink, kit.Study([MIB], number=2), kit.Journal()) == other
    assert stuck.waiting == 1, "the device was asked again while it hung"
    stuck.let_go()
    wait_until(lambda: not sink.hanging, what="the device answers")
    assert store(sink, kit.Study([MIB], number=3), kit.Journal()) == slow


def test_a_read_that_hangs_ends_and_what_follows_does_not_wait_at_all(
    tmp_path: Path, kit: SimpleNamespace, stuck: Any, wait_until: Any
) -> None:
    sink = sink_of(tmp_path / "slow", tmp_path / "other")
    study = kit.Study([3 * MIB])
    slow = store(sink, study, kit.Journal())
    key = pack_key(study.pack, Container.TAR, PAYLOAD)
    stuck.strike()

    for _ in range(3):
        with pytest.raises(DeviceHangs):
            b"".join(sink.stream(key, 0, MIB, device=slow))
    with pytest.raises(DeviceHangs):
        sink.size(key, device=slow)

    assert (stuck.waiting, dict(sink.hanging)) == (1, {slow: 1})
    assert store(sink, kit.Study([MIB], number=2), kit.Journal()) == Device(tmp_path / "other").id
    stuck.let_go()
    wait_until(lambda: not sink.hanging, what="the device answers")
    assert len(b"".join(sink.stream(key, 0, MIB, device=slow))) == MIB


def test_when_what_has_room_hangs_the_destination_is_not_full_but_away(
    tmp_path: Path, kit: SimpleNamespace, stuck: Any
) -> None:
    sink = sink_of(tmp_path / "slow")
    writer = sink.writer(kit.Study([]).pack, Container.TAR, 0, kit.Journal(), None)
    stuck.strike()
    with pytest.raises(DeviceHangs):
        kit.Study([2 * MIB]).feed(writer)

    with pytest.raises(DeviceHangs):
        sink.writer(kit.Study([], number=2).pack, Container.TAR, 0, kit.Journal(), None)

    assert [probe.ok for probe in sink.probe()] == [False, False]
