"""What really lies at the destinations, held against what the archive really holds.

Nothing of Limosa's reading code is used: the bucket is listed with boto3, packs are opened with zstandard and
tarfile, Part-10 headers are cut off by hand, digests are computed anew.
"""

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psycopg
import zstandard
from blake3 import blake3
from chaos_world import BUCKET, CLOUD, DISK, World

from imaging.uid import parse_uid
from infra.embedded.seaweedfs import EmbeddedS3
from storage.ledger.evidence import first_broken_link
from storage.ledger.ledger import Ledger

PREAMBLE = 132
EVENTS = ("fed", "validated", "validated", "written")
"""A study's custody: written, copied to the other destination, read back at both, each exactly once."""
GROUP_LENGTH = 12
"""Bytes of (0002,0000) with its value, which counts the bytes of file meta information behind it (PS3.10 7.1)."""


@dataclass
class Findings:
    """Empty lists, or what is not as promised."""

    lost: list[str] = field(default_factory=lambda: list[str]())
    duplicated: list[str] = field(default_factory=lambda: list[str]())
    wrong: list[str] = field(default_factory=lambda: list[str]())

    @property
    def none(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong)

    def __str__(self) -> str:
        return f"{len(self.lost)} lost, {len(self.duplicated)} duplicated, {len(self.wrong)} wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One instance as the archive holds it."""

    study_uid: str
    dataset: bytes
    """BLAKE3 of its bytes."""
    raw1: bytes


def judge(world: World) -> Findings:
    """Everything that is not exactly once and byte for byte where it should be, with its proof."""
    truth = _truth(world)
    found = Findings()
    # What is not read through it must not be served by it either: an endpoint that was killed reads from its disk.
    with world.postgres, world.s3, psycopg.connect(world.postgres.url) as connection:
        facts = _rows(connection, "select sop_uid, raw1, sto1 from instance where revision = 1")
        digests = {sop_uid: (bytes(raw1), bytes(sto1)) for sop_uid, raw1, sto1 in facts}
        bucket = _bucket(world.s3)
        for name, held in ((CLOUD, _objects(bucket)), (DISK, _files(world.device))):
            judge_destination(name, held, truth, digests, _receipts(connection, name), found)
        found.wrong += [
            f"upload of {each['Key']} was left open"
            for page in bucket.get_paginator("list_multipart_uploads").paginate(Bucket=BUCKET)
            for each in page.get("Uploads", [])
        ]
        _judge_ledger(connection, truth, found)
        _judge_custody(world, truth, found)
    found.wrong += [f"{path.name} is in quarantine" for path in (world.state / "quarantine").glob("*.dcm")]
    return found


def _truth(world: World) -> dict[str, Truth]:
    found: dict[str, Truth] = {}
    for instance in world.archive.manifest():
        octets = instance.dataset()
        raw1 = blake3(octets + b"\0" + instance.transfer_syntax.encode("ascii")).digest()
        found[instance.sop_uid] = Truth(study_uid=instance.study_uid, dataset=blake3(octets).digest(), raw1=raw1)
    return found


def judge_destination(
    name: str,
    held: Iterator[tuple[str, bytes]],
    truth: Mapping[str, Truth],
    digests: Mapping[str, tuple[bytes, bytes]],
    receipts: Mapping[str, int],
    found: Findings,
) -> None:
    """What the destination holds, as keys and bytes, is added to `found` where it is not the truth.

    `digests` are the ledger's RAW1 and STO1 of each instance, `receipts` its sizes by key.
    """
    packs: dict[str, str] = {}
    indexes: list[str] = []
    sizes: dict[str, int] = {}
    seen: set[str] = set()
    for key, octets in held:
        if key.startswith("index/"):
            indexes.append(key)
            continue
        study_uid = key.rpartition("/")[2].partition(".r0001.tar")[0]
        if study_uid in packs:
            found.duplicated.append(f"{name}: {key} beside {packs[study_uid]}")
        packs[study_uid] = key
        sizes[key] = len(octets)
        for sop_uid, part10 in _members(key, octets):
            expected = truth.get(sop_uid)
            if sop_uid in seen:
                found.duplicated.append(f"{name}: instance {sop_uid}")
            seen.add(sop_uid)
            if expected is None or expected.study_uid != study_uid:
                found.wrong.append(f"{name}: instance {sop_uid} does not belong into {key}")
            elif blake3(_dataset(part10)).digest() != expected.dataset:
                found.wrong.append(f"{name}: other bytes of {sop_uid} in {key}")
            elif digests.get(sop_uid) != (expected.raw1, blake3(part10).digest()):
                found.wrong.append(f"{name}: ledger's digests of {sop_uid} are not true")
    found.lost += [f"{name}: instance {sop_uid}" for sop_uid in truth.keys() - seen]
    if len(indexes) != len(sizes):
        found.wrong.append(f"{name}: {len(indexes)} indexes beside {len(sizes)} packs")
    found.wrong += [f"{name}: receipt and object differ for {key}" for key, _ in receipts.items() ^ sizes.items()]


