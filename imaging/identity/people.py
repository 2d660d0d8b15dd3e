"""Who: identifiers, people, and the conflicts that only a person decides."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Identifier(NamedTuple):
    """One number as one authority gives it, both normalised; never a number alone."""

    issuer: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What is known of someone, in DICOM's terms. None: nothing is said about it; empty: it is said to be empty."""

    name: str | None = None
    """A PN: family^given^middle^prefix^suffix, up to three groups parted by `=` (PS3.5 section 6.2)."""
    birth_date: str | None = None
    """YYYYMMDD."""
    sex: str | None = None
    """F, M or O (PS3.3 section C.7.1.1)."""

    def updated(self, by: "Person") -> "Person":
        """This person, with whatever the other says of them."""
        return Person(
            name=self.name if by.name is None else by.name,
            birth_date=self.birth_date if by.birth_date is None else by.birth_date,
            sex=self.sex if by.sex is None else by.sex,
        )


NOBODY = Person()


class Conflict(StrEnum):
    """Why identity or accession of a study is not decided by rules: the class of the exception it opens."""

    PID_MISSING = "PID_MISSING"
    PID_FORMAT = "PID_FORMAT"
    """The number is not of the form its issuer's numbers have."""
    ISSUER_UNKNOWN = "ISSUER_UNKNOWN"
    PID_NOT_IN_MPI = "PID_NOT_IN_MPI"
    """No event or row names the number, or the one that survives was deleted."""
    PID_AMBIGUOUS = "PID_AMBIGUOUS"
    """More than one number may be the survivor, or two sources disagree whether they are one person."""
    DEMOGRAPHIC_CONFLICT = "DEMOGRAPHIC_CONFLICT"
    DEMOGRAPHIC_REVIEW = "DEMOGRAPHIC_REVIEW"
    MERGE_CYCLE = "MERGE_CYCLE"
    MERGE_FORK = "MERGE_FORK"
    MRN_REUSED = "MRN_REUSED"
    """The number belonged to several people, and which of them is meant cannot be told."""
    MRN_MOVED = "MRN_MOVED"
    """The number moved between patients in ways that do not fit together."""
    MIXED_PATIENT_IN_STUDY = "MIXED_PATIENT_IN_STUDY"
    ACC_MISSING = "ACC_MISSING"
    ACC_OVERLONG = "ACC_OVERLONG"
    ACC_UNFIT = "ACC_UNFIT"
    """There is a number, and its rule makes none of it, or it is none that a header may have."""
    ACC_COLLISION_PATIENT = "ACC_COLLISION_PATIENT"
    ACC_COLLISION_SITE = "ACC_COLLISION_SITE"
    ACC_NO_ORDER = "ACC_NO_ORDER"
    ACC_UNLISTED = "ACC_UNLISTED"
    """Headers have an accession number that the archive does not list for their study."""
