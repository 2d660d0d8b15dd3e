"""Movers, drivers, Postgres and S3 die at random while studies move, and every study arrives once.

`make chaos ROUNDS=10 SEED=...` plays ten rounds with 200 studies each; `make test` plays one short one.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos_rounds import Outcome, play, strikes_of
from chaos_victims import MUST_DIE, draw
from chaos_world import Plan

ROUNDS = int(os.environ.get("LIMOSA_CHAOS_ROUNDS") or 0)
SHORT_SEED = 7


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints at once, whatever pytest does with output."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)

    return say


@pytest.mark.skipif(ROUNDS == 0, reason="make chaos plays the rounds")
@pytest.mark.timeout(0)
def test_every_study_arrives_once_whatever_is_killed(
    tmp_path: Path, tell: Callable[[str], None], score: list[str]
) -> None:
    chance = random.Random(int(os.environ["LIMOSA_CHAOS_SEED"]))
    outcomes: list[Outcome] = []

    for number in range(1, ROUNDS + 1):
        plan = Plan(studies=200, large=16, seed=chance.randrange(1, 1_000), processes=2 - number % 2)
        outcomes.append(play(plan, strikes_of(chance), tmp_path / f"round-{number}"))
        tell(outcomes[-1].line(number))

    studies, kills = sum(each.plan.studies for each in outcomes), sum(len(each.kills) for each in outcomes)
    lost = sum(len(each.findings.lost) for each in outcomes)
    duplicated = sum(len(each.findings.duplicated) for each in outcomes)
    wrong = sum(len(each.findings.wrong) for each in outcomes)
    score.append(f"{studies} studies, {kills} kills: {lost} lost, {duplicated} duplicated, {wrong} wrong")
    assert all(outcome.good for outcome in outcomes), [outcome.findings for outcome in outcomes if not outcome.good]


@pytest.mark.skipif(ROUNDS > 0, reason="the long rounds prove more")
@pytest.mark.timeout(400)
def test_a_short_run_survives_the_death_of_everything_it_stands_on(tmp_path: Path) -> None:
    strikes = draw(random.Random(SHORT_SEED), MUST_DIE)

    outcome = play(
        Plan(studies=60, large=4, seed=SHORT_SEED, processes=2, store_latency=0.02), strikes, tmp_path / "round"
    )

    assert outcome.good, (outcome.line(1), outcome.findings)
