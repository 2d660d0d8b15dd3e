"""The far side and back: what was sealed comes into a bucket and is accounted for, whatever happens on the way."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cluster.seeding.carrying import Carrier
from cluster.seeding.ingest_journal import IngestJournal
from storage.errors import IntegrityError
from storage.packs.crc64 import crc64
from storage.seeds.notes import SigningKey
from storage.sinks.device import Device
from storage.sinks.options import S3Options
from storage.sinks.s3_client import Bucket
from storage.sinks.s3_parts import MIN_PART
from storage.sinks.seed import SeedSink


@pytest.fixture
def far(shipment: Any, far_side: Any) -> Any:
    """A loaded shipment whose first device is sealed."""
    shipment.load()
    shipment.seal("SN-1")
    return far_side


def content_of(shipment: Any, study_uid: str) -> bytes:
    """The study's pack as its device gives it back."""
    receipt = shipment.receipts[study_uid]
    root = next(root for root in shipment.roots if Device(root).id == receipt.device)
    sink = SeedSink(shipment.job.destinations[0].model_copy(update={"devices": (root,)}))
    return b"".join(sink.stream(receipt.key, 0, receipt.size, device=receipt.device))


def test_what_was_sealed_arrives_is_proven_and_every_chain_says_by_whom(far: Any) -> None:
    shipment = far.shipment

    told = far.ingest("SN-1")
    account = far.reconcile("--receipt", far.receipt("SN-1"), "--receipt-key", f"{far.key}.pub", "--by", "m.keller")

    files = {
        f"archive/{path.relative_to(shipment.roots[0] / 'data')}": path.read_bytes()
        for path in (shipment.roots[0] / "data").rglob("*")
        if path.is_file()
    }
    assert (told["uploaded"], told["damaged"]) == (2, [])
    assert far.objects() == files
    assert (account["accounted"], account["arrived_percent"], account["proven"]) == (4, 100.0, 2)
    assert shipment.states() == {"1.2.1/1": "validated", "1.2.2/1": "validated", "1.2.3/1": "validated"}
    assert account["instances_proved_by"] == {"digest": 4, "crc64": 0, "size": 0, "name": 0}
    assert shipment.events("1.2.1") == ["written", "validated", "sealed", "arrived", "proven"]
    assert shipment.device_states()["disk-1"] == "arrived"
    assert all(chain.broken() is None for chain in shipment.ledger.custody.chains())
    assert far.ingest("SN-1")["uploaded"] == 2
    assert far.reconcile("--receipt", far.receipt("SN-1"), "--receipt-key", f"{far.key}.pub")["moved"] == 0


def test_a_tampered_device_is_refused_with_pack_and_instance_and_the_rest_can_be_brought_in(far: Any) -> None:
    shipment = far.shipment
    shipment.flip("1.2.1", 700)

    refused = far.ingest("SN-1", rc=3)
    before = far.objects()
    skipped = far.ingest("SN-1", "--skip-damaged", rc=3)
    account = far.reconcile("--receipt", far.receipt("SN-1"), "--receipt-key", f"{far.key}.pub", rc=3)

    (damage,) = refused["damaged"]
    assert (damage["study_uid"], damage["instances"]) == ("1.2.1", ["1.2.1.1.1"])
    assert damage["key"] == shipment.receipts["1.2.1"].key
    assert (refused["uploaded"], refused["receipt"], before) == (0, None, {})
    assert (skipped["uploaded"], len(far.objects())) == (1, 2)
    assert account["instances"] == {"arrived": 2, "missing": 1, "altered": 1, "unknown": 0}
    assert shipment.states()["1.2.1/1"] == "exception"
    (problem,) = shipment.ledger.exceptions.list_open()
    assert (problem.kind, problem.evidence["instances"]) == ("SHIPMENT_ALTERED", ["1.2.1.1.1"])


