"""A job whose archive is pulled already: real ledger, real packs on two device folders, the command in this process."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import psycopg
import pytest
from blake3 import blake3

from cluster.cli import build
from cluster.cli.exits import ended
from cluster.job import Job, load_job
from cluster.registry import register_job
from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets
from imaging.roots import uid_set_root
from imaging.uid import Uid
from infra.embedded.postgres import EmbeddedPostgres
from storage.ledger import Ledger
from storage.ledger.migrate import migrate
from storage.ledger.records import CustodyNote
from storage.packs.model import Container, PackId, Receipt
from storage.seeds.notes import SigningKey
from storage.sinks.device import Device
from storage.sinks.seed import SeedSink

LEASE = timedelta(seconds=60)
TEMPLATE = "seeding_template"
JOB = """
[job]
name = "move"
[ledger]
url = "{url}"
password = "env:SEED_LEDGER_PASSWORD"
[source]
host = "127.0.0.1"
port = 104
ae_title = "PACS"
[[receivers]]
ae_title = "LIMOSA"
port = 11112
[[destinations]]
kind = "seed"
name = "disks"
devices = ["{one}", "{two}"]
reserve = 0
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A study as an archive describes it."""

    study_uid: Uid
    patient_id: str | None = "MRN1"
    issuer: str | None = None
    patient_name: str | None = "Doe^Jane"
    birth_date: str | None = None
    sex: str | None = None
    accession: str | None = None
    study_date: str | None = "20200101"
    study_time: str | None = None
    modalities: tuple[str, ...] | None = ("CT",)
    description: str | None = None
    series_count: int | None = 1
    instance_count: int | None = 2


def instance(study_uid: str, number: int) -> tuple[InstanceFacts, bytes]:
    content = f"{study_uid} {number} ".encode() * (40 * number)
    digest = blake3(content).digest()
    facts = InstanceFacts(
        study_uid=Uid(study_uid),
        series_uid=Uid(f"{study_uid}.1"),
        sop_uid=Uid(f"{study_uid}.1.{number}"),
        sop_class=Uid("1.2.840.10008.5.1.4.1.1.2"),
        transfer_syntax=Uid("1.2.840.10008.1.2.1" if study_uid.endswith("2") else "1.2.840.10008.1.2.4.70"),
        raw_size=len(content),
        sto_size=len(content),
        raw1=digest,
        sto1=digest,
        pd1=digest,
        can1=digest,
    )
    return facts, content


@dataclass(kw_only=True)
class Shipment:
    """The near side."""

    folder: Path
    file: Path
    job: Job
    ledger: Ledger
    url: str
    capsys: pytest.CaptureFixture[str]
    source_id: int = 0
    receipts: dict[str, Receipt] = field(default_factory=dict)

    def do(self, *words: str, rc: int = 0) -> Any:
        """What the command printed as JSON; its sentence where it failed."""
        self.capsys.readouterr()
        code = ended(lambda: build()(["seed", *words, "--json"], standalone_mode=False, prog_name="limosa"))
        said = self.capsys.readouterr()
        assert code == rc, f"{words}: {code}\n{said.out}\n{said.err}"
        return json.loads(said.out) if said.out else said.err

    def encrypt(self) -> Path:
        """The disks are encrypted from now on; the file of their key."""
        path = self.folder / "disk.key"
        self.do("disk-key", str(path))
        self.file.write_text(self.file.read_text() + f'disk_key = "file:{path}"\n')
        self.job = load_job(self.file)
        return path

    def discover(self, study_uid: str) -> None:
        """The source has the study."""
        self.ledger.inventory.record_studies(self.source_id, [Found(study_uid=Uid(study_uid))])

    def grow(self, study_uid: str) -> None:
        """The source has an image more of the study."""
        self.ledger.inventory.begin_generation()
        self.ledger.inventory.record_studies(self.source_id, [Found(study_uid=Uid(study_uid), instance_count=3)])

    def prepare(self) -> None:
        for number, root in enumerate(self.roots, start=1):
            self.do("init", str(self.file), str(root), "--serial", f"SN-{number}")

    @property
    def roots(self) -> tuple[Path, ...]:
        return self.job.destinations[0].devices

    @property
    def key(self) -> Path:
        path = self.folder / "seal.key"
        if not path.exists():
            SigningKey.generate("hospital").save(path)
        return path

    def deliver(self, study_uid: str, root: Path, *, revise: bool = False) -> Receipt:
        """The study, pulled and written to the device; `revise` makes its next revision first."""
        if not revise:
            self.discover(study_uid)
        self.ledger.plan.step({})
        claim = self.ledger.claims.pull("mover-1", self.source_id, LEASE)
        assert claim is not None and claim.study_uid == study_uid
        sink = SeedSink(self.job.destinations[0].model_copy(update={"devices": (root,)}))
        container = Container.TAR_ZST if study_uid.endswith("2") else Container.TAR
        pack = PackId(study_uid=claim.study_uid, revision=claim.revision)
        writer = sink.writer(pack, container, 0, self.ledger.uploads.journal(claim), None)
        made = [instance(study_uid, number) for number in (1, 2)]
        for facts, content in made:
            writer.add(facts, MemoryOctets(content))
        receipt = writer.finish()
        self.ledger.commits.written(
            claim,
            expected_root=uid_set_root(facts.sop_uid for facts, _ in made),
            receipt=receipt,
            note=CustodyNote(event="written", payload={}),
        )
        self.receipts[study_uid] = receipt
        return receipt

    def validate(self) -> None:
        """What a validator's read-back comes to."""
        destinations = list(register_job(self.job, self.ledger).destinations.values())
        while claim := self.ledger.claims.validate("validator-1", destinations, LEASE):
            note = CustodyNote(event="validated", payload={})
            self.ledger.commits.validated(claim, instances=2, digests_compared=2, note=note)

    def load(self) -> None:
        """Two studies on the first device, one on the second, all proven."""
        self.prepare()
        one, two = self.roots
        self.deliver("1.2.1", one)
        self.deliver("1.2.2", one)
        self.deliver("1.2.3", two)
        self.validate()

    def seal(self, serial: str) -> dict[str, Any]:
        return self.do("seal", str(self.file), serial, "--key", str(self.key), "--out", str(self.folder / "out"))

    def path(self, study_uid: str) -> Path:
        receipt = self.receipts[study_uid]
        return next(root for root in self.roots if Device(root).id == receipt.device) / receipt.key

    def flip(self, study_uid: str, at: int) -> None:
        """One byte of the study's pack is another one."""
        path = self.path(study_uid)
        body = bytearray(path.read_bytes())
        body[at] ^= 1
        path.write_bytes(body)

    def states(self) -> dict[str, str]:
        with psycopg.connect(self.url) as conn:
            rows = conn.execute(
                "select s.study_uid || '/' || d.revision, d.state::text from delivery d join study s using (study_key)"
            )
            return dict(rows.fetchall())

    def events(self, study_uid: str) -> list[str]:
        return [entry.event for entry in self.ledger.custody.chain(Uid(study_uid))]

    def device_states(self) -> dict[str, str]:
        return {row["path_label"]: row["state"] for row in self.do("status", str(self.file))}


