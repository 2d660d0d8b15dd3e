"""Settings of the worker side; `cluster.job` composes them into the job file."""

import re
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from actors.tuning import Bounds
from storage.dicomweb.options import WebAccess
from storage.paths import AbsolutePath

AeTitle = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[\x20-\x5b\x5d-\x7e]{1,16}$")]
"""1 to 16 printable ASCII characters without backslash (PS3.5 table 6.2-1, VR AE)."""

Port = Annotated[int, Field(ge=1, le=65535)]


AUTO = "auto"
CALLING_AE = "LIMOSA"
"""The AE title we call with where nothing else is said."""

MOST_ASSOCIATIONS = 256
"""Of one source: far beyond what any archive was seen to use."""
AUTO_RANGE = (2, 8)
"""What "auto" stands for: how many archives are asked with in practice; whoever wants more says how much more."""


def _range(value: Any) -> Any:
    """A number, "auto" or "2-12"; digits are a number, since the environment only holds text."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if text.isdecimal():
        return int(text)
    found = re.fullmatch(r"(\d{1,4})\s*-\s*(\d{1,4})", text)
    if text != AUTO and (found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST_ASSOCIATIONS):
        raise ValueError(f'write a number, "auto", or a range such as "2-12" (1 to {MOST_ASSOCIATIONS})')
    return text if found is None else f"{int(found[1])}-{int(found[2])}"


Associations = Annotated[Annotated[int, Field(ge=1, le=MOST_ASSOCIATIONS)] | str, BeforeValidator(_range)]
"""How many C-MOVEs at once: a number, or a range within which it follows what the archive gives."""


def bounds_of(associations: int | str) -> Bounds:
    """The range that a value of `associations` stands for."""
    match associations:
        case int(number):
            return Bounds(least=number, most=number)
        case "auto":
            return Bounds(least=AUTO_RANGE[0], most=AUTO_RANGE[1])
        case text:
            least, most = (int(part) for part in text.split("-"))
            return Bounds(least=least, most=most)


class Options(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsOptions(Options):
    """TLS for DICOM (PS3.15 annex B, the BCP 195 profile). All files are PEM."""

    certificate: AbsolutePath | None = Field(default=None, description="our certificate, followed by its chain")
    key: AbsolutePath | None = Field(
        default=None, description="its private key, not encrypted; absent: in the certificate's file"
    )
    ca: AbsolutePath | None = Field(
        default=None,
        description="authorities whose certificates peers must show; absent: a source must show one this machine "
        "trusts, who sends to a receiver need not show any",
    )

    @model_validator(mode="after")
    def _key_belongs_to_a_certificate(self) -> "TlsOptions":
        if self.key is not None and self.certificate is None:
            raise ValueError("a key without a certificate")
        return self


class SourceProfile(Options):
    """What is peculiar about a source; learnt by `limosa check`, overridable in the job file."""

    find_cap: int | None = Field(default=None, ge=1, description="answers after which the source cuts a C-FIND")
    charset: str = Field(default="ISO_IR 100", description="character set of answers that declare none")
    image_level: bool = Field(default=True, description="IMAGE-level C-FIND lists every instance of a study")
    study_counts: bool = Field(default=True, description="answers carry NumberOfStudyRelatedInstances")
    stable: bool = Field(default=True, description="two retrieves of a study give equal UIDs and bytes")


C_GET = "c-get"


class DimseSource(Options):
    """A PACS spoken to by C-FIND and by C-MOVE or C-GET."""

    kind: Literal["dimse"] = "dimse"
    name: str = Field(default="source", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    host: str
    port: Port
    ae_title: AeTitle = Field(description="the archive's AE title")
    calling_ae_title: AeTitle = Field(default=CALLING_AE, description="the AE title we call with")
    retrieve: Literal["c-move", "c-get"] = Field(
        default="c-move", description="c-get: it sends on our own association, and needs no receiver"
    )
    associations: Associations = Field(
        default=AUTO,
        description='retrieves at once, all movers together: a number, a range ("2-12"), or "auto", which is "2-8"',
    )
    processes: int = Field(
        default=1, ge=1, le=64, description="mover processes, with c-get; with c-move each receiver says its own"
    )
    find_timeout: timedelta = Field(default=timedelta(minutes=5), description="longest wait for one C-FIND message")
    move_timeout: timedelta = Field(default=timedelta(minutes=30), description="longest silence during a retrieve")
    quiet: timedelta = Field(
        default=timedelta(seconds=10),
        description="after the final C-MOVE answer: this long without an arrival means no more will come; 0 with c-get",
    )
    quiet_limit: timedelta = Field(
        default=timedelta(minutes=2), description="longest wait for stragglers after the final answer"
    )
    profile: SourceProfile = Field(default_factory=SourceProfile)
    tls: TlsOptions | None = Field(default=None, description="absent: plain TCP")

    @model_validator(mode="before")
    @classmethod
    def _nothing_follows_a_get(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("retrieve") == C_GET:
            # What was asked for by C-GET comes before its final answer, or not at all.
            return {"quiet": timedelta(0), **values}
        return values

    @model_validator(mode="after")
    def _processes_are_of_what_receives(self) -> "DimseSource":
        if self.processes > 1 and self.retrieve != C_GET:
            raise ValueError('processes: with c-move they are set in [[receivers]]; here only with retrieve = "c-get"')
        return self

    @property
    def bounds(self) -> Bounds:
        """The range of `associations`."""
        return bounds_of(self.associations)

    @property
    def identity(self) -> str:
        """What makes it the same archive."""
        return f"dimse:{self.ae_title}@{self.host}:{self.port}"


class FilesSource(Options):
    """A tree of files: the export of a vendor, on disks or a share that every mover's machine has at the same place."""

    kind: Literal["files"] = "files"
    name: str = Field(default="source", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    roots: Annotated[tuple[AbsolutePath, ...], Field(min_length=1)] = Field(
        description="folders whose files are the archive, each with everything below it"
    )
    associations: Associations = Field(
        default=AUTO, description='studies read at once, all movers together: a number, a range, or "auto" ("2-8")'
    )
    processes: int = Field(default=1, ge=1, le=64, description="mover processes")
    profile: SourceProfile = Field(default_factory=SourceProfile)

    @property
    def bounds(self) -> Bounds:
        """The range of `associations`."""
        return bounds_of(self.associations)

    @property
    def quiet(self) -> timedelta:
        """Nothing arrives after a file was read."""
        return timedelta(0)

    @property
    def quiet_limit(self) -> timedelta:
        return timedelta(0)

    @property
    def identity(self) -> str:
        """What makes it the same archive."""
        return f"files:{':'.join(str(root) for root in self.roots)}"


class DicomwebSource(WebAccess):
    """An archive that is asked by QIDO-RS and retrieved from by WADO-RS."""

    kind: Literal["dicomweb"] = "dicomweb"
    name: str = Field(default="source", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    associations: Associations = Field(
        default=AUTO, description='studies fetched at once, all movers together: a number, a range, or "auto" ("2-8")'
    )
    processes: int = Field(default=1, ge=1, le=64, description="mover processes")
    profile: SourceProfile = Field(default_factory=SourceProfile)

    @property
    def bounds(self) -> Bounds:
        """The range of `associations`."""
        return bounds_of(self.associations)

    @property
    def quiet(self) -> timedelta:
        """Nothing arrives after a response has ended."""
        return timedelta(0)

    @property
    def quiet_limit(self) -> timedelta:
        return timedelta(0)

    @property
    def identity(self) -> str:
        """What makes it the same archive."""
        parts = urlsplit(self.url)
        return f"dicomweb:{parts.netloc}{parts.path}"


AnySource: TypeAlias = DimseSource | FilesSource | DicomwebSource


def self_served(source: AnySource) -> bool:
    """Whether instances are handed over in the process that asks: then no receiver is needed."""
    return not isinstance(source, DimseSource) or source.retrieve == C_GET


def source_kind(value: Any) -> str:
    """Which kind of source a table of the job file is; one that does not say is a PACS."""
    return str(value.get("kind", "dimse")) if isinstance(value, dict) else str(getattr(value, "kind", "dimse"))


SourceOptions = Annotated[
    Annotated[DimseSource, Tag("dimse")]
    | Annotated[FilesSource, Tag("files")]
    | Annotated[DicomwebSource, Tag("dicomweb")],
    Discriminator(source_kind),
]
"""Any source."""


class Receiver(Options):
    """An AE title of ours that the source knows as a C-MOVE destination."""

    ae_title: AeTitle
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: Port
    processes: int = Field(default=1, ge=1, le=64, description="mover processes that share this title and port")
    most_processes: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="as many as there may be once those at work saturate their cores; absent: no more than `processes`",
    )
    associations: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        default=AUTO,
        description='C-MOVE associations per process; "auto": as many as the source\'s, if memory holds them',
    )
    allow: tuple[str, ...] = Field(default=(), description="addresses or networks that may connect; empty: any")
    callers: tuple[AeTitle, ...] = Field(default=(), description="AE titles that may call; empty: any")
    tls: TlsOptions | None = Field(default=None, description="absent: plain TCP; else a certificate is needed")

    @field_validator("allow")
    @classmethod
    def _are_networks(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for text in allow:
            ip_network(text, strict=False)
        return allow

    @property
    def largest(self) -> int:
        """Processes there may ever be."""
        return max(self.processes, self.most_processes or 1)

    @model_validator(mode="after")
    def _has_a_certificate_for_tls(self) -> "Receiver":
        if self.tls is not None and self.tls.certificate is None:
            raise ValueError("tls needs a certificate to show to who connects")
        return self


class MoverLimits(Options):
    """Bounds of one mover process; each exists so that memory or waiting has an end."""

    memory: ByteSize = Field(default=ByteSize(512 << 20), description="buffers of one mover, all studies together")
    in_memory_instance: ByteSize = Field(default=ByteSize(8 << 20), description="larger instances go to the spool")
    lease: timedelta = Field(default=timedelta(seconds=60), description="a worker silent this long loses its claims")
    attempts: int = Field(default=3, ge=1, description="attempts per study before it becomes an exception")
    retry_delay: timedelta = Field(default=timedelta(seconds=30), description="pause before another attempt; doubles")
    outage: timedelta = Field(
        default=timedelta(minutes=30), description="source or destination away this long: stopped until the next run"
    )
