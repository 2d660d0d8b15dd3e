"""What is known of a study's CT dose: every number with where it stood."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from enum import StrEnum

from imaging.uid import Uid


class Quantity(StrEnum):
    """What a number measures; the unit of each is in `UNITS`."""

    CTDIVOL = "ctdivol"
    DLP = "dlp"
    KVP = "kvp"
    TUBE_CURRENT = "tube_current"
    EXPOSURE_TIME = "exposure_time"
    """Of the whole event."""
    ROTATION_TIME = "rotation_time"
    SCAN_LENGTH = "scan_length"
    SINGLE_COLLIMATION = "single_collimation"
    TOTAL_COLLIMATION = "total_collimation"
    PITCH = "pitch"


UNITS = {
    Quantity.CTDIVOL: "mGy",
    Quantity.DLP: "mGy.cm",
    Quantity.KVP: "kV",
    Quantity.TUBE_CURRENT: "mA",
    Quantity.EXPOSURE_TIME: "s",
    Quantity.ROTATION_TIME: "s",
    Quantity.SCAN_LENGTH: "mm",
    Quantity.SINGLE_COLLIMATION: "mm",
    Quantity.TOTAL_COLLIMATION: "mm",
    Quantity.PITCH: "{ratio}",
}
"""UCUM."""

DOSE = frozenset((Quantity.CTDIVOL, Quantity.DLP))
"""What makes it a dose; the rest describes it."""

AVERAGED = frozenset((Quantity.CTDIVOL, Quantity.TUBE_CURRENT))
"""What current modulation makes vary from slice to slice; anything else that varies is not the event's."""
_MEAN = Context(prec=12)
"""Digits of a mean; a scanner's own values are kept to their last digit, these are ours."""


def mean_of(values: Sequence[Decimal]) -> Decimal:
    """Of at least one."""
    return _MEAN.divide(sum(values, Decimal(0)), Decimal(len(values)))


class Basis(StrEnum):
    """How a number came about."""

    COPIED = "copied"
    COMPUTED = "computed"
    """From several copied ones: a mean, a sum, rows times width."""
    ASSUMED = "assumed"
    """Read from an element that no document describes, only one of a related vendor's; never put into a report."""


class Phantom(StrEnum):
    """What CTDI was measured in (PS3.16 CID 4052)."""

    HEAD = "head"
    """16 cm."""
    BODY = "body"
    """32 cm."""


class Motion(StrEnum):
    """CT acquisition type (PS3.16 CID 10013)."""

    SPIRAL = "spiral"
    SEQUENCED = "sequenced"
    CONSTANT_ANGLE = "constant_angle"
    STATIONARY = "stationary"
    FREE = "free"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """What an instance is to dose."""

    IMAGE = "image"
    """Reconstructed from an acquisition of its own."""
    LOCALIZER = "localizer"
    DERIVED = "derived"
    """Made from other images, whose header it may have copied: never counted."""
    DOSE_INFO = "dose_info"
    """A vendor's object with a readable Exposure Dose Sequence."""
    DOSE_SCREEN = "dose_screen"
    """A picture of a dose table: only people can read it."""
    DOSE_REPORT = "dose_report"
    """A radiation dose SR."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Reading:
    """One number of one instance."""

    value: Decimal
    where: str
    """Path of the element; private ones with their creator, `(7005,xx63) TOSHIBA_MEC_CT3`."""
    basis: Basis = Basis.COPIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What one instance, one item of its Exposure Dose Sequence or its frames of one event say of that event."""

    numbers: dict[Quantity, Reading] = field(default_factory=dict[Quantity, Reading])
    highest_current: Reading | None = None
    """Of frames whose tube current differs."""
    phantom: Phantom | None = None
    motion: Motion = Motion.UNKNOWN
    event_uid: Uid | None = None
    started: str = ""
    """Of the first frame, as in `InstanceDose`; empty where frames do not say."""
    ended: str = ""
    """Of the last frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceDose:
    """What one instance says. It holds no text of the patient's."""

    sop_uid: Uid
    sop_class: Uid
    series_uid: Uid
    kind: Kind
    device: tuple[str, str, str] = ("", "", "")
    """Manufacturer, model, serial number."""
    acquisition: str = ""
    """Acquisition Number."""
    started: str = ""
    """Acquisition time as YYYYMMDDHHMMSS.FFFFFF, in whatever zone the scanner was; empty where it is not known."""
    body_part: str = ""
    exposure: Exposure = Exposure()
    items: tuple[Exposure, ...] = ()
    """Those of a dose info object, and of an enhanced image whose frames are of several events."""
    total_dlp: Reading | None = None
    """What a dose info object says of the whole study."""
    conflicts: tuple[str, ...] = ()
    """Quantities that a standard and a private element give differently, where the standard one is taken, or that
    frames of one event give differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One number of an event or of the study, and what it was taken from."""

    value: Decimal
    basis: Basis
    where: str
    instances: int
    """How many say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One irradiation event, however many series were reconstructed of it."""

    number: int
    """From 1, in order of time."""
    numbers: dict[Quantity, Number]
    highest_current: Number | None
    phantom: Phantom | None
    motion: Motion
    event_uid: Uid | None
    """The scanner's own; None where the images do not name it."""
    acquisition: str
    started: str
    ended: str
    """Acquisition time of the last image."""
    body_part: str
    series: tuple[Uid, ...]
    sources: tuple[tuple[Uid, Uid, Uid], ...]
    """Series, class and instance of what was read, in order."""

    @property
    def has_dose(self) -> bool:
        return not DOSE.isdisjoint(self.numbers)


class DoseStatus(StrEnum):
    """What a study offers."""

    REPORT = "report"
    """It has a dose report."""
    READABLE = "readable"
    """Machine-readable dose, and no report."""
    SCREEN_ONLY = "screen_only"
    """Dose in pictures only."""
    NONE = "none"
    """CT images, and no dose anywhere."""
    NO_CT = "no_ct"


class Obstacle(StrEnum):
    """Why no report can be made of what is readable."""

    NO_TIME = "no_time"
    """Nothing says when the irradiation was."""
    SEVERAL_DEVICES = "several_devices"
    AMBIGUOUS = "ambiguous"
    """Two series may be one acquisition or two, or the images of one disagree: the sum would be a guess."""
    UNDOCUMENTED = "undocumented"
    """Dose stands only in elements that no document describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyDose:
    """What a study's instances say together; the same whatever the order they came in."""

    status: DoseStatus
    events: tuple[Event, ...] = ()
    total_dlp: Number | None = None
    """None where some event's is not known."""
    obstacles: tuple[Obstacle, ...] = ()
    counts: dict[Kind, int] = field(default_factory=dict[Kind, int])
    conflicts: tuple[str, ...] = ()
    device: tuple[str, str, str] = ("", "", "")

    @property
    def reportable(self) -> bool:
        """A report can be made, and none is there."""
        return self.status is DoseStatus.READABLE and not self.obstacles
