"""Whatever a source does, the number of associations stays within its limits, and every change says why."""

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.pacing import kept, remembered
from actors.throughput import Slice
from actors.tuning import Bounds, Reason, State, decide

BOUNDS = st.tuples(st.integers(1, 40), st.integers(0, 40)).map(lambda two: Bounds(least=two[0], most=sum(two)))


@st.composite
def slices(draw: st.DrawFn) -> Slice:
    ended = draw(st.integers(0, 20))
    return Slice(
        seconds=draw(st.sampled_from((0.5, 0.6, 1.0, 7.0, 700.0)) if draw(st.integers(0, 9)) == 0 else st.just(0.5)),
        instances=draw(st.integers(0, 1000)),
        bytes=draw(st.integers(0, 10**9)),
        busy=draw(st.floats(0, 40)),
        ended=ended,
        failed=draw(st.integers(0, ended)),
        refused=draw(st.integers(0, 3)) if draw(st.integers(0, 9)) == 0 else 0,
    )


@given(st.lists(st.tuples(slices(), BOUNDS), max_size=40))
@settings(max_examples=60, deadline=None)
def test_no_measurement_and_no_change_of_limits_leads_beyond_them(course: list[tuple[Slice, Bounds]]) -> None:
    state: State | None = None
    for heard, bounds in course:
        before = state
        decision = decide(state, heard, bounds)
        state = decision.state

        assert 1 <= state.level <= bounds.most
        if before is not None:
            assert (decision.reason is None) == (state.level == before.level)
        if heard.refused and before is not None and heard.seconds < 600:
            assert state.level <= max(before.level, 1)


@given(st.lists(slices(), min_size=1, max_size=40), BOUNDS)
@settings(max_examples=40, deadline=None)
def test_only_refusals_and_failures_lead_below_the_least(course: list[Slice], bounds: Bounds) -> None:
    state: State | None = None
    lowered = False
    for heard in course:
        decision = decide(state, heard, bounds)
        lowered |= decision.reason in (Reason.REFUSED, Reason.FAILING)
        state = decision.state

        assert lowered or state.level >= bounds.least


@given(st.lists(slices(), min_size=1, max_size=40), BOUNDS)
@settings(max_examples=40, deadline=None)
def test_what_the_ledger_keeps_is_the_whole_state(course: list[Slice], bounds: Bounds) -> None:
    state: State | None = None
    for heard in course:
        state = decide(state, heard, bounds).state

        assert remembered(kept(state)) == state


def test_a_state_of_another_version_is_forgotten() -> None:
    assert remembered({}) is None
    assert remembered(kept(State(level=4)) | {"version": 2}) is None
