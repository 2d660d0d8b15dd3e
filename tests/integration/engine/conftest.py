"""The engine without driver and Ray: real ledger, real S3, real sockets, workers in this process."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize

from actors.dimse.scu import DimseSource as DimseScu
from actors.options import DimseSource, MoverLimits, Receiver, SourceProfile
from actors.setup import FeederSetup, JobSetup, MoverSetup, ValidatorSetup
from actors.source import StudyWindow
from actors.start import Process, start_feeder, start_mover, start_validator
from imaging.uid import Uid
from storage.ledger import Ledger
from storage.ledger.address import LedgerAddress
from storage.ledger.job import DestinationSpec, Registered, SourceSpec
from storage.ledger.lifecycle import StudyStatus
from storage.ledger.migrate import migrate
from storage.ledger.records import OpenProblem, Verdict
from storage.packs.model import PackId
from storage.packs.reader import PackReader
from storage.sinks.open import open_sink
from storage.sinks.options import S3Options, SeedOptions


class Always:
    def open_at(self, moment: datetime) -> bool:
        return True


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@dataclass
class Engine:
    """One job on this machine; `run` goes until nothing is left to do."""

    ledger: Ledger
    registered: Registered
    job: JobSetup
    receiver: Receiver
    wait_until: Callable[..., None]
    processes: list[Process] = field(default_factory=list)

    def take_inventory(self) -> None:
        source = DimseScu(self.job.source)
        self.ledger.inventory.begin_generation()
        answer = source.find_studies(StudyWindow())
        self.ledger.inventory.record_answer(self.job.source_id, answer, Verdict.COMPLETE)
        source.close()

    def plan(self) -> None:
        while self.ledger.plan.step({}).studies:
            pass

    def start_movers(self) -> None:
        names = tuple(f"mover-{n}" for n in range(self.receiver.processes))
        for name in names:
            setup = MoverSetup(job=self.job, name=name, names=names, receiver=self.receiver)
            self.processes.append(start_mover(setup))

    def start_feeder(self) -> None:
        fed = {n: i for n, i in self.registered.destinations.items() if n != self.job.inline}
        self.processes.append(start_feeder(FeederSetup(job=self.job, name="feeder-0", lanes=2, destinations=fed)))

    def start_validator(self) -> None:
        everywhere = dict(self.registered.destinations)
        setup = ValidatorSetup(job=self.job, name="validator-0", lanes=2, destinations=everywhere)
        self.processes.append(start_validator(setup))

    def finish(self, timeout: float = 60.0) -> None:
        self.wait_until(lambda: not self.ledger.status.work_left().any, timeout, "all work to be done")

    def run(self, timeout: float = 60.0) -> None:
        self.take_inventory()
        self.plan()
        self.start_movers()
        if len(self.registered.destinations) > 1:
            self.start_feeder()
        self.start_validator()
        self.finish(timeout)
        self.stop()

    def stop(self) -> None:
        while self.processes:
            self.processes.pop().stop(10.0)

    def statuses(self) -> dict[str, StudyStatus]:
        return {row.study_uid: row.status for row in self.ledger.status.list_studies(limit=10_000)}

    def problems(self, kind: str | None = None) -> tuple[OpenProblem, ...]:
        return self.ledger.exceptions.list_open(kind=kind)

    def quarantined(self) -> list[Path]:
        return sorted((self.job.folder / "quarantine").glob("*.dcm"))

    def datasets(self, destination: str, study_uid: str, revision: int = 1) -> dict[str, bytes]:
        """Every Part-10 file of a delivered study, by SOP Instance UID, read through the pack reader."""
        with self.ledger_rows() as rows:
            row = rows(
                "select r.key, r.container, r.device from receipt r join delivery d using (delivery_id)"
                " join study s using (study_key) join destination x using (destination_id)"
                " where s.study_uid = %s and d.revision = %s and x.name = %s",
                (study_uid, revision, destination),
            )[0]
        options = next(o for o in self.job.destinations if o.name == destination)
        from storage.packs.model import Container

        pack = PackId(study_uid=Uid(study_uid), revision=revision)
        reader = PackReader(open_sink(options), pack, Container(row[1]), row[0], device=row[2])
        return {m.facts.sop_uid: b"".join(reader.open(m)) for m in reader.index().members}

    def ledger_rows(self):
        import contextlib

        import psycopg

        @contextlib.contextmanager
        def opened() -> Iterator[Callable[..., list[Any]]]:
            with psycopg.connect(self.job.ledger.url) as conn:
                yield lambda query, values=(): conn.execute(query, values).fetchall()

        return opened()


@pytest.fixture
def engine(postgres_url, s3, tmp_path, wait_until, monkeypatch) -> Iterator[Callable[..., Engine]]:
    """`engine(port, receiver=..., **changes)` makes a job whose source listens on `port`."""
    monkeypatch.setenv("TEST_S3_ACCESS", s3.access_key)
    monkeypatch.setenv("TEST_S3_SECRET", s3.secret_key)
    migrate(postgres_url)
    made: list[Engine] = []
    ledger = Ledger(postgres_url, pool_size=4)
    ledger.__enter__()

    def make(
        source_port: int,
        *,
        receiver_port: int,
        ae_title: str = "SIMPACS",
        receiver_ae: str = "MIG01",
        seed: bool = False,
        layout: str = "pack",
        processes: int = 1,
        associations: int = 2,
        profile: SourceProfile | None = None,
        limits: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        part_size: int = 5 << 20,
    ) -> Engine:
        destinations: list[S3Options | SeedOptions] = [
            S3Options(
                name="cloud",
                endpoint_url=s3.endpoint_url,
                region=s3.region,
                bucket=s3.bucket,
                access_key="env:TEST_S3_ACCESS",
                secret_key="env:TEST_S3_SECRET",
                part_size=ByteSize(part_size),
                layout=layout,
                sweep_after=timedelta(0),
            )
        ]
        if seed:
            device = tmp_path / "device"
            device.mkdir(exist_ok=True)
            destinations.append(SeedOptions(name="disk", devices=(device,), reserve=ByteSize(1 << 20)))
        options = DimseSource(
            host="127.0.0.1",
            port=source_port,
            ae_title=ae_title,
            quiet=timedelta(milliseconds=300),
            quiet_limit=timedelta(seconds=10),
            associations=8,
            profile=profile or SourceProfile(),
            **(source or {}),
        )
        registered = ledger.jobs.register(
            "test",
            source_identity="simulator",
            sources=[SourceSpec(name=options.name, kind="dimse", pull_limit=options.associations, profile={})],
            destinations=[
                DestinationSpec(name=d.name, kind=d.kind, inline=d.name == "cloud", fingerprint="-")
                for d in destinations
            ],
        )
        job = JobSetup(
            ledger=LedgerAddress(postgres_url),
            secret=registered.secret,
            source=options,
            source_id=registered.sources[options.name],
            destinations=tuple(destinations),
            inline="cloud",
            limits=MoverLimits(
                lease=timedelta(seconds=6), attempts=2, retry_delay=timedelta(milliseconds=200), **(limits or {})
            ),
            hours=Always(),
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
    ledger.__exit__(None, None, None)
    os.environ.pop("TEST_S3_ACCESS", None)
