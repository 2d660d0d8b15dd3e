"""The slope that the memory scenario shows."""

import random

import pytest

from perf.harness import Wrong
from perf.scenarios.memory import figures_of

KILOBYTE = 1000
READINGS = 400


def readings(leak: float) -> list[tuple[int, int]]:
    """A run of 50,000 instances whose memory grows by `leak` bytes per instance, with some noise."""
    noise = random.Random(1)
    done = [50_000 * step // READINGS for step in range(READINGS)]
    return [(each, round(200e6 + leak * each + noise.gauss(0, 2e6))) for each in done]


def test_a_leak_of_a_kilobyte_per_instance_is_a_slope_of_ten() -> None:
    found = figures_of(readings(KILOBYTE))

    assert found["slope_low"] <= 10 <= found["slope_high"]
    assert found["slope_low"] > 0


def test_memory_that_only_wavers_has_a_slope_that_may_be_nothing() -> None:
    found = figures_of(readings(0))

    assert found["slope_low"] <= 0 <= found["slope_high"]


def test_a_run_that_was_hardly_looked_at_proves_nothing() -> None:
    with pytest.raises(Wrong, match="readings"):
        figures_of(readings(0)[:20])
