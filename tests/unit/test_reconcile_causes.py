"""Which exceptions have lost their cause: what can be asked is asked, and the rest stands until a person decides."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.reconcile.causes import Facts, SourceCount, Today, judge
from imaging.uid import Uid
from storage.ledger.exceptions import Cause
from storage.ledger.lifecycle import DeliveryState, StudyState

GONE, STANDS, UNKNOWN = Today.GONE, Today.STANDS, Today.UNKNOWN


def cause(kind: str, **evidence: Any) -> Cause:
    return Cause(
        exception_id=1,
        kind=kind,
        closed=False,
        study_key=1,
        study_uid=Uid("1.2.3"),
        study_state=StudyState.EXCEPTION,
        revision=1,
        sop_uid=Uid("1.2.3.4"),
        destination="cloud",
        evidence=evidence,
        later_state=None,
    )


def source(*listed: str, claimed: int | None = None, found: bool = True) -> Facts:
    return Facts(source=SourceCount(found=found, claimed=claimed, listed=frozenset(listed)))


SURPLUS: dict[str, Any] = {"surplus": 2, "surplus_uids": ["a", "b"]}
MISSING: dict[str, Any] = {"missing": 2, "missing_uids": ["a", "b"]}


@pytest.mark.parametrize(
    ("found", "facts", "today"),
    [
        (cause("NO_INSTANCES_LISTED"), source("a"), GONE),
        (cause("NO_INSTANCES_LISTED"), source(claimed=2), STANDS),
        (cause("NO_INSTANCES_LISTED"), source(found=False), UNKNOWN),
        (cause("NO_INSTANCES_LISTED"), Facts(), UNKNOWN),
        (cause("COUNT_EXCEEDS_LIST"), source("a", "b", claimed=2), GONE),
        (cause("COUNT_EXCEEDS_LIST"), source("a", "b", claimed=3), STANDS),
        (cause("INSTANCE_LIST_INCOMPLETE"), source("a", claimed=None), GONE),
        (cause("INSTANCE_LIST_INCOMPLETE"), source(claimed=None), STANDS),
        (cause("SURPLUS_INSTANCES", **SURPLUS), source("a", "b", "c"), GONE),
        (cause("SURPLUS_INSTANCES", **SURPLUS), source("a", "c"), STANDS),
        (cause("SURPLUS_INSTANCES", **{**SURPLUS, "surplus": 60}), source("a", "b"), UNKNOWN),
        (cause("INCOMPLETE_STUDY", **MISSING), source("c"), GONE),
        (cause("INCOMPLETE_STUDY", **MISSING), source("b", "c"), STANDS),
        (cause("INCOMPLETE_STUDY", **{**MISSING, "missing": 51}), source("c"), UNKNOWN),
        (cause("INCOMPLETE_STUDY"), source("c"), UNKNOWN),
        (cause("SOURCE_AWAY"), Facts(source_answers=True), GONE),
        (cause("SOURCE_AWAY"), Facts(source_answers=False), STANDS),
        (cause("DESTINATION_REFUSES_US"), Facts(destination_answers=False), STANDS),
        (cause("DESTINATION_AWAY"), Facts(destination_answers=True), GONE),
        (cause("PACK_CONFLICT"), Facts(key_taken=False), GONE),
        (cause("PACK_CONFLICT"), Facts(key_taken=True), STANDS),
        (cause("PACK_CONFLICT"), Facts(), UNKNOWN),
        (cause("LATE_INSTANCE"), Facts(held=frozenset({"1.2.3.4"})), GONE),
        (cause("LATE_INSTANCE"), Facts(held=frozenset({"1.2.3.5"})), STANDS),
        (cause("LATE_INSTANCE"), Facts(), UNKNOWN),
        (cause("DIGEST_MISMATCH"), Facts(), UNKNOWN),
        (replace(cause("DIGEST_MISMATCH"), later_state=DeliveryState.VALIDATED), Facts(), GONE),
        (replace(cause("DIGEST_MISMATCH"), later_state=DeliveryState.WRITTEN), Facts(), UNKNOWN),
        (replace(cause("INCOMPLETE_STUDY"), study_state=StudyState.EXCLUDED), Facts(), GONE),
        (cause("DEMOGRAPHIC_REVIEW"), Facts(source_answers=True), STANDS),
    ],
)
def test_a_cause_is_gone_only_where_somebody_says_so(found: Cause, facts: Facts, today: Today) -> None:
    judgement = judge(found, facts)

    assert judgement.today is today
    assert judgement.why
