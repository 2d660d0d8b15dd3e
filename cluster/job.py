"""The job file: one TOML document that says what moves from where to where, and within which limits.

Precedence: environment (`LIMOSA_LEDGER__URL=...`) over the file over the defaults. Everything that is
wrong with a file is reported at once, each with its line and, for a misspelt name, the nearest right one.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from actors.coercion_options import NO_COERCION, CoercionOptions
from actors.destination_options import DimseOptions
from actors.dose_options import NO_DOSE, DoseOptions
from actors.identity_options import IdentityOptions
from actors.options import MoverLimits, Options, Receiver, SourceOptions, self_served
from cluster.inventory.options import InventoryOptions
from cluster.job_errors import ENV_PREFIX, JobFileError, Mistake, explain
from cluster.planning.accession_options import AccessionOptions
from cluster.project import PROFILES, Project
from cluster.schedule import Schedule
from imaging.coercion.attributes import name_of
from imaging.identity.tags import ACCESSION_TAGS, IDENTITY_TAGS
from storage.ledger.address import LedgerAddress
from storage.sinks.existing import Existing
from storage.sinks.options import DicomwebOptions, S3Options, SecretRef, SeedOptions

EMBEDDED = "embedded"
"""In place of an address: Limosa starts the service itself, below the job's state folder."""

MAX_JOB_FILE = 1 << 20
"""Bytes; a longer file is not a job file."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        raise ValueError(f"no time zone called {name!r}; use a name such as Europe/Berlin") from None
    return name


class JobOptions(Options):
    """The [job] table."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="the job's name in the ledger")
    state_dir: Path | None = Field(
        default=None, description="spool, logs, embedded services; default: <job file>.limosa"
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description="the archive's; schedule hours are in it"
    )
    project: Project | None = Field(
        default=None, description="what kind of project it is; sets coercion.profile, and is held against what is found"
    )


class LedgerOptions(Options):
    """The [ledger] table."""

    url: str = Field(default=EMBEDDED, description='"embedded" or postgresql://user@host/database')
    password: SecretRef | None = Field(
        default=None, description="env:NAME or file:/path; absent: libpq's own PGPASSFILE"
    )

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if url == EMBEDDED:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres"):
            raise ValueError('must be "embedded" or start with postgresql://')
        if parts.password is not None:
            raise ValueError('holds a password; name where it is instead: password = "env:NAME" or "file:/path"')
        return url

    @property
    def address(self) -> LedgerAddress:
        """Where it is, for an address that is not "embedded"."""
        return LedgerAddress(self.url, self.password)


