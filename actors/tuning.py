"""How many associations a source is asked with: the rule. Pure: measurements in, decision and reason out.

    start at `least` ── double while it pays nearly in proportion ──> step up by a quarter while it pays
                                                                           │ no longer
    refused, or failing: half   <── at any time ──        hold at the knee, probe again after a pause that doubles

One state per source lies in the ledger; whichever mover closes a slice of time decides (`actors.pacing`). By Little's
law the time an instance takes is associations in use / instances per second, so latency that rises without gain is the
same as more associations without gain, and needs no measure of its own. docs/explanation/parallelism.md has the
reason for each constant.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from actors.throughput import CERTAINTY, Slice, Window, compare

PAYS = 0.25
"""More associations have to bring at least this share of what they would in proportion. Less is not worth the
readers' patience; more would stop at half of what a source with soft limits can give."""

NEARLY_LINEAR = 0.7
"""From this share of proportion on, doubling goes on: the limit is latency, and it is far."""

STEP_SHARE = 4
"""A step is a quarter of the level: one association more among sixteen would be lost in the noise."""

USED = 0.75
"""A level that is used less than this (few studies left, too few lanes) says nothing about the source."""

SETTLE = 0.5
"""Seconds after a change that are not measured: lanes look for work twice a second."""

SHORT_WINDOW, WINDOW = 0.75, 3.0
"""Seconds measured at least before doubling, and before anything finer."""

DOUBLING_CERTAINTY = 1.0
"""Standard errors that are enough while doubling: what pays brings four times what is asked for, and a doubling too
many is seen in a second."""

ROUGHLY, WELL = 0.15, 0.04
"""Relative error at which a rate is known well enough to be doubled from, and to be stepped from: what is not known at
the beginning of a trial cannot be made up for during it."""

LONG_WINDOW = 30.0
"""Seconds after which a trial ends by what was measured, sure or not, and older measurements fade."""

ENOUGH_INSTANCES, LONGEST_TRIAL = 8, 120.0
"""Below this many, a rate is an accident; but a trial that brings next to nothing for two minutes has failed."""

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 600.0
"""Seconds at the knee before the next probe; doubles with each that changes nothing."""

CALM = 10.0
"""Seconds without a refusal before a level that was refused is approached again."""

REFUSAL_SPACING = 5.0
"""Refusals within this time are one: four associations refused together are one sign of load."""

FAILURES, FAILURE_SHARE = 3, 0.25
"""At least so many failed attempts, and so large a share of all, are more than broken studies."""

UNUSED_AFTER = 5.0
"""Seconds given to lanes to take up what they are allowed."""

DRIFT_WINDOW, SLOWER, FASTER = 10.0, -0.3, 0.4
"""Seconds, and the change of rate at an unchanged level that makes the knee worth finding anew."""

GAP, FORGET = 5.0, 600.0
"""A slice this long was mostly silence: it measures nothing; after ten minutes nothing known before holds."""


