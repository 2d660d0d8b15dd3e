"""Movers, drivers, Postgres and S3 die at random while studies move, and every study arrives once.

`make chaos ROUNDS=10 SEED=...` plays ten rounds with 208 studies each; `make test` plays one short one.
"""

import os
import random
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos_rounds import Outcome, play, strikes_of
from chaos_victims import MUST_DIE, draw
from chaos_world import Plan

ROUNDS = int(os.environ.get("LIMOSA_CHAOS_ROUNDS") or 0)
SEED = int(os.environ.get("LIMOSA_CHAOS_SEED") or 0) or secrets.randbelow(1_000_000) + 1
SHORT_SEED = 7


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints at once, whatever pytest does with output."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    return say


@pytest.mark.skipif(ROUNDS == 0, reason="make chaos plays the rounds")
@pytest.mark.timeout(0)
def test_every_study_arrives_once_whatever_is_killed(tmp_path: Path, tell: Callable[[str], None]) -> None:
    chance = random.Random(SEED)
    tell(f"\nseed {SEED}, {ROUNDS} rounds")
    outcomes: list[Outcome] = []

    for number in range(1, ROUNDS + 1):
        plan = Plan(studies=208, large=32, seed=chance.randrange(1, 1_000), processes=1 + number % 2)
        outcomes.append(play(plan, strikes_of(chance), tmp_path / f"round-{number}"))
        tell(outcomes[-1].line(number))

    lost, duplicated, wrong = (
        sum(len(getattr(outcome.findings, name)) for outcome in outcomes) for name in ("lost", "duplicated", "wrong")
    )
    studies, kills = (sum(each) for each in ([o.plan.studies for o in outcomes], [len(o.kills) for o in outcomes]))
    tell(f"{studies} studies, {kills} kills: {lost} lost, {duplicated} duplicated, {wrong} wrong")
    assert all(outcome.good for outcome in outcomes), [outcome.findings for outcome in outcomes if not outcome.good]


@pytest.mark.skipif(ROUNDS > 0, reason="the long rounds prove more")
def test_a_short_run_survives_the_death_of_everything_it_stands_on(tmp_path: Path) -> None:
    strikes = draw(random.Random(SHORT_SEED), MUST_DIE)

    outcome = play(Plan(studies=64, large=6, seed=SHORT_SEED, processes=2), strikes, tmp_path / "round")

    assert outcome.good, (outcome.line(1), outcome.findings)
