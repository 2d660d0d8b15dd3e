"""The number of associations follows what a source gives, on models of sources with a virtual clock."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from actors.throughput import Slice
from actors.tuning import Bounds, Decision, Reason, State, decide

SLICE = 0.5
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