class ClusterOptions(Options):
    """The [cluster] table."""

    ray: str = Field(
        default="local",
        pattern=r"^(local|auto|ray://[^\s/]+:\d+|[A-Za-z0-9_.\-]+:\d+)$",
        description='"local", "auto", "host:port" or "ray://host:port"',
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    feeders: int = Field(default=1, ge=1, le=64, description="processes that write the destinations fed from the first")
    feeder_lanes: int = Field(default=2, ge=1, le=64, description="studies each of them copies at once")
    validators: int = Field(default=1, ge=1, le=64, description="processes that read destinations back")
    validator_lanes: int = Field(default=2, ge=1, le=64, description="studies each of them reads at once")


class ScheduleOptions(Options):
    """The [schedule] table."""

    hours: tuple[str, ...] = Field(
        default=(), description='when the source may be asked to send, e.g. "mon-fri 18:00-06:00"'
    )

    @field_validator("hours")
    @classmethod
    def _readable(cls, hours: tuple[str, ...]) -> tuple[str, ...]:
        Schedule.parse(hours, "UTC")
        return hours


class _Inline(Options):
    inline: bool | None = Field(
        default=None, description="true: written while the source sends; default: the first destination"
    )


class S3Destination(S3Options, _Inline):
    """An S3 destination of the job file; `endpoint_url = "embedded"` starts one."""

    endpoint_url: str | None = Field(
        default=None, pattern=r"^(https?://.+|embedded)$", description='"embedded": started here'
    )


class SeedDestination(SeedOptions, _Inline):
    """A seed destination of the job file."""


class DicomwebDestination(DicomwebOptions, _Inline):
    """A DICOMweb destination of the job file."""


class DimseDestination(DimseOptions, _Inline):
    """A DIMSE destination of the job file."""


Destination = Annotated[
    S3Destination | SeedDestination | DicomwebDestination | DimseDestination, Field(discriminator="kind")
]


SERVICES = (DicomwebDestination, DimseDestination)
"""Destinations that hold instances and no packs."""


class Job(BaseSettings):
    """A whole job file, checked."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    job: JobOptions
    ledger: LedgerOptions = LedgerOptions()
    cluster: ClusterOptions = ClusterOptions()
    source: SourceOptions
    receivers: tuple[Receiver, ...] = ()
    destinations: Annotated[tuple[Destination, ...], Field(min_length=1)]
    limits: MoverLimits = MoverLimits()
    schedule: ScheduleOptions = ScheduleOptions()
    inventory: InventoryOptions = InventoryOptions()
    coercion: CoercionOptions = NO_COERCION
    dose: DoseOptions = NO_DOSE
    identity: IdentityOptions | None = None
    accession: AccessionOptions | None = None

    _file: Path = PrivateAttr(Path("job.toml"))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)

    @model_validator(mode="before")
    @classmethod
    def _as_the_project_has_it(cls, tables: Any) -> Any:
        """What the kind of project decides where the job file does not."""
        job = tables.get("job") if isinstance(tables, dict) else None
        kind = job.get("project") if isinstance(job, dict) else None
        coercion = tables.get("coercion", {}) if isinstance(tables, dict) else None
        if kind in set(Project) and isinstance(coercion, dict):
            return {**tables, "coercion": {"profile": PROFILES[Project(kind)], **coercion}}
        return tables

    @model_validator(mode="after")
    def _belongs_together(self) -> "Job":
        problems: list[str] = []
        if self.ledger.url == EMBEDDED and self.cluster.ray != "local":
            problems.append(
                'ledger.url: "embedded" listens on this machine only, and the workers of a Ray cluster elsewhere '
                'could not reach it; give a postgresql:// address or set cluster.ray = "local"'
            )
        if self.cluster.ray != "local" and any(item.endpoint_url == EMBEDDED for item in self._s3()):
            problems.append('destinations: endpoint_url "embedded" is out of reach for a Ray cluster elsewhere')
        if self_served(self.source) and self.receivers:
            what = 'retrieve = "c-get"' if self.source.kind == "dimse" else f"kind {self.source.kind}"
            problems.append(f"receivers: a source of {what} sends to nobody; leave [[receivers]] out")
        if not self_served(self.source) and not self.receivers:
            problems.append(
                "receivers: at least one is needed, a title of ours that the source sends to; where none can be "
                'registered there, source.retrieve = "c-get" needs none'
            )
        problems += _repeated(
            "receivers: two share the AE title and port", [(r.ae_title, r.port) for r in self.receivers]
        )
        problems += _repeated("destinations: two share the name", [d.name for d in self.destinations])
        titles: dict[int, set[str]] = {}
        for receiver in self.receivers:
            titles.setdefault(receiver.port, set()).add(receiver.ae_title)
        problems += [
            f"receivers: port {port} serves several AE titles" for port, held in titles.items() if len(held) > 1
        ]
        problems += [
            f"coercion.rules: {rule.name!r} is for a source that this job does not have; its source is called "
            f"{self.source.name!r}"
            for rule in self.coercion.rules
            if rule.sources and self.source.name not in rule.sources
        ]
        problems += self._told_twice()
        if sum(d.inline is True for d in self.destinations) > 1:
            problems.append("destinations: only one can be inline; the others are fed from what it holds")
        if all(d.inline is False for d in self.destinations):
            problems.append("destinations: one must be inline")
        elif len(self.destinations) > 1 and isinstance(self.inline_destination, SERVICES):
            problems.append(
                "destinations: the others would be fed from a DICOM service, which need not give back the bytes it was "
                "sent; put an s3 or seed destination among them, or make a job for each"
            )
        if isinstance(self.inline_destination, SERVICES) and self.inline_destination.existing is Existing.TOLD:
            problems.append(
                f"destinations: {self.inline_destination.name!r} is told of what another destination gets: with "
                'existing = "told" put an s3 or seed destination beside it'
            )
        problems += [
            f"destinations: the commitment port {item.commitment.port} of {item.name!r} is a receiver's"
            for item in self.destinations
            if isinstance(item, DimseDestination)
            and item.commitment is not None
            and item.commitment.port in {receiver.port for receiver in self.receivers}
        ]
        problems += [] if problems else self._crowds()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _crowds(self) -> Iterator[str]:
        """Destinations that drop connections, and would be given more than they keep."""
        movers = sum(receiver.largest for receiver in self.receivers)
        if self_served(self.source):
            movers = self.source.processes
        feeders = self.cluster.feeders if len(self.destinations) > 1 else 0
        for item in self._s3():
            # Feeders write the others and read the inline one.
            writers = movers + feeders if item is self.inline_destination else feeders
            together = (writers + self.cluster.validators) * item.connections
            if item.endpoint.connections is not None and together > item.endpoint.connections:
                yield (
                    f"destinations: {item.name!r} may be given {together} connections at once and takes "
                    f"{item.endpoint.connections}; lower its connections, or the processes"
                )

    def _told_twice(self) -> list[str]:
        """What identity or accession decide is decided by nothing else, or the outcome would be neither's."""
        if self.accession is not None and self.identity is None:
            return ["accession: needs [identity]; whose a number is depends on the patients' issuers"]
        named = {
            name_of(action.tag)
            for rule in self.coercion.rule_set().rules
            for action in rule.actions
            if (self.identity is not None and action.tag in IDENTITY_TAGS)
            or (self.accession is not None and action.tag in ACCESSION_TAGS)
        }
        return [f"coercion.rules: {name} is decided by [identity] or [accession]" for name in sorted(named)]

    @property
    def file(self) -> Path:
        return self._file

    @property
    def state_dir(self) -> Path:
        """Where the job keeps its spool, logs and embedded services; relative paths count from the job file."""
        given = self.job.state_dir or Path(f"{self._file.stem}.limosa")
        return (self._file.parent / given).absolute()

    @property
    def inline_destination(self) -> Destination:
        """The one that is written while the source sends."""
        chosen = [d for d in self.destinations if d.inline]
        if chosen:
            return chosen[0]
        willing = [d for d in self.destinations if d.inline is not False]
        return next((d for d in willing if not isinstance(d, SERVICES)), willing[0])

    @property
    def opening(self) -> Schedule:
        return Schedule.parse(self.schedule.hours, self.job.time_zone)

    @property
    def find_cap(self) -> int | None:
        return self.source.profile.find_cap

    @property
    def source_identity(self) -> str:
        """What makes it the same archive: a ledger never takes in a second one."""
        return self.source.identity

    def shown(self) -> dict[str, Any]:
        """The settings in effect, as plain values; secrets are references and stay so."""
        return self.model_dump(mode="json")

    def _s3(self) -> list[S3Destination]:
        return [item for item in self.destinations if isinstance(item, S3Destination)]


def load_job(path: Path) -> Job:
    """The job in the TOML file at `path`, with overrides from the environment.

    Raises
    ------
    JobFileError
        The file cannot be read, is no TOML, or holds mistakes; all of them are named.
    """
    text = _read(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise JobFileError(path, (Mistake("", str(error), int(line[1]) if line else None),)) from None
    return build_job(table, path, text)


def build_job(table: Mapping[str, Any], path: Path, text: str = "") -> Job:
    """The job of an already parsed document; `path` is where it stands or would stand."""
    try:
        job = Job(**table)
    except ValidationError as error:
        raise JobFileError(path, explain(error, Job, text)) from None
    job._file = path.absolute()
    return job


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_JOB_FILE + 1)
        if len(raw) > MAX_JOB_FILE:
            raise JobFileError(path, (Mistake("", "is longer than 1 MiB: not a job file"),))
        return raw.decode("utf-8")
    except FileNotFoundError:
        raise JobFileError(path, (Mistake("", "does not exist; write one with: limosa init " + path.name),)) from None
    except OSError as error:
        raise JobFileError(path, (Mistake("", (error.strerror or "cannot be read").lower()),)) from None
    except UnicodeDecodeError:
        raise JobFileError(path, (Mistake("", "is not UTF-8 text"),)) from None


def _repeated(what: str, values: list[Any]) -> list[str]:
    return [f"{what} {value!r}" for value in dict.fromkeys(v for v in values if values.count(v) > 1)]
