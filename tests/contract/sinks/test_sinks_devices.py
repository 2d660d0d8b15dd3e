"""Disks as they are: they fill up, are pulled out, turn read-only, hang. Real file systems, mounted for the test."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.simulator.disks import Disk, FileSystem, NoDisk
from storage.errors import AlreadyThere, DeviceFull, DeviceHangs, Rejected, Retryable, SinkFull, StorageError
from storage.packs.model import Container
from storage.packs.naming import pack_key
from storage.packs.reader import PackReader
from storage.packs.volumes import pack_reader
from storage.seeds.profiles import PROFILES, ProfileName
from storage.sinks.device import PAYLOAD, Device
from storage.sinks.options import SeedOptions
from storage.sinks.seed import SeedSink

MIB = 1 << 20
SMALL = 24 * MIB
"""Room of a disk that is to fill up."""
RECORDS = {FileSystem.EXT4: 2 << 30, FileSystem.EXFAT: 128 * MIB}
"""More than a file system of 64 GiB keeps of it for itself; the rest of that is somebody else's file."""
NewDisk = Callable[..., Disk]


@pytest.fixture
def new_disk(tmp_path: Path) -> Iterator[NewDisk]:
    """`new_disk(FileSystem.EXT4)` puts in an empty disk; all are taken out afterwards."""
    made: list[Disk] = []

    def make(system: FileSystem = FileSystem.EXT4, size: int = SMALL) -> Disk:
        disk = Disk(tmp_path / f"disk-{len(made)}", system, size)
        try:
            disk.__enter__()
        except NoDisk as error:
            pytest.skip(f"no {system} disk: {error}")
        made.append(disk)
        return disk

    yield make
    for disk in made:
        disk.__exit__()


def sink_of(*devices: Path, **changes: Any) -> SeedSink:
    for device in devices:
        device.mkdir(exist_ok=True)
        Device(device)
    values = {"name": "seed", "devices": devices, "reserve": 0, "group_size": MIB}
    return SeedSink(SeedOptions.model_validate(values | changes))


def store(sink: SeedSink, study: Any, journal: Any, size_hint: int = 0) -> str:
    """The study is written as workers would: again, whenever a device gives up. The id of the device that has it."""
    for _ in range(5):
        try:
            writer = sink.writer(study.pack, Container.TAR, size_hint, journal, journal.row)
            try:
                study.feed(writer)
                return writer.finish().device
            finally:
                writer.close()
        except (DeviceFull, Retryable):
            continue
    raise AssertionError("no device takes the study")


def whole(sink: SeedSink, study: Any, device: str) -> bool:
    reader = PackReader(sink, study.pack, Container.TAR, pack_key(study.pack, Container.TAR, PAYLOAD), device=device)
    got = {member.facts.sop_uid: b"".join(pieces) for member, pieces in reader.walk()}
    return got == {uid: content for uid, (_, content) in study.instances.items()}


def files_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.devices
@pytest.mark.parametrize("profile", list(ProfileName))
@pytest.mark.parametrize("system", list(FileSystem))
def test_a_disk_that_fills_up_keeps_no_partial_pack_and_the_next_takes_the_study(
    new_disk: NewDisk, disk_of: Any, kit: SimpleNamespace, system: FileSystem, profile: ProfileName
) -> None:
    reserve = PROFILES[profile].reserve
    small, large = new_disk(system, reserve + (RECORDS[system] if reserve else SMALL)), disk_of(system, profile)
    if reserve:
        small.fill(left=reserve + SMALL)
    one, two = small.mount / "one", large.mount / "two"
    sink = sink_of(one, two, profile=profile, parallel=1)
    journals, studies = [], [kit.Study([3 * MIB] * 3, number=number) for number in range(1, 9)]

    held = []
    for study in studies:
        journals.append(kit.Journal())
        held.append(store(sink, study, journals[-1], 9 * MIB if study.pack.study_uid.endswith("4") else 0))

    first, second = Device(one).id, Device(two).id
    assert {first, second} == set(held), "one disk alone had room for everything"
    assert all(whole(sink, study, device) for study, device in zip(studies, held, strict=True))
    for root, device in ((one, first), (two, second)):
        mine = [study.pack for study, on in zip(studies, held, strict=True) if on == device]
        keys = {pack_key(pack, Container.TAR, PAYLOAD) for pack in mine}
        assert {name for name in files_of(root) if "/studies/" in name} == keys


