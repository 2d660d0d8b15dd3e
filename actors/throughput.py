"""What a source brought over a window of time, and whether one window brought measurably more than another.

Two rates are kept, instances and bytes a second, because archives are bound by the one (a fixed cost for each
instance, whatever its size) or by the other (disk, line). Which one binds shows by itself: it is the steadier of the
two when studies differ in size. So windows are compared by whichever rate is known better.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

CERTAINTY = 2.0
"""Standard errors that a verdict must be away from doubt: one wrong in about forty, and every verdict is looked at
again later."""

SLICE_NOISE = 0.05
"""Relative error a slice has at least, however alike a few are: its edges lie anywhere between arrivals."""

SPREAD_AT_FIRST = 0.03
"""Squared relative spread that is assumed beside the measured one and weighs as much as one slice: the spread of two
slices says next to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What all movers of a source reported together over one short stretch."""

    seconds: float
    instances: int = 0
    bytes: int = 0
    busy: float = 0.0
    """Association-seconds: how long studies were being pulled, summed over all of them."""
    ended: int = 0
    """Attempts at studies that ended and that the source had a fair chance at."""
    failed: int = 0
    """Of them, those that did not bring the study: aborts, lost answers, failed or missing instances."""
    refused: int = 0
    """Retrieves or associations turned away because we ask too much."""


class Rate(NamedTuple):
    """A mean per second and its relative standard error."""

    mean: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Sums over slices; enough for means and their errors without keeping the slices."""

    slices: float = 0.0
    seconds: float = 0.0
    instances: float = 0.0
    instance_squares: float = 0.0
    """Of the slices' rates."""
    bytes: float = 0.0
    byte_squares: float = 0.0
    busy: float = 0.0
    ended: float = 0.0
    failed: float = 0.0

    def plus(self, part: Slice) -> "Window":
        return Window(
            slices=self.slices + 1,
            seconds=self.seconds + part.seconds,
            instances=self.instances + part.instances,
            instance_squares=self.instance_squares + (part.instances / part.seconds) ** 2,
            bytes=self.bytes + part.bytes,
            byte_squares=self.byte_squares + (part.bytes / part.seconds) ** 2,
            busy=self.busy + part.busy,
            ended=self.ended + part.ended,
            failed=self.failed + part.failed,
        )

    def faded(self) -> "Window":
        """The same means from half as much evidence: what was long ago counts less."""
        return Window(
            slices=self.slices / 2,
            seconds=self.seconds / 2,
            instances=self.instances / 2,
            instance_squares=self.instance_squares / 2,
            bytes=self.bytes / 2,
            byte_squares=self.byte_squares / 2,
            busy=self.busy / 2,
            ended=self.ended / 2,
            failed=self.failed / 2,
        )

    @property
    def used(self) -> float:
        """Associations at work, on average."""
        return self.busy / self.seconds if self.seconds else 0.0

    @property
    def instance_rate(self) -> Rate:
        return self._rate(self.instances, self.instance_squares)

    @property
    def byte_rate(self) -> Rate:
        return self._rate(self.bytes, self.byte_squares)

    @property
    def error(self) -> float:
        """Of the rate that is known better."""
        return min(self.instance_rate.error, self.byte_rate.error)

    @property
    def failing(self) -> float:
        """The share of attempts that failed."""
        return self.failed / self.ended if self.ended else 0.0

    def _rate(self, total: float, squares: float) -> Rate:
        if not total or not self.seconds:
            return Rate(0.0, 0.0)
        mean = total / self.seconds
        spread = max(0.0, squares / self.slices / mean**2 - 1.0)
        return Rate(mean, math.sqrt((spread + SPREAD_AT_FIRST / self.slices + SLICE_NOISE**2) / self.slices))


class Verdict(NamedTuple):
    """How two windows compare; `gain` is relative, `error` its standard error."""

    gain: float
    error: float

    def sure_of(self, border: float, certainty: float = CERTAINTY) -> bool:
        """The gain is on one side of `border`, by so many standard errors."""
        return abs(self.gain - border) > certainty * self.error

    def above(self, least: float) -> bool:
        """The gain is surely more than `least`."""
        return self.gain > least and self.sure_of(least)

    def below(self, most: float) -> bool:
        """The gain is surely less than `most`."""
        return self.gain < most and self.sure_of(most)


def compare(before: Window, after: Window) -> Verdict:
    """The gain in the rate that is known better. `before` must have brought something."""
    verdicts = [
        _gain(before.instance_rate, after.instance_rate),
        _gain(before.byte_rate, after.byte_rate),
    ]
    return min(verdicts, key=lambda verdict: verdict.error)


def _gain(before: Rate, after: Rate) -> Verdict:
    ratio = after.mean / before.mean
    return Verdict(ratio - 1.0, max(ratio, SLICE_NOISE) * math.hypot(before.error, after.error))
