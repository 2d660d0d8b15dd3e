"""Seeds that lie about the volumes of a study: what contradicts itself is refused, what contradicts others is told."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.seeding.gathering import Gathering
from cluster.seeding.ingest import Finding, Ingest
from cluster.seeding.ingest_journal import IngestJournal
from imaging.octets import MemoryOctets
from imaging.uid import Uid
from storage.packs.model import Container, PackId
from storage.seeds.errors import SeedRefused
from storage.seeds.manifest import PackRow, VolumeHolder
from storage.seeds.opening import open_seed
from storage.seeds.receipt import PackState
from storage.sinks.options import SeedOptions
from storage.sinks.seed import SeedSink
from storage.sinks.seed_slots import Slots
from storage.sinks.seed_volumes import begin_pack

FILE = 1 << 20
OTHER = "f" * 32


class EmptyBucket:
    """Nothing is in it."""

    def head(self, key: str) -> Any:
        raise FileNotFoundError(key)


class FilledBucket:
    """The device's files are in it, but the pack of one volume is another thing."""

    def __init__(self, root: Path, foreign: int) -> None:
        files = {path.relative_to(root / "data").as_posix(): path.read_bytes() for path in root.rglob("data/*/*/*/*")}
        key = sorted(key for key in files if key.endswith(".tar"))[foreign]
        self._files = files | {key: b"something else"}

    def head(self, key: str) -> Any:
        if key not in self._files:
            raise FileNotFoundError(key)
        return SimpleNamespace(size=len(self._files[key]))

    def stream(self, key: str, start: int, length: int) -> Iterator[bytes]:
        yield self._files[key][start : start + length]


@pytest.fixture
def spread(seed: Any, instance_of: Callable[..., Any], no_journal: type) -> Any:
    """A device with the three volumes of one study."""
    assert seed.device.id
    sink = SeedSink(SeedOptions(name="seed", devices=(seed.root,), reserve=0, group_size=FILE, largest_file=FILE))
    writer = sink.writer(PackId(study_uid=Uid("1.2.840.1"), revision=1), Container.TAR, 0, no_journal(), None)
    for number in range(1, 6):
        facts, content = instance_of(1, number, 400_000, Uid("1.2.840.10008.1.2.4.70"))
        writer.add(facts, MemoryOctets(content))
    for number, receipt in enumerate(writer.finish().volumes, start=1):
        seed.receipts[PackId(study_uid=Uid("1.2.840.1"), revision=1, volume=number)] = receipt
    assert len(seed.receipts) == 3
    return seed


def rows_of(seed: Any, change: Callable[[PackRow], PackRow] = lambda row: row) -> list[Any]:
    own = VolumeHolder(device=seed.device.id, serial="SN-1", first=1, last=3)
    made = [(change(replace(row, of=3, holders=(own,))), members) for row, members in seed.rows()]
    return sorted(made, key=lambda each: each[0].key)


def held_by(first: int, last: int, **changes: Any) -> Callable[[PackRow], PackRow]:
    def change(row: PackRow) -> PackRow:
        return replace(row, **({"of": last, "holders": (replace(row.holders[0], first=first, last=last),)} | changes))

    return change


def of_one(change: Callable[[PackRow], PackRow]) -> Callable[[PackRow], PackRow]:
    return lambda row: change(row) if row.pack.volume == 2 else row


