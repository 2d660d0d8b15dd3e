"""An archive, two destinations, a job file, and a driver that can be killed and started again."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import ServerError
from infra.embedded.seaweedfs import EmbeddedS3
from infra.simulator.archive import Archive
from infra.simulator.process import SimulatorProcess
from infra.simulator.specs import archive_from

BUCKET = "chaos"
CLOUD, DISK = "cloud", "disk"
MARK = "LIMOSA_CHAOS_DRIVER"
"""Everything that a driver starts inherits this variable, so its workers are known from a stranger's."""
WORKING = ("ray::mover", "ray::feeder", "ray::validator", "ray::WorkerShell", "raylet", "gcs_server")
POLL = 0.05
GONE_SECONDS = 15.0
"""How long local Ray may take to end after its driver was killed."""

# The smallest parts and groups that sinks allow, so that studies of 10 MB are crossed by several; leases so short that
# what a killed worker held returns while the round still runs; more attempts than a round has kills.
JOB = """\
[job]
name = "chaos"
state_dir = "state"

[ledger]
url = "{ledger}"
{password}
[cluster]
ray = "{ray}"

[source]
host = "127.0.0.1"
port = {pacs_port}
ae_title = "SIMPACS"
associations = 4
quiet = 0.3
quiet_limit = 10

[[receivers]]
ae_title = "LIMOSA"
port = {receiver_port}
processes = {processes}
associations = {lanes}

[[destinations]]
kind = "s3"
name = "cloud"
endpoint_url = "{endpoint}"
bucket = "chaos"
part_size = "5MiB"
sweep_after = 0
{keys}
[[destinations]]
kind = "seed"
name = "disk"
devices = ["{device}"]
reserve = "1MiB"
group_size = "1MiB"

[limits]
lease = 6
attempts = 20
retry_delay = 0.2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a round moves, and through how many processes of the one receiver."""

    studies: int
    large: int
    seed: int
    processes: int = 1
    store_latency: float = 0.0
    """Seconds the archive takes over each instance: gives a fast machine moments in which to be killed."""

    @property
    def archives(self) -> tuple[str, str]:
        """Many small studies of all kinds, and some of 10 MB, each of which is several parts."""
        return (
            f"synthetic:studies={self.studies - self.large},seed={self.seed},side=40",
            f"workload:studies={self.large},instances=20,seed={self.seed}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Services that do not belong to the driver: Ray, Postgres and S3 at addresses."""

    ray: str
    postgres: EmbeddedPostgres
    s3: EmbeddedS3
    mark: str
    """Of the processes that this Ray starts; see `MARK`."""
    environment: dict[str, str]
    """What a driver needs to be let in."""


class Driver:
    """One `limosa run`, in a process group of its own."""

    def __init__(self, job_file: Path, number: int, environment: dict[str, str]) -> None:
        self.mark = secrets.token_hex(8)
        self._folder = job_file.parent
        self._output = self._folder / f"run-{number}.out"
        self._errors = self._folder / f"run-{number}.err"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "limosa", "run", str(job_file), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=os.environ | {MARK: self.mark} | environment,
                start_new_session=True,
            )

    @property
    def ended(self) -> int | None:
        """Its exit code; None while it runs, -9 when it was killed."""
        return self._process.poll()

    def kill(self) -> None:
        """The driver itself is gone; what it started is left to find out."""
        self._process.kill()
        self._process.wait()

    def summary(self) -> dict[str, Any]:
        """What it printed at its end."""
        return json.loads(self._output.read_text(encoding="utf-8"))

    def errors(self) -> str:
        return self._errors.read_text(encoding="utf-8")[-2000:]

    def offspring(self) -> list[psutil.Process]:
        """Everything alive that it started, directly or not, apart from embedded servers."""
        return [one for one in psutil.process_iter() if marked(one, self.mark)]

    def workers(self) -> list[psutil.Process]:
        """Of these, what could still touch a study or start what does.

        Ray's own agents are none: on a busy machine they need half a minute to notice that their node is gone.
        """
        return [one for one in self.offspring() if told(one).startswith(WORKING)]

    def end(self) -> None:
        """Nothing of it is left, whatever state it was in."""
        if self.ended is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30.0)
        if self.ended is None:
            self.kill()
        end_all(self.mark)


