"""Two whole retrieves are believed only when nothing speaks against them."""

import pytest

from actors.agreement import Round, disagreement
from actors.source import MoveEnd, MoveOutcome

BOTH = frozenset({"1.1", "1.2"})
ONE = frozenset({"1.1"})
NONE: frozenset[str] = frozenset()


def brought(seen=BOTH, end=MoveEnd.SUCCESS, arrivals=None, **counts) -> Round:
    return Round(
        seen=seen, arrivals=len(seen) if arrivals is None else arrivals, outcome=MoveOutcome(end=end, **counts)
    )


def judged(first, second, *, claimed=None, held=BOTH, rejected=NONE):
    return disagreement(first, second, claimed=claimed, held=held, rejected=rejected)


@pytest.mark.parametrize("claimed", [None, 2])
def test_equal_sets_that_ended_well_agree(claimed):
    assert judged(brought(completed=2), brought(), claimed=claimed) is None


@pytest.mark.parametrize(
    "second",
    [
        brought(ONE),
        brought(end=MoveEnd.PARTIAL, failed=1),
        brought(failed=1),
        brought(end=MoveEnd.FAILED),
        brought(end=MoveEnd.LOST),
        brought(completed=3),
        brought(completed=2, warning=1),
    ],
    ids=["fewer", "partial", "failed some", "failed", "lost", "claims more", "claims more with warnings"],
)
def test_a_retrieve_that_brings_or_claims_something_else_disagrees(second):
    assert judged(brought(), second) == judged(second, brought()) == "EXPECTED_SET_UNKNOWN"


def test_repeats_may_be_counted_by_the_archive():
    assert judged(brought(completed=4, arrivals=4), brought()) is None


def test_what_an_earlier_attempt_left_must_have_come_again():
    assert judged(brought(ONE), brought(ONE), held=BOTH) == "EXPECTED_SET_UNKNOWN"


def test_the_count_of_the_inventory_must_be_met():
    assert judged(brought(), brought(), claimed=3) == "EXPECTED_SET_UNKNOWN"


def test_a_rejected_instance_is_anothers_only_when_the_count_is_met_without_it():
    rejected = frozenset({"1.9"})

    assert judged(brought(), brought(), rejected=rejected) == "MALFORMED_INSTANCES"
    assert judged(brought(), brought(), rejected=rejected, claimed=3) == "MALFORMED_INSTANCES"
    assert judged(brought(), brought(), rejected=rejected, claimed=2) is None


def test_nothing_twice_is_nothing_received():
    assert judged(brought(NONE), brought(NONE), held=NONE) == "NOTHING_RECEIVED"
