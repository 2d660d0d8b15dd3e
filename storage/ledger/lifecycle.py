"""States and the moves between them; pure, and the same pairs the database enforces."""

from collections.abc import Collection
from enum import StrEnum
from typing import assert_never


class StudyState(StrEnum):
    """Where a study stands before and beside its deliveries."""

    DISCOVERED = "discovered"
    """The archive named it; nothing was decided yet."""
    PLANNED = "planned"
    """Its current revision has deliveries."""
    HELD = "held"
    """A person keeps it back for now."""
    EXCLUDED = "excluded"
    """A person decided that it does not move."""
    EMPTY_CONFIRMED = "empty_confirmed"
    """The archive lists it and holds no instance of it; asked again and confirmed."""
    EXCEPTION = "exception"
    """A blocking exception of the whole study is open."""


class DeliveryState(StrEnum):
    """Where one revision of a study stands at one destination."""

    PENDING = "pending"
    WRITTEN = "written"
    """Durable at the destination, receipt in the ledger."""
    SEALED = "sealed"
    SHIPPED = "shipped"
    ARRIVED = "arrived"
    VALIDATED = "validated"
    """Read back and proven. The only state that counts as done; on a device, done here: it may still be sealed."""
    EXCEPTION = "exception"
    VOID = "void"
    """Nothing to deliver any more: a later revision replaced it, or the study is empty, held or excluded."""


_S, _D = StudyState, DeliveryState

STUDY_MOVES: dict[StudyState, frozenset[StudyState]] = {
    _S.DISCOVERED: frozenset({_S.PLANNED, _S.HELD, _S.EXCLUDED, _S.EXCEPTION}),
    _S.PLANNED: frozenset({_S.HELD, _S.EXCLUDED, _S.EMPTY_CONFIRMED, _S.EXCEPTION}),
    _S.HELD: frozenset({_S.DISCOVERED, _S.EXCLUDED}),
    _S.EXCLUDED: frozenset({_S.DISCOVERED, _S.HELD}),
    _S.EMPTY_CONFIRMED: frozenset({_S.PLANNED, _S.HELD, _S.EXCLUDED}),
    _S.EXCEPTION: frozenset({_S.DISCOVERED, _S.PLANNED, _S.HELD, _S.EXCLUDED}),
}

DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    _D.PENDING: frozenset({_D.WRITTEN, _D.EXCEPTION, _D.VOID}),
    # A device that is read back before it leaves the house is validated without a shipment.
    # At a service, which holds one copy, the next revision takes the place of one that was not proven yet.
    _D.WRITTEN: frozenset({_D.SEALED, _D.VALIDATED, _D.EXCEPTION, _D.VOID}),
    _D.SEALED: frozenset({_D.SHIPPED, _D.EXCEPTION}),
    _D.SHIPPED: frozenset({_D.ARRIVED, _D.EXCEPTION}),
    _D.ARRIVED: frozenset({_D.VALIDATED, _D.EXCEPTION}),
    # On a device only (the database holds it to that): it goes on its way, or is found damaged before it does.
    _D.VALIDATED: frozenset({_D.SEALED, _D.EXCEPTION}),
    _D.EXCEPTION: frozenset({_D.PENDING, _D.WRITTEN, _D.SEALED, _D.SHIPPED, _D.ARRIVED, _D.VOID}),
    _D.VOID: frozenset(),
}


class StudyStatus(StrEnum):
    """What a person is told about a study; derived from its state and its current deliveries, never stored."""

    DISCOVERED = "discovered"
    WAITING = "waiting"
    WRITTEN = "written"
    IN_TRANSIT = "in_transit"
    DONE = "done"
    EMPTY = "empty"
    HELD = "held"
    EXCLUDED = "excluded"
    EXCEPTION = "exception"


_PROGRESS = (StudyStatus.WAITING, StudyStatus.IN_TRANSIT, StudyStatus.WRITTEN, StudyStatus.DONE)


def _progress(state: DeliveryState) -> StudyStatus | None:
    match state:
        case DeliveryState.PENDING:
            return StudyStatus.WAITING
        case DeliveryState.WRITTEN | DeliveryState.ARRIVED:
            return StudyStatus.WRITTEN
        case DeliveryState.SEALED | DeliveryState.SHIPPED:
            return StudyStatus.IN_TRANSIT
        case DeliveryState.VALIDATED:
            return StudyStatus.DONE
        case DeliveryState.EXCEPTION:
            return StudyStatus.EXCEPTION
        case DeliveryState.VOID:
            return None
    assert_never(state)


def study_status(state: StudyState, deliveries: Collection[DeliveryState]) -> StudyStatus:
    """The status of a study: an exception outweighs everything, else its least advanced delivery decides."""
    match state:
        case StudyState.DISCOVERED:
            return StudyStatus.DISCOVERED
        case StudyState.HELD:
            return StudyStatus.HELD
        case StudyState.EXCLUDED:
            return StudyStatus.EXCLUDED
        case StudyState.EMPTY_CONFIRMED:
            return StudyStatus.EMPTY
        case StudyState.EXCEPTION:
            return StudyStatus.EXCEPTION
        case StudyState.PLANNED:
            found = {_progress(delivery) for delivery in deliveries} - {None}
            if StudyStatus.EXCEPTION in found:
                return StudyStatus.EXCEPTION
            return next((status for status in _PROGRESS if status in found), StudyStatus.WAITING)
    assert_never(state)