class Reason(StrEnum):
    """Why the number of associations is another now."""

    STARTED = "started"
    """From the beginning: nothing was asked for ten minutes."""
    LIMIT = "limit"
    """The job file allows fewer."""
    DOUBLING = "doubling"
    """What was added paid nearly in proportion: twice as many are tried."""
    MORE = "more"
    """A quarter more is tried."""
    FEWER = "fewer"
    """A quarter fewer is tried: they may bring as much."""
    SLOWED = "slowed"
    """The source became slower at an unchanged level: fewer may bring as much."""
    NO_GAIN = "no_gain"
    """More brought too little: back."""
    NEEDED = "needed"
    """Fewer brought too little: back."""
    UNUSED = "unused"
    """Nobody took up what was allowed: back."""
    REFUSED = "refused"
    """The source turned us away: half, or back from a trial."""
    FAILING = "failing"
    """Too many attempts failed: half, or back from a trial."""
    FAILS_ANYWAY = "fails_anyway"
    """As many failed with half as many: back, since we are not the reason."""
    RECOVERING = "recovering"
    """The source is calm again: on the way back to what the job file asks for at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The job's: fewer than `least` only while the source refuses or fails, more than `most` never."""

    least: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"no range of associations: {self.least} to {self.most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Another level than `base` is being tried; `before` was measured at it."""

    reason: Reason
    base: int
    before: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that is remembered of a source. Times are seconds of being asked."""

    level: int
    stride: Reason = Reason.DOUBLING
    """How the next step is made: DOUBLING, MORE, or SLOWED for one down that has a cause."""
    upwards: bool = True
    """Where the next probe goes."""
    coarse: bool = False
    """The level was reached by a doubling that paid, but not in proportion: the knee may lie below it."""
    wait: float = 0.0
    """Before the next probe."""
    pause: float = FIRST_PAUSE
    """After the next probe that changes nothing."""
    settle: float = SETTLE
    calm: float = CALM
    """Since the last refusal."""
    ceiling: int | None = None
    """The highest level that was not refused; reached in steps without a pause."""
    tolerated: float = 0.0
    """Share of failures that did not fall with fewer associations."""
    window: Window = field(default_factory=Window)
    reference: Window | None = None
    """Measured when the level was settled."""
    trial: Trial | None = None

    def at(self, level: int, **changes: Any) -> Self:
        """The state with another level, whose measuring starts anew."""
        return replace(self, level=level, window=Window(), settle=SETTLE, **changes)

    def tried(self, level: int, reason: Reason) -> "Decision":
        trial = Trial(reason=reason, base=self.level, before=self.window)
        return Decision(self.at(level, trial=trial), reason)

    def settled(self, **changes: Any) -> Self:
        """The level that was tried is the level from now on, and the search goes on from there."""
        return replace(self, trial=None, reference=self.window, wait=0.0, pause=FIRST_PAUSE, **changes)

    def paused(self, **changes: Any) -> Self:
        """Nothing is probed for a while, and for twice as long the next time."""
        return replace(self, wait=self.pause, pause=min(2 * self.pause, LONGEST_PAUSE), **changes)


@dataclass(frozen=True, slots=True, kw_only=False)
class Decision:
    """What is remembered from now on; `reason` is given exactly when the level changed."""

    state: State
    reason: Reason | None = None


def decide(state: State | None, heard: Slice, bounds: Bounds) -> Decision:
    """The level after one more slice of time."""
    if state is None or heard.seconds >= FORGET:
        changed = state is not None and state.level != bounds.least
        return Decision(State(level=bounds.least, settle=0.0), Reason.STARTED if changed else None)
    state = replace(state, calm=state.calm + heard.seconds, wait=max(0.0, state.wait - heard.seconds))
    if state.level > bounds.most:
        return Decision(state.at(bounds.most, trial=None, reference=None), Reason.LIMIT)
    if state.trial is not None and state.trial.base > bounds.most:
        # There is no way back to where the trial came from any more.
        state = state.at(state.level, trial=None, reference=None)
    if heard.refused:
        return _refused(state)
    if heard.seconds >= GAP:
        return Decision(state.at(state.level))
    if state.settle > 0:
        return Decision(replace(state, settle=state.settle - heard.seconds))
    window = state.window.plus(heard)
    if state.trial is None and window.seconds > LONG_WINDOW and window.instances > 2 * ENOUGH_INSTANCES:
        window = window.faded()
    state = replace(state, window=window)
    if _fails(state):
        return _failing(state)
    return _propose(state, bounds) if state.trial is None else _judge(state, state.trial)


def _refused(state: State) -> Decision:
    if state.calm < REFUSAL_SPACING:
        return Decision(replace(state, window=Window()))
    ceiling = max(1, min(state.level - 1, state.ceiling or state.level))
    lower, _ = _step_back(state)
    state = replace(state, calm=0.0, wait=CALM, upwards=True, stride=Reason.MORE, coarse=False, ceiling=ceiling)
    return _lowered(state, lower, Reason.REFUSED, trial=None)


def _failing(state: State) -> Decision:
    lower, back = _step_back(state)
    state = replace(state, upwards=True, stride=Reason.MORE, coarse=False)
    if back:
        return _lowered(state.paused(), lower, Reason.FAILING, trial=None)
    # Whether fewer fail now decides what the failures are taken for.
    check = Trial(reason=Reason.FAILING, base=state.level, before=state.window)
    return _lowered(state, lower, Reason.FAILING, trial=check)


def _lowered(state: State, lower: int, reason: Reason, *, trial: Trial | None) -> Decision:
    changed = lower != state.level
    return Decision(state.at(lower, trial=trial if changed else None, reference=None), reason if changed else None)


def _step_back(state: State) -> tuple[int, bool]:
    """Where to go back to, and whether that is where a trial came from: a trial is taken back, else half remains."""
    if state.trial is not None and state.trial.base < state.level:
        return state.trial.base, True
    return max(1, state.level // 2), False


def _fails(state: State) -> bool:
    checked = state.trial is not None and state.trial.reason is Reason.FAILING
    window = state.window
    many = window.failed >= FAILURES and window.failing > state.tolerated + FAILURE_SHARE
    return many and state.level > 1 and not checked


def _propose(state: State, bounds: Bounds) -> Decision:
    """No trial is on: whether one begins."""
    window, level = state.window, state.level
    doubling = state.stride is Reason.DOUBLING
    if window.seconds < (SHORT_WINDOW if doubling else WINDOW):
        return Decision(state)
    if window.used < USED * level:
        return Decision(replace(state, window=Window()))
    known = window.error <= (ROUGHLY if doubling else WELL) or window.seconds >= LONG_WINDOW / 2
    if window.instances < ENOUGH_INSTANCES or not known:
        return Decision(state)
    step = max(1, level // STEP_SHARE)
    if level < bounds.least:
        return _recover(state, min(level + step, bounds.least))
    state = _drifted(state)
    if state.ceiling is not None and level >= state.ceiling:
        state = state.paused(ceiling=None)
    if state.wait > 0 or bounds.least == bounds.most:
        return Decision(state)
    if state.upwards and level >= bounds.most:
        state = replace(state, upwards=False) if state.coarse else state.paused(upwards=False)
    if not state.upwards and level <= bounds.least:
        state = replace(state, upwards=True)
    if state.wait > 0 or (state.upwards and level >= bounds.most):
        return Decision(state)
    if not state.upwards:
        slowed = state.stride is Reason.SLOWED
        state = replace(state, stride=Reason.MORE)
        return state.tried(max(level - step, bounds.least), Reason.SLOWED if slowed else Reason.FEWER)
    higher = level * 2 if doubling else level + step
    stride = Reason.DOUBLING if doubling else Reason.MORE
    return state.tried(min(higher, bounds.most, state.ceiling or bounds.most), stride)


def _recover(state: State, higher: int) -> Decision:
    """Up to the job's least number no gain is asked for, only calm."""
    if state.calm < CALM or state.wait > 0:
        return Decision(state)
    if state.ceiling is not None and higher > state.ceiling:
        return Decision(state.paused(ceiling=None))
    return state.tried(higher, Reason.RECOVERING)


