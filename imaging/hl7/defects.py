"""What is wrong with a message, and where; never what it says, for all of it is about patients."""

from dataclasses import dataclass
from enum import StrEnum


class Defect(StrEnum):
    """Classes of what cannot be used."""

    STRAY = "HL7_STRAY"
    """Bytes that belong to no message."""
    HEADER = "HL7_HEADER"
    """The MSH is cut short, or its separators are none."""
    TOO_LONG = "HL7_TOO_LONG"
    BROKEN = "HL7_BROKEN"
    """A segment that is needed has a line break inside, or is no text."""
    CHARSET = "HL7_CHARSET"
    """MSH-18 names a character set that we do not know."""
    UNDECODABLE = "HL7_UNDECODABLE"
    """A segment that is needed holds bytes that are not in the message's character set."""
    COUNT = "HL7_COUNT"
    """The trailer of a batch or file counts other than what came."""
    TRIGGER = "HL7_TRIGGER"
    """Message and EVN name different events, one of which merges or moves."""
    TIME = "HL7_TIME"
    """No time of the event that is one."""
    STRUCTURE = "HL7_STRUCTURE"
    """A segment that the event needs is not there."""
    IDENTIFIER = "HL7_IDENTIFIER"
    """An identifier is missing, of an unknown issuer, or not of its issuer's form."""
    PAIRING = "HL7_PAIRING"
    """An identifier has no counterpart of the same issuer and type, or several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One defect and its place: counts only, so it may be shown and logged."""

    defect: Defect
    offset: int
    """Of the segment's first byte in what was read."""
    message: int
    """Number of the message, from 1; 0 before the first."""
    segment: str = ""
    field: int = 0
    """Number of the field as HL7 counts; 0: the segment as a whole."""
    detail: str = ""
    """A bounded word of ours, such as the class of an identifier's conflict."""
