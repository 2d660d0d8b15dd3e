"""What every test may ask for: real servers, a patient wait, and a session that leaves nothing running."""

import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import psutil
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, settings
from psycopg import sql

from infra.embedded.home import SHARED
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3

# dcmtk and Orthanc stall 40 ms per instance without it; Ray must not report home from a test.
os.environ["TCP_NODELAY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Everything a test starts inherits this, so what a killed driver left behind can still be told from a stranger's.
SESSION = f"limosa-tests-{secrets.token_hex(8)}"
os.environ["LIMOSA_TEST_SESSION"] = SESSION

# How long an example takes says something about the machine only.
settings.register_profile("limosa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("limosa")

PEERS = {
    "dcmtk": ("dcmqrscp", "storescu", "storescp", "findscu", "movescu"),
    "orthanc": ("Orthanc",),
    "chromium": ("chromium",),
}
# Debian installs Orthanc where an ordinary user's PATH does not look.
PEER_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
WAIT_SECONDS = 20.0
POLL_SECONDS = 0.02
# How long what was told to stop may take to be gone when the session ends.
FAREWELL_SECONDS = float(os.environ.get("LIMOSA_TEST_FAREWELL_SECONDS", "10"))

ABSENT = " absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """An endpoint with its key, and one bucket that is empty and this test's own."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    bucket: str


WaitUntil = Callable[..., None]


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The session's Postgres; leave it running (see `postgres` for one to kill)."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    """The session's S3 endpoint; leave it running (see `own_s3` for one to kill)."""
    server = EmbeddedS3(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.remove()


@pytest.fixture
def new_database(postgres_server: EmbeddedPostgres) -> Iterator[Callable[..., str]]:
    """`new_database(template="name")` makes a database and returns its URL; all are dropped afterwards."""
    made: list[str] = []

    def make(template: str = "template1") -> str:
        name = f"test_{secrets.token_hex(8)}"
        statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            connection.execute(statement)
        made.append(name)
        return urlsplit(postgres_server.url)._replace(path=f"/{name}").geturl()

    yield make
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        for name in made:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def postgres_url(new_database: Callable[..., str]) -> str:
    """A fresh, empty database."""
    return new_database()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres of this test's own, to be stopped, killed and started again."""
    server = EmbeddedPostgres(tmp_path / "own-postgres")
    server.start()
    yield server
    server.remove()


@pytest.fixture
def own_s3(tmp_path: Path) -> Iterator[EmbeddedS3]:
    """An S3 endpoint of this test's own, to be stopped, killed and started again."""
    server = EmbeddedS3(tmp_path / "own-s3")
    server.start()
    yield server
    server.remove()


@pytest.fixture
def s3(s3_server: EmbeddedS3) -> Iterator[Bucket]:
    """A fresh, empty bucket at the session's endpoint."""
    bucket = Bucket(
        endpoint_url=s3_server.endpoint_url,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        region=s3_server.region,
        bucket=f"test-{secrets.token_hex(8)}",
    )
    client = boto3.client(
        "s3",
        endpoint_url=bucket.endpoint_url,
        aws_access_key_id=bucket.access_key,
        aws_secret_access_key=bucket.secret_key,
        region_name=bucket.region,
        config=Config(retries={"total_max_attempts": 3}),
    )
    client.create_bucket(Bucket=bucket.bucket)
    yield bucket
    # The endpoint deletes a bucket with what is in it, except what a test has locked; that goes with the session.
    with suppress(ClientError):
        client.delete_bucket(Bucket=bucket.bucket)
    client.close()


@pytest.fixture(scope="session")
def wait_until() -> WaitUntil:
    """`wait_until(condition, timeout, what)` returns when the condition holds and fails the test when it never does."""

    def wait(condition: Callable[[], object], timeout: float = WAIT_SECONDS, what: str = "the condition") -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not within {timeout:g} s", pytrace=True)
            time.sleep(POLL_SECONDS)

    return wait


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("peer"):
        for peer in marker.args:
            if _present(peer):
                continue
            # A build that quietly skips what it was set up to prove would prove nothing.
            if os.environ.get("CI") == "true":
                pytest.fail(f"{peer} is absent, and CI must run everything", pytrace=False)
            pytest.skip(f"{peer}{ABSENT}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # From the reports, which also come from the processes that share a run.
    reasons = (str(report.longrepr[2]) for report in terminalreporter.getreports("skipped"))
    absent = Counter(
        reason.removeprefix("Skipped: ").removesuffix(ABSENT) for reason in reasons if reason.endswith(ABSENT)
    )
    for peer, count in sorted(absent.items()):
        terminalreporter.write_line(f"not run: {peer} absent ({count} tests)", yellow=True)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The session fails when a process it started, directly or not, is alive at its end."""
    yield
    folder = tmp_path_factory.getbasetemp()
    _, alive = psutil.wait_procs(_left(folder), timeout=FAREWELL_SECONDS)
    names = [name for one in alive if (name := _named(one))]
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    assert not names, "left running: " + "; ".join(names)


def _named(one: psutil.Process) -> str:
    """Empty for a process that ended while it was asked."""
    try:
        return f"{one.pid} {' '.join(one.cmdline())[:120]}"
    except psutil.NoSuchProcess:
        return ""


def _left(folder: Path) -> list[psutil.Process]:
    homes = tuple(str(path) for path in (folder, *_homes(folder)))
    return [one for one in psutil.process_iter() if one.pid != os.getpid() and _ours(one, homes)]


def _ours(one: psutil.Process, homes: tuple[str, ...]) -> bool:
    try:
        # multiprocessing's own bookkeeper ends with the interpreter, by design.
        if one.status() == psutil.STATUS_ZOMBIE or "resource_tracker" in " ".join(one.cmdline()):
            return False
        return (
            one.environ().get("LIMOSA_TEST_SESSION") == SESSION
            or os.getpid() in (parent.pid for parent in one.parents())
            or one.cwd().startswith(homes)
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _homes(folder: Path) -> list[Path]:
    """Where servers keep their files that root's tests started: their environment is bare, their place tells."""
    return [
        origin.parent
        for origin in SHARED.glob("limosa-embedded/home-*/origin")
        if Path(origin.read_text(encoding="utf-8")).is_relative_to(folder)
    ]


def _present(peer: str) -> bool:
    # A peer that is not listed is one program of that name.
    return all(shutil.which(program, path=PEER_PATH) for program in PEERS.get(peer, (peer,)))
