"""Settings of the destinations; `cluster.job` composes them into the job file."""

from datetime import timedelta
from typing import Annotated, Any, Literal

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
from storage.paths import AbsolutePath
from storage.seeds.profiles import PROFILES, ProfileName
from storage.sinks.deadline import HANGS_AFTER
from storage.sinks.existing import UpdateRule
from storage.sinks.s3_parts import MAX_PART, MIN_PART, PartPlan, steady_size
from storage.sinks.s3_profiles import ENDPOINTS, Endpoint, S3Profile, profile_problems
from storage.sinks.secret import SecretRef

SinkName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]

Prefix = Annotated[str, AfterValidator(check_prefix)]

_TAG = r"^[A-Za-z0-9 +\-=._:/@]*$"
TagName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_TAG)]
TagText = Annotated[str, StringConstraints(max_length=256, pattern=_TAG)]
"""Characters that AWS takes in tags of every service."""

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
    profile: S3Profile = Field(S3Profile.GENERIC, description="the kind of endpoint; some settings follow from it")
    endpoint_url: str | None = Field(None, pattern=r"^https?://", description="None: AWS itself")
    region: str = "us-east-1"
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: Prefix = ""
    layout: Literal["pack", "p10", "imaging-service"] = Field(
        "pack", description="one object per study, or one per instance, in batches that imaging services import"
    )
    part_size: Annotated[ByteSize, Field(ge=MIN_PART, le=MAX_PART)] = ByteSize(16 << 20)
    largest_pack: Annotated[ByteSize, Field(ge=1)] | None = Field(
        None, description="bytes of the largest study: no upload of one needs larger parts than it began with"
    )
    access_key: SecretRef | None = Field(None, description="None: the SDK's own chain (role, profile, environment)")
    secret_key: SecretRef | None = None
    path_style: bool = Field(True, description="bucket in the path; most S3-compatible stores need it")
    checksum: Literal["crc64nvme", "none"] = Field("crc64nvme", description="none: for stores that refuse the header")
    if_none_match: bool = Field(True, description="False: for stores that refuse conditional writes")
    ca_bundle: AbsolutePath | None = Field(None, description="certificates to trust instead of the system's")
    storage_class: str | None = Field(None, pattern=r"^[A-Z_]+$")
    sse: Literal["AES256", "aws:kms"] | None = None
    kms_key: str | None = None
    lock_mode: Literal["GOVERNANCE", "COMPLIANCE"] | None = Field(
        None, description="Object Lock: nobody deletes an object before `lock_days` are over"
    )
    lock_days: int | None = Field(None, ge=1, le=36_500, description="days from the moment it is written")
    tags: dict[TagName, TagText] = Field(default={}, max_length=10, description="object tags; no patient data")
    connections: int = Field(16, ge=1, le=512, description="most requests at once from one process")
    sweep_after: timedelta = Field(
        timedelta(hours=1), description="unknown uploads younger than this are left: their worker may be about to tell"
    )

    @property
    def endpoint(self) -> Endpoint:
        """What is known of endpoints of this kind."""
        return ENDPOINTS[self.profile]

    @property
    def parts(self) -> PartPlan:
        """How large the parts of an upload are."""
        steady = steady_size(self.part_size, self.largest_pack or 0)
        return PartPlan(size=steady, largest=self.endpoint.largest_part)

    @model_validator(mode="before")
    @classmethod
    def _as_the_profile_has_it(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = {each.value: endpoint for each, endpoint in ENDPOINTS.items()}
        endpoint = known.get(given.get("profile", S3Profile.GENERIC))
        return given if endpoint is None else {**endpoint.given, **given}

    @model_validator(mode="after")
    def _fits_the_endpoint(self) -> "S3Options":
        problems = profile_problems(self.profile, dict(self))
        if self.profile is S3Profile.SNOWBALL and self.endpoint_url is None:
            problems.append("endpoint_url: a Snowball is asked at its own address")
        if (self.lock_mode is None) != (self.lock_days is None):
            problems.append("lock_mode: Object Lock needs both lock_mode and lock_days")
        elif self.lock_mode is not None and self.checksum == "none":
            problems.append('lock_mode: S3 locks only what comes with a checksum; leave checksum at "crc64nvme"')
        if self.parts.size > min(MAX_PART, self.parts.largest):
            problems.append(f"largest_pack: needs parts of {self.parts.size} bytes, more than there may be")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class SeedOptions(SinkSettings):
    """A set of devices that will be shipped: disks, appliances' shares, folders."""

    kind: Literal["seed"] = "seed"
    devices: tuple[AbsolutePath, ...] = Field(
        min_length=1,
        description="where they are mounted; at most `parallel` of them are filled at once, the earlier ones first",
    )
    parallel: int = Field(8, ge=1, le=64, description="devices that are filled at once; 1: one after the other")
    write_rate: Rate | None = Field(None, description="most bytes a second onto each device; None: as fast as it takes")
    hangs_after: timedelta = Field(
        HANGS_AFTER,
        ge=timedelta(seconds=1),
        description="longest wait for a device to read or write; then it is not used until it answers again",
    )
    reserve: ByteSize = Field(ByteSize(4 << 30), description="bytes left free on each: manifests, bags, the seal")
    group_size: ByteSize = Field(ByteSize(64 << 20), ge=1 << 20, description="bytes between two fsyncs")
    layout: Literal["pack"] = "pack"
    profile: ProfileName = Field(ProfileName.PLAIN, description="the kind of devices, whose limits are held to")
    largest_file: Annotated[ByteSize, Field(ge=1 << 20)] | None = Field(
        None, description="bytes of the largest file: 4 GiB - 1 on FAT32; absent: the profile's; a study is split there"
    )
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

    @property
    def file_limit(self) -> int:
        """Bytes of the largest file on each device."""
        limit = PROFILES[self.profile].largest_file
        return limit if self.largest_file is None else min(self.largest_file, limit)


class DicomwebOptions(WebAccess, UpdateRule):
    """A DICOMweb service: written by STOW-RS, read back by WADO-RS."""

    kind: Literal["dicomweb"] = "dicomweb"
    name: SinkName = Field(description="the destination's name in the ledger; keep it for the job's life")
    batch_size: Annotated[ByteSize, Field(ge=1 << 20, le=MAX_PART)] = Field(
        ByteSize(32 << 20), description="of one request; an instance that is larger goes alone"
    )
    batch_count: int = Field(64, ge=1, le=1000, description="instances in one request")


RAW_PIXELS = {"zstd": Container.TAR_ZST, "none": Container.TAR}
"""The container of raw pixels by `SinkSettings.compression`."""

SinkOptions = Annotated[S3Options | SeedOptions | DicomwebOptions, Field(discriminator="kind")]
