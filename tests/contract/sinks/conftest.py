"""A journal in memory that keeps the ledger's promises and can die at any call, and studies to write."""

import random
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from blake3 import blake3

from actors.destination_options import DimseOptions
from actors.destinations import open_destination
from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets
from imaging.part10 import encode_meta
from imaging.uid import Uid
from infra.simulator.committing import CommittingArchive
from infra.simulator.disks import Disk, FileSystem, NoDisk
from infra.simulator.webarchive import WebArchive
from storage.dicomweb.options import WebAccess
from storage.errors import LostClaim
from storage.packs.model import Container, Ended, Member, PackId, Part, Receipt, Volume
from storage.seeds.profiles import PROFILES, ProfileName
from storage.sinks.device import Device
from storage.sinks.open import open_sink
from storage.sinks.options import DicomwebOptions, S3Options, SeedOptions
from storage.sinks.protocol import Sink, StudyWriter, UploadState
from storage.sinks.s3_parts import MIN_PART

GIB = 1 << 30
KINDS = [
    "s3-pack-zst", "s3-p10", "s3-imaging-service", "seed", "dicomweb", "dimse",
    *(pytest.param(f"seed on {system} as {profile}", marks=pytest.mark.devices)
      for system in FileSystem for profile in ProfileName),
]  # fmt: skip
ROOM = 2 * GIB
"""Of a real disk, above what its profile leaves free. The disk is a sparse file: it takes what is written on it."""
SERVICES = {"dicomweb", "dimse"}
"""Plain tar goes to the seed, zstd to the bucket: the sinks do not know the difference, so each is met once."""
JPEG = Uid("1.2.840.10008.1.2.4.70")
CT = Uid("1.2.840.10008.5.1.4.1.1.2")


NOISE = random.Random(1).randbytes(9 << 20)


class Crash(BaseException):
    """The process died here."""


class MemoryJournal:
    """The ledger's row of one delivery."""

    def __init__(self) -> None:
        self.row: UploadState | None = None
        self.calls: list[str] = []
        self.crash_at = -1
        self.crash_after_effect = False
        self.lost = False
        self.earlier: dict[Uid, frozenset[bytes]] = {}

    def begin(self, *, key: str, container: Container, device: str) -> None:
        with_values = (key, container, device)
        for _ in self._call("begin"):
            if self.row is None:
                self.row = UploadState(key=key, container=container, upload_id="", device=device, parts=(), members=())
            elif not self.row.key:
                self.row = self._with(key=key, device=device)
            assert (self.row.key, self.row.container, self.row.device) == with_values, "another intent is open"

    def opened(self, upload_id: str) -> None:
        for _ in self._call("opened"):
            assert self.row is not None and not self.row.upload_id and upload_id
            self.row = self._with(upload_id=upload_id)

    def commit_group(self, parts: Sequence[Part], members: Sequence[Member]) -> None:
        for _ in self._call("commit_group"):
            assert self.row is not None, "no intent"
            known = list(self.row.parts)
            for part in parts:
                end = known[-1].offset + known[-1].size if known else 0
                assert (part.number, part.offset) == (len(known) + 1, end), "parts do not follow each other"
                known.append(part)
            names = {member.facts.sop_uid for member in self.row.everything}
            assert names.isdisjoint(member.facts.sop_uid for member in members), "an instance twice"
            self.row = self._with(parts=tuple(known), members=(*self.row.members, *members))

    def end_volume(self, receipt: Receipt, ended: Ended) -> None:
        for _ in self._call("end_volume"):
            assert self.row is not None and (self.row.key, self.row.device) == (receipt.key, receipt.device)
            ended_now = Volume(receipt=receipt, members=self.row.members, ended=ended)
            self.row = self._with(key="", device="", parts=(), members=(), volumes=(*self.row.volumes, ended_now))

    def reset(self, reason: str) -> None:
        assert reason
        for _ in self._call("reset"):
            between = self.row is not None and self.row.volumes
            self.row = self._with(key="", device="", parts=(), members=()) if between else None

    def delivered(self, sop_uid: Uid) -> frozenset[bytes]:
        return self.earlier.get(sop_uid, frozenset())

    def spoil(self) -> None:
        for _ in self._call("spoil"):
            self.row = None if self.row is None else self._with(spoiled=True)

    def start_over(self, reason: str) -> None:
        assert reason
        for _ in self._call("start_over"):
            self.row = None

    def _with(self, **changes: Any) -> UploadState:
        assert self.row is not None
        names = ("key", "container", "upload_id", "device", "parts", "members", "volumes")
        return UploadState(**({name: getattr(self.row, name) for name in names} | changes))

    def _call(self, name: str) -> Iterator[None]:
        if self.lost:
            raise LostClaim("claim is gone")
        number = len(self.calls)
        self.calls.append(name)
        if number == self.crash_at and not self.crash_after_effect:
            raise Crash(name)
        yield
        if number == self.crash_at:
            raise Crash(name)


