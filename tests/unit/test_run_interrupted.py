"""A run that a person ends says what became of its workers and how to go on."""

from collections.abc import Callable
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from cluster import run as module
from cluster.request import Request
from cluster.run import DRAIN_GRACE, Interrupted, Run


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Ray, without Ray."""
    made = MagicMock()
    made.__enter__.return_value = made
    made.__exit__.return_value = False
    monkeypatch.setattr(module, "RayRuntime", lambda *_: made)
    for name in ("register_job", "informed", "asking", "take_inventory", "planner_of", "make_revisions"):
        monkeypatch.setattr(module, name, MagicMock())
    for name in ("attach_destinations", "job_setup"):
        monkeypatch.setattr(module, name, MagicMock())
    for name in ("movers", "feeders", "validators"):
        monkeypatch.setattr(module, name, lambda *_: [])
    monkeypatch.setattr(module, "look", MagicMock(side_effect=KeyboardInterrupt))
    return made


def driver(interrupted: Callable[[float], None] = lambda seconds: None) -> Run:
    ledger = MagicMock()
    ledger.plan.step.return_value = SimpleNamespace(studies=0)
    ledger.plan.extend.return_value = (0, 0)
    return Run(
        MagicMock(),
        MagicMock(),
        ledger,
        Request(),
        watch=MagicMock(),
        watch_inventory=MagicMock(),
        interrupted=interrupted,
    )


def test_workers_that_were_told_to_stop_are_said_to_have_ended(runtime: MagicMock) -> None:
    asked = MagicMock()

    with pytest.raises(Interrupted, match=r"put down .* and ended.* run it again"):
        driver(asked).execute()

    asked.assert_called_once_with(DRAIN_GRACE)
    runtime.stop.assert_called_once_with(DRAIN_GRACE)


@pytest.mark.parametrize(("local", "told"), [(True, "ended with it"), (False, "go on by themselves")])
def test_workers_that_were_not_waited_for_end_or_go_on_as_ray_does(runtime: MagicMock, local: bool, told: str) -> None:
    runtime.local = local
    runtime.stop.side_effect = KeyboardInterrupt

    with pytest.raises(Interrupted, match=told):
        driver().execute()


def test_before_any_worker_is_at_work_there_is_none_to_speak_of(
    runtime: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "take_inventory", MagicMock(side_effect=KeyboardInterrupt))

    with pytest.raises(Interrupted, match="no worker was at work"):
        driver().execute()
