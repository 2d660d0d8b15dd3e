"""Whether the cause of an exception is gone: pure, from what was asked today.

Where nothing that can be asked tells it, it stands: a person decides.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cluster.planning.classes import PLAN_KINDS
from storage.ledger.exceptions import Cause
from storage.ledger.lifecycle import DeliveryState, StudyState
from storage.ledger.records import Json


class Today(StrEnum):
    """How it is with the cause of an exception."""

    GONE = "gone"
    STANDS = "stands"
    UNKNOWN = "unknown"
    """Nobody can be asked for it, or nobody answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found, and by which sign."""

    today: Today
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCount:
    """What the source says of one study today."""

    found: bool
    """It lists the study at all."""
    claimed: int | None
    """NumberOfStudyRelatedInstances, where it gives it."""
    listed: frozenset[str]
    """SOP Instance UIDs of its IMAGE-level list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was asked because of one exception; None: it was not, or it gave no whole answer."""

    source: SourceCount | None = None
    source_answers: bool | None = None
    destination_answers: bool | None = None
    key_taken: bool | None = None
    """Something lies under the study's key at the destination."""
    held: frozenset[str] | None = None
    """SOP Instance UIDs of the study's current revision in the ledger, if that is written."""


FROM_SOURCE = frozenset(
    {"INCOMPLETE_STUDY", "NO_INSTANCES_LISTED", "INSTANCE_LIST_INCOMPLETE", "SURPLUS_INSTANCES", "COUNT_EXCEEDS_LIST"}
)
"""Classes that the source's list of the study tells about."""
SOURCE_ITSELF = frozenset({"SOURCE_AWAY", "SOURCE_REFUSES_US"})
DESTINATION_ITSELF = frozenset({"DESTINATION_AWAY", "DESTINATION_REFUSES_US", "DEVICE_HANGS"})
KEY_TAKEN = frozenset({"PACK_CONFLICT"})
FROM_LEDGER = frozenset({"LATE_INSTANCE"})


def judge(cause: Cause, facts: Facts) -> Judgement:
    """How it is with the exception's cause today."""
    if cause.study_state is StudyState.EXCLUDED:
        return Judgement(today=Today.GONE, why="the study does not move")
    if cause.later_state is DeliveryState.VALIDATED:
        return Judgement(today=Today.GONE, why="a later revision is proven there")
    if cause.kind in FROM_SOURCE:
        return _by_source(cause, facts.source)
    if cause.kind in SOURCE_ITSELF:
        return _by_answer(facts.source_answers, "the source")
    if cause.kind in DESTINATION_ITSELF:
        return _by_answer(facts.destination_answers, "the destination")
    if cause.kind in KEY_TAKEN:
        return _by_sign(facts.key_taken, "nothing lies under its key any more", "its key is still taken")
    if cause.kind in FROM_LEDGER and cause.sop_uid is not None:
        missing = None if facts.held is None else cause.sop_uid not in facts.held
        return _by_sign(missing, "a later revision has the instance", "no written revision has the instance")
    if cause.kind in PLAN_KINDS:
        return Judgement(today=Today.STANDS, why="the plan says so")
    return Judgement(today=Today.UNKNOWN, why="only a person can tell")


def _by_answer(answers: bool | None, who: str) -> Judgement:
    return _by_sign(None if answers is None else not answers, f"{who} answers", f"{who} does not answer")


def _by_sign(stands: bool | None, gone: str, there: str) -> Judgement:
    if stands is None:
        return Judgement(today=Today.UNKNOWN, why="it could not be asked")
    return Judgement(today=Today.STANDS, why=there) if stands else Judgement(today=Today.GONE, why=gone)


def _by_source(cause: Cause, source: SourceCount | None) -> Judgement:
    if source is None:
        return Judgement(today=Today.UNKNOWN, why="the source gave no whole list")
    if not source.found:
        return Judgement(today=Today.UNKNOWN, why="the source does not list the study any more")
    counted = f"the source counts {source.claimed} and lists {len(source.listed)}"
    match cause.kind:
        case "NO_INSTANCES_LISTED":
            return _by_sign(not source.listed, counted, counted)
        case "INSTANCE_LIST_INCOMPLETE" | "COUNT_EXCEEDS_LIST":
            whole = bool(source.listed) and (source.claimed or 0) <= len(source.listed)
            return _by_sign(not whole, counted, counted)
        case "SURPLUS_INSTANCES":
            left = _unsettled(cause.evidence, "surplus", without=source.listed)
            return _by_sign(None if left is None else left > 0, "it lists them now", f"{left} are still not listed")
        case _:
            left = _unsettled(cause.evidence, "missing", among=source.listed)
            return _by_sign(None if left is None else left > 0, "it lists them no more", f"{left} are still listed")


def _unsettled(
    evidence: Json, name: str, *, among: Collection[str] | None = None, without: Collection[str] = ()
) -> int | None:
    """How many of the evidence's UIDs are still among, or still not without; None where it names not all of them."""
    uids, count = evidence.get(f"{name}_uids"), evidence.get(name)
    if not isinstance(uids, Sequence) or not uids or count != len(uids):
        return None
    return sum(uid in among if among is not None else uid not in without for uid in uids)