@pytest.fixture(scope="session")
def migrated_for_seeds(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database with the ledger's schema, to be copied: migrating takes half a second."""
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"create database {TEMPLATE}")
    migrate(urlsplit(postgres_server.url)._replace(path=f"/{TEMPLATE}").geturl())
    return TEMPLATE


@pytest.fixture
def shipment(
    new_database: Callable[..., str],
    migrated_for_seeds: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shipment]:
    postgres_url = new_database(template=migrated_for_seeds)
    parts = urlsplit(postgres_url)
    monkeypatch.setenv("SEED_LEDGER_PASSWORD", unquote(parts.password or "none"))
    bare = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()
    one, two = tmp_path / "disk-1", tmp_path / "disk-2"
    one.mkdir()
    two.mkdir()
    file = tmp_path / "move.toml"
    file.write_text(JOB.format(url=bare, one=one, two=two))
    job = load_job(file)
    with Ledger(postgres_url, pool_size=2) as ledger:
        made = Shipment(folder=tmp_path, file=file, job=job, ledger=ledger, url=postgres_url, capsys=capsys)
        made.source_id = register_job(job, ledger).sources[job.source.name]
        ledger.inventory.begin_generation()
        yield made


@dataclass(kw_only=True)
class FarSide:
    """A bucket, and the command beside it."""

    shipment: Any
    s3: Any
    client: Any

    def ingest(self, serial: str, *more: str, rc: int = 0, prefix: str = "archive") -> Any:
        root = next(root for root in self.shipment.roots if Device(root).serial == serial)
        (seal,) = (self.shipment.folder / "out").glob(f"{serial}-*.seal.txt")
        return self.shipment.do(
            "ingest", str(root), "--seal", str(seal), "--to", f"s3://{self.s3.bucket}/{prefix}",
            "--endpoint-url", self.s3.endpoint_url, "--access-key", "env:FAR_ACCESS", "--secret-key", "env:FAR_SECRET",
            "--state", str(self.shipment.folder / f"state-{serial}"), "--sign", str(self.key),
            "--receipt", str(self.shipment.folder / f"{serial}.receipt"), *more, rc=rc,
        )  # fmt: skip

    @property
    def key(self) -> Path:
        path = self.shipment.folder / "receiving.key"
        if not path.exists():
            key = SigningKey.generate("cloud-team")
            key.save(path)
            path.with_name("receiving.key.pub").write_text(str(key.verifier))
        return path

    def receipt(self, serial: str) -> str:
        return str(self.shipment.folder / f"{serial}.receipt")

    def objects(self) -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket=self.s3.bucket).get("Contents", [])
        return {
            each["Key"]: self.client.get_object(Bucket=self.s3.bucket, Key=each["Key"])["Body"].read()
            for each in listed
        }

    def words(self, *more: str) -> tuple[str, ...]:
        """How the bucket is named to `reconcile`."""
        return (
            *more, "--bucket", f"s3://{self.s3.bucket}/archive", "--endpoint-url", self.s3.endpoint_url,
            "--access-key", "env:FAR_ACCESS", "--secret-key", "env:FAR_SECRET",
        )  # fmt: skip

    def reconcile(self, *words: str, rc: int = 0) -> Any:
        return self.shipment.do("reconcile", str(self.shipment.file), *words, rc=rc)


@pytest.fixture
def far_side(shipment: Shipment, s3: Any, monkeypatch: pytest.MonkeyPatch) -> FarSide:
    """An empty bucket, for whatever the shipment seals."""
    monkeypatch.setenv("FAR_ACCESS", s3.access_key)
    monkeypatch.setenv("FAR_SECRET", s3.secret_key)
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name=s3.region,
    )
    return FarSide(shipment=shipment, s3=s3, client=client)
