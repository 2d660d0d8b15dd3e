"""The number of associations follows what a source gives, on models of sources with a virtual clock."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from actors.throughput import Slice, Window, compare
from actors.tuning import Bounds, Decision, Reason, State, Trial, decide

SLICE = 0.25
SIZE = 500_000
AUTO = Bounds(least=2, most=8)
WIDE = Bounds(least=2, most=32)


def linear(cap: float = 1e9, each: float = 50.0) -> Callable[[float], float]:
    """Latency bound: every association brings the same until `cap`."""
    return lambda used: min(each * used, cap)


def soft(most: float, half_at: float) -> Callable[[float], float]:
    """Each association brings a little less than the one before."""
    return lambda used: most * used / (used + half_at)


def congested(knee: int, each: float = 50.0) -> Callable[[float], float]:
    """Beyond the knee the source becomes slower: seeks, swapping, lock waits."""
    return lambda used: each * used if used <= knee else each * knee * (knee / used) ** 0.7


@dataclass
class Model:
    """A source and the movers in front of it."""

    rate: Callable[[float], float]
    """Instances a second by associations in use."""
    lanes: int = 64
    noise: float = 0.1
    """Relative, of each slice."""
    refuses_above: int = 1_000
    fails_above: int = 1_000
    """With more associations than this half of the attempts fail."""
    fails_always: float = 0.0
    study: int = 100
    """Instances of one."""
    seed: int = 1
    time: float = 0.0
    moved: float = 0.0
    levels: list[tuple[float, int, Reason]] = field(default_factory=list)
    state: State | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def run(self, seconds: float, bounds: Bounds) -> "Model":
        """The source is asked for so long."""
        end = self.time + seconds
        while self.time < end:
            self._slice(bounds)
        return self

    def _slice(self, bounds: Bounds) -> None:
        level = bounds.least if self.state is None else self.state.level
        used = min(level, self.lanes)
        refused = int(used > self.refuses_above)
        used = min(used, self.refuses_above)
        mean = self.rate(used) * SLICE
        instances = self._count(max(0.0, self._random.gauss(mean, self.noise * mean)))
        ended = self._count(instances / self.study)
        share = max(self.fails_always, 0.5 if used > self.fails_above else 0.0)
        failed = sum(self._random.random() < share for _ in range(ended))
        self.moved += instances * (1 - share)
        self.time += SLICE
        heard = Slice(
            seconds=SLICE,
            instances=instances,
            bytes=instances * SIZE,
            busy=used * SLICE,
            ended=ended,
            failed=failed,
            refused=refused,
        )
        self._take(decide(self.state, heard, bounds), bounds)

    def _take(self, decision: Decision, bounds: Bounds) -> None:
        before = bounds.least if self.state is None else self.state.level
        assert (decision.reason is not None) == (decision.state.level != before)
        self.state = decision.state
        if decision.reason is not None:
            self.levels.append((self.time, decision.state.level, decision.reason))

    def _count(self, mean: float) -> int:
        whole = int(mean)
        return whole + (self._random.random() < mean - whole)

    @property
    def level(self) -> int:
        assert self.state is not None
        return self.state.level if self.state.trial is None else self.state.trial.base


def best(model: Model, bounds: Bounds) -> float:
    """What the best fixed number would have moved."""
    return model.time * max(model.rate(number) for number in range(1, bounds.most + 1))


@pytest.mark.parametrize("seed", range(3))
def test_latency_alone_is_climbed_to_the_limit_in_seconds_by_doubling(seed: int) -> None:
    model = Model(linear(), seed=seed).run(60, AUTO)

    assert [(level, reason) for _, level, reason in model.levels] == [(4, Reason.DOUBLING), (8, Reason.DOUBLING)]
    assert model.levels[-1][0] <= 5
    assert model.moved >= 0.92 * best(model, AUTO)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cap", [3, 5, 6, 12, 20])
def test_a_source_that_scales_up_to_a_cap_is_used_to_it_and_not_beyond(cap: int, seed: int) -> None:
    model = Model(linear(cap * 50.0), seed=seed).run(600, WIDE)

    assert model.moved >= 0.9 * best(model, WIDE)
    assert cap * 0.75 <= model.level <= cap * 1.3 + 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("knee", [4, 6, 10])
def test_a_source_that_slows_down_beyond_its_knee_is_kept_at_it(knee: int, seed: int) -> None:
    model = Model(congested(knee), seed=seed).run(600, WIDE)

    assert model.moved >= 0.9 * best(model, WIDE)
    assert knee * 0.7 <= model.level <= knee * 1.3


@pytest.mark.parametrize("seed", range(3))
def test_noise_neither_starves_nor_shakes_it(seed: int) -> None:
    model = Model(linear(600), noise=0.5, seed=seed).run(1800, WIDE)

    assert model.moved >= 0.85 * best(model, WIDE)
    assert len(model.levels) <= 60


def test_at_the_knee_probes_become_rare() -> None:
    model = Model(linear(400), seed=2).run(1800, WIDE)
    half, changes = model.time / 2, model.levels

    assert len([1 for time, _, _ in changes if time > half]) <= 10
    assert {reason for time, _, reason in changes if time > half} >= {Reason.MORE, Reason.FEWER}


@pytest.mark.parametrize("above", [1, 3, 5])
def test_a_source_that_refuses_is_asked_with_what_it_takes_and_seldom_tried(above: int) -> None:
    model = Model(linear(), refuses_above=above).run(1200, AUTO)
    refusals = [time for time, _, reason in model.levels if reason is Reason.REFUSED]

    assert model.level == above
    assert len([time for time in refusals if time > 600]) <= 2


def test_a_refusal_halves_and_refusals_together_are_one() -> None:
    state = State(level=16, settle=0.0)
    first = decide(state, Slice(seconds=SLICE, refused=4), WIDE)
    second = decide(first.state, Slice(seconds=SLICE, refused=1), WIDE)
    third = decide(second.state, Slice(seconds=4.9, refused=1), WIDE)

    assert (first.state.level, first.reason) == (8, Reason.REFUSED)
    assert (second.state.level, second.reason) == (8, None)
    assert (third.state.level, third.reason) == (4, Reason.REFUSED)


def test_a_fixed_number_is_only_left_while_the_source_refuses() -> None:
    fixed = Bounds(least=4, most=4)
    calm = Model(linear(100)).run(600, fixed)
    troubled = Model(linear(), refuses_above=2).run(60, fixed)
    low = troubled.level
    troubled.refuses_above = 1_000
    troubled.run(300, fixed)

    assert calm.levels == []
    assert low == 2
    assert troubled.level == 4


@pytest.mark.parametrize("seed", range(2))
def test_failures_that_come_with_associations_are_avoided(seed: int) -> None:
    model = Model(linear(), fails_above=6, study=20, seed=seed).run(1200, WIDE)

    assert 3 <= model.level <= 6
    assert len([1 for time, _, reason in model.levels if reason is Reason.FAILING and time > 600]) <= 2


@pytest.mark.parametrize("seed", range(2))
def test_failures_that_come_anyway_do_not_hold_the_rest_up(seed: int) -> None:
    model = Model(linear(400), fails_always=0.5, study=20, seed=seed).run(1200, AUTO)

    assert model.level >= 6
    assert Reason.FAILS_ANYWAY in {reason for _, _, reason in model.levels}


def test_a_source_that_slows_down_at_an_unchanged_level_is_asked_with_fewer() -> None:
    model = Model(linear(400), seed=3).run(120, WIDE)
    before = model.level
    model.rate = linear(100)
    model.run(120, WIDE)

    assert before >= 7
    assert model.level <= 4
    assert Reason.SLOWED in {reason for _, _, reason in model.levels}


def test_a_source_that_falls_silent_is_left_with_the_least() -> None:
    model = Model(linear(400), seed=3).run(120, WIDE)
    model.rate = lambda used: 0.0
    model.run(1800, WIDE)

    assert model.level <= 8


def test_a_source_that_becomes_faster_is_climbed_again() -> None:
    model = Model(linear(150), seed=3).run(300, WIDE)
    model.rate = linear(each=100, cap=1200)
    model.run(300, WIDE)

    assert model.level >= 9


def test_what_no_lane_takes_up_is_taken_back() -> None:
    model = Model(linear(), lanes=4).run(120, AUTO)

    assert model.level == 4
    assert model.levels[2][1:] == (4, Reason.UNUSED)


def test_levels_that_are_not_used_teach_nothing() -> None:
    model = Model(linear(), lanes=1).run(300, AUTO)

    assert model.levels == []


def test_after_ten_minutes_of_silence_it_starts_anew() -> None:
    model = Model(linear()).run(60, AUTO)
    assert model.state is not None and model.state.level == 8

    decision = decide(model.state, Slice(seconds=601.0, instances=1, busy=0.5), AUTO)

    assert (decision.state, decision.reason) == (State(level=2, settle=0.0), Reason.STARTED)


def test_a_short_silence_is_not_taken_for_a_slow_source() -> None:
    model = Model(linear()).run(60, AUTO)
    assert model.state is not None

    decision = decide(model.state, Slice(seconds=90.0, instances=1, busy=0.5), AUTO)

    assert (decision.state.level, decision.reason) == (8, None)
    assert decision.state.window.seconds == 0


def test_a_lower_limit_holds_at_once() -> None:
    model = Model(linear()).run(60, AUTO)
    assert model.state is not None

    decision = decide(model.state, Slice(seconds=SLICE, instances=200, busy=4.0), Bounds(least=1, most=3))

    assert (decision.state.level, decision.reason) == (3, Reason.LIMIT)


def test_a_trial_from_beyond_a_lower_limit_is_not_taken_back() -> None:
    trial = Trial(reason=Reason.FEWER, base=8, before=Window())
    state = State(level=6, settle=0.0, trial=trial)

    decision = decide(state, Slice(seconds=SLICE, instances=100, busy=1.5), Bounds(least=1, most=7))

    assert (decision.state.level, decision.state.trial, decision.reason) == (6, None, None)


def test_the_binding_rate_is_the_steadier_one() -> None:
    """Sizes differ tenfold between studies, and each association brings so many instances whatever their size."""
    rng = random.Random(5)
    few, many = Window(), Window()
    for _ in range(20):
        for name, used in (("few", 4), ("many", 5)):
            count = used * 25
            part = Slice(seconds=SLICE, instances=count, bytes=count * rng.choice((50_000, 500_000)), busy=used * SLICE)
            few, many = (few.plus(part), many) if name == "few" else (few, many.plus(part))

    verdict = compare(few, many)

    assert verdict.gain == pytest.approx(0.25, abs=0.01)
    assert verdict.above(0.0625)


@pytest.mark.parametrize("bounds", [(0, 4), (5, 4)])
def test_a_range_that_is_none_is_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no range"):
        Bounds(least=bounds[0], most=bounds[1])
