"""Memory over a long run: 50,000 instances of 20 KB in 250 studies through one mover, without a restart.

The mover's resident set is read ten times a second beside the number of instances it has committed. `slope_mb_per_10k`
is the line through the readings of the second half, in MB per 10,000 instances, with its 95 % interval: a leak of one
kilobyte per instance would show as 10. Readings follow each other closely and are not independent, so the interval is
taken over the means of twenty equal stretches. `rss_mb_at_*` are those means, for the plot.
"""

import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from perf.corpus import Corpus
from perf.harness import MB, Sample, Scale, Scenario, Subject, Wrong
from perf.measure import rss
from perf.migrating import LimosaMovers
from perf.movers import Movers
from perf.scenarios.end_to_end import LIMOSA, rules
from perf.servers import Servers
from perf.sources import Simulated

LOOK = 0.1
"""Seconds between readings."""
STRETCHES = 20
T_95 = {8: 2.306}
"""Student's t for ten means and a line: eight degrees of freedom."""
PER_SLOPE = 10_000


class Watched(LimosaMovers):
    """A mover whose memory is read all the time."""

    def measure(self, movers: Movers, aside: Callable[[], Mapping[str, float]]) -> Sample:
        readings: list[tuple[int, int]] = []
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK):
                done = movers.ledger.facts.written().instances
                readings.append((done, sum(rss(pid) for pid in movers.pids)))

        watch = threading.Thread(target=look, daemon=True)
        watch.start()
        try:
            sample = super().measure(movers, aside)
        finally:
            over.set()
            watch.join()
        return replace(sample, figures={**sample.figures, **figures_of(readings)})


def figures_of(readings: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Means of twenty stretches and the slope of the second ten. Raises `Wrong` for too few readings."""
    if len(readings) < 2 * STRETCHES:
        raise Wrong(f"only {len(readings)} readings of memory")
    edges = [len(readings) * step // STRETCHES for step in range(STRETCHES + 1)]
    parts = [readings[start:stop] for start, stop in pairwise(edges)]
    instances = [statistics.mean(done for done, _ in part) for part in parts]
    held = [statistics.mean(size for _, size in part) / MB for part in parts]
    slope, margin = line(instances[STRETCHES // 2 :], held[STRETCHES // 2 :])
    found = {f"rss_mb_at_{done:06.0f}": size for done, size in zip(instances, held, strict=True)}
    return {
        "slope_mb_per_10k": slope * PER_SLOPE,
        "slope_low": (slope - margin) * PER_SLOPE,
        "slope_high": (slope + margin) * PER_SLOPE,
        **found,
    }


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """The least-squares slope and half of its 95 % interval."""
    slope, offset = statistics.linear_regression(x, y)
    mean = statistics.mean(x)
    spread = sum((each - mean) ** 2 for each in x)
    left = sum((b - offset - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    freedom = len(x) - 2
    return slope, T_95[freedom] * (left / freedom / spread) ** 0.5


def _subjects(scale: Scale) -> list[Subject]:
    studies = {Scale.QUICK: 25, Scale.FULL: 250}[scale]
    source = Simulated(Corpus(studies=studies, instances=200, side=100, seed=7))
    servers = Servers(source)
    return [
        Watched(
            servers,
            source,
            name="limosa, 1 mover",
            about=LIMOSA,
            bucket=lambda: servers.forgetful_bucket(compression="none"),
            coercion=rules(),
        )
    ]


SCENARIOS = (
    Scenario(
        name="memory",
        title="50,000 slices of 20 KB through one mover: its memory while it runs",
        subjects=_subjects,
        quick=False,
        most_repeats=1,
    ),
)
