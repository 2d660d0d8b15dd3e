"""What each kind of S3 endpoint takes. Pure; `storage.sinks.options` holds settings against it.

Snowball's figures are those of the S3 adapter in AWS's Snowball Edge developer guide ("Using the Amazon S3 adapter",
"Quotas"): it lists by version 1 only, knows no conditions, checksums, tags or locks, drops connections beyond 1,000,
and an upload that is opened for an existing key deletes that object at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

LARGEST_PART = 5 << 30
"""S3's limit."""
MAX_OBJECT = 4864 << 30
"""4.75 TiB: S3 itself takes 48.8 TiB now, Azure, Google and other S3 stores stop below 5 TiB."""


class S3Profile(StrEnum):
    """Kinds of endpoints."""

    AWS = "aws"
    GENERIC = "generic"
    """SeaweedFS, MinIO, Ceph and others that speak S3."""
    SNOWBALL = "snowball"
    """The S3 adapter of a Snowball Edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Facts about one kind."""

    given: Mapping[str, object] = field(default_factory=dict)
    """Settings that hold where the job file names none."""
    fixed: frozenset[str] = frozenset()
    """Those of `given` that the job file cannot change: the endpoint knows nothing else."""
    unknown: frozenset[str] = frozenset()
    """Settings for what the endpoint does not have."""
    classes_to_read: frozenset[str] | None = None
    """Storage classes whose objects can be read at once, as validation does; None: not known."""
    largest_part: int = LARGEST_PART
    largest_object: int = MAX_OBJECT
    connections: int | None = None
    """Most at once, of all processes together; None: no limit that we would meet."""
    lists_v2: bool = True
    """False: one list without pages or order."""
    opening_replaces: bool = False
    """Opening a multipart upload deletes an object that has the key."""
    signs_bodies: bool = False
    """A body's SHA-256 is signed on any line, since there is no other checksum."""


ENDPOINTS: Mapping[S3Profile, Endpoint] = {
    S3Profile.AWS: Endpoint(
        given={"path_style": False},
        classes_to_read=frozenset(
            {"STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "EXPRESS_ONEZONE"}
        ),
    ),
    S3Profile.GENERIC: Endpoint(),
    S3Profile.SNOWBALL: Endpoint(
        given={"path_style": True, "checksum": "none", "if_none_match": False, "region": "snow"},
        fixed=frozenset({"path_style", "checksum", "if_none_match"}),
        unknown=frozenset({"storage_class", "lock_mode", "lock_days", "tags"}),
        largest_part=512_000_000,
        largest_object=5_000_000_000_000,
        connections=1_000,
        lists_v2=False,
        opening_replaces=True,
        signs_bodies=True,
    ),
}


def profile_problems(profile: S3Profile, settings: Mapping[str, object]) -> list[str]:
    """What the endpoint would not take, each in words that name the setting. `settings` are in effect; one that is
    not set is None or empty."""
    endpoint = ENDPOINTS[profile]
    problems = [
        f"{name}: a {profile} endpoint knows only {_told(endpoint.given[name])}"
        for name in sorted(endpoint.fixed)
        if settings[name] != endpoint.given[name]
    ]
    problems += [f"{name}: a {profile} endpoint has none" for name in sorted(endpoint.unknown) if settings[name]]
    wanted = settings["storage_class"]
    if wanted and endpoint.classes_to_read is not None and wanted not in endpoint.classes_to_read:
        problems.append(
            f"storage_class: {wanted} cannot be read at once, and validation reads everything back; move objects there "
            "by a lifecycle rule later"
        )
    return problems


def _told(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'