def test_an_encrypted_device_arrives_in_plain_with_the_key_and_not_at_all_without(shipment: Any, far_side: Any) -> None:
    key, far = shipment.encrypt(), far_side
    shipment.load()
    shipment.seal("SN-1")
    plain = {uid: content_of(shipment, uid) for uid in ("1.2.1", "1.2.2")}

    without = far.ingest("SN-1", rc=1)
    other = shipment.folder / "other.key"
    shipment.do("disk-key", str(other))
    wrong = far.ingest("SN-1", "--disk-key", f"file:{other}", rc=1)
    told = far.ingest("SN-1", "--disk-key", f"file:{key}")
    account = far.reconcile("--receipt", far.receipt("SN-1"), "--receipt-key", f"{far.key}.pub")

    assert "is encrypted: give the disk key" in without and "was prepared for disk key" in wrong
    assert (told["uploaded"], account["arrived_percent"], account["proven"]) == (2, 100.0, 2)
    for uid, content in plain.items():
        receipt = shipment.receipts[uid]
        arrived = far.objects()[receipt.key.replace("data/", "archive/")]
        assert arrived == content
        assert (len(arrived), crc64(arrived)) == (receipt.size, receipt.crc64)


def test_the_bucket_itself_is_asked_and_its_answer_is_kept(far: Any) -> None:
    shipment = far.shipment
    far.ingest("SN-1")
    where = far.words("--device", "SN-1")
    keys = {uid: shipment.receipts[uid].key.replace("data/", "archive/") for uid in ("1.2.1", "1.2.2")}

    whole = far.reconcile(*where)
    body = bytearray(far.objects()[keys["1.2.1"]])
    body[700] ^= 1
    far.client.put_object(Bucket=far.s3.bucket, Key=keys["1.2.1"], Body=bytes(body), ChecksumAlgorithm="CRC64NVME")
    far.client.delete_object(Bucket=far.s3.bucket, Key=keys["1.2.2"])
    far.client.put_object(Bucket=far.s3.bucket, Key="archive/studies/notes.txt", Body=b"?")
    account = far.reconcile(*where, rc=3)

    assert (whole["arrived_percent"], whole["moved"], whole["proven"]) == (100.0, 2, 0)
    assert whole["packs_proved_by"] == {"digest": 0, "crc64": 2, "size": 0, "name": 0}
    (document,) = whole["documents"]
    assert {each["Key"] for each in json.loads(Path(document).read_text())["Contents"]} >= set(keys.values())
    assert account["instances"] == {"arrived": 0, "missing": 2, "altered": 2, "unknown": 0}
    assert account["stranger_objects"] == ["archive/studies/notes.txt"]
    assert {each["what"] for each in account["trouble"]} == {"has another CRC-64", "is not there"}


def test_a_study_that_grew_after_its_disk_was_sealed_arrives_as_its_next_revision_beside_the_first(
    far: Any,
) -> None:
    shipment = far.shipment
    shipment.grow("1.2.1")
    first = shipment.receipts["1.2.1"]
    second = shipment.deliver("1.2.1", shipment.roots[1], revise=True)
    shipment.validate()
    shipment.seal("SN-2")

    far.ingest("SN-2")
    far.ingest("SN-1")
    accounts = {
        serial: far.reconcile("--receipt", far.receipt(serial), "--receipt-key", f"{far.key}.pub")
        for serial in ("SN-1", "SN-2")
    }

    assert (first.key.endswith(".r0001.tar"), second.key.endswith(".r0002.tar")) == (True, True)
    assert {each["arrived_percent"] for each in accounts.values()} == {100.0}
    there = far.objects()
    assert {first.key.replace("data/", "archive/"), second.key.replace("data/", "archive/")} <= there.keys()
    assert shipment.states() == {
        "1.2.1/1": "validated", "1.2.1/2": "validated", "1.2.2/1": "validated", "1.2.3/1": "validated"
    }  # fmt: skip
    assert shipment.events("1.2.1").count("proven") == 2


