"""Settings of the worker side; `cluster.job` composes them into the job file."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, StringConstraints

AeTitle = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[\x20-\x5b\x5d-\x7e]{1,16}$")]
"""1 to 16 printable ASCII characters without backslash (PS3.5 table 6.2-1, VR AE)."""

Port = Annotated[int, Field(ge=1, le=65535)]


class Options(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceProfile(Options):
    """What is peculiar about a source; learnt by `limosa check`, overridable in the job file."""

    find_cap: int | None = Field(default=None, ge=1, description="answers after which the source cuts a C-FIND")
    charset: str = Field(default="ISO_IR 100", description="character set of answers that declare none")
    image_level: bool = Field(default=True, description="IMAGE-level C-FIND lists every instance of a study")
    study_counts: bool = Field(default=True, description="answers carry NumberOfStudyRelatedInstances")
    stable: bool = Field(default=True, description="two retrieves of a study give equal UIDs and bytes")


class DimseSource(Options):
    """A PACS spoken to by C-FIND and C-MOVE."""

    kind: Literal["dimse"] = "dimse"
    name: str = Field(default="source", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    host: str
    port: Port
    ae_title: AeTitle = Field(description="the archive's AE title")
    calling_ae_title: AeTitle = Field(default="LIMOSA", description="the AE title we call with")
    associations: int = Field(default=4, ge=1, le=256, description="most C-MOVEs at once, all movers together")
    find_timeout: timedelta = Field(default=timedelta(minutes=5), description="longest wait for one C-FIND message")
    move_timeout: timedelta = Field(default=timedelta(minutes=30), description="longest silence during a C-MOVE")
    quiet: timedelta = Field(
        default=timedelta(seconds=10),
        description="after the final C-MOVE answer: this long without an arrival means no more will come",
    )
    quiet_limit: timedelta = Field(
        default=timedelta(minutes=2), description="longest wait for stragglers after the final answer"
    )
    profile: SourceProfile = Field(default_factory=SourceProfile)


class Receiver(Options):
    """An AE title of ours that the source knows as a C-MOVE destination."""

    ae_title: AeTitle
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: Port
    processes: int = Field(default=1, ge=1, le=64, description="mover processes that share this title and port")
    associations: int = Field(default=2, ge=1, le=64, description="C-MOVE associations per process")
    allow: tuple[str, ...] = Field(default=(), description="addresses or networks that may connect; empty: any")
    callers: tuple[AeTitle, ...] = Field(default=(), description="AE titles that may call; empty: any")


class MoverLimits(Options):
    """Bounds of one mover process; each exists so that memory or waiting has an end."""

    memory: ByteSize = Field(default=ByteSize(320 << 20), description="buffers of one mover, all studies together")
    in_memory_instance: ByteSize = Field(default=ByteSize(8 << 20), description="larger instances go to the spool")
    lease: timedelta = Field(default=timedelta(seconds=60), description="a worker silent this long loses its claims")
    attempts: int = Field(default=3, ge=1, description="attempts per study before it becomes an exception")
    retry_delay: timedelta = Field(default=timedelta(seconds=30), description="pause before another attempt; doubles")