def _judge_ledger(connection: psycopg.Connection[Any], truth: Mapping[str, Truth], found: Findings) -> None:
    studies = {row[0] for row in _rows(connection, "select study_uid from study")}
    if studies != {each.study_uid for each in truth.values()}:
        found.wrong.append("ledger: other studies than the archive has")
    counts = _rows(connection, "select destination_id, state::text, count(*) from delivery group by 1, 2")
    if {(state, number) for _, state, number in counts} != {("validated", len(studies))} or len(counts) != 2:
        found.wrong.append(f"ledger: deliveries {counts}")
    for query, what in (
        ("select count(*) from upload", "uploads not forgotten"),
        ("select count(*) from delivery where lease_owner is not null", "claims held"),
    ):
        if number := _rows(connection, query)[0][0]:
            found.wrong.append(f"ledger: {number} {what}")
    found.wrong += [
        f"ledger: exception {kind}, {number} times"
        for kind, number in _rows(connection, "select kind, count(*) from exception group by kind")
    ]


def _judge_custody(world: World, truth: Mapping[str, Truth], found: Findings) -> None:
    with Ledger(world.postgres.url) as ledger:
        for study_uid in sorted({each.study_uid for each in truth.values()}):
            chain = ledger.custody.chain(parse_uid(study_uid))
            broken = first_broken_link(parse_uid(study_uid), chain)
            if broken is not None:
                found.wrong.append(f"custody of {study_uid} breaks at {broken}")
            events = [entry.event for entry in chain]
            if tuple(sorted(events)) != EVENTS:
                found.wrong.append(f"custody of {study_uid} tells {events}")


def _receipts(connection: psycopg.Connection[Any], name: str) -> dict[str, int]:
    query = (
        "select r.key, r.size from receipt r join delivery using (delivery_id)"
        f" join destination d using (destination_id) where d.name = '{name}'"
    )
    # On a device the prefix of every key is "data", which `_files` leaves out as well.
    return {key.removeprefix("data/"): size for key, size in _rows(connection, query)}


def _members(key: str, octets: bytes) -> Iterator[tuple[str, bytes]]:
    stream = io.BytesIO(octets)
    if key.endswith(".zst"):
        stream = io.BytesIO(zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True).read())
    with tarfile.open(fileobj=stream) as tar:
        for member in tar:
            folder, _, file = member.name.rpartition("/")
            content = tar.extractfile(member)
            if folder == "instances" and content is not None:
                yield file.removesuffix(".dcm"), content.read()


def _dataset(part10: bytes) -> bytes:
    length = int.from_bytes(part10[PREAMBLE + 8 : PREAMBLE + GROUP_LENGTH], "little")
    return part10[PREAMBLE + GROUP_LENGTH + length :]


def _bucket(s3: EmbeddedS3) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name=s3.region,
    )


def _objects(bucket: Any) -> Iterator[tuple[str, bytes]]:
    for page in bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for each in page.get("Contents", []):
            yield each["Key"], bucket.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()


def _files(device: Path) -> Iterator[tuple[str, bytes]]:
    for folder in ("data/studies", "data/index"):
        for path in sorted((device / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(device / "data").as_posix(), path.read_bytes()


def _rows(connection: psycopg.Connection[Any], query: str) -> list[Any]:
    return connection.execute(query.encode()).fetchall()
