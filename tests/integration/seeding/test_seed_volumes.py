"""A study of 13 MB on three devices of 6 MB, from its first byte to the last receipt, and what happens on the way."""

import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from blake3 import blake3

from actors.packing import StudyPacker
from cluster.job import load_job
from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets
from imaging.roots import uid_set_root
from imaging.uid import Uid
from storage.errors import VolumeSealed
from storage.ledger import Ledger
from storage.ledger.exceptions import Resolution
from storage.ledger.records import CustodyNote, PullClaim
from storage.packs.index import Index, parse_index, serialise_index
from storage.packs.model import Container, PackId, Receipt
from storage.packs.volumes import pack_reader
from storage.sinks.device import Device
from storage.sinks.open import open_sink

STUDY = "1.2.9"
DEVICE = 6 << 20
LEASE = timedelta(seconds=60)
NOISE = random.Random(3).randbytes(1 << 20)


def instances(count: int = 26, size: int = 500_000) -> list[tuple[InstanceFacts, bytes]]:
    made = []
    for number in range(1, count + 1):
        content = f"{number:08d}".encode() + NOISE[number : size + number - 8]
        digest = blake3(content).digest()
        facts = InstanceFacts(
            study_uid=Uid(STUDY),
            series_uid=Uid(f"{STUDY}.1"),
            sop_uid=Uid(f"{STUDY}.1.{number}"),
            sop_class=Uid("1.2.840.10008.5.1.4.1.1.2"),
            transfer_syntax=Uid("1.2.840.10008.1.2.4.70"),
            raw_size=len(content),
            sto_size=len(content),
            raw1=digest,
            sto1=digest,
            pd1=digest,
            can1=digest,
        )
        made.append((facts, content))
    return made


@dataclass(kw_only=True)
class Spread:
    """The shipment with three small devices and one large study."""

    shipment: Any
    made: list[tuple[InstanceFacts, bytes]] = field(default_factory=instances)

    def claim(self, ledger: Ledger) -> PullClaim:
        claim = ledger.claims.pull("mover-1", self.shipment.source_id, LEASE)
        assert claim is not None
        return claim

    def packer(self, ledger: Ledger, claim: PullClaim) -> StudyPacker:
        uploads = ledger.uploads
        pack = PackId(study_uid=claim.study_uid, revision=claim.revision)
        sink = open_sink(self.shipment.job.destinations[0])
        return StudyPacker(
            sink, pack, uploads.journal(claim), lambda: uploads.state(claim), container=uploads.container(claim)
        )

    def give(self, ledger: Ledger, count: int | None = None) -> Receipt | None:
        """One attempt; with `count`, only until so many instances are there."""
        claim = self.claim(ledger)
        packer = self.packer(ledger, claim)
        held = {facts.sop_uid for facts in packer.resumed}
        for facts, content in self.made[:count]:
            if facts.sop_uid not in held:
                packer.add(facts, MemoryOctets(content))
        if count is not None:
            packer.close()
            ledger.claims.release(claim, delay=timedelta(0), reason="STOPPED", spent=False)
            return None
        receipt = packer.finish()
        ledger.commits.written(
            claim,
            expected_root=uid_set_root(facts.sop_uid for facts, _ in self.made),
            receipt=receipt,
            note=CustodyNote(event="written", payload={}),
            facts=[facts for facts, _ in self.made],
        )
        return receipt

    def deliver(self) -> Receipt:
        receipt = self.give(self.shipment.ledger)
        assert receipt is not None
        return receipt

    def holders(self) -> dict[int, str]:
        """Serial numbers by volume."""
        delivery = self.rows("select distinct delivery_id from volume")[0][0]
        serials = {Device(root).id: Device(root).serial for root in self.shipment.roots if root.exists()}
        return {each.number: serials[each.device] for each in self.shipment.ledger.volumes.places(delivery)}

    def root(self, serial: str) -> Path:
        mounted = (root for root in self.shipment.roots if root.exists())
        return next(root for root in mounted if Device(root).serial == serial)

    def rows(self, query: str) -> list[tuple]:
        with psycopg.connect(self.shipment.url) as conn:
            return conn.execute(query).fetchall()