def test_a_replaced_revision_that_never_arrived_needs_nobody(far: Any) -> None:
    shipment = far.shipment
    shipment.grow("1.2.1")
    shipment.deliver("1.2.1", shipment.roots[1], revise=True)
    far.ingest("SN-1")
    far.client.delete_object(Bucket=far.s3.bucket, Key=shipment.receipts["1.2.2"].key.replace("data/", "archive/"))
    far.client.delete_object(Bucket=far.s3.bucket, Key=next(key for key in far.objects() if "1.2.1.r0001.tar" in key))

    far.reconcile(*far.words("--device", "SN-1"), rc=3)

    (problem,) = shipment.ledger.exceptions.list_open()
    assert problem.study_uid == "1.2.2"


def test_another_object_where_a_pack_goes_is_never_overwritten(far: Any) -> None:
    key = far.shipment.receipts["1.2.2"].key.replace("data/", "archive/")
    far.client.put_object(Bucket=far.s3.bucket, Key=key, Body=b"somebody else's")

    told = far.ingest("SN-1", rc=3)

    assert "something else lies in the bucket" in told
    assert far.objects()[key] == b"somebody else's"


def test_carriers_reports_are_believed_as_far_as_they_go(far: Any) -> None:
    shipment = far.shipment
    one, two = (shipment.receipts[uid] for uid in ("1.2.1", "1.2.2"))
    paths = [receipt.key.removeprefix("data/") for receipt in (one, two)]
    folder = shipment.folder
    (folder / "bad.csv").write_text(f"Key,Error\nbucket/data/{paths[1]},ChecksumMismatch\n")
    (folder / "ok.csv").write_text(f"Key,Size\nbucket/data/{paths[0]},{one.size}\nbucket/data/autorun.inf,4\n")
    (folder / "copy.xml").write_text("<CopyLog><Status>Completed</Status></CopyLog>")
    (folder / "bom.xml").write_text(
        f'<file size="{one.size}" crc64="0x{one.crc64:x}">\\limosa\\data\\{paths[0]}</file>\n'.replace(
            "/", "\\"
        ).replace("<\\file>", "</file>")
        + f'<file size="{two.size - 1}" crc64="0x{two.crc64:x}">\\limosa\\data\\{paths[1]}</file>\n'
    )
    listed = [{"Key": f"x/{path}", "Size": size} for path, size in zip(paths, (one.size, two.size), strict=True)]
    (folder / "list.json").write_text(json.dumps({"Contents": listed[:1]}) + json.dumps({"Contents": listed[1:]}))
    words = ("--device", "SN-1")

    failures = far.reconcile(*words, "--snowball-failure", str(folder / "bad.csv"), rc=3)
    box = far.reconcile(
        *words, "--databox-bom", str(folder / "bom.xml"), "--databox-copylog", str(folder / "copy.xml"), rc=3
    )
    both = far.reconcile(
        *words, "--snowball-success", str(folder / "ok.csv"), "--snowball-failure", str(folder / "bad.csv"), rc=3
    )

    assert failures["instances"] == {"arrived": 0, "missing": 2, "altered": 0, "unknown": 2}
    assert box["instances"] == {"arrived": 2, "missing": 0, "altered": 2, "unknown": 0}
    assert box["instances_proved_by"] == {"digest": 0, "crc64": 2, "size": 0, "name": 0}
    assert both["instances_proved_by"] == {"digest": 0, "crc64": 0, "size": 2, "name": 0}
    assert both["instances"] == {"arrived": 2, "missing": 2, "altered": 0, "unknown": 0}
    assert [path.rpartition("/")[2] for path in both["stranger_objects"]] == ["autorun.inf"]
    assert shipment.states()["1.2.1/1"] == "arrived"
    kinds = {problem.kind for problem in shipment.ledger.exceptions.list_open()}
    assert kinds == {"SHIPMENT_MISSING", "SHIPMENT_STRANGER"}
    listing = far.reconcile(*words, "--listing", str(folder / "list.json"), rc=2)
    assert (listing["held"], listing["packs_proved_by"]["size"]) == (1, 2)
    landed = next(each for each in shipment.ledger.custody.chain("1.2.1") if each.event == "arrived")
    assert landed.payload["proved_by"] == "crc64"
    with psycopg.connect(shipment.url) as conn:
        rows = conn.execute("select arrived, by_digest, by_crc64, by_size, by_name from arrival order by arrival_id")
        assert rows.fetchall() == [(0, 0, 0, 0, 0), (1, 0, 1, 0, 0), (1, 0, 0, 1, 0), (2, 0, 0, 2, 0)]


