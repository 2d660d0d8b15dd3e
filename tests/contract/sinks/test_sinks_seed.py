"""What only a device can do to us: be full, be pulled, be read-only, be somebody else's."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage.errors import AlreadyThere, DeviceFull, Rejected, Retryable, SinkFull, UploadLost
from storage.packs.model import Container
from storage.packs.naming import index_key, pack_key
from storage.packs.reader import PackReader
from storage.sinks import pack_file
from storage.sinks.device import PAYLOAD, Device
from storage.sinks.options import SeedOptions
from storage.sinks.seed import SeedSink

MIB = 1 << 20


def sink_of(*devices: Path, reserve: int = 0) -> SeedSink:
    for device in devices:
        device.mkdir(exist_ok=True)
        Device(device)
    return SeedSink(SeedOptions(name="seed", devices=devices, reserve=reserve, group_size=MIB))


@pytest.fixture
def small_device(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small file system")
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", mount], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"cannot mount here: {made.stderr.strip()}")
    yield mount
    subprocess.run(["umount", mount], check=True)


def files_of(device: Path) -> list[str]:
    return sorted(str(path.relative_to(device)) for path in device.rglob("*") if path.is_file())


def test_a_full_device_keeps_no_partial_pack_and_the_next_device_takes_the_study(
    small_device: Path, tmp_path: Path, kit: SimpleNamespace
) -> None:
    sink = sink_of(small_device, tmp_path / "large")
    study, journal = kit.Study([3 * MIB] * 4), kit.Journal()
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)

    with pytest.raises(DeviceFull):
        study.feed(writer)

    assert journal.row is None
    assert files_of(small_device) == ["limosa/device.json"]
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)
    receipt = writer.finish()
    assert (tmp_path / "large" / receipt.key).is_file()
    small = kit.Study([1000], number=2)
    writer = sink.writer(small.pack, Container.TAR, 2000, kit.Journal(), None)
    small.feed(writer)
    assert (small_device / writer.finish().key).is_file(), "a small study still fits the first device"


def test_when_every_device_is_full_the_sink_says_so(small_device: Path, kit: SimpleNamespace) -> None:
    sink = sink_of(small_device)
    other = kit.Study([MIB], number=2)
    writer = sink.writer(other.pack, Container.TAR, 0, kit.Journal(), None)
    other.feed(writer)
    writer.finish()
    study, journal = kit.Study([3 * MIB] * 4), kit.Journal()
    with pytest.raises(DeviceFull):
        study.feed(sink.writer(study.pack, Container.TAR, 0, journal, None))

    with pytest.raises(SinkFull):
        sink.writer(study.pack, Container.TAR, 0, journal, None)

    assert journal.row is None


def test_what_is_written_never_touches_the_reserve(small_device: Path, kit: SimpleNamespace) -> None:
    sink = sink_of(small_device, reserve=6 * MIB)
    study, journal = kit.Study([MIB] * 5), kit.Journal()

    with pytest.raises(SinkFull):
        study.feed(sink.writer(study.pack, Container.TAR, 5 * MIB, journal, None))

    assert [len(volume.members) for volume in journal.row.volumes] == [1]
    free = os.statvfs(small_device)
    assert free.f_bavail * free.f_frsize >= 6 * MIB


def test_what_open_writers_were_promised_is_not_promised_again(small_device: Path, kit: SimpleNamespace) -> None:
    sink = sink_of(small_device)
    first = sink.writer(kit.Study([], number=1).pack, Container.TAR, 5 * MIB, kit.Journal(), None)

    with pytest.raises(SinkFull):
        sink.writer(kit.Study([], number=2).pack, Container.TAR, 5 * MIB, kit.Journal(), None)
    first.close()

    sink.writer(kit.Study([], number=3).pack, Container.TAR, 5 * MIB, kit.Journal(), None).close()


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_a_device_that_fails_is_left_and_the_study_starts_over_on_another(
    code: int, tmp_path: Path, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_of(tmp_path / "bad", tmp_path / "good")
    study, journal = kit.Study([1000, 2000]), kit.Journal()
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(pack_file, "write_all", fail)
        with pytest.raises(Retryable) as caught:
            study.feed(writer)
            writer.finish()

    assert caught.value.code == errno.errorcode[code]
    assert journal.row is None
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)
    assert (tmp_path / "good" / writer.finish().key).is_file()


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_partial_pack_that_the_device_lost_starts_over(damage: str, tmp_path: Path, kit: SimpleNamespace) -> None:
    study, journal = kit.Study([MIB] * 4), kit.Journal()
    writer = sink_of(tmp_path / "device").writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)
    writer.close()
    path = tmp_path / "device" / journal.row.key
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, 2 * MIB)

    writer = sink_of(tmp_path / "device").writer(study.pack, Container.TAR, 0, journal, journal.row)

    assert writer.held == frozenset()
    assert study.feed(writer) == 4
    writer.finish()


def test_bytes_behind_the_last_commit_are_cut_off(tmp_path: Path, kit: SimpleNamespace) -> None:
    study, journal = kit.Study([MIB, MIB, 1000]), kit.Journal()
    sink = sink_of(tmp_path / "device")
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)
    writer.close()
    with (tmp_path / "device" / journal.row.key).open("ab") as file:
        file.write(b"torn" * 1000)

    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)
    study.feed(writer)
    receipt = writer.finish()

    assert (tmp_path / "device" / receipt.key).stat().st_size == receipt.size
    reader = PackReader(sink, study.pack, receipt.container, receipt.key, device=receipt.device)
    assert all(b"".join(pieces) for _, pieces in reader.walk())


def test_a_worker_that_lost_its_claim_and_still_writes_keeps_others_out(tmp_path: Path, kit: SimpleNamespace) -> None:
    study, journal = kit.Study([MIB, MIB]), kit.Journal()
    old = sink_of(tmp_path / "device").writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(old)

    with pytest.raises(Retryable):
        sink_of(tmp_path / "device").writer(study.pack, Container.TAR, 0, journal, journal.row)
    old.close()

    writer = sink_of(tmp_path / "device").writer(study.pack, Container.TAR, 0, journal, journal.row)
    writer.finish()


@pytest.mark.parametrize("trap", ["link at the pack", "link at a folder", "pipe at the pack", "second name"])
def test_nothing_on_a_hostile_device_is_followed(trap: str, tmp_path: Path, kit: SimpleNamespace) -> None:
    study, journal = kit.Study([1000]), kit.Journal()
    sink = sink_of(tmp_path / "device")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"precious")
    path = tmp_path / "device" / pack_key(study.pack, Container.TAR, PAYLOAD)
    if trap == "link at a folder":
        path.parents[3].mkdir()
        path.parents[2].symlink_to(outside)
    else:
        path.parent.mkdir(parents=True)
    if trap == "link at the pack":
        path.symlink_to(outside / "victim")
    elif trap == "pipe at the pack":
        os.mkfifo(path)
    elif trap == "second name":
        path.hardlink_to(outside / "victim")

    with pytest.raises((Rejected, AlreadyThere)):
        study.feed(sink.writer(study.pack, Container.TAR, 0, journal, None))

    assert [file.name for file in outside.rglob("*")] == ["victim"]
    assert (outside / "victim").read_bytes() == b"precious"


def test_a_torn_index_beside_a_whole_pack_is_replaced(tmp_path: Path, kit: SimpleNamespace) -> None:
    study, journal = kit.Study([1000, 2000]), kit.Journal()
    sink = sink_of(tmp_path / "device")
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)
    receipt = writer.finish()
    beside = tmp_path / "device" / index_key(study.pack, PAYLOAD)
    os.truncate(beside, 100)

    writer = sink.writer(study.pack, Container.TAR, 0, journal, journal.row)
    writer.finish()

    reader = PackReader(sink, study.pack, receipt.container, receipt.key, device=receipt.device)
    assert reader.sidecar() == reader.index()


def test_a_device_keeps_its_id_and_a_copy_of_it_is_noticed(tmp_path: Path) -> None:
    first = sink_of(tmp_path / "one", tmp_path / "two")
    again = sink_of(tmp_path / "one", tmp_path / "two")
    ids = [[slot.device.id for slot in sink._slots] for sink in (first, again)]
    label = "limosa/device.json"

    assert ids[0] == ids[1] and len(set(ids[0])) == 2
    (tmp_path / "two" / label).write_bytes((tmp_path / "one" / label).read_bytes())
    with pytest.raises(Rejected):
        sink_of(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / label).write_bytes(b"{}")
    with pytest.raises(Rejected):
        sink_of(tmp_path / "two")


def test_a_study_whose_device_is_away_starts_over_on_another_and_waits_where_there_is_none(
    tmp_path: Path, kit: SimpleNamespace
) -> None:
    study, journal = kit.Study([MIB, MIB]), kit.Journal()
    sink = sink_of(tmp_path / "one")
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)
    writer.close()
    (tmp_path / "one").rename(tmp_path / "unplugged")

    with pytest.raises(Retryable):
        sink.writer(study.pack, Container.TAR, 0, journal, journal.row)
    with pytest.raises(Retryable):
        SeedSink(SeedOptions(name="seed", devices=(tmp_path / "one",)))
    half = journal.row
    two = sink_of(tmp_path / "two")
    two.discard(half)
    writer = two.writer(study.pack, Container.TAR, 0, journal, half)
    study.feed(writer)
    receipt = writer.finish()

    assert half is not None, "what the device holds is forgotten although nobody else took the study"
    assert receipt.device in two.devices


def test_no_error_of_a_device_names_a_study(tmp_path: Path, kit: SimpleNamespace) -> None:
    study, sink = kit.Study([1000]), sink_of(tmp_path / "device")
    device = next(iter(sink._slots)).device
    key = pack_key(study.pack, Container.TAR, PAYLOAD)
    device.write_new(key, b"x")

    for attempt, kind in (
        (lambda: device.write_new(key, b"y"), FileExistsError),
        (lambda: device.size(index_key(study.pack, PAYLOAD)), FileNotFoundError),
    ):
        with pytest.raises(kind) as caught:
            attempt()
        assert study.pack.study_uid not in f"{caught.value} {caught.value.__cause__}"
        assert caught.value.__suppress_context__


def test_a_study_that_is_just_larger_than_its_promise_does_not_come_back_to_the_same_device(
    small_device: Path, kit: SimpleNamespace
) -> None:
    other = kit.Study([MIB], number=2)
    writer = sink_of(small_device).writer(other.pack, Container.TAR, 0, kit.Journal(), None)
    other.feed(writer)
    writer.finish()
    free = os.statvfs(small_device)
    study, journal = kit.Study([MIB] * 5), kit.Journal()
    room = 5 * MIB + 1024
    sink = sink_of(small_device, reserve=free.f_bavail * free.f_frsize - room)
    with pytest.raises(DeviceFull):
        writer = sink.writer(study.pack, Container.TAR, 5 * MIB, journal, None)
        study.feed(writer)
        writer.finish()

    with pytest.raises(SinkFull):
        sink.writer(study.pack, Container.TAR, 5 * MIB, journal, None)


def test_a_pack_that_lost_its_name_is_never_receipted(tmp_path: Path, kit: SimpleNamespace) -> None:
    sink = sink_of(tmp_path / "disk")
    study, journal = kit.Study([MIB]), kit.Journal()
    writer = sink.writer(study.pack, Container.TAR, 0, journal, None)
    study.feed(writer)
    (tmp_path / "disk" / pack_key(study.pack, Container.TAR, PAYLOAD)).unlink()

    with pytest.raises(UploadLost):
        writer.finish()

    assert journal.row is None
