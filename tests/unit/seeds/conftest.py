"""Sealed devices made by the real writers, without a ledger."""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets
from imaging.uid import Uid
from storage.packs.model import Container, Ended, PackId, Part, Receipt
from storage.packs.naming import index_key_beside
from storage.seeds.examine import Examined, examine
from storage.seeds.manifest import InstanceRow, PackRow
from storage.seeds.notes import SigningKey
from storage.seeds.objects import DeviceObjects
from storage.seeds.profiles import ProfileName
from storage.seeds.seal import Seal
from storage.seeds.tagging import SealFacts, seal_device
from storage.sinks.device import Device
from storage.sinks.options import SeedOptions
from storage.sinks.seed import SeedSink

NOISE = random.Random(7).randbytes(1 << 20)
AT = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
RAW, JPEG = Uid("1.2.840.10008.1.2.1"), Uid("1.2.840.10008.1.2.4.70")


class NoJournal:
    """A journal nobody reads again."""

    def begin(self, **_: Any) -> None: ...
    def opened(self, upload_id: str) -> None: ...
    def commit_group(self, parts: Sequence[Part], members: Sequence[Any]) -> None: ...
    def end_volume(self, receipt: Receipt, ended: Ended) -> None: ...
    def reset(self, reason: str) -> None: ...
    def start_over(self, reason: str) -> None: ...
    def delivered(self, sop_uid: Uid) -> frozenset[bytes]:
        return frozenset()


def instance(study: int, number: int, size: int, syntax: Uid) -> tuple[InstanceFacts, bytes]:
    content = (f"{study}-{number} ".encode() + NOISE)[:size]
    digest = blake3(content).digest()
    facts = InstanceFacts(
        study_uid=Uid(f"1.2.840.{study}"),
        series_uid=Uid(f"1.2.840.{study}.0"),
        sop_uid=Uid(f"1.2.840.{study}.{number}"),
        sop_class=Uid("1.2.840.10008.5.1.4.1.1.2"),
        transfer_syntax=syntax,
        raw_size=size,
        sto_size=size,
        raw1=digest,
        sto1=digest,
        pd1=digest,
        can1=digest,
    )
    return facts, content


@dataclass(kw_only=True)
class Kit:
    """One device and its key."""

    root: Path
    key: SigningKey
    receipts: dict[PackId, Receipt]

    @property
    def device(self) -> Device:
        return Device(self.root)

    def write(self, study: int, sizes: Sequence[int], syntax: Uid = JPEG) -> Receipt:
        assert self.device.id
        sink = SeedSink(SeedOptions(name="seed", devices=(self.root,), reserve=0, group_size=1 << 20))
        pack = PackId(study_uid=Uid(f"1.2.840.{study}"), revision=1)
        container = Container.TAR_ZST if syntax == RAW else Container.TAR
        writer = sink.writer(pack, container, 0, NoJournal(), None)
        for number, size in enumerate(sizes, start=1):
            facts, content = instance(study, number, size, syntax)
            writer.add(facts, MemoryOctets(content))
        receipt = self.receipts[pack] = writer.finish()
        return receipt

    def path(self, receipt: Receipt) -> Path:
        return self.root / receipt.key

    def beside(self, receipt: Receipt) -> Path:
        pack = next(pack for pack, held in self.receipts.items() if held == receipt)
        return self.root / index_key_beside(pack, receipt.container, receipt.key)

    def examined(self, receipt: Receipt) -> Examined:
        pack = next(pack for pack, held in self.receipts.items() if held == receipt)
        return examine(DeviceObjects(self.device), pack, receipt.container, receipt.key)

    def rows(self) -> list[tuple[PackRow, list[InstanceRow]]]:
        """As a seal lists what was read, whether it is sound or not."""
        return sorted((self.row(pack) for pack in self.receipts), key=lambda row: row[0].key)

    def row(self, pack: PackId) -> tuple[PackRow, list[InstanceRow]]:
        receipt = self.receipts[pack]
        found = self.examined(receipt)
        row = PackRow(
            pack=pack,
            container=receipt.container,
            size=found.size,
            crc64=found.crc64,
            sha256=found.sha256,
            blake3=found.blake3,
            instances=len(found.index.members) if found.index and found.index.members else 1,
            index_size=found.index_size,
            index_sha256=found.index_sha256,
        )
        members = found.index.members if found.index else ()
        return row, [
            InstanceRow(key=row.key, sop_uid=each.facts.sop_uid, size=each.facts.sto_size, sto1=each.facts.sto1)
            for each in members
        ]

    def seal(self, rows: list[tuple[PackRow, list[InstanceRow]]] | None = None) -> tuple[Seal, str]:
        facts = SealFacts(job="job", destination="seed", serial="SN-1", profile=ProfileName.PLAIN, at=AT)
        return seal_device(self.device, self.rows() if rows is None else rows, facts, self.key)

    @staticmethod
    def sha256(path: Path) -> bytes:
        return hashlib.sha256(path.read_bytes()).digest()


@pytest.fixture
def seed(tmp_path: Path) -> Kit:
    """An empty device and a fresh key."""
    root = tmp_path / "disk-1"
    root.mkdir()
    return Kit(root=root, key=SigningKey.generate("hospital"), receipts={})


@pytest.fixture
def loaded(seed: Kit) -> Kit:
    """The same with a tar of jpegs, a tar.zst of raw pixels and a study of one instance."""
    seed.write(1, [1000, 70_000, 3])
    seed.write(2, [5000, 512, 90_000], RAW)
    seed.write(3, [1])
    return seed


@pytest.fixture
def instance_of() -> Callable[..., tuple[InstanceFacts, bytes]]:
    """`instance_of(study, number, size, syntax)`; test modules cannot import a conftest."""
    return instance


@pytest.fixture
def no_journal() -> type[NoJournal]:
    return NoJournal
