"""What one attempt at a study came to, and what it had to go by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from actors.intake import Counts, Parked
from actors.source import InstanceRef
from imaging.facts import InstanceFacts
from imaging.uid import Uid
from storage.ledger.records import Json, JsonValue
from storage.packs.model import Receipt

EVIDENCE_UIDS = 50
"""UIDs listed in an exception's evidence; the counts beside them are complete."""


class End(StrEnum):
    """How one attempt ended, by what has to happen next."""

    WRITTEN = "written"
    EMPTY = "empty"
    """The source confirms that the study has no instances."""
    AGAIN = "again"
    """Counts as an attempt; the study is tried again later."""
    BUSY = "busy"
    """The source asks for fewer of us: no attempt is counted, everybody slows down."""
    HALTED = "halted"
    """Our AE title is unknown to the source: nothing works until a person registers it."""
    STOPPED = "stopped"
    """The claim was lost or the worker is draining."""
    EXCEPTION = "exception"
    """A person has to look; trying again would bring the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The instances a study must have, and how well that is known."""

    refs: tuple[InstanceRef, ...] | None
    """None where the source cannot list instances."""
    grade: str
    """`image_list`, or `double_retrieve` where two retrieves had to agree instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one attempt came to; `reason` is an exception class or a retry's cause."""

    end: End
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    facts: tuple[InstanceFacts, ...] = ()
    expected: frozenset[Uid] = frozenset()
    """SOP Instance UIDs the source says the study has; the commit refuses facts of any other set."""
    receipt: Receipt | None = None
    grade: str = ""
    counts: Counts = field(default_factory=Counts)
    noted: Json = field(default_factory=dict[str, JsonValue])
    """What else the custody log is told of the study."""


UNLISTED = Expected(refs=None, grade="double_retrieve")
LIST_INCOMPLETE = Verdict(end=End.AGAIN, reason="INSTANCE_LIST_INCOMPLETE")


def surplus_evidence(surplus: Mapping[str, Parked]) -> dict[str, Any]:
    """How many came unlisted, which, and where they lie."""
    uids = sorted(surplus)[:EVIDENCE_UIDS]
    return {
        "surplus": len(surplus),
        "surplus_uids": uids,
        "quarantine": [surplus[uid].name for uid in uids],
    }
