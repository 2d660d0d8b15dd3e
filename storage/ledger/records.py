"""The values that cross the ledger's border. Times are aware UTC; they come from the ledger's clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias

from imaging.uid import Uid
from storage.packs.model import Receipt

JsonValue: TypeAlias = "str | int | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
"""JSON without fractions: 0.1 has no one spelling, and these values are hashed."""
Json: TypeAlias = Mapping[str, JsonValue]


class FoundStudy(Protocol):
    """One study as an archive describes it; None means the archive said nothing."""

    @property
    def study_uid(self) -> Uid: ...
    @property
    def patient_id(self) -> str | None: ...
    @property
    def issuer(self) -> str | None: ...
    @property
    def patient_name(self) -> str | None: ...
    @property
    def birth_date(self) -> str | None: ...
    @property
    def sex(self) -> str | None: ...
    @property
    def accession(self) -> str | None: ...
    @property
    def study_date(self) -> str | None: ...
    @property
    def study_time(self) -> str | None: ...
    @property
    def modalities(self) -> tuple[str, ...] | None: ...
    @property
    def description(self) -> str | None: ...
    @property
    def series_count(self) -> int | None: ...
    @property
    def instance_count(self) -> int | None: ...


class FoundWindow(Protocol):
    """A question to the archive."""

    def keys(self) -> Mapping[str, str]: ...


class FoundAnswer(Protocol):
    """Everything one question brought."""

    @property
    def window(self) -> FoundWindow: ...
    @property
    def studies(self) -> Sequence[FoundStudy]: ...
    @property
    def end(self) -> str: ...
    @property
    def status(self) -> int | None: ...
    @property
    def undecodable(self) -> int: ...
    @property
    def raw(self) -> Sequence[bytes]: ...
    @property
    def transfer_syntax(self) -> str: ...


class Verdict(StrEnum):
    """What inventory thinks of one window's answer."""

    OPEN = "open"
    """To be asked again."""
    COMPLETE = "complete"
    SPLIT = "split"
    """The answer may have been cut; narrower windows replace it."""
    UNSPLITTABLE = "unsplittable"
    """The answer may have been cut and no key narrows it further."""


class DestinationState(StrEnum):
    OPEN = "open"
    FULL = "full"
    STOPPED = "stopped"


class LeaseKind(StrEnum):
    """What a worker holds a delivery for."""

    PULL = "pull"
    FEED = "feed"
    VALIDATE = "validate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A lease on one delivery. `epoch` fences: once another worker holds the row, nothing matches it."""

    delivery_id: int
    study_key: int
    study_uid: Uid
    revision: int
    source_id: int
    destination_id: int
    destination: str
    worker: str
    epoch: int
    attempts: int
    """This one included. A worker that dies has used up its attempt too, so a study that kills workers ends."""
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullClaim(Claim):
    """The right to pull a study from its source and write it to the inline destination."""

    instance_count: int | None
    """As the archive claimed at inventory; a hint."""
    modalities: tuple[str, ...] | None
    planned_at: datetime
    """When the revision was planned: the same for every attempt at it."""
    plan: Json
    """What it was planned with: rules, and what was decided about the study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedClaim(Claim):
    """The right to write a study to another destination from the pack the inline one holds."""

    inline_destination: str
    receipt: Receipt
    """Where the pack is at the inline destination."""
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateClaim(Claim):
    """The right to read a delivery back and judge it."""

    receipt: Receipt
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyNote:
    """What a commit adds to the study's custody chain."""

    event: str
    payload: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyEntry:
    """One link of a study's custody chain."""

    seq: int
    at: datetime
    event: str
    actor: str
    payload: Json
    prev_hash: bytes
    hash: bytes


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something a person must look at: one exception class with its evidence."""

    kind: str
    """Class name such as COUNT_SHORT: capitals, digits, underscores."""
    severity: Severity
    blocking: bool
    """True: what it concerns stops until a person resolves it."""
    remedy: str
    """What the person can do, in one sentence."""
    evidence: Json
    owner: str = "operator"
    sop_uid: Uid | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenProblem:
    """A row of the exception list."""

    exception_id: int
    kind: str
    severity: Severity
    blocking: bool
    study_uid: Uid | None
    sop_uid: Uid | None
    destination: str | None
    evidence: Json
    remedy: str
    owner: str
    first_seen: datetime
    last_seen: datetime
    times_seen: int
    proposal: str | None
    """Digest of what the plan that opened it proposed, in hexadecimal; None where no plan did."""
