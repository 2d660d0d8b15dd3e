"""The Source protocol: what inventory and movers ask of an archive, whatever it speaks.

C-FIND/C-MOVE implements it first; DICOMweb, file trees and database exports follow with the same verbs.
An implementation talks over one association or session and is used by one thread at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time
from enum import StrEnum
from typing import Protocol

from imaging.uid import Uid


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyWindow:
    """A question to the archive: which studies match? Every key left None is not asked.

    A date range without `time_*` may span days; a time range is only meaningful inside one day, because
    date and time are matched independently (PS3.4 C.2.2.2.5).
    """

    date_from: date | None = None
    date_to: date | None = None
    time_from: time | None = None
    time_to: time | None = None
    modality: str | None = None
    patient_id: str | None = None
    """Matching value, wild cards allowed."""
    patient_name: str | None = None
    study_uids: tuple[Uid, ...] = ()
    """Just these studies (list of UID matching, PS3.4 C.2.2.2.2); empty: whichever."""

    def keys(self) -> dict[str, str]:
        """The window as C-FIND matching values by keyword; stable, so it identifies the window."""
        keys: dict[str, str] = {}
        if self.date_from or self.date_to:
            start = self.date_from.strftime("%Y%m%d") if self.date_from else ""
            stop = self.date_to.strftime("%Y%m%d") if self.date_to else ""
            keys["StudyDate"] = start if start == stop else f"{start}-{stop}"
        if self.time_from or self.time_to:
            start = self.time_from.strftime("%H%M%S") if self.time_from else ""
            stop = self.time_to.strftime("%H%M%S") if self.time_to else ""
            keys["StudyTime"] = f"{start}-{stop}"
        for keyword, value in (
            ("ModalitiesInStudy", self.modality),
            ("PatientID", self.patient_id),
            ("PatientName", self.patient_name),
        ):
            if value is not None:
                keys[keyword] = value
        if self.study_uids:
            keys["StudyInstanceUID"] = "\\".join(self.study_uids)
        return keys


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFound:
    """One study as an archive describes it. Text is decoded; None means the archive said nothing."""

    study_uid: Uid
    patient_id: str | None = None
    issuer: str | None = None
    patient_name: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    accession: str | None = None
    study_date: str | None = None
    """As sent: real archives hold values that are no dates."""
    study_time: str | None = None
    modalities: tuple[str, ...] | None = None
    description: str | None = None
    series_count: int | None = None
    instance_count: int | None = None


class FindEnd(StrEnum):
    """How a query ended (PS3.4 table C.4-1)."""

    SUCCESS = "success"
    REFUSED = "refused"
    """A700: out of resources."""
    CANCELLED = "cancelled"
    """FE00 without our asking: some archives end a cropped answer this way."""
    FAILED = "failed"
    """Cxxx, A900 and the rest."""
    LOST = "lost"
    """Association gone or silent: nothing is known about the rest."""
    UNENDING = "unending"
    """Cut off by us: more answers, bytes or time than any honest answer takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindAnswer:
    """Everything one C-FIND brought, kept whole for replay."""

    window: StudyWindow
    studies: tuple[StudyFound, ...]
    end: FindEnd
    status: int | None
    """Final DIMSE status; None when none came."""
    undecodable: int
    """Answers whose identifier could not be decoded or held no valid Study Instance UID."""
    raw: tuple[bytes, ...]
    """Identifiers as received, one per answer, in `transfer_syntax`."""
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRef:
    """One instance as an IMAGE-level answer names it."""

    series_uid: Uid
    sop_uid: Uid
    sop_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceList:
    """The instances an archive says a study has: distinct by SOP Instance UID."""

    instances: tuple[InstanceRef, ...]
    complete: bool
    """False when any of the queries ended other than with success."""
    repeated: int = 0
    """Answers that named an instance a second time."""
    undecodable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveTarget:
    """What one retrieve asks for: a study, one of its series, or single instances."""

    study_uid: Uid
    series_uid: Uid | None = None
    sop_uids: tuple[Uid, ...] = ()


class MoveEnd(StrEnum):
    """What the final answer of a retrieve says; never taken for completion."""

    SUCCESS = "success"
    PARTIAL = "partial"
    """B000, or failed sub-operations were counted."""
    BUSY = "busy"
    """A701, A702: the archive asks for fewer of us."""
    UNKNOWN_DESTINATION = "unknown_destination"
    """A801: our AE title is not registered there."""
    FAILED = "failed"
    """A900, Cxxx, 0122 and the rest."""
    LOST = "lost"
    """Association gone, refused or silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOutcome:
    """How a retrieve ended; counts are the archive's own view and may be absent."""

    end: MoveEnd
    status: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    failed_sop_uids: tuple[str, ...] = ()


class Source(Protocol):
    """One conversation with an archive. Not thread-safe; `close` it when done."""

    def echo(self) -> None:
        """The archive answers. Raises `SourceUnreachable`."""
        ...

    def find_studies(self, window: StudyWindow) -> FindAnswer:
        """One query, drained to its final status; never raises for what the archive answers."""
        ...

    def list_instances(self, study_uid: Uid) -> InstanceList:
        """What the archive says the study has, series by series where it must be asked so.

        Raises `SourceUnending` for a list that does not end.
        """
        ...

    def retrieve(self, target: MoveTarget, receiver: str, stop: Callable[[], bool]) -> MoveOutcome:
        """The archive was asked to send `target` to the AE title `receiver`, and its final answer came.

        `stop` is asked now and then; once true the association is aborted and the outcome is LOST. Raises
        `SourceUnending` when the archive goes on saying "pending" and nothing comes of it.
        """
        ...

    def close(self) -> None: ...


class SourceUnreachable(Exception):
    """The archive cannot be reached or refuses our association."""

    def __init__(self, message: str, *, refused: bool = False, permanent: bool = False) -> None:
        super().__init__(message)
        self.refused = refused
        """True when it answered and said no (rejected, or accepted no context)."""
        self.permanent = permanent
        """True when it will say so until a setting is changed, here or there: a title it does not know (PS3.8 table
        9-21, result 1), no common service, a certificate that is not trusted. False: another time it may say yes."""


class Bound(StrEnum):
    """What an answer had too much of."""

    ANSWERS = "answers"
    BYTES = "bytes"
    TIME = "time"


class SourceUnending(Exception):
    """The archive's answer went beyond a bound of ours and was cut off; the association is gone.

    Not `SourceUnreachable`: it can be reached, and what is asked next may be answered well.
    """

    def __init__(self, bound: Bound) -> None:
        super().__init__(f"the archive's answer does not end: too much of {bound.value}")
        self.bound = bound


def distinct(refs: Sequence[InstanceRef]) -> tuple[tuple[InstanceRef, ...], int]:
    """The references without repeats of a SOP Instance UID, in order, and how many repeats there were."""
    seen = {ref.sop_uid: ref for ref in reversed(refs)}
    kept = tuple(sorted(seen.values(), key=lambda ref: (ref.series_uid, ref.sop_uid)))
    return kept, len(refs) - len(kept)
