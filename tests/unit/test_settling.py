"""What an error costs a study, its destination and the worker."""

from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest

from actors.options import MoverLimits
from actors.settling import SERVED_LATELY, Settling
from actors.source import Bound, SourceUnending, SourceUnreachable
from actors.worker import Tally, Turn
from storage.errors import Rejected, Retryable
from storage.ledger.claims import Claims
from storage.ledger.commits import Commits
from storage.ledger.control import Control
from storage.ledger.exceptions import Exceptions
from storage.ledger.job import Jobs
from storage.ledger.records import DestinationState

LIMITS = MoverLimits(outage=timedelta(minutes=30), retry_delay=timedelta(seconds=30), attempts=3)
AWAY = Retryable("no answer", operation="upload part", place="s3://archive")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span).total_seconds()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger():
    return SimpleNamespace(
        claims=create_autospec(Claims, instance=True),
        commits=create_autospec(Commits, instance=True),
        exceptions=create_autospec(Exceptions, instance=True),
        jobs=create_autospec(Jobs, instance=True),
        control=create_autospec(Control, instance=True),
    )


@pytest.fixture
def settling(ledger, clock):
    return Settling(ledger=ledger, limits=LIMITS, tally=Tally(), study_ref=str, kind="mover", now=clock)


def claim(attempts: int = 1):
    return SimpleNamespace(delivery_id=5, destination_id=1, source_id=3, study_uid="1.2.3", attempts=attempts)


def attempts_spent(ledger) -> list[bool]:
    return [call.kwargs["spent"] for call in ledger.claims.release.call_args_list]


def test_a_destination_that_stays_away_for_the_limit_is_stopped(settling, ledger, clock):
    for _ in range(4):
        settling.after(claim(), AWAY)
        clock.forward(minutes=10)

    [call] = ledger.jobs.set_destination.call_args_list
    assert call.args[:2] == (1, DestinationState.STOPPED)


@pytest.mark.parametrize("place", ["spool", "quarantine", "ledger"])
def test_trouble_of_the_worker_itself_never_stops_a_destination(settling, ledger, clock, place):
    for _ in range(4):
        turn = settling.after(claim(), Retryable("no space left", operation="append", place=place, code="ENOSPC"))
        clock.forward(minutes=10)

    assert turn is Turn.HALTED
    assert not ledger.jobs.set_destination.called
    assert attempts_spent(ledger) == [False] * 4


def test_a_refusal_of_the_workers_own_disk_is_not_called_one_of_the_destination(settling, ledger):
    settling.after(claim(attempts=3), Rejected("denied", operation="create", place="spool", code="EACCES"))

    [call] = ledger.commits.fail.call_args_list
    assert call.args[1].kind == "ATTEMPTS_EXHAUSTED"


def test_a_blink_is_no_outage_because_another_one_came_long_before_it(settling, ledger, clock):
    settling.after(claim(), AWAY)
    clock.forward(hours=9)

    settling.after(claim(), AWAY)

    assert not ledger.jobs.set_destination.called


def test_a_study_the_source_is_always_too_busy_for_uses_up_its_attempts(settling, ledger, clock):
    for _ in range(4):
        settling.busy(claim(), "SOURCE_BUSY")
        clock.forward(minutes=10)
    settling.busy(claim(attempts=3), "SOURCE_BUSY")

    assert attempts_spent(ledger) == [False, False, False, True]
    [call] = ledger.commits.fail.call_args_list
    assert call.args[1].evidence["cause"] == "SOURCE_BUSY"


def test_a_study_that_was_served_meanwhile_is_no_trouble_when_the_source_is_busy(settling, ledger, clock):
    for _ in range(6):
        settling.busy(claim(), "SOURCE_BUSY")
        settling.served(claim())
        clock.forward(minutes=10)

    assert attempts_spent(ledger) == [False] * 6


def test_a_refused_key_stops_the_destination_and_blames_no_study(ledger, settling):
    refused = Rejected("answered 403", operation="upload part", place="s3://archive", code="SignatureDoesNotMatch")

    assert settling.after(claim(), refused) is Turn.HALTED

    ledger.jobs.set_destination.assert_called_once()
    assert ledger.jobs.set_destination.call_args.args[1] is DestinationState.STOPPED
    assert attempts_spent(ledger) == [False]
    ledger.commits.fail.assert_not_called()


def test_a_refused_object_is_its_study_s_exception(ledger, settling):
    refused = Rejected("answered 400", operation="upload part", place="s3://archive", code="InvalidArgument")

    settling.after(claim(), refused)

    ledger.commits.fail.assert_called_once()
    ledger.jobs.set_destination.assert_not_called()


GONE = SourceUnreachable("no connection to pacs:104 (ConnectionRefusedError)")
FULL = SourceUnreachable("PACS rejected the association for now: local limit exceeded", refused=True)
STRANGERS = SourceUnreachable("PACS rejected the association for good", refused=True, permanent=True)


@pytest.mark.parametrize("error", [GONE, FULL])
def test_a_source_that_stays_away_for_the_limit_is_stopped_and_costs_no_attempt(settling, ledger, clock, error):
    for _ in range(4):
        settling.after(claim(), error)
        clock.forward(minutes=10)

    [call] = ledger.control.stop_source.call_args_list
    assert (call.args, call.kwargs) == ((3, str(error)), {"silent_for": LIMITS.outage})
    [opened] = ledger.exceptions.open.call_args_list
    assert (opened.args[0].kind, opened.args[0].blocking) == ("SOURCE_AWAY", False)
    assert attempts_spent(ledger) == [False] * 4


def test_a_source_that_answers_in_between_is_not_stopped(settling, ledger, clock):
    for answered in (settling.served, lambda claim: settling.busy(claim, "SOURCE_BUSY")):
        for _ in range(2):
            settling.after(claim(), GONE)
            clock.forward(minutes=10)
        answered(claim())
    settling.after(claim(), GONE)

    assert not ledger.control.stop_source.called


def test_a_source_that_refuses_us_for_good_is_stopped_at_once(settling, ledger):
    turn = settling.after(claim(), STRANGERS)

    [call] = ledger.control.stop_source.call_args_list
    assert call.kwargs == {"silent_for": SERVED_LATELY}
    assert [call.args[0].kind for call in ledger.exceptions.open.call_args_list] == ["SOURCE_REFUSES_US"]
    assert turn is Turn.HALTED
    assert attempts_spent(ledger) == [False]
    assert not ledger.control.source_busy.called


def test_a_source_that_another_worker_stopped_or_that_serves_others_is_told_of_once(settling, ledger):
    ledger.control.stop_source.return_value = False

    settling.after(claim(), STRANGERS)

    assert not ledger.exceptions.open.called


def test_an_answer_that_does_not_end_costs_the_study_its_attempts_and_then_names_it(settling, ledger):
    for attempt in (1, 2, 3):
        settling.after(claim(attempt), SourceUnending(Bound.ANSWERS))

    assert attempts_spent(ledger) == [True, True]
    [failed] = ledger.commits.fail.call_args_list
    assert (failed.args[1].kind, failed.args[1].evidence["bound"]) == ("SOURCE_UNENDING", "answers")
