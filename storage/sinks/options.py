"""Settings of the destinations; `cluster.job` composes them into the job file."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from storage.dicomweb.options import WebAccess
from storage.packs.model import Container
from storage.packs.naming import check_prefix
from storage.seeds.profiles import PROFILES, ProfileName
from storage.sinks.existing import Existing
from storage.sinks.secret import SecretRef

MIN_PART = 5 << 20
"""S3 refuses smaller parts, the last one excepted."""

MAX_PART = 1 << 30
"""S3 takes 5 GiB; a writer holds two parts in memory, so one is the limit of sense."""

SinkName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]

Prefix = Annotated[str, AfterValidator(check_prefix)]

SLOWEST = 1 << 20
"""Bytes a second: a worker that is told to stop waits until the piece of 1 MiB that it writes had its turn."""


def _per_second(value: object) -> object:
    return value.strip().removesuffix("/s") if isinstance(value, str) else value


Rate = Annotated[ByteSize, BeforeValidator(_per_second), Field(ge=SLOWEST)]
"""Bytes a second: `150MB/s`."""


class SinkSettings(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: SinkName = Field(description="the destination's name in the ledger; keep it for the job's life")
    compression: Literal["zstd", "none"] = Field(
        "zstd", description="of packs with raw pixels; none: where the line is faster than a core compresses"
    )


class S3Options(SinkSettings):
    """An S3-compatible object store."""

    kind: Literal["s3"] = "s3"
    endpoint_url: str | None = Field(None, pattern=r"^https?://", description="None: AWS itself")
    region: str = "us-east-1"
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: Prefix = ""
    layout: Literal["pack", "p10"] = Field("pack", description="one object per study, or one per instance")
    part_size: Annotated[ByteSize, Field(ge=MIN_PART, le=MAX_PART)] = ByteSize(16 << 20)
    access_key: SecretRef | None = Field(None, description="None: the SDK's own chain (role, profile, environment)")
    secret_key: SecretRef | None = None
    path_style: bool = Field(True, description="bucket in the path; most S3-compatible stores need it")
    checksum: Literal["crc64nvme", "none"] = Field("crc64nvme", description="none: for stores that refuse the header")
    if_none_match: bool = Field(True, description="False: for stores that refuse conditional writes")
    ca_bundle: Path | None = Field(None, description="certificates to trust instead of the system's")
    storage_class: str | None = Field(None, pattern=r"^[A-Z_]+$")
    sse: Literal["AES256", "aws:kms"] | None = None
    kms_key: str | None = None
    connections: int = Field(16, ge=1, le=512, description="most requests at once from one process")
    sweep_after: timedelta = Field(
        timedelta(hours=1), description="unknown uploads younger than this are left: their worker may be about to tell"
    )


class SeedOptions(SinkSettings):
    """A set of devices that will be shipped: disks, appliances' shares, folders."""

    kind: Literal["seed"] = "seed"
    devices: tuple[Path, ...] = Field(min_length=1, description="where they are mounted; earlier ones are filled first")
    parallel: int = Field(8, ge=1, le=64, description="devices that are filled at once; 1: one after the other")
    write_rate: Rate | None = Field(None, description="most bytes a second onto each device; None: as fast as it takes")
    reserve: ByteSize = Field(ByteSize(4 << 30), description="bytes left free on each: manifests, bags, the seal")
    group_size: ByteSize = Field(ByteSize(64 << 20), ge=1 << 20, description="bytes between two fsyncs")
    layout: Literal["pack"] = "pack"
    profile: ProfileName = Field(ProfileName.PLAIN, description="the kind of devices, whose limits are held to")

    disk_key: SecretRef | None = Field(None, description="packs are encrypted with it where they lie; plain disks only")

    @model_validator(mode="after")
    def _encrypted_by_one(self) -> "SeedOptions":
        if self.disk_key is not None and self.profile is not ProfileName.PLAIN:
            raise ValueError(
                "disk_key is for plain disks: an appliance encrypts by itself, and would import ciphertext"
            )
        return self

    @property
    def room_kept(self) -> int:
        """Bytes left free on each device: the setting, or what devices of this kind need if that is more."""
        return max(self.reserve, PROFILES[self.profile].reserve)


class DicomwebOptions(WebAccess):
    """A DICOMweb service: written by STOW-RS, read back by WADO-RS."""

    kind: Literal["dicomweb"] = "dicomweb"
    name: SinkName = Field(description="the destination's name in the ledger; keep it for the job's life")
    existing: Existing = Field(
        Existing.KEPT, description="what it does with an instance it has already when one of the same UID comes"
    )
    batch_size: Annotated[ByteSize, Field(ge=1 << 20, le=MAX_PART)] = Field(
        ByteSize(32 << 20), description="of one request; an instance that is larger goes alone"
    )
    batch_count: int = Field(64, ge=1, le=1000, description="instances in one request")


RAW_PIXELS = {"zstd": Container.TAR_ZST, "none": Container.TAR}
"""The container of raw pixels by `SinkSettings.compression`."""

SinkOptions = Annotated[S3Options | SeedOptions | DicomwebOptions, Field(discriminator="kind")]