LIES: dict[str, Callable[[PackRow], PackRow]] = {
    "a volume of this device that it does not list": held_by(1, 4),
    "fewer volumes than it lists": held_by(1, 2),
    "a gap": held_by(2, 3),
    "volumes in the wrong order": held_by(3, 1),
    "another number than it names": held_by(1, 3, of=7),
    "no volume at all": held_by(1, 3, of=0),
    "only another device's": lambda row: replace(row, holders=(replace(row.holders[0], device=OTHER),)),
    "a device that is none": lambda row: replace(row, holders=(replace(row.holders[0], device="../../etc"),)),
    "a serial number with a line break": lambda row: replace(row, holders=(replace(row.holders[0], serial="a\nb"),)),
    "lines that contradict each other": of_one(lambda row: replace(row, of=None)),
    "a line that tells of no volumes": of_one(lambda row: replace(row, of=1, holders=())),
    "ten thousand volumes": held_by(1, 10_000),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_list_that_lies_about_volumes_is_refused(spread: Any, lie: str, tmp_path: Path) -> None:
    _, note = spread.seal(rows_of(spread, LIES[lie]))

    with pytest.raises(SeedRefused):
        open_seed(spread.root, note, None, tmp_path)


def test_what_is_true_is_opened_and_names_what_is_elsewhere(spread: Any, tmp_path: Path) -> None:
    later = VolumeHolder(device=OTHER, serial="", first=4, last=4)
    _, note = spread.seal(rows_of(spread, lambda row: replace(row, of=4, holders=(*row.holders, later))))

    opened = open_seed(spread.root, note, None, tmp_path)
    (study,) = Gathering(opened, EmptyBucket(), "").gathered()  # pyright: ignore[reportArgumentType]

    assert [(each.volume, each.device) for each in study.missing] == [
        (1, "SN-1"), (2, "SN-1"), (3, "SN-1"), (4, f"device {OTHER[:8]}")
    ]  # fmt: skip
    assert (study.of, study.here, study.there, study.complete) == (4, (1, 2, 3), (), False)


def judged(seed: Any, note: str, scratch: Path) -> tuple[list[Finding], list[Finding]]:
    opened = open_seed(seed.root, note, None, scratch)
    work = Ingest(opened, IngestJournal(scratch / "journal.jsonl", "x", "y"), "")
    examined = list(work.examine(lambda octets: None))
    return examined, work.compare(Gathering(opened, EmptyBucket(), ""))  # pyright: ignore[reportArgumentType]


def test_a_last_volume_that_is_not_the_last_and_one_that_is_are_not_brought_in(spread: Any, tmp_path: Path) -> None:
    later = VolumeHolder(device=OTHER, serial="SN-2", first=4, last=4)
    _, note = spread.seal(rows_of(spread, lambda row: replace(row, of=4, holders=(*row.holders, later))))

    examined, _ = judged(spread, note, tmp_path)

    assert [(each.state, each.key[-9:]) for each in examined] == [(PackState.DAMAGED, "v0003.tar")]
    assert "goes on in another volume" in examined[0].what


def test_an_instance_in_two_volumes_is_told(
    spread: Any, instance_of: Callable[..., Any], no_journal: type, tmp_path: Path
) -> None:
    pack = PackId(study_uid=Uid("1.2.840.1"), revision=1, volume=2)
    spread.path(spread.receipts[pack]).unlink()
    spread.beside(spread.receipts[pack]).unlink()
    slots = Slots(SeedOptions(name="seed", devices=(spread.root,), reserve=0))
    (slot,) = slots
    slots.enter(slot, 0)
    writer = begin_pack(slots, slot, pack, Container.TAR, no_journal(), 0, began=False)
    for number in (2, 4):
        facts, content = instance_of(1, number, 400_000, Uid("1.2.840.10008.1.2.4.70"))
        writer.add(facts, MemoryOctets(content))
    spread.receipts[pack] = writer.finish(last=False)
    _, note = spread.seal(rows_of(spread))

    examined, clashes = judged(spread, note, tmp_path)

    assert examined == []
    assert [(each.state, each.what, each.instances) for each in clashes] == [
        (PackState.DAMAGED, "holds instances that volume 1 holds, too", (Uid("1.2.840.1.2"),))
    ]


def test_a_volume_whose_pack_is_something_else_in_the_bucket_is_not_there(spread: Any, tmp_path: Path) -> None:
    _, note = spread.seal(rows_of(spread))
    opened = open_seed(spread.root, note, None, tmp_path)

    (study,) = Gathering(opened, FilledBucket(spread.root, 1), "").gathered()  # pyright: ignore[reportArgumentType]

    assert (study.there, study.of, study.complete) == ((1, 3), 3, False)