def _drifted(state: State) -> State:
    """The search is opened again when the source became slower or faster by itself."""
    if state.reference is None or state.window.seconds < DRIFT_WINDOW:
        return state if state.reference is not None else replace(state, reference=state.window)
    change = compare(state.reference, state.window)
    if change.below(SLOWER):
        return replace(state, reference=state.window, wait=0.0, pause=FIRST_PAUSE, upwards=False, stride=Reason.SLOWED)
    if change.above(FASTER):
        return replace(state, reference=state.window, wait=0.0, pause=FIRST_PAUSE, upwards=True)
    return state


def _judge(state: State, trial: Trial) -> Decision:
    """A trial is on: whether it is over, and how."""
    match trial.reason:
        case Reason.RECOVERING:
            return Decision(state.settled() if state.window.seconds >= CALM else state)
        case Reason.FAILING:
            return _judge_failures(state, trial)
        case _:
            return _judge_gain(state, trial)


def _judge_failures(state: State, trial: Trial) -> Decision:
    window = state.window
    if window.ended < FAILURES and window.seconds < LONG_WINDOW:
        return Decision(state)
    if window.failing > trial.before.failing / 2:
        tolerated = max(window.failing, trial.before.failing)
        return Decision(state.at(trial.base, trial=None, tolerated=tolerated), Reason.FAILS_ANYWAY)
    return Decision(state.settled(ceiling=max(1, trial.base - 1)))


def _judge_gain(state: State, trial: Trial) -> Decision:
    window, higher = state.window, state.level > trial.base
    if window.seconds < (SHORT_WINDOW if trial.reason is Reason.DOUBLING else WINDOW):
        return Decision(state)
    few, many = (trial.before, window) if higher else (window, trial.before)
    proportion = many.used / few.used - 1.0 if few.used else 0.0
    if proportion < abs(state.level - trial.base) / min(state.level, trial.base) / 2:
        if window.seconds < UNUSED_AFTER:
            return Decision(state)
        return _back(state, trial, Reason.UNUSED) if higher else Decision(state.settled(upwards=False))
    if not few.instances:
        # Fewer brought nothing at all, which cannot be compared.
        return _back(state, trial, Reason.NEEDED)
    verdict = compare(few, many)
    enough = trial.before.instance_rate.mean * window.seconds >= ENOUGH_INSTANCES
    certainty = DOUBLING_CERTAINTY if trial.reason is Reason.DOUBLING else CERTAINTY
    sure = enough and verdict.sure_of(PAYS * proportion, certainty)
    if not sure and window.seconds < (LONG_WINDOW if enough else LONGEST_TRIAL):
        return Decision(state)
    pays = verdict.gain > PAYS * proportion
    if not higher:
        return _back(state, trial, Reason.NEEDED) if pays else Decision(state.settled(upwards=False))
    if not pays:
        return _back(state, trial, Reason.NO_GAIN)
    if trial.reason is not Reason.DOUBLING:
        return Decision(state.settled(upwards=True))
    coarse = verdict.below(NEARLY_LINEAR * proportion)
    return Decision(state.settled(stride=Reason.MORE if coarse else Reason.DOUBLING, coarse=coarse))


def _back(state: State, trial: Trial, reason: Reason) -> Decision:
    """The trial changed nothing. After a doubling, smaller steps are tried at once; then the way down, if the level was
    reached in too large a step; else the next probe is a pause away and goes the other way."""
    if trial.reason is Reason.DOUBLING and reason is Reason.NO_GAIN:
        search = replace(state, stride=Reason.MORE)
    elif state.coarse and state.level > trial.base:
        search = replace(state, upwards=False, coarse=False)
    else:
        search = state.paused(upwards=state.level < trial.base, coarse=False, stride=Reason.MORE)
    return Decision(search.at(trial.base, trial=None, reference=trial.before), reason)
