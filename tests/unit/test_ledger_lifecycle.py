"""The states of studies and deliveries, and what a person is told of them."""

from hypothesis import given
from hypothesis import strategies as st

from storage.ledger.lifecycle import DELIVERY_MOVES, STUDY_MOVES, DeliveryState, StudyState, StudyStatus, study_status

deliveries = st.lists(st.sampled_from(DeliveryState), max_size=4)


def reachable(start: DeliveryState) -> set[DeliveryState]:
    seen, todo = {start}, [start]
    while todo:
        fresh = DELIVERY_MOVES[todo.pop()] - seen
        seen |= fresh
        todo.extend(fresh)
    return seen


def test_every_state_has_its_moves() -> None:
    assert set(STUDY_MOVES) == set(StudyState)
    assert set(DELIVERY_MOVES) == set(DeliveryState)


def test_what_is_void_stays_so_and_what_is_validated_unless_it_is_on_a_device() -> None:
    assert [state for state, moves in DELIVERY_MOVES.items() if not moves] == [DeliveryState.VOID]
    assert DELIVERY_MOVES[DeliveryState.VALIDATED] == {DeliveryState.SEALED, DeliveryState.EXCEPTION}


def test_every_unfinished_delivery_can_still_be_validated() -> None:
    unfinished = set(DeliveryState) - {DeliveryState.VALIDATED, DeliveryState.VOID}

    assert all(DeliveryState.VALIDATED in reachable(state) for state in unfinished)


def test_nothing_is_validated_that_was_not_written_or_has_not_arrived() -> None:
    before = {state for state, moves in DELIVERY_MOVES.items() if DeliveryState.VALIDATED in moves}

    assert before == {DeliveryState.WRITTEN, DeliveryState.ARRIVED}


@given(deliveries)
def test_a_planned_study_is_done_exactly_when_all_that_is_to_deliver_is_validated(states: list[DeliveryState]) -> None:
    real = [state for state in states if state is not DeliveryState.VOID]

    done = study_status(StudyState.PLANNED, states) is StudyStatus.DONE

    assert done == (bool(real) and all(state is DeliveryState.VALIDATED for state in real))


@given(deliveries)
def test_an_exception_outweighs_every_other_delivery(states: list[DeliveryState]) -> None:
    status = study_status(StudyState.PLANNED, [*states, DeliveryState.EXCEPTION])

    assert status is StudyStatus.EXCEPTION


@given(st.sampled_from(StudyState), deliveries)
def test_every_study_has_a_status_whatever_the_order_of_its_deliveries(
    state: StudyState, states: list[DeliveryState]
) -> None:
    assert study_status(state, states) is study_status(state, states[::-1])
