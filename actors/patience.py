"""How long something may fail in a row before it is no longer waited for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Outage:
    """Monotonic times of the first and the latest failure in a row."""

    since: float
    seen: float


class Patience:
    """Failures in a row, by the id of what fails. Kept in memory: a worker that starts anew is patient anew."""

    def __init__(self, limit: timedelta, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit.total_seconds()
        self._now = now
        self._outages: dict[int, Outage] = {}

    def exhausted(self, failing: int) -> bool:
        """It failed once more; whether it has done nothing else for the limit."""
        now = self._now()
        outage = self._outages.get(failing)
        # Where nobody asked for that long, as outside the hours window, nothing is known of the time between.
        since = now if outage is None or now - outage.seen > self._limit else outage.since
        self._outages[failing] = Outage(since, now)
        return now - since >= self._limit

    def renew(self, working: int) -> None:
        """It works again, or has been given up: what fails from now on is another outage."""
        self._outages.pop(working, None)
