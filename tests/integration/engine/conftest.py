"""The engine without driver and Ray: real ledger, real S3, real sockets; workers in this process or their own."""

import json
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import boto3
import psycopg
import pytest
from pydantic import ByteSize

from actors import worker
from actors.destination_options import DestinationOptions
from actors.destinations import open_destination
from actors.dimse.scu import DimseSource as DimseScu
from actors.options import DimseSource, MoverLimits, Receiver, SourceProfile
from actors.setup import FeederSetup, JobSetup, MoverSetup, ValidatorSetup
from actors.source import StudyWindow
from actors.start import Process, start_feeder, start_mover, start_validator
from cluster.inventory.options import InventoryOptions
from cluster.inventory.plan import Plan
from cluster.inventory.walk import Progress, Walk
from cluster.schedule import Schedule
from imaging.uid import Uid
from infra.simulator import Archive, Instance, Manifest, workload_archive
from infra.simulator.content import HeldContent
from storage.ledger import Ledger
from storage.ledger.address import LedgerAddress
from storage.ledger.job import DestinationSpec, Registered, SourceSpec
from storage.ledger.lifecycle import StudyStatus
from storage.ledger.migrate import migrate
from storage.ledger.records import DestinationState, OpenProblem, Verdict
from storage.packs.model import PackId
from storage.packs.volumes import pack_reader
from storage.sinks.device import Device
from storage.sinks.existing import Existing
from storage.sinks.options import S3Options, SeedOptions
from storage.sinks.protocol import Sink

AE = "MIG01"
TEMPLATE = "engine_template"
FAREWELL = 15.0
"""Seconds for a worker process to end when it is asked to."""

# What a mover process of its own runs: a pickled setup on stdin, ready when it says so, stopped by SIGTERM.
MOVER = """
import os, pickle, signal, sys, threading
from actors import worker
from actors.start import start_mover
worker.IDLE_POLL = worker.TROUBLE_POLL = 0.1
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
process = start_mover(pickle.load(sys.stdin.buffer))
print("ready", flush=True)
stopping.wait()
process.stop(10.0)
os._exit(0)
"""


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    # Below the range that outgoing connections of this machine take theirs from.
    ports = iter(random.SystemRandom().sample(range(12_000, 32_000), 1_000))

    def find() -> int:
        for port in ports:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)):
                    return port
        raise RuntimeError("no free port")

    return find


@pytest.fixture(scope="session")
def one_session() -> boto3.session.Session:
    return boto3.session.Session()


@pytest.fixture(scope="session")
def migrated(postgres_server) -> str:
    """The name of a database with the ledger's schema, to be copied."""
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"create database {TEMPLATE}")
    migrate(urlsplit(postgres_server.url)._replace(path=f"/{TEMPLATE}").geturl())
    return TEMPLATE


@pytest.fixture
def ledger_url(new_database, migrated) -> str:
    return new_database(template=migrated)


@pytest.fixture
def ledger(ledger_url) -> Iterator[Ledger]:
    with Ledger(ledger_url, pool_size=4) as opened:
        yield opened