class Study:
    """A study of random, and therefore incompressible, instances."""

    content = staticmethod(lambda facts, noise: noise)

    def __init__(
        self, sizes: Sequence[int], number: int = 1, syntax: Uid = JPEG, pairs: Sequence[tuple[Uid, Uid]] = ()
    ) -> None:
        """`pairs`: SOP class and transfer syntax of each instance, where they are not all the same."""
        self.pack = PackId(study_uid=Uid(f"1.2.840.{number}"), revision=1)
        self.instances: dict[Uid, tuple[InstanceFacts, bytes]] = {}
        for index, size in enumerate(sizes):
            sop_uid = Uid(f"1.2.840.{number}.{index + 1}")
            sop_class, transfer_syntax = pairs[index] if pairs else (CT, syntax)
            facts = InstanceFacts(
                study_uid=self.pack.study_uid,
                series_uid=Uid(f"1.2.840.{number}.0"),
                sop_uid=sop_uid,
                sop_class=sop_class,
                transfer_syntax=transfer_syntax,
                raw_size=size,
                sto_size=size,
                raw1=bytes(32),
                sto1=bytes(32),
                pd1=bytes(32),
                can1=bytes(32),
            )
            content = self.content(facts, (f"{number}-{index} ".encode() + NOISE[index : index + size])[:size])
            digest = blake3(content).digest()
            named = {name: digest for name in ("raw1", "sto1", "pd1", "can1")}
            self.instances[sop_uid] = (replace(facts, raw_size=len(content), sto_size=len(content), **named), content)

    def feed(self, writer: StudyWriter) -> int:
        """Every instance the writer does not hold is added; how many."""
        missing = [uid for uid in self.instances if uid not in writer.held]
        for uid in missing:
            facts, content = self.instances[uid]
            writer.add(facts, MemoryOctets(content))
        return len(missing)


class ServiceStudy(Study):
    """Instances that say who they are: a service asks them."""

    @staticmethod
    def content(facts: InstanceFacts, noise: bytes) -> bytes:
        named = {0x00080016: facts.sop_class, 0x00080018: facts.sop_uid}
        named |= {0x0020000D: facts.study_uid, 0x0020000E: facts.series_uid}
        dataset = b"".join(uid_element(tag, value) for tag, value in sorted(named.items()))
        fragment = noise + bytes(len(noise) % 2)
        pixels = struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF)
        items = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(fragment)) + fragment
        end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        return encode_meta(facts.sop_class, facts.sop_uid, facts.transfer_syntax) + dataset + pixels + items + end


