"""A driver's patience with an absent ledger is for one absence, not for all of a run's."""

from collections.abc import Callable
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from cluster import run as module
from cluster.request import Request
from cluster.run import LEDGER_PATIENCE, Halted, Run
from cluster.runtime import RuntimeFault
from storage.errors import Retryable
from storage.ledger.records import LeaseKind


class Clock:
    """Time that only moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_short_absences_over_a_long_run_do_not_end_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    looks = 0

    def look(*_: object) -> SimpleNamespace:
        nonlocal looks
        looks += 1
        clock.now += LEDGER_PATIENCE.total_seconds() / 2
        if looks % 2:
            raise Retryable("away", operation="look", place="ledger")
        return SimpleNamespace(halted=(), claims=1)

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "look", look)
    ledger = MagicMock()
    ledger.status.left_of.side_effect = lambda *_, **__: looks < 10
    driver = Run(MagicMock(), MagicMock(), ledger, Request(), watch=MagicMock(), watch_inventory=MagicMock())

    driver._observe(MagicMock(), MagicMock(), (LeaseKind.PULL,), None)

    assert looks == 10


def test_one_long_absence_ends_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "look", MagicMock(side_effect=Retryable("away", operation="look", place="ledger")))
    driver = Run(MagicMock(), MagicMock(), MagicMock(), Request(), watch=MagicMock(), watch_inventory=MagicMock())

    with pytest.raises(Retryable):
        driver._observe(MagicMock(), MagicMock(), (LeaseKind.PULL,), None)

    assert clock.now - 1000 > LEDGER_PATIENCE.total_seconds()


def test_a_ledger_that_is_away_before_there_is_anything_to_watch_does_not_end_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "time", Clock())
    services, step = MagicMock(), MagicMock(side_effect=[Retryable("away", place="ledger"), "workers"])
    driver = Run(MagicMock(), services, MagicMock(), Request(), watch=MagicMock(), watch_inventory=MagicMock())

    assert driver._patiently(step) == "workers"

    services.revive.assert_called_once_with()


def test_workers_that_did_not_start_for_want_of_the_ledger_are_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", Clock())
    runtime, ledger = MagicMock(), MagicMock()
    runtime.ensure.side_effect = [RuntimeFault("worker feeder-1 did not start"), None]
    ledger.status.destinations.side_effect = Retryable("away", place="ledger")
    driver = Run(MagicMock(), MagicMock(), ledger, Request(), watch=MagicMock(), watch_inventory=MagicMock())

    driver._start(runtime, [])

    assert runtime.ensure.call_count == 2


def test_workers_that_do_not_start_although_the_ledger_answers_end_the_driver() -> None:
    runtime = MagicMock()
    runtime.ensure.side_effect = RuntimeFault("worker feeder-1 did not start")
    driver = Run(MagicMock(), MagicMock(), MagicMock(), Request(), watch=MagicMock(), watch_inventory=MagicMock())

    with pytest.raises(RuntimeFault):
        driver._start(runtime, [])

    assert runtime.ensure.call_count == 1


def test_what_else_is_away_is_not_taken_for_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", Clock())
    step = MagicMock(side_effect=Retryable("away", place="s3://images"))
    driver = Run(MagicMock(), MagicMock(), MagicMock(), Request(), watch=MagicMock(), watch_inventory=MagicMock())

    with pytest.raises(Retryable):
        driver._patiently(step)

    step.assert_called_once_with()


def pulled(epoch: int) -> SimpleNamespace:
    return SimpleNamespace(delivery_id=5, epoch=epoch, kind=LeaseKind.PULL)


@pytest.mark.parametrize("epochs", [lambda look: look, lambda look: 1], ids=["claimed again and again", "held"])
def test_a_title_that_is_unknown_ends_the_run_unless_a_study_is_on_its_way_all_the_while(
    monkeypatch: pytest.MonkeyPatch, epochs: Callable[[int], int]
) -> None:
    clock, looks = Clock(), 0
    monkeypatch.setattr(module, "time", clock)
    ledger = MagicMock()
    driver = Run(MagicMock(), MagicMock(), ledger, Request(), watch=MagicMock(), watch_inventory=MagicMock())
    ended = False

    while not ended and looks < 60:
        looks += 1
        ledger.status.live_claims.return_value = (pulled(epochs(looks)),)
        try:
            driver._give_up_when_halted(SimpleNamespace(halted=("RECEIVER_UNKNOWN",), claims=1))
        except Halted:
            ended = True
        clock.sleep(1.0)

    assert ended == (epochs(2) == 2)
