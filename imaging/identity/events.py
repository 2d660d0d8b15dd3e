"""What happened to identifiers, whoever says so: the one input of the graph.

Events are values: the same event told twice is one event, and any order of telling gives the same graph.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from imaging.identity.people import Identifier, Person


class Source(StrEnum):
    """Who says so. `RANK` orders them: what a higher one says is not overruled by a lower one."""

    SNAPSHOT = "snapshot"
    """An export of the master patient index: who is known, without a history."""
    HL7 = "hl7"
    CROSSWALK = "crosswalk"
    """Rows of a table that the hospital made for this migration."""
    MANUAL = "manual"


RANK = {Source.SNAPSHOT: 0, Source.HL7: 1, Source.CROSSWALK: 2, Source.MANUAL: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an event comes from. None of it is patient data, so paths and reports may show it."""

    source: Source
    at: datetime | None
    """When it took effect, aware; None where a table does not say."""
    label: str
    """The message's control id or the table's line: how a person finds it again."""
    kind: str
    """The trigger (A40) or the row's kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """`old` is no longer used; what lies under it belongs to `new`."""

    origin: Origin
    old: Identifier
    new: Identifier
    renamed: bool = False
    """The same record under a new number (A46, A47, A48), not two records that became one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """The merge of `old` into `new` was wrong, up to this time."""

    origin: Origin
    old: Identifier
    new: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """`moved` keeps its value and belongs to another patient (A43); no alias of it."""

    origin: Origin
    moved: Identifier
    giver: Identifier | None
    """The patient it was wrongly with, where the message names one."""
    owner: Identifier


class Part(StrEnum):
    """What of a patient's record can have a number of its own."""

    ACCOUNT = "account"
    VISIT = "visit"


@dataclass(frozen=True, slots=True, kw_only=True)
class MovePart:
    """One account (A44) or visit (A45) belongs to another patient; the rest of the giver's record stays."""

    origin: Origin
    part: Part
    number: str
    """Told apart by the patient it is with; headers hardly ever name an account's authority."""
    giver: Identifier
    owner: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RenamePart:
    """An account or visit has another number (A35, A36, A41, A42, A49, A50, A51); no patient changes."""

    origin: Origin
    part: Part
    patient: Identifier
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Both are the same person, each keeps its number (A24): for finding priors, never for rewriting."""

    origin: Origin
    one: Identifier
    other: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlink:
    """They are not the same person after all (A37)."""

    origin: Origin
    one: Identifier
    other: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """Name, birth date or sex as known from then on (A08, A31, a snapshot)."""

    origin: Origin
    identifier: Identifier
    person: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """The number was given to this person (A01, A04, A05, A28); given again, perhaps to somebody else."""

    origin: Origin
    identifier: Identifier
    person: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """The record is gone (A23, A29): nothing may resolve to it."""

    origin: Origin
    identifier: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrelated:
    """A message that says nothing about identity; it is counted, not dropped."""

    origin: Origin


IdentityEvent: TypeAlias = (
    Merge | Undo | Move | MovePart | RenamePart | Link | Unlink | Describe | Register | Delete | Unrelated
)
