"""A round: a migration whose processes and servers are killed while it works, run again until it ends, then judged."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

from chaos_judge import Findings, judge
from chaos_victims import MUST_DIE, Strike, Striker, Victim, draw
from chaos_world import GONE_SECONDS, POLL, Driver, Plan, World, wait_for, world

ROUND_SECONDS = 600.0
"""A round without kills takes a minute and a half on two busy cores."""
RUNS = 8
"""More runs than a round can need: one more than it has kills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a round came to."""

    plan: Plan
    kills: tuple[str, ...]
    missed: tuple[str, ...]
    """Strikes whose moment never came; a round that has any proves less than it says."""
    resumes: int
    faults: tuple[str, ...]
    """Ends of a driver that nobody had killed, other than success."""
    leftovers: tuple[str, ...]
    """Workers that outlived the local Ray of a killed driver."""
    seconds: float
    findings: Findings

    @property
    def good(self) -> bool:
        return self.findings.none and not (self.missed or self.faults or self.leftovers)

    def line(self, number: int) -> str:
        """The round in one line."""
        extra = "".join(
            f"; {name}: {', '.join(items)}"
            for name, items in (("missed", self.missed), ("faults", self.faults), ("left over", self.leftovers))
            if items
        )
        processes = "1 mover" if self.plan.processes == 1 else f"{self.plan.processes} movers"
        return (
            f"round {number}: {self.plan.studies} studies, {processes}; killed {', '.join(self.kills)}; "
            f"{self.resumes} resumes; {self.seconds:.0f} s; {self.findings}{extra}"
        )


def strikes_of(chance: random.Random) -> tuple[Strike, ...]:
    """Everybody who must die, and two more of any kind."""
    return draw(chance, (*MUST_DIE, *chance.choices(tuple(Victim), k=2)))


def play(plan: Plan, strikes: tuple[Strike, ...], folder: Path) -> Outcome:
    """The migration has ended and was judged."""
    started = time.monotonic()
    with world(plan, folder) as here:
        striker = Striker(here, strikes)
        faults, leftovers = run_to_the_end(here, striker, started + ROUND_SECONDS)
        return Outcome(
            plan=plan,
            kills=tuple(striker.done),
            missed=(*striker.missed, *(["not reached"] * striker.left)),
            resumes=len(here.drivers) - 1,
            faults=tuple(faults),
            leftovers=tuple(leftovers),
            findings=judge(here),
            seconds=time.monotonic() - started,
        )


def run_to_the_end(here: World, striker: Striker, deadline: float) -> tuple[list[str], list[str]]:
    """`limosa run` was started until one run ended in success; its faults, and what killed ones left behind."""
    faults: list[str] = []
    leftovers: list[str] = []
    while len(here.drivers) < RUNS:
        driver = here.start_driver()
        while driver.ended is None and time.monotonic() < deadline:
            striker.look(driver)
            time.sleep(POLL)
        if driver.ended == 0:
            return faults, leftovers
        if driver.ended is None:
            faults.append("out of time")
            return faults, leftovers
        if driver.ended < 0:
            leftovers += survivors(driver)
        else:
            faults.append(f"run {len(here.drivers)} ended with {driver.ended}: {driver.errors().splitlines()[-1:]}")
    return faults, leftovers


def survivors(driver: Driver) -> list[str]:
    """Workers that local Ray left running although its driver is gone."""
    wait_for(lambda: not driver.workers(), GONE_SECONDS)
    return [one.name() for one in driver.workers()]
