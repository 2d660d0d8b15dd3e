"""How much time a schedule leaves, and when so much of it has passed. Pure.

Moments are seconds from the start of a plan. Weeks are those of the archive's wall clock; the hour by which a night is
longer or shorter twice a year is left out of account.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import ceil, inf

from cluster.schedule import Hours, Schedule

DAY = 86_400.0
WEEK = 7 * DAY


@dataclass(frozen=True, slots=True)
class Opening:
    """The hours of a week in which the source may be asked."""

    windows: tuple[tuple[float, float], ...]
    """Start and end in seconds from Monday 0:00; in order, and none touches another."""
    offset: float
    """Where in that week the plan starts."""

    @classmethod
    def of(cls, schedule: Schedule, start: datetime) -> "Opening":
        """The schedule's, for a plan that starts at `start` (aware)."""
        local = start.astimezone(schedule.zone)
        offset = local.weekday() * DAY + local.hour * 3600 + local.minute * 60 + local.second
        given = [window for hours in schedule.hours for window in _windows(hours)] or [(0.0, WEEK)]
        return cls(tuple(_merged(given)), offset)

    @property
    def per_week(self) -> float:
        """Open seconds of a week."""
        return sum(end - start for start, end in self.windows)

    def elapsed(self, start: float, end: float) -> float:
        """Open seconds between two moments."""
        return self._passed(self.offset + end) - self._passed(self.offset + start)

    def after(self, start: float, seconds: float) -> float:
        """The moment at which so many open seconds have passed since `start`."""
        if seconds <= 0:
            return start
        wanted = self._passed(self.offset + start) + seconds
        weeks = ceil(wanted / self.per_week) - 1
        left = wanted - weeks * self.per_week
        at = self.windows[-1][1]
        for opens, closes in self.windows:
            if left <= closes - opens:
                at = opens + left
                break
            left -= closes - opens
        return max(start, weeks * WEEK + at - self.offset)

    def emptied(self, backlog: float, growth: float, rate: float) -> float:
        """The moment at which nothing of `backlog` is left, of which `rate` a second is worked off while it is open and
        to which `growth` a second is added at all times; never (inf) where a week adds as much as it takes."""
        if backlog <= 0:
            return 0.0
        weekly = rate * self.per_week - growth * WEEK
        if weekly <= 0:
            return inf
        return min(self._emptied_in(window, backlog, growth, rate, weekly) for window in self.windows)

    def _emptied_in(
        self, window: tuple[float, float], backlog: float, growth: float, rate: float, weekly: float
    ) -> float:
        """The first moment without backlog in this window of any week. The backlog is least where a window closes, and
        there it is less by `weekly` each week."""
        opens, closes = window
        done = self._passed(self.offset)
        left = backlog + growth * (closes - self.offset) - rate * (self._passed(closes) - done)
        week = max(ceil(left / weekly), 0 if closes > self.offset else 1)
        begins = max(week * WEEK + opens, self.offset)
        left = backlog + growth * (begins - self.offset) - rate * (self._passed(begins) - done)
        return begins - self.offset + max(0.0, left) / (rate - growth)

    def _passed(self, moment: float) -> float:
        """Open seconds from Monday 0:00 of the first week."""
        weeks, rest = divmod(moment, WEEK)
        return weeks * self.per_week + sum(max(0.0, min(rest, end) - start) for start, end in self.windows)


def _windows(hours: Hours) -> Iterator[tuple[float, float]]:
    for day in hours.days:
        opens = day * DAY + hours.start.hour * 3600 + hours.start.minute * 60
        closes = opens + hours.length.total_seconds()
        yield opens, min(closes, WEEK)
        if closes > WEEK:
            yield 0.0, closes - WEEK


def _merged(windows: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    ordered = sorted(windows)
    opens, closes = ordered[0]
    for start, end in ordered[1:]:
        if start > closes:
            yield opens, closes
            opens = start
        closes = max(closes, end)
    yield opens, closes