@dataclass
class MoverProcess:
    """A mover in a process of its own."""

    name: str
    child: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.child.pid

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def freeze(self) -> None:
        """None of its threads runs any more."""
        os.kill(self.pid, signal.SIGSTOP)
        # The signal alone takes its time: on a busy machine a thread committed meanwhile.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def peak_memory(self) -> int:
        """Bytes of the largest resident set it ever had."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))

    def stop(self) -> None:
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(FAREWELL)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.child.stdout is not None:
            self.child.stdout.close()


@dataclass
class Engine:
    """One job on this machine; `run` goes until nothing is left to do."""

    ledger: Ledger
    registered: Registered
    job: JobSetup
    receiver: Receiver
    wait_until: Callable[..., None]
    processes: list[Process] = field(default_factory=list)
    children: list[MoverProcess] = field(default_factory=list)
    _sinks: dict[str, Sink] = field(default_factory=dict)

    # What a run does.

    def take_inventory(self) -> None:
        source = DimseScu(self.job.source)
        self.ledger.inventory.begin_generation()
        answer = source.find_studies(StudyWindow())
        self.ledger.inventory.record_answer(self.job.source_id, answer, Verdict.COMPLETE)
        source.close()

    def walk_inventory(self, today: date = date(2026, 11, 24)) -> Progress:
        """As `take_inventory`, but as a real run does it: by windows, trusting no answer."""
        source = DimseScu(self.job.source)
        self.ledger.inventory.begin_generation()
        progress = Walk(
            source=source,
            ledger=self.ledger,
            source_id=self.job.source_id,
            plan=Plan(InventoryOptions(), cap=None, today=today),
            options=InventoryOptions(),
            charset=self.job.source.profile.charset,
            report=lambda progress: None,
            now=datetime(today.year, today.month, today.day, tzinfo=ZoneInfo("UTC")),
        ).run()
        source.close()
        return progress

    def plan(self) -> None:
        while self.ledger.plan.step({}).studies:
            pass

    @property
    def mover_names(self) -> tuple[str, ...]:
        return tuple(f"mover-{n}" for n in range(self.receiver.processes))

    def mover_setup(self, name: str) -> MoverSetup:
        return MoverSetup(job=self.job, name=name, names=self.mover_names, receiver=self.receiver)

    def start_movers(self) -> None:
        self.processes += [start_mover(self.mover_setup(name)) for name in self.mover_names]

    def spawn_mover(self, name: str = "mover-0", receiver: Receiver | None = None) -> MoverProcess:
        """A mover of its own process; `receiver` where it is not the job's."""
        setup = self.mover_setup(name)
        if receiver is not None:
            setup = MoverSetup(job=self.job, name=name, names=(name,), receiver=receiver)
        child = subprocess.Popen([sys.executable, "-c", MOVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        mover = MoverProcess(name, child)
        self.children.append(mover)
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(pickle.dumps(setup))
        child.stdin.close()
        assert child.stdout.readline() == b"ready\n", "the mover did not start"
        return mover

    def spawn_all(self) -> list[MoverProcess]:
        """Every mover in a process of its own; all begin at the same time."""
        self.ledger.control.pause("movers start")
        movers = [self.spawn_mover(name) for name in self.mover_names]
        self.ledger.control.resume()
        return movers

    def start_feeder(self) -> None:
        fed = {n: i for n, i in self.registered.destinations.items() if n != self.job.inline}
        self.processes.append(start_feeder(FeederSetup(job=self.job, name="feeder-0", lanes=2, destinations=fed)))

    def start_validator(self) -> None:
        self.start_validator_of(*self.registered.destinations)

    def start_validator_of(self, *names: str) -> None:
        chosen = {name: self.registered.destinations[name] for name in names}
        name = "validator-" + "-".join(names)
        self.processes.append(start_validator(ValidatorSetup(job=self.job, name=name, lanes=2, destinations=chosen)))

    def start(self) -> None:
        self.start_movers()
        if len(self.registered.destinations) > 1:
            self.start_feeder()
        self.start_validator()

    def finish(self, timeout: float = 60.0) -> None:
        self.wait_until(lambda: not self.ledger.status.work_left().any, timeout, "all work to be done")

    def move(self, timeout: float = 60.0) -> None:
        """What the ledger knows of by now is moved and read back, as far as it can be."""
        self.plan()
        self.start()
        self.finish(timeout)
        self.stop()

    def run(self, timeout: float = 60.0) -> None:
        self.take_inventory()
        self.move(timeout)

    def stop(self) -> None:
        while self.processes:
            self.processes.pop().stop(10.0)
        while self.children:
            self.children.pop().stop()

    # What came of it.

    def statuses(self) -> dict[str, StudyStatus]:
        return {row.study_uid: row.status for row in self.ledger.status.list_studies(limit=10_000)}

    def problems(self, kind: str | None = None) -> tuple[OpenProblem, ...]:
        return self.ledger.exceptions.list_open(kind=kind)

    def kinds(self) -> set[str]:
        return {problem.kind for problem in self.problems()}

    def quarantined(self) -> list[Path]:
        return sorted((self.job.folder / "quarantine").glob("*.dcm"))

    def evidence(self) -> list[dict[str, Any]]:
        """What the quarantine says about each of its instances."""
        return [json.loads(path.with_suffix(".json").read_text()) for path in self.quarantined()]

    def sink(self, name: str) -> Sink:
        if name not in self._sinks:
            self._sinks[name] = open_destination(next(o for o in self.job.destinations if o.name == name))
        return self._sinks[name]

    def rows(self, query: str, values: Any = ()) -> list[Any]:
        with psycopg.connect(self.job.ledger.url) as connection:
            return connection.execute(query, values).fetchall()

    def datasets(self, destination: str, study_uid: str, revision: int = 1) -> dict[str, bytes]:
        """Every Part-10 file of a delivered study, by SOP Instance UID, read through the pack reader."""
        pack = PackId(study_uid=Uid(study_uid), revision=revision)
        held = self.ledger.facts.held(pack.study_uid, destination=destination, revision=revision)
        assert held is not None, self.problems()
        reader = pack_reader(self.sink(destination), pack, held.receipt)
        return {m.facts.sop_uid: b"".join(reader.open(m)) for m in reader.index().members}

    def assert_delivered(
        self,
        manifest: Manifest,
        studies: Collection[str] | None = None,
        destinations: Collection[str] | None = None,
        revision: int = 1,
    ) -> None:
        """The studies are done, and every destination gives back each byte the archive stored, and nothing else."""
        statuses = self.statuses()
        for study_uid in manifest.study_uids if studies is None else studies:
            assert statuses[study_uid] is StudyStatus.DONE, self.problems()
            for destination in destinations or [options.name for options in self.job.destinations]:
                files = self.datasets(destination, study_uid, revision)
                assert files.keys() == manifest.sop_uids(study_uid)
                for sop_uid, part10 in files.items():
                    assert part10.endswith(manifest.instance(sop_uid).dataset())

    def objects(self, destination: str = "cloud") -> set[str]:
        """The key of every pack in the bucket."""
        sink: Any = self.sink(destination)
        return set(sink._bucket.keys("studies/"))

    def unfinished_uploads(self, destination: str = "cloud") -> set[str]:
        """Multipart uploads the endpoint keeps open."""
        sink: Any = self.sink(destination)
        return {upload.upload_id for upload in sink._bucket.uploads("")}

    def orphans(self, destination: str = "cloud") -> set[str]:
        """Open multipart uploads that the ledger does not know."""
        live = self.ledger.uploads.live_upload_ids(self.registered.destinations[destination])
        return self.unfinished_uploads(destination) - live

    def destination_states(self) -> dict[str, DestinationState]:
        return {name: DestinationState(state) for name, state in self.rows("select name, state from destination")}


@pytest.fixture
def large() -> Archive:
    """One study of 15 MiB that does not compress: three parts."""
    noise = random.Random(1).randbytes(512 << 10)

    def filled(number: int, instance: Instance) -> Instance:
        dataset = instance.dataset()
        pixels = noise[number:] + noise[:number]
        return replace(instance, content=HeldContent(dataset[: -len(noise)] + pixels))

    made = workload_archive(studies=1, instances=30)
    return Archive(filled(number, instance) for number, instance in enumerate(made.manifest()))


@pytest.fixture
def engine(ledger, ledger_url, s3, tmp_path, wait_until, one_session, monkeypatch) -> Iterator[Callable[..., Engine]]:
    """`engine(port, receiver_port=..., **changes)` makes a job whose source listens on `port`."""
    monkeypatch.setenv("TEST_S3_ACCESS", s3.access_key)
    monkeypatch.setenv("TEST_S3_SECRET", s3.secret_key)
    # A fresh session reads S3's whole description again, 0.2 s for each sink.
    monkeypatch.setattr(boto3.session, "Session", lambda: one_session)
    monkeypatch.setattr(worker, "IDLE_POLL", 0.1)
    monkeypatch.setattr(worker, "TROUBLE_POLL", 0.1)
    made: list[Engine] = []

    def make(
        source_port: int,
        *,
        receiver_port: int,
        ae_title: str = "SIMPACS",
        receiver_ae: str = AE,
        seed: bool = False,
        devices: tuple[Path, ...] | None = None,
        seed_options: Mapping[str, Any] | None = None,
        layout: str = "pack",
        processes: int = 1,
        associations: int = 2,
        pull_limit: int = 8,
        profile: SourceProfile | None = None,
        limits: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        s3_options: Mapping[str, Any] | None = None,
        part_size: int = 5 << 20,
        fed: Sequence[DestinationOptions] = (),
        alone: DestinationOptions | None = None,
    ) -> Engine:
        """`fed` are further destinations; `alone` is the only one."""
        cloud: dict[str, Any] = {
            "endpoint_url": s3.endpoint_url,
            "region": s3.region,
            "bucket": s3.bucket,
            "access_key": "env:TEST_S3_ACCESS",
            "secret_key": "env:TEST_S3_SECRET",
            "part_size": ByteSize(part_size),
            "layout": layout,
            "sweep_after": timedelta(0),
        }
        destinations: list[DestinationOptions] = [S3Options(name="cloud", **(cloud | dict(s3_options or {})))]
        if seed or devices:
            devices = devices or (tmp_path / "device",)
            for device in devices:
                device.mkdir(exist_ok=True)
                Device(device)
            options = {"devices": devices, "reserve": ByteSize(1 << 20)} | dict(seed_options or {})
            destinations.append(SeedOptions(name="disk", **options))
        destinations = [*destinations, *fed] if alone is None else [alone]
        inline = destinations[0].name
        pacs = {
            "quiet": timedelta(milliseconds=300),
            "quiet_limit": timedelta(seconds=10),
            "associations": pull_limit,
        }
        archive = DimseSource(
            host="127.0.0.1",
            port=source_port,
            ae_title=ae_title,
            profile=profile or SourceProfile(),
            **(pacs | dict(source or {})),
        )
        registered = ledger.jobs.register(
            "test",
            source_identity="simulator",
            sources=[
                SourceSpec(name=archive.name, kind="dimse", pull_limit=archive.bounds.most, start=archive.bounds.least)
            ],
            destinations=[
                DestinationSpec(
                    name=d.name,
                    kind=d.kind,
                    inline=d.name == inline,
                    fingerprint="-",
                    told=getattr(d, "existing", None) is Existing.TOLD,
                )
                for d in destinations
            ],
        )
        bounds = {"lease": timedelta(seconds=6), "attempts": 2, "retry_delay": timedelta(milliseconds=200)}
        bounds |= {"outage": timedelta(seconds=2)}
        job = JobSetup(
            ledger=LedgerAddress(ledger_url),
            secret=registered.secret,
            source=archive,
            source_id=registered.sources[archive.name],
            destinations=tuple(destinations),
            inline=inline,
            limits=MoverLimits(**(bounds | dict(limits or {}))),
            hours=Schedule(hours=(), zone=ZoneInfo("UTC")),
            folder=tmp_path / "node",
            log_level="info",
            only=None,
        )
        receiver = Receiver(ae_title=receiver_ae, port=receiver_port, processes=processes, associations=associations)
        made.append(Engine(ledger, registered, job, receiver, wait_until))
        return made[-1]

    yield make
    for each in made:
        each.stop()