@pytest.mark.devices
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "of unknown size"])
@pytest.mark.parametrize("system", list(FileSystem))
def test_a_study_larger_than_every_disk_fills_one_after_another(
    new_disk: NewDisk, kit: SimpleNamespace, system: FileSystem, announced: bool
) -> None:
    roots = [new_disk(system).mount / name for name in ("one", "two", "three")]
    sink = sink_of(*roots)
    study, journal = kit.Study([MIB] * (Device(roots[0]).free() * 12 // (5 * MIB))), kit.Journal()
    writer = sink.writer(study.pack, Container.TAR, announced * len(study.instances) * MIB, journal, None)

    study.feed(writer)
    receipt = writer.finish()

    assert len({volume.device for volume in receipt.volumes}) == len(receipt.volumes) == 3
    assert "reset" not in journal.calls, "a disk was fuller than it had said"
    got = pack_reader(sink, study.pack, receipt).walk()
    assert {member.facts.sop_uid: b"".join(pieces) for member, pieces in got} == {
        uid: content for uid, (_, content) in study.instances.items()
    }


def test_a_disk_that_is_pulled_out_loses_nothing_that_was_finished(
    new_disk: NewDisk, tmp_path: Path, kit: SimpleNamespace
) -> None:
    disk = new_disk()
    one, other = disk.mount / "one", tmp_path / "other"
    sink = sink_of(one, other, parallel=1)
    before, torn, after = (kit.Study([MIB, 2 * MIB], number=number) for number in (1, 2, 3))
    journals = [kit.Journal() for _ in range(3)]
    first = store(sink, before, journals[0])
    writer = sink.writer(torn.pack, Container.TAR, 0, journals[1], None)
    facts, content = next(iter(torn.instances.values()))
    writer.add(facts, kit.octets(content))

    disk.pull_out()
    with pytest.raises(Retryable):
        torn.feed(writer)
        writer.finish()
    moved = [store(sink, study, journal) for study, journal in ((torn, journals[1]), (after, journals[2]))]
    disk.take_out()
    absent = SeedSink(SeedOptions(name="seed", devices=(one, other), reserve=0))
    disk.put_in()

    back = sink_of(one, other)
    assert first == Device(one).id and moved == [Device(other).id] * 2
    assert absent.devices == {Device(other).id}, "the folder of a disk that was taken out was taken for a disk"
    assert whole(back, before, first)
    assert all(whole(back, study, moved[0]) for study in (torn, after))


def test_what_a_disk_held_half_when_it_went_is_written_anew_on_the_same_disk(
    new_disk: NewDisk, kit: SimpleNamespace
) -> None:
    disk = new_disk()
    study, journal = kit.Study([2 * MIB] * 3), kit.Journal()
    writer = sink_of(disk.mount / "one").writer(study.pack, Container.TAR, 0, journal, None)
    facts, content = next(iter(study.instances.values()))
    writer.add(facts, kit.octets(content))
    disk.pull_out()
    with pytest.raises(Retryable):
        study.feed(writer)
    assert journal.row is None
    disk.take_out()
    disk.put_in()
    sink = sink_of(disk.mount / "one")
    assert any("/studies/" in name for name in files_of(disk.mount / "one")), "nothing was left to stumble over"
    assert list(sink.packs()) == [], "half a pack is counted"

    device = store(sink, study, journal)

    assert whole(sink, study, device)


@pytest.mark.devices
def test_a_disk_that_turns_read_only_is_left(new_disk: NewDisk, tmp_path: Path, kit: SimpleNamespace) -> None:
    disk = new_disk()
    sink = sink_of(disk.mount / "one", tmp_path / "other", parallel=1)
    studies = [kit.Study([MIB, MIB], number=number) for number in (1, 2)]
    journals = [kit.Journal(), kit.Journal()]
    first = store(sink, studies[0], journals[0])

    disk.make_read_only()
    second = store(sink, studies[1], journals[1])

    assert [first, second] == [Device(disk.mount / "one").id, Device(tmp_path / "other").id]
    assert whole(sink, studies[0], first) and whole(sink, studies[1], second)


@pytest.mark.devices
def test_a_disk_that_hangs_keeps_the_writer_it_has_and_no_other(
    new_disk: NewDisk, tmp_path: Path, kit: SimpleNamespace, wait_until: Any
) -> None:
    disk = new_disk()
    sink = sink_of(disk.mount / "one", tmp_path / "other")
    slow, journal = kit.Study([MIB, MIB], number=99), kit.Journal()
    done: list[str] = []
    disk.hang()
    stuck = threading.Thread(target=lambda: done.append(store(sink, slow, journal)))
    try:
        stuck.start()
        wait_until(lambda: next(iter(sink._slots)).writers == 1, what="a writer on the disk that hangs")

        others = [store(sink, kit.Study([MIB] * 3, number=number), kit.Journal()) for number in range(1, 7)]

        assert set(others) == {Device(tmp_path / "other").id}
        assert not done
    finally:
        disk.go_on()
        stuck.join(60.0)
    assert done == [Device(disk.mount / "one").id]
    assert whole(sink, slow, done[0])


@pytest.mark.devices
def test_a_disk_that_nobody_serves_any_more_is_given_up_in_reading_and_writing_until_it_is_served_again(
    new_disk: NewDisk, tmp_path: Path, kit: SimpleNamespace, wait_until: Any
) -> None:
    disk = new_disk(FileSystem.EXFAT)
    sink = sink_of(disk.mount / "one", tmp_path / "other", parallel=1, hangs_after=3)
    before, torn, after = (kit.Study([2 * MIB, MIB], number=number) for number in (1, 2, 3))
    journals = [kit.Journal() for _ in range(3)]
    first = store(sink, before, journals[0])
    writer = sink.writer(torn.pack, Container.TAR, 0, journals[1], None)

    disk.hang()
    try:
        with pytest.raises(DeviceHangs):
            torn.feed(writer)
            writer.finish()
        with pytest.raises(DeviceHangs):
            whole(sink, before, first)
        held = [store(sink, torn, journals[1]), store(sink, after, journals[2])]
        hanging = dict(sink.hanging)
    finally:
        disk.go_on()
    wait_until(lambda: not sink.hanging, what="the disk answers")

    assert list(hanging) == [first]
    assert held == [Device(tmp_path / "other").id] * 2
    assert whole(sink, before, first) and whole(sink, torn, held[0]) and whole(sink, after, held[1])
    again = kit.Study([MIB], number=4)
    assert store(sink, again, kit.Journal()) == first and whole(sink, again, first)


@pytest.mark.devices
def test_an_existing_pack_is_not_looked_for_on_a_disk_that_hangs_in_reading(
    new_disk: NewDisk, tmp_path: Path, kit: SimpleNamespace, wait_until: Any
) -> None:
    disk = new_disk(FileSystem.EXFAT)
    sink = sink_of(disk.mount / "one", tmp_path / "other", hangs_after=3)

    disk.hang()
    try:
        begun = time.monotonic()
        held = [store(sink, kit.Study([MIB], number=number), kit.Journal()) for number in range(1, 5)]
        took = time.monotonic() - begun
    finally:
        disk.go_on()
    wait_until(lambda: not sink.hanging, what="the disk answers")

    assert held == [Device(tmp_path / "other").id] * 4
    assert took < 2 * 3, "more than one study waited for the disk"


@pytest.mark.devices
def test_names_that_differ_by_case_only_are_one_name_on_exfat_and_nothing_is_overwritten(
    new_disk: NewDisk, kit: SimpleNamespace
) -> None:
    disk = new_disk(FileSystem.EXFAT)
    root = disk.mount / "one"
    sink = sink_of(root)
    study, journal = kit.Study([1000]), kit.Journal()
    theirs = root / pack_key(study.pack, Container.TAR, PAYLOAD).upper()
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"somebody's")
    beside = root / f"data/index/{theirs.parent.relative_to(root / 'DATA/STUDIES')}".upper()
    beside.mkdir(parents=True)
    (beside / f"{study.pack.study_uid}.R0001.JSONL").write_bytes(b"theirs, too")

    with pytest.raises(AlreadyThere):
        store(sink, study, journal)

    assert theirs.read_bytes() == b"somebody's"


@pytest.mark.devices
def test_when_all_disks_are_full_or_gone_the_sink_says_how_many(new_disk: NewDisk, kit: SimpleNamespace) -> None:
    one, two = new_disk(), new_disk()
    sink = sink_of(one.mount / "one", two.mount / "two")
    one.pull_out()
    two.fill(left=2 * MIB)

    with pytest.raises((SinkFull, DeviceFull)):
        for _ in range(3):
            try:
                study = kit.Study([3 * MIB] * 2)
                study.feed(sink.writer(study.pack, Container.TAR, 6 * MIB, kit.Journal(), None))
            except Retryable:
                continue

    with pytest.raises(StorageError, match="no device has room for the study; 1 are away or have failed"):
        sink.writer(kit.Study([1]).pack, Container.TAR, 6 * MIB, kit.Journal(), None)


def test_a_folder_that_was_never_labelled_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()

    with pytest.raises(Retryable, match="nothing is mounted there"):
        SeedSink(SeedOptions(name="seed", devices=(tmp_path / "one",)))
    with pytest.raises(Rejected, match="same id"):
        sink = sink_of(tmp_path / "one", tmp_path / "two")
        assert sink.devices
        (tmp_path / "two" / "limosa/device.json").write_bytes((tmp_path / "one" / "limosa/device.json").read_bytes())
        sink_of(tmp_path / "one", tmp_path / "two")