@pytest.fixture
def spread(shipment: Any, monkeypatch: pytest.MonkeyPatch) -> Spread:
    def used(device: Device) -> int:
        return sum(path.stat().st_size for path in device.root.rglob("*") if path.is_file())

    monkeypatch.setattr(Device, "capacity", lambda device: DEVICE)
    monkeypatch.setattr(Device, "free", lambda device: DEVICE - used(device))
    three = shipment.folder / "disk-3"
    three.mkdir()
    two = f'"{shipment.folder / "disk-2"}"'
    shipment.file.write_text(shipment.file.read_text().replace(f"{two}]", f'{two}, "{three}"]'))
    shipment.job = load_job(shipment.file)
    shipment.prepare()
    shipment.discover(STUDY)
    shipment.ledger.plan.step({})
    return Spread(shipment=shipment)


def words_of(far: Any, serial: str) -> tuple[str, ...]:
    return ("--receipt", far.receipt(serial), "--receipt-key", f"{far.key}.pub")


def test_a_study_on_three_devices_arrives_in_any_order_and_is_complete_with_the_last(
    spread: Spread, far_side: Any
) -> None:
    shipment, order = spread.shipment, (3, 1, 2)
    receipt = spread.deliver()
    holders = spread.holders()
    verified = shipment.do("verify", str(shipment.file))
    for serial in holders.values():
        shipment.seal(serial)
    sealed = shipment.states()

    told = []
    for number in order:
        ingested = far_side.ingest(holders[number])
        (study,) = ingested["volumes"]
        told.append((study["complete"], ingested["studies_incomplete"], {
            each["volume"]: each["device"] for each in study["missing"]
        }))  # fmt: skip
        account = far_side.reconcile(*words_of(far_side, holders[number]))
        assert (account["arrived_percent"], account["strangers"]) == (100.0, 0)

    assert sorted(holders) == [1, 2, 3] and len(set(holders.values())) == 3
    assert (sum(each["instances"] for each in verified["devices"]), verified["damaged"]) == (26, [])
    assert sealed == {f"{STUDY}/1": "sealed"}
    _, second, third = order
    assert told == [
        (False, 1, {second: holders[second], third: holders[third]}),
        (False, 1, {third: holders[third]}),
        (True, 0, {}),
    ]
    assert shipment.states() == {f"{STUDY}/1": "validated"}
    assert shipment.events(STUDY).count("proven") == 3
    assert shipment.ledger.custody.chain(Uid(STUDY)) and all(
        chain.broken() is None for chain in shipment.ledger.custody.chains()
    )
    assert set(shipment.device_states().values()) == {"arrived"}
    bodies = far_side.objects()
    assert {f"archive/{volume.key.removeprefix('data/')}" for volume in receipt.volumes} <= set(bodies)


def test_the_script_on_a_device_says_that_a_study_goes_on_elsewhere(spread: Spread) -> None:
    spread.deliver()
    holders = spread.holders()
    spread.shipment.seal(holders[2])
    root = spread.root(holders[2])

    script = subprocess.run(
        [sys.executable, "-I", root / "limosa/verify_seed.py", root], capture_output=True, text=True, check=False
    )

    assert script.returncode == 0, script.stdout
    assert "only volume 2 of a study\n" in script.stdout


def test_a_device_is_sealed_and_brought_in_before_the_last_volume_is_written(spread: Spread, far_side: Any) -> None:
    shipment = spread.shipment
    spread.give(shipment.ledger, count=13)
    first = spread.holders()[1]
    shipment.seal(first)
    early = far_side.ingest(first)
    far_side.reconcile(*words_of(far_side, first))
    waiting = shipment.states()
    root = spread.root(first)
    root.rename(shipment.folder / "shipped")
    shipment.file.write_text(shipment.file.read_text().replace(f'"{root}", ', ""))
    shipment.job = load_job(shipment.file)

    spread.deliver()
    later = [serial for serial in ("SN-1", "SN-2", "SN-3") if serial != first]
    for serial in later:
        shipment.seal(serial)
    ends = []
    for serial in later:
        ends.append(far_side.ingest(serial)["volumes"][0])
        far_side.reconcile(*words_of(far_side, serial))

    (study,) = early["volumes"]
    assert (study["complete"], study["of"], study["missing"]) == (False, None, [{"volume": 2, "device": ""}])
    assert waiting == {f"{STUDY}/1": "pending"}
    assert [each["complete"] for each in ends] == [False, True]
    assert ends[1]["of"] == 3
    assert shipment.states() == {f"{STUDY}/1": "validated"}


