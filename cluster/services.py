"""The services behind a job: given by address, or started below its state folder and shared by its commands.

Several commands may work on one job at the same time. Each holds a shared lock while it uses an embedded
service; whoever lets go last stops the service. A command that was killed held its lock through the kernel,
so it never counts.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from actors.destination_options import DestinationOptions, DimseOptions
from cluster.job import EMBEDDED, Destination, DicomwebDestination, DimseDestination, Job, S3Destination
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3
from storage.ledger.address import LedgerAddress
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate
from storage.sinks.options import DicomwebOptions, S3Options, SeedOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Where the job's services are, for as long as the block lasts."""

    ledger: LedgerAddress
    destinations: tuple[DestinationOptions, ...]
    inline: str
    """Name of the destination that is written while the source sends."""
    embedded: "tuple[Embedded, ...]"

    def revive(self) -> None:
        """Embedded services that died are started again; those that run are left alone."""
        for server in self.embedded:
            server.start()


class Embedded(Protocol):
    """A server that `infra.embedded` starts; both verbs are idempotent."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@contextmanager
def services(job: Job) -> Iterator[Services]:
    """The job's ledger and destinations answer; what is embedded was started or joined.

    Raises
    ------
    ServerError
        An embedded service does not start.
    Rejected
        The ledger's password is not where the job file says.
    """
    with ExitStack() as stack:
        folder = job.state_dir / "services"
        address, started = _ledger(job, folder, stack)
        endpoint = None
        if any(isinstance(item, S3Destination) and item.endpoint_url == EMBEDDED for item in job.destinations):
            endpoint = EmbeddedS3(folder / "s3")
            stack.enter_context(_shared(endpoint, folder / "s3.users"))
            started.append(endpoint)
        destinations = tuple(_sink(item, endpoint, folder) for item in job.destinations)
        yield Services(
            ledger=address,
            destinations=destinations,
            inline=job.inline_destination.name,
            embedded=tuple(started),
        )


@contextmanager
def open_ledger(job: Job, *, pool_size: int = 4) -> Iterator[Ledger]:
    """The job's ledger, at this version's schema; destinations are left alone."""
    with ExitStack() as stack:
        address, _ = _ledger(job, job.state_dir / "services", stack)
        url = address.resolved()
        migrate(url)
        yield stack.enter_context(Ledger(url, pool_size=pool_size))


def _ledger(job: Job, folder: Path, stack: ExitStack) -> "tuple[LedgerAddress, list[Embedded]]":
    if job.ledger.url != EMBEDDED:
        return job.ledger.address, []
    postgres = EmbeddedPostgres(folder / "postgres")
    stack.enter_context(_shared(postgres, folder / "postgres.users"))
    return _address(postgres.url, folder), [postgres]


@contextmanager
def _shared(server: Embedded, users: Path) -> Iterator[None]:
    users.parent.mkdir(parents=True, exist_ok=True)
    in_use = os.open(users, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _gate(users):
            server.start()
            fcntl.flock(in_use, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with _gate(users):
                if _alone(in_use):
                    server.stop()
    finally:
        os.close(in_use)


@contextmanager
def _gate(users: Path) -> Iterator[None]:
    """Starting and stopping happen one at a time."""
    gate = os.open(users.with_suffix(".gate"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield
    finally:
        os.close(gate)


def _alone(in_use: int) -> bool:
    """True when nobody else holds a shared lock; nobody can take one while the caller is in the gate."""
    try:
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sink(item: Destination, endpoint: EmbeddedS3 | None, folder: Path) -> DestinationOptions:
    given = item.model_dump(exclude={"inline"})
    if isinstance(item, DimseDestination):
        return DimseOptions(**given)
    if isinstance(item, DicomwebDestination):
        return DicomwebOptions(**given)
    if not isinstance(item, S3Destination):
        return SeedOptions(**given)
    if item.endpoint_url != EMBEDDED or endpoint is None:
        return S3Options(**given)
    given |= {
        "endpoint_url": endpoint.endpoint_url,
        "region": endpoint.region,
        "access_key": _kept(folder / "s3-access-key", endpoint.access_key),
        "secret_key": _kept(folder / "s3-secret-key", endpoint.secret_key),
    }
    # Commands that only look at the ledger must not wait half a second for the S3 library.
    from storage.sinks.s3_bucket import ensure_bucket

    options = S3Options(**given)
    ensure_bucket(options)
    return options


def _address(url: str, folder: Path) -> LedgerAddress:
    """The embedded server's address with its password moved to a file."""
    parts = urlsplit(url)
    reference = _kept(folder / "ledger-password", unquote(parts.password or ""))
    return LedgerAddress(parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl(), reference)


def _kept(path: Path, value: str) -> str:
    """A reference to `value`, which lies in a file only this user reads: settings never carry secrets."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(value)
    # Workers of another command may be reading it.
    draft.replace(path)
    return f"file:{path}"