def uid_element(tag: int, value: str) -> bytes:
    encoded = value.encode("ascii") + bytes(len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", len(encoded)) + encoded


@pytest.fixture
def web_archive(tmp_path: Path) -> Iterator[WebArchive]:
    with WebArchive(tmp_path / "webarchive") as archive:
        yield archive


@pytest.fixture
def dimse_archive(tmp_path: Path, web_archive: WebArchive) -> Iterator[CommittingArchive]:
    """Spoken to by DIMSE; `web_archive` is its DICOMweb."""
    with CommittingArchive(tmp_path / "dimse") as archive:
        web_archive.held = archive.held
        yield archive


@pytest.fixture(scope="session")
def one_session() -> boto3.session.Session:
    return boto3.session.Session()


@pytest.fixture(autouse=True)
def quick_clients(one_session: boto3.session.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh session reads S3's 1 MB description again: 0.2 s for each sink, of which these tests open hundreds."""
    monkeypatch.setattr(boto3.session, "Session", lambda: one_session)


@pytest.fixture(scope="session")
def disk_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[FileSystem, ProfileName], Disk]]:
    """The session's disk of that kind, large enough for the profile; a machine that has none skips the test."""
    with ExitStack() as stack:

        @cache
        def disk(system: FileSystem, profile: ProfileName) -> Disk | str:
            made = Disk(tmp_path_factory.mktemp("disk"), system, PROFILES[profile].reserve + ROOM)
            try:
                return stack.enter_context(made)
            except NoDisk as error:
                return f"no {system} disk: {error}"

        def given(system: FileSystem, profile: ProfileName) -> Disk:
            found = disk(system, profile)
            if isinstance(found, str):
                pytest.skip(found)
            return found

        yield given


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest) -> str:
    """The destination of the test, and the disk it is on where it is a device."""
    return request.param


@pytest.fixture
def kind(target: str) -> str:
    return target.partition(" ")[0]


@pytest.fixture
def seed_options(target: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SeedOptions]:
    """Of the seed: a folder, or a real disk under its profile's own limits."""
    _, _, system, _, profile = [*target.split(), "", "", "", ""][:5]
    if not system:
        (tmp_path / "device").mkdir()
        Device(tmp_path / "device")
        yield SeedOptions(name="seed", devices=(tmp_path / "device",), reserve=0, group_size=MIN_PART)
        return
    disk = request.getfixturevalue("disk_of")(FileSystem(system), ProfileName(profile))
    device = disk.mount / "device"
    device.mkdir()
    Device(device)
    yield SeedOptions(name="seed", devices=(device,), reserve=0, group_size=MIN_PART, profile=ProfileName(profile))
    shutil.rmtree(device)


@pytest.fixture
def container(kind: str) -> Container:
    return Container.TAR_ZST if kind.endswith("zst") else Container.TAR


@pytest.fixture
def s3_options(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., S3Options]:
    """S3 settings for the test's own bucket, with what is named changed."""

    def make(**changes: Any) -> S3Options:
        s3 = request.getfixturevalue("s3")
        monkeypatch.setenv("SINK_ACCESS", s3.access_key)
        monkeypatch.setenv("SINK_SECRET", s3.secret_key)
        values = {
            "name": "cloud",
            "endpoint_url": s3.endpoint_url,
            "region": s3.region,
            "bucket": s3.bucket,
            "access_key": "env:SINK_ACCESS",
            "secret_key": "env:SINK_SECRET",
            "part_size": MIN_PART,
            "sweep_after": 0,
        }
        return S3Options(**(values | changes))

    return make


@pytest.fixture
def new_sink(kind: str, s3_options: Callable[..., S3Options], request: pytest.FixtureRequest) -> Callable[[], Sink]:
    """The kind's destination as a new process would open it; always the same one within a test."""

    def make() -> Sink:
        if kind.startswith("seed"):
            return open_sink(request.getfixturevalue("seed_options"))
        if kind == "dicomweb":
            url = request.getfixturevalue("web_archive").url
            return open_sink(DicomwebOptions(name="web", url=url, batch_size=MIN_PART))
        if kind == "dimse":
            port = request.getfixturevalue("dimse_archive").port
            web = WebAccess(url=request.getfixturevalue("web_archive").url)
            return open_destination(DimseOptions(name="vna", host="127.0.0.1", port=port, ae_title="VNA", dicomweb=web))
        return open_sink(s3_options(layout="pack" if kind == "s3-pack-zst" else kind.removeprefix("s3-")))

    return make


@pytest.fixture
def kit(request: pytest.FixtureRequest) -> SimpleNamespace:
    """The doubles' classes; test modules cannot import a conftest."""
    kind = request.getfixturevalue("kind") if "kind" in request.fixturenames else ""
    study = ServiceStudy if kind in SERVICES else Study
    return SimpleNamespace(
        Journal=MemoryJournal, Study=study, ServiceStudy=ServiceStudy, Crash=Crash, octets=MemoryOctets
    )