@dataclass
class World:
    """One round's archive, destinations and job."""

    plan: Plan
    folder: Path
    archive: Archive
    postgres: EmbeddedPostgres
    s3: EmbeddedS3
    job_file: Path
    outside: Outside | None
    drivers: list[Driver] = field(default_factory=lambda: list[Driver]())

    @property
    def device(self) -> Path:
        return self.folder / "device"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def marks(self) -> list[str]:
        """Of everybody who may have started a worker."""
        return [driver.mark for driver in self.drivers] + ([self.outside.mark] if self.outside else [])

    def start_driver(self) -> Driver:
        environment = self.outside.environment if self.outside else {}
        self.drivers.append(Driver(self.job_file, len(self.drivers) + 1, environment))
        return self.drivers[-1]

    def ask(self, query: str) -> Sequence[tuple[Any, ...]] | None:
        """The ledger's rows; None while there is no ledger to ask (not made yet, or killed)."""
        try:
            with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=2) as connection:
                return connection.execute(query).fetchall()
        except (ServerError, psycopg.OperationalError, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject):
            return None


@contextmanager
def world(plan: Plan, folder: Path, outside: Outside | None = None) -> Iterator[World]:
    """The archive answers and the job file is written; at the end nothing of it runs and its bytes are removed."""
    folder.mkdir(parents=True)
    device = folder / "device"
    device.mkdir()
    services = folder / "state" / "services"
    postgres = outside.postgres if outside else EmbeddedPostgres(services / "postgres")
    s3 = outside.s3 if outside else EmbeddedS3(services / "s3")
    receiver_port = free_port()
    with SimulatorProcess(plan.archives, destinations={"LIMOSA": ("127.0.0.1", receiver_port)}) as pacs:
        job_file = folder / "chaos.toml"
        job_file.write_text(_job_text(plan, folder, pacs.port, receiver_port, outside), encoding="utf-8")
        pacs.control.set_faults(store_latency=plan.store_latency)
        made = World(plan, folder, archive_from(plan.archives), postgres, s3, job_file, outside)
        try:
            yield made
        finally:
            for driver in made.drivers:
                driver.end()
            if outside is None:
                postgres.remove()
                s3.remove()


def _job_text(plan: Plan, folder: Path, pacs_port: int, receiver_port: int, outside: Outside | None) -> str:
    ledger, password, endpoint, keys = "embedded", "", "embedded", ""
    if outside:
        url = outside.postgres.url
        secret = url.split(":")[2].split("@")[0]
        ledger = url.replace(f":{secret}@", "@")
        password = f'password = "file:{_keep(folder / "ledger-password", secret)}"\n'
        endpoint = outside.s3.endpoint_url
        keys = (
            f'access_key = "file:{_keep(folder / "access-key", outside.s3.access_key)}"\n'
            f'secret_key = "file:{_keep(folder / "secret-key", outside.s3.secret_key)}"\n'
        )
    return JOB.format(
        ledger=ledger,
        password=password,
        ray=outside.ray if outside else "local",
        pacs_port=pacs_port,
        receiver_port=receiver_port,
        processes=plan.processes,
        lanes=4 // plan.processes,
        endpoint=endpoint,
        keys=keys,
        device=folder / "device",
    )


def _keep(file: Path, secret: str) -> Path:
    file.write_text(secret, encoding="ascii")
    file.chmod(0o600)
    return file


def marked(one: psutil.Process, mark: str) -> bool:
    """The process was started by the driver with this mark, and lives."""
    try:
        return one.status() != psutil.STATUS_ZOMBIE and one.environ().get(MARK) == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def end_all(mark: str) -> None:
    """Nothing that was started with this mark lives; asked again, since a raylet starts its agents anew."""

    def none_left() -> bool:
        left = [one for one in psutil.process_iter() if marked(one, mark)]
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        return not left

    assert wait_for(none_left, GONE_SECONDS), "a killed process does not go"


def told(one: psutil.Process) -> str:
    """The name of its program, or what it calls itself; empty when it is gone."""
    with suppress(psutil.NoSuchProcess, IndexError):
        return Path(one.cmdline()[0]).name
    return ""


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition came to hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def free_port() -> int:
    """A port for the receiver, below the range that outgoing connections take theirs from."""
    for port in range(21_000 + secrets.randbelow(8_000), 32_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")