def test_a_worker_killed_in_the_middle_of_the_second_volume_writes_the_first_no_more(spread: Spread) -> None:
    shipment = spread.shipment
    pid = os.fork()
    if pid == 0:
        try:
            with Ledger(shipment.url, pool_size=1) as ledger:
                packer = spread.packer(ledger, spread.claim(ledger))
                for facts, content in spread.made[:16]:
                    packer.add(facts, MemoryOctets(content))
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    (key, device) = spread.rows("select key, device from volume")[0]
    path = next(root for root in shipment.roots if Device(root).id == device) / key
    before = path.stat()

    shipment.ledger.claims.recover_worker("mover-1")
    receipt = spread.deliver()

    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    sink = open_sink(shipment.job.destinations[0])
    reader = pack_reader(sink, PackId(study_uid=Uid(STUDY), revision=1), receipt)
    assert {member.facts.sop_uid: b"".join(pieces) for member, pieces in reader.walk()} == {
        facts.sop_uid: content for facts, content in spread.made
    }
    assert spread.rows("select count(*), count(distinct number) from volume_member") == [(26, 3)]
    assert shipment.do("verify", str(shipment.file))["damaged"] == []


def test_a_lost_device_takes_its_study_back_to_be_delivered_anew(spread: Spread) -> None:
    shipment = spread.shipment
    spread.deliver()
    holders = spread.holders()
    for serial in holders.values():
        shipment.seal(serial)
    lost = spread.root(holders[2])
    lost.rename(shipment.folder / "nowhere")

    told = shipment.do("lost", str(shipment.file), holders[2], "--note", "parcel", rc=2)
    (problem,) = shipment.ledger.exceptions.list_open(kind="DEVICE_LOST")
    shipment.ledger.exceptions.resolve(problem.exception_id, Resolution.RENEW, by="m.keller")
    shipment.ledger.plan.step({})

    assert told["studies"] == 1 and 0 < told["instances"] < 26
    assert shipment.states() == {f"{STUDY}/1": "void", f"{STUDY}/2": "pending"}


def test_a_study_that_starts_over_takes_nothing_back_from_a_sealed_device(spread: Spread) -> None:
    shipment = spread.shipment
    spread.give(shipment.ledger, count=13)
    shipment.seal(spread.holders()[1])
    claim = spread.claim(shipment.ledger)
    packer = spread.packer(shipment.ledger, claim)

    with pytest.raises(VolumeSealed):
        packer.start_over("OTHER_RULES")
    with pytest.raises(VolumeSealed):
        shipment.ledger.uploads.journal(claim).start_over("x")

    assert len(spread.rows("select from volume")) == 1
    for statement in ("delete from volume", "update volume set device = 'x'", "truncate volume cascade"):
        with pytest.raises(psycopg.Error), psycopg.connect(shipment.url) as conn:
            conn.execute(statement)


def test_two_devices_that_claim_an_instance_are_told_and_only_one_is_brought_in(spread: Spread, far_side: Any) -> None:
    shipment = spread.shipment
    spread.deliver()
    holders = spread.holders()
    for serial in holders.values():
        shipment.seal(serial)
    far_side.ingest(holders[1])
    (beside,) = [key for key in far_side.objects() if key.endswith(".r0001.jsonl")]
    (second,) = spread.root(holders[2]).rglob("*.v0002.jsonl")
    taken = parse_index(second.read_bytes()).members[:1]
    pack = PackId(study_uid=Uid(STUDY), revision=1)
    forged = serialise_index(Index(pack=pack, container=Container.TAR, members=taken, last=False))
    far_side.client.put_object(Bucket=far_side.s3.bucket, Key=beside, Body=forged)

    refused = far_side.ingest(holders[2], rc=3)

    (damage,) = refused["damaged"]
    assert damage["what"] == "holds instances that volume 1 holds, too" and damage["instances"]
    assert not [key for key in far_side.objects() if ".v0002" in key]


def test_what_a_lost_device_left_half_on_another_is_taken_off_when_that_is_sealed(spread: Spread) -> None:
    shipment = spread.shipment
    spread.give(shipment.ledger, count=16)
    (first,) = spread.holders().values()
    (second,) = (Device(root).serial for root in shipment.roots if list(root.rglob("*.v0002.tar")))
    shipment.seal(first)
    spread.root(first).rename(shipment.folder / "nowhere")
    shipment.do("lost", str(shipment.file), first, "--note", "parcel", rc=2)
    (problem,) = shipment.ledger.exceptions.list_open(kind="DEVICE_LOST")
    shipment.ledger.exceptions.resolve(problem.exception_id, Resolution.RENEW, by="m.keller")
    shipment.ledger.plan.step({})
    assert spread.claim(shipment.ledger).revision == 2
    shipment.deliver("1.2.3", spread.root(second))

    shipment.seal(second)

    assert [path.name for path in spread.root(second).rglob("*.tar")] == ["1.2.3.r0001.tar"]