def test_a_receipt_that_was_changed_or_is_of_another_seal_moves_nothing(far: Any) -> None:
    far.ingest("SN-1")
    path = Path(far.receipt("SN-1"))
    whole = path.read_text()
    far.shipment.seal("SN-2")
    stranger = SigningKey.generate("cloud-team")

    path.write_text(whole.replace('"arrived"', '"missing"', 1))
    changed = far.reconcile("--receipt", str(path), rc=3)
    path.write_text(whole)
    unknown = far.reconcile("--receipt", str(path), "--receipt-key", str(stranger.verifier), rc=3)
    other = far.reconcile("--receipt", str(path), "--device", "SN-2", rc=3)
    unproven = far.reconcile("--receipt", str(path))

    assert "changed after it was signed" in changed
    assert "no signature of this key" in unknown
    assert "another device's" in other
    assert (unproven["moved"], unproven["proven"]) == (2, 0)
    assert far.shipment.states()["1.2.1/1"] == "arrived"


def test_an_upload_that_is_killed_goes_on_behind_its_last_part(s3: Any, tmp_path: Path, monkeypatch: Any) -> None:
    class Killed(BaseException):
        pass

    monkeypatch.setenv("FAR_ACCESS", s3.access_key)
    monkeypatch.setenv("FAR_SECRET", s3.secret_key)
    options = S3Options.model_validate(
        {
            "name": "far", "endpoint_url": s3.endpoint_url, "bucket": s3.bucket,
            "access_key": "env:FAR_ACCESS", "secret_key": "env:FAR_SECRET",
        }
    )  # fmt: skip
    bucket = Bucket(options)
    disk = tmp_path / "disk"
    disk.mkdir()
    device = Device(disk)
    body = bytes(range(256)) * (3 * MIN_PART // 256) + b"rest"
    device.write_new("data/pack", body)
    sent: list[int] = []
    put_part = Bucket.put_part

    def counted(self: Bucket, key: str, upload_id: str, number: int, *rest: Any) -> str:
        sent.append(number)
        return put_part(self, key, upload_id, number, *rest)

    monkeypatch.setattr(Bucket, "put_part", counted)
    journal = IngestJournal(tmp_path / "journal", "seal", "to")
    with monkeypatch.context() as patch:
        told = IngestJournal.sent

        def dying(self: IngestJournal, key: str, part: Any) -> None:
            told(self, key, part)
            if part.number == 2:
                raise Killed

        patch.setattr(IngestJournal, "sent", dying)
        with pytest.raises(Killed):
            Carrier(device, bucket, journal, MIN_PART).carry("data/pack", "pack", len(body), crc64(body))
    journal.close()
    with (tmp_path / "journal").open("ab") as file:
        file.write(b'{"sent":"pack","num')

    again = IngestJournal(tmp_path / "journal", "seal", "to")
    Carrier(device, bucket, again, MIN_PART).carry("data/pack", "pack", len(body), crc64(body))

    assert sent == [1, 2, 3, 4]
    assert b"".join(bucket.stream("pack", 0, len(body))) == body
    assert again.done == {"pack"}
    with pytest.raises(IntegrityError):
        Carrier(device, bucket, again, MIN_PART).carry("data/pack", "other", len(body), crc64(body) ^ 1)
    with pytest.raises(FileNotFoundError):
        bucket.head("other")
