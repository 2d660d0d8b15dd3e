"""Who is killed when: drawn from a seed, done when the ledger shows the right moment."""

import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import psutil
from chaos_world import Driver, World, marked

MOMENT_SECONDS = 4.0
MOMENT_SHARE = 0.08
"""How long, and for how much of the work, the very moment is waited for; after that, any claim that somebody holds will
do. Without the second a fast machine has written everything before a rare moment comes."""

KILL_SECONDS = 10.0
"""A killed process goes as soon as the kernel has freed its memory."""


class Victim(StrEnum):
    """What `kill -9` hits."""

    MOVER = "mover"
    FEEDER = "feeder"
    VALIDATOR = "validator"
    DRIVER = "driver"
    POSTGRES = "postgres"
    S3 = "s3"


WORKERS = frozenset({Victim.MOVER, Victim.FEEDER, Victim.VALIDATOR})

MUST_DIE = (Victim.MOVER, Victim.DRIVER, Victim.POSTGRES, Victim.S3)


class Moment(StrEnum):
    """What somebody is in the middle of, by the ledger's rows."""

    PULLING = "pulling"
    UPLOADING = "uploading"
    """A multipart upload is begun and its delivery not written."""
    FEEDING = "feeding"
    READING = "reading"


_SIGNS = {
    Moment.PULLING: "lease_kind = 'pull'",
    Moment.UPLOADING: "lease_kind = 'pull' and exists (select from upload u where u.delivery_id = delivery.delivery_id"
    " and u.upload_id <> '')",
    Moment.FEEDING: "lease_kind = 'feed'",
    Moment.READING: "lease_kind = 'validate'",
}

_MOMENTS = {
    Victim.MOVER: (Moment.PULLING, Moment.UPLOADING, Moment.UPLOADING),
    Victim.FEEDER: (Moment.FEEDING,),
    Victim.VALIDATOR: (Moment.READING,),
    Victim.DRIVER: (Moment.PULLING, Moment.UPLOADING, Moment.FEEDING),
    Victim.POSTGRES: (Moment.PULLING, Moment.UPLOADING, Moment.FEEDING, Moment.READING),
    Victim.S3: (Moment.UPLOADING, Moment.FEEDING, Moment.READING),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One kill to come."""

    victim: Victim
    share: float
    """Of the deliveries that must be written first, both destinations together."""
    moment: Moment
    delay: float
    """Seconds between seeing the moment and killing."""


def draw(chance: random.Random, victims: tuple[Victim, ...]) -> tuple[Strike, ...]:
    """One strike for each victim, in the order of their shares."""
    strikes = [
        Strike(
            victim=victim,
            # Beyond, so little is left that the right moment may not come again.
            share=chance.uniform(0.02, 0.7),
            moment=chance.choice(_MOMENTS[victim]),
            delay=chance.uniform(0.0, 0.4),
        )
        for victim in victims
    ]
    return tuple(sorted(strikes, key=lambda strike: strike.share))


class Striker:
    """Waits for each strike's moment and kills. `missed` are strikes whose work was over before they fell."""

    def __init__(self, world: World, strikes: tuple[Strike, ...]) -> None:
        self._world = world
        self._left = list(strikes)
        self._due_since: float | None = None
        self.done: list[str] = []
        self.missed: list[str] = []

    @property
    def left(self) -> int:
        return len(self._left)

    def look(self, driver: Driver) -> Victim | None:
        """The victim that was killed just now, if the next strike's moment is there."""
        if not self._left or driver.ended is not None:
            return None
        strike = self._left[0]
        seen = self._world.ask(_LOOK.format(sign=_SIGNS[strike.moment]))
        if not seen or seen[0][0] is None:
            return None
        share, moment, busy, over = seen[0]
        if over:
            self.missed.append(f"{strike.victim} at {strike.share:.0%}")
            self._left.pop(0)
            return None
        if share < strike.share:
            return None
        self._due_since = self._due_since or time.monotonic()
        waited = time.monotonic() - self._due_since > MOMENT_SECONDS or share > strike.share + MOMENT_SHARE
        if not moment and not (busy and waited):
            return None
        time.sleep(strike.delay)
        if not self._kill(strike.victim, driver):
            return None
        self._left.pop(0)
        self._due_since = None
        self.done.append(f"{strike.victim} at {share:.0%}" + (f" while {strike.moment}" if moment else ""))
        return strike.victim

    def _kill(self, victim: Victim, driver: Driver) -> bool:
        """Whether there was something to kill."""
        if victim is Victim.DRIVER:
            driver.kill()
        elif victim is Victim.POSTGRES:
            self._world.postgres.kill()
        elif victim is Victim.S3:
            self._world.s3.kill()
        else:
            return kill_worker(self._world, victim)
        return True


def kill_worker(world: World, kind: Victim) -> bool:
    """Whether a worker of that kind was alive and is not any more."""
    for (pid,) in world.ask(f"select pid from worker where kind = '{kind}' order by beat_at desc") or ():
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            # The row may be a dead worker's, and its number somebody else's by now.
            if any(marked(process, mark) for mark in world.marks):
                process.send_signal(signal.SIGKILL)
                process.wait(KILL_SECONDS)
                return True
    return False


_LOOK = """
select count(*) filter (where state in ('written', 'validated'))::float / nullif(count(*), 0),
  coalesce(bool_or({sign}), false), count(lease_owner) > 0,
  coalesce(bool_and(state = 'validated'), false)
from delivery"""
