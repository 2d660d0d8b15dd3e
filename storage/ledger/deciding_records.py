"""What goes into a plan and comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from imaging.uid import Uid
from storage.ledger.records import Json, Severity


class ListedStudy(NamedTuple):
    """One study as the archive lists it; what it does not say is None."""

    study_key: int
    study_uid: str
    patient_id: str | None
    issuer: str | None
    patient_name: str | None
    birth_date: str | None
    sex: str | None
    accession: str | None
    study_date: str | None
    study_time: str | None
    modalities: list[str] | None
    instance_count: int | None


class DecidedStudy(NamedTuple):
    """What the rules say of one study, before it is compared with all others."""

    study_key: int
    study_uid: str
    classes: list[str]
    """Names of what is odd about it."""
    content: Json
    """What its files shall say; what a person accepts."""
    evidence: Json
    survivor_issuer: str | None
    survivor_number: str | None
    written: str
    """Its accession number as the archive has it."""
    site: str
    accession_issuer: str | None
    accession: str | None
    """What the number becomes; None where it becomes none."""
    alike: str | None
    """Studies that agree in it are perhaps one study twice; None where too little is known."""
    further: list["FurtherNumber"]
    """What becomes of other accession numbers that its headers were found to have."""


class FurtherNumber(NamedTuple):
    """An accession number that headers of a study have and the archive does not list for it."""

    written: str
    site: str
    accession_issuer: str
    accession: str


class NumberRow(NamedTuple):
    """What the test for collisions needs of one study."""

    study_uid: str
    written: str
    site: str
    survivor_issuer: str | None
    survivor_number: str | None
    accession_issuer: str
    accession: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanClass:
    """What follows from one class of oddity."""

    kind: str
    verdict: str
    """auto_note, review or conflict; the last two hold the study."""
    severity: Severity
    remedy: str

    @property
    def holds(self) -> bool:
        return self.verdict != "auto_note"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTally:
    """A plan in numbers."""

    studies: int
    verdicts: Mapping[str, int]
    classes: Mapping[str, int]
    accepted: int
    """Classes that a person has let pass, all studies together."""
    changed: int
    """Studies whose decision is new or another one than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """A study whose decision is new or another one than before. None of it tells a patient's data."""

    study_uid: Uid
    why: str
    """new, held (that was not), released (that was held) or changed."""
    verdict: str
    classes: list[str]
    """What is odd about it and was not accepted."""
    headers: list[str]
    """What its headers shall say another thing about than the archive's list does: keys of its decision."""
    differs: list[str]
    """In what the decision differs from the one before: keys of it; empty where it is new."""


@dataclass(slots=True, kw_only=True)
class PlanApplied:
    """What applying it did."""

    decided: int = 0
    held: int = 0
    """Studies that stopped."""
    released: int = 0
    """Studies that were held and go on."""
    renewed: int = 0
    """Studies that get a new revision, because what their files shall say is another thing by now."""
    closed: int = 0
    """Exceptions that are settled by what was told since."""

    def add(self, page: "PlanApplied") -> None:
        """This one is that of another page, too."""
        self.decided += page.decided
        self.held += page.held
        self.released += page.released
        self.renewed += page.renewed
        self.closed += page.closed
