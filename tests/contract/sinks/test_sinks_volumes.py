"""A study that no file or no device takes whole: volumes that are complete in themselves, and never without need."""

import errno
import os
from itertools import chain, count
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage.errors import (
    AlreadyThere,
    DeviceFull,
    Rejected,
    Retryable,
    SinkFull,
    StorageError,
    UploadLost,
    VolumeSealed,
)
from storage.packs.model import Container, Ended, Receipt
from storage.packs.naming import pack_named
from storage.packs.volumes import pack_reader
from storage.sinks import pack_file
from storage.sinks.device import SEALED, Device
from storage.sinks.options import SeedOptions
from storage.sinks.seed import SeedSink

MIB = 1 << 20
DEVICE = 6 * MIB


def small(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Every device takes so much, as far as its file system says."""

    def used(device: Device) -> int:
        return sum(path.stat().st_size for path in device.root.rglob("*") if path.is_file())

    def free(device: Device) -> int:
        os.close(device._open_root())
        return size - used(device)

    monkeypatch.setattr(Device, "free", free)
    monkeypatch.setattr(Device, "capacity", lambda device: size)


@pytest.fixture(autouse=True)
def small_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, DEVICE)


def sink_of(folder: Path, count: int = 3, **settings: int) -> SeedSink:
    devices = tuple(folder / f"disk-{number}" for number in range(1, count + 1))
    for device in devices:
        device.mkdir(exist_ok=True)
        Device(device)
    return SeedSink(SeedOptions(name="seed", devices=devices, reserve=0, group_size=MIB, **settings))


def written(sink: SeedSink, study, journal, hint: int = 0, container: Container = Container.TAR) -> Receipt:
    writer = sink.writer(study.pack, container, hint, journal, journal.row)
    study.feed(writer)
    return writer.finish()


def give(sink: SeedSink, study, journal, hint: int = 0) -> Receipt:
    """Attempts until one comes through, as a worker makes them."""
    for _ in range(10):
        try:
            return written(sink, study, journal, hint)
        except DeviceFull:
            continue
    raise AssertionError("never came through")


def read(sink: SeedSink, study, receipt: Receipt) -> dict[str, bytes]:
    return {member.facts.sop_uid: b"".join(pieces) for member, pieces in pack_reader(sink, study.pack, receipt).walk()}


def contents(study) -> dict[str, bytes]:
    return {sop_uid: content for sop_uid, (_, content) in study.instances.items()}


def packs_on(folder: Path) -> dict[str, list[int]]:
    """Volumes by device."""
    return {
        root.name: sorted(
            named[0].volume
            for path in root.rglob("*.tar*")
            if (named := pack_named(str(path.relative_to(root)))) is not None
        )
        for root in sorted(folder.iterdir())
    }


@pytest.mark.parametrize("hint", [0, 12 * MIB], ids=["of unknown size", "announced"])
@pytest.mark.parametrize("container", [Container.TAR, Container.TAR_ZST])
def test_a_study_larger_than_every_device_is_several_packs_that_read_as_one(
    hint: int, container: Container, tmp_path: Path, kit: SimpleNamespace
) -> None:
    study, journal = kit.Study([MIB] * 12), kit.Journal()
    sink = sink_of(tmp_path)

    receipt = written(sink, study, journal, hint, container)

    assert sorted(packs_on(tmp_path).values()) == [[1], [2], [3]]
    assert len({volume.device for volume in receipt.volumes}) == 3
    assert read(sink, study, receipt) == contents(study)
    assert pack_reader(sink, study.pack, receipt).sidecar() == pack_reader(sink, study.pack, receipt).index()
    assert receipt.size == sum(volume.size for volume in receipt.volumes)
    assert journal.calls.count("reset") == 0, "nothing was written twice"
    held = {pack.pack.volume: pack.device for pack in sink.packs()}
    assert held == {number: volume.device for number, volume in enumerate(receipt.volumes, start=1)}


def test_a_study_that_fits_an_empty_device_is_never_spread(tmp_path: Path, kit: SimpleNamespace) -> None:
    sink = sink_of(tmp_path, 2)
    other = kit.Study([3 * MIB], number=2)
    first = written(sink, other, kit.Journal(), 3 * MIB).device
    study, announced = kit.Study([MIB] * 5, number=3), kit.Study([2 * MIB], number=4)

    receipt = give(sink, study, kit.Journal())

    assert receipt.volumes == () and receipt.device != first
    with pytest.raises(SinkFull):
        give(sink, kit.Study([MIB] * 5, number=5), kit.Journal())
    with pytest.raises(SinkFull):
        written(sink, kit.Study([MIB] * 5, number=6), kit.Journal(), 5 * MIB)
    assert written(sink, announced, kit.Journal(), 2 * MIB).device == first


def test_while_a_larger_device_may_be_away_nothing_is_spread(tmp_path: Path, kit: SimpleNamespace) -> None:
    sink_of(tmp_path, 2)
    (tmp_path / "disk-2").rename(tmp_path / "unplugged")
    sink = SeedSink(
        SeedOptions(name="seed", devices=(tmp_path / "disk-1", tmp_path / "disk-2"), reserve=0, group_size=MIB)
    )
    study, journal = kit.Study([MIB] * 12), kit.Journal()

    with pytest.raises(SinkFull, match="1 are away"):
        written(sink, study, journal, 12 * MIB)
    with pytest.raises(DeviceFull):
        written(sink, study, journal)

    assert journal.row is None and packs_on(tmp_path)["disk-1"] == []


def test_a_worker_that_dies_anywhere_writes_no_finished_volume_again(
    tmp_path: Path, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 2 * MIB)
    for effect in (False, True):
        for point in count():
            folder = tmp_path / f"{effect}-{point}"
            folder.mkdir()
            study, journal = kit.Study([MIB // 2] * 5), kit.Journal()
            journal.crash_at, journal.crash_after_effect = point, effect
            try:
                written(sink_of(folder), study, journal, 5 * MIB // 2)
            except kit.Crash:
                crashed = True
            else:
                crashed = False
            ended = {volume.receipt.key: volume.receipt.device for volume in journal.row.volumes} if journal.row else {}
            before = {path: path.stat().st_mtime_ns for key in ended for path in folder.glob(f"*/{key}")}

            journal.crash_at = -1
            sink = sink_of(folder)
            receipt = written(sink, study, journal, 5 * MIB // 2)

            assert read(sink, study, receipt) == contents(study)
            assert [path.stat().st_mtime_ns for path in before] == list(before.values())
            assert sorted(chain.from_iterable(packs_on(folder).values())) == [1, 2]
            if not crashed:
                break


def test_a_volume_that_no_journal_knows_is_told_before_anything_is_compared(
    tmp_path: Path, kit: SimpleNamespace
) -> None:
    study = kit.Study([MIB] * 7)
    written(sink_of(tmp_path), study, kit.Journal())

    with pytest.raises(AlreadyThere, match="a volume that the ledger does not know"):
        sink_of(tmp_path).writer(study.pack, Container.TAR, 0, kit.Journal(), None)


@pytest.mark.parametrize("before", [3, 5, 8], ids=["with room", "without room", "in its second volume"])
def test_a_study_that_grew_after_its_index_was_written_starts_that_pack_over(
    before: int, tmp_path: Path, kit: SimpleNamespace
) -> None:
    study, journal = kit.Study([MIB] * (before + 1)), kit.Journal()
    writer = sink_of(tmp_path).writer(study.pack, Container.TAR, 0, journal, None)
    for facts, content in list(study.instances.values())[:before]:
        writer.add(facts, kit.octets(content))
    writer.finish()

    with pytest.raises(UploadLost):
        written(sink_of(tmp_path), study, journal)
    receipt = written(sink_of(tmp_path), study, journal)

    assert read(sink_of(tmp_path), study, receipt) == contents(study)


def test_a_device_that_is_full_against_its_word_loses_only_the_volume_it_was_given(
    tmp_path: Path, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, journal = kit.Study([MIB] * 9), kit.Journal()
    sink = sink_of(tmp_path)
    passed = 0
    write_all = pack_file.write_all

    def full(descriptor: int, piece: bytes) -> None:
        nonlocal passed
        passed += len(piece)
        if passed > 7 * MIB:
            raise OSError(errno.ENOSPC, "full")
        write_all(descriptor, piece)

    with monkeypatch.context() as patch:
        patch.setattr(pack_file, "write_all", full)
        with pytest.raises(DeviceFull):
            written(sink, study, journal, 9 * MIB)
    first = journal.row.volumes[0].receipt

    receipt = written(sink, study, journal, 9 * MIB)

    assert receipt.volumes[0] == first
    assert read(sink, study, receipt) == contents(study)
    assert len({volume.device for volume in receipt.volumes}) == 2
    assert sorted(chain.from_iterable(packs_on(tmp_path).values())) == [1, 2]


@pytest.mark.parametrize(
    ("sizes", "settings"), [([MIB, 8 * MIB], {}), ([8 * MIB], {}), ([MIB, 3 * MIB], {"largest_file": 2 * MIB})]
)
def test_an_instance_that_nothing_takes_is_named_and_leaves_nothing_unfinished(
    sizes: list[int], settings: dict[str, int], tmp_path: Path, kit: SimpleNamespace
) -> None:
    study, journal = kit.Study(sizes), kit.Journal()
    sink = sink_of(tmp_path, 2, **settings)

    with pytest.raises(Rejected) as caught:
        written(sink, study, journal)

    assert caught.value.code == "INSTANCE_TOO_LARGE"
    assert caught.value.sop_uids == (list(study.instances)[-1],)
    assert journal.row is None or (journal.row.key == "" and len(journal.row.volumes) == 1)


def test_a_file_system_that_takes_no_such_file_is_told_with_the_setting(
    tmp_path: Path, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, journal = kit.Study([MIB] * 4), kit.Journal()

    def fat(descriptor: int, piece: bytes) -> None:
        raise OSError(errno.EFBIG, "too big")

    monkeypatch.setattr(pack_file, "write_all", fat)

    with pytest.raises(Rejected, match="largest_file") as caught:
        written(sink_of(tmp_path), study, journal)

    assert (caught.value.code, journal.row) == ("EFBIG", None)
    assert sorted(packs_on(tmp_path).values()) == [[], [], []]


def test_a_study_too_large_for_one_file_is_several_on_one_device(tmp_path: Path, kit: SimpleNamespace) -> None:
    study, journal = kit.Study([MIB] * 5), kit.Journal()
    sink = sink_of(tmp_path, largest_file=2 * MIB + 200_000)

    receipt = written(sink, study, journal)

    assert len({volume.device for volume in receipt.volumes}) == 1
    assert max(volume.size for volume in receipt.volumes) <= 2 * MIB + 200_000
    assert [volume.ended for volume in journal.row.volumes] == [Ended.FILE] * 2
    assert read(sink, study, receipt) == contents(study)


def test_files_of_one_study_move_together_to_the_device_that_takes_them_all(
    tmp_path: Path, kit: SimpleNamespace
) -> None:
    sink = sink_of(tmp_path, 2, largest_file=2 * MIB + 200_000)
    other = kit.Study([MIB, MIB], number=2)
    first = written(sink, other, kit.Journal()).device
    written(sink, kit.Study([1000], number=3), kit.Journal())
    study, journal = kit.Study([MIB] * 5, number=4), kit.Journal()
    for slot in sink._slots:
        slot.writers = 0 if slot.device.id == first else 1

    receipt = give(sink, study, journal)

    assert "start_over" in journal.calls
    assert {volume.device for volume in receipt.volumes} == sink.devices - {first}
    assert read(sink, study, receipt) == contents(study)


def test_files_of_one_study_wait_for_the_device_that_they_began_on(tmp_path: Path, kit: SimpleNamespace) -> None:
    study, journal = kit.Study([MIB] * 5), kit.Journal()
    writer = sink_of(tmp_path, 2, largest_file=2 * MIB + 200_000).writer(study.pack, Container.TAR, 0, journal, None)
    for facts, content in list(study.instances.values())[:3]:
        writer.add(facts, kit.octets(content))
    writer.close()
    away, other = sorted(tmp_path.iterdir(), key=lambda root: Device(root).id != journal.row.volumes[0].receipt.device)
    away.rename(tmp_path.parent / "unplugged")
    options = SeedOptions(name="seed", devices=(other,), reserve=0, group_size=MIB, largest_file=2 * MIB + 200_000)

    with pytest.raises(Retryable):
        written(SeedSink(options), study, journal)
    (tmp_path.parent / "unplugged").rename(away)
    receipt = written(sink_of(tmp_path, 2, largest_file=2 * MIB + 200_000), study, journal)

    assert len({volume.device for volume in receipt.volumes}) == 1


def half(folder: Path, kit: SimpleNamespace) -> tuple:
    """One volume has ended, the second is being written."""
    study, journal = kit.Study([MIB] * 9), kit.Journal()
    writer = sink_of(folder).writer(study.pack, Container.TAR, 9 * MIB, journal, None)
    for facts, content in list(study.instances.values())[:7]:
        writer.add(facts, kit.octets(content))
    writer.close()
    return (
        study,
        journal,
        next(root for root in folder.iterdir() if Device(root).id == journal.row.volumes[0].receipt.device),
    )


def test_what_starts_over_is_on_no_device_any_more(tmp_path: Path, kit: SimpleNamespace) -> None:
    _, journal, _ = half(tmp_path, kit)

    sink_of(tmp_path).discard(journal.row)

    assert not [path for path in tmp_path.rglob("data/*/*/*/*") if path.is_file()]


def test_a_volume_that_is_sealed_is_not_taken_back_and_the_rest_goes_on(tmp_path: Path, kit: SimpleNamespace) -> None:
    study, journal, root = half(tmp_path, kit)
    Device(root).write_new(SEALED, b"sealed")

    with pytest.raises(VolumeSealed):
        sink_of(tmp_path).discard(journal.row)
    root.rename(tmp_path.parent / "shipped")
    sink = SeedSink(SeedOptions(name="seed", devices=tuple(sorted(tmp_path.iterdir())), reserve=0, group_size=MIB))
    with pytest.raises(Retryable):
        sink.discard(journal.row)
    receipt = written(sink, study, journal, 9 * MIB)

    assert receipt.volumes[0] == journal.row.volumes[0].receipt
    assert len(receipt.volumes) == 2


@pytest.mark.parametrize("begun", [False, True], ids=["between volumes", "in an empty one"])
def test_a_study_that_ends_with_a_volume_that_says_more_follows_starts_over(
    begun: bool, tmp_path: Path, kit: SimpleNamespace
) -> None:
    study, journal, _ = half(tmp_path, kit)
    sink, left = sink_of(tmp_path), journal.row
    device = next(slot for slot in sink._slots if slot.device.id == left.device)
    sink._remove_unfinished(device, left)
    journal.reset("lost")
    if begun:
        os.close(device.device.create(left.key))
        journal.begin(key=left.key, container=left.container, device=left.device)
    writer = sink.writer(study.pack, Container.TAR, 9 * MIB, journal, journal.row)

    with pytest.raises(UploadLost):
        writer.finish()

    assert journal.row is None
    with pytest.raises(StorageError):
        study.feed(writer)
