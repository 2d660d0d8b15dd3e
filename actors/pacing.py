"""What a mover measures of its source, and how it has the ledger decide.

    lanes, receiver ──count──> Meter ──4 times a second──> ledger.paces ──slice over──> tuning.decide ──> source.allowed

The ledger's row is the only memory; a mover that is killed takes a quarter of a second of numbers with it.
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import structlog

from actors.source import MoveEnd, MoveOutcome, MoveTarget, Source
from actors.throughput import Slice, Window
from actors.tuning import Bounds, Reason, State, Trial, decide
from storage.errors import Retryable, StorageError
from storage.ledger.ledger import Ledger
from storage.ledger.pace import AssociationChange, Heard, Judgement, Standing

TICK = timedelta(milliseconds=250)
"""Between two reports, and the length of a slice: short enough to climb from 2 to 8 in two or three seconds; 4 small
transactions a second and mover, none of which waits for the disk."""

Report = Callable[[Heard], AssociationChange | None]
"""Hands what was heard to the ledger; may raise `StorageError`."""


class Meter:
    """Counts what one mover gets from its source and reports it from a thread of its own."""

    def __init__(self, report: Report, *, now: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._now = now
        self._lock = threading.Lock()
        self._lanes = 0
        self._since = now()
        self._busy = 0.0
        self._instances = self._bytes = self._ended = self._failed = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pacing", daemon=True)
        self._log = structlog.get_logger("limosa.pacing")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=TICK.total_seconds() * 4)

    def arrived(self, size: int) -> None:
        """An instance that was missing is held; `size` bytes."""
        with self._lock:
            self._instances += 1
            self._bytes += size

    @contextmanager
    def asking(self) -> Generator[None]:
        """An association is spent on a study as long as the block lasts."""
        self._lane(1)
        try:
            yield
        finally:
            self._lane(-1)

    def ended(self, *, failed: int) -> None:
        """An attempt is over; `failed` is 1 when the source did not bring the study, else 0."""
        with self._lock:
            self._ended += 1
            self._failed += failed

    def tell(self) -> None:
        """What was counted since the last time is the ledger's now; nothing is said when there is nothing to say.

        These seconds are not measured where the ledger cannot take them, which costs nothing.
        """
        heard = self._taken()
        if heard == Heard():
            return
        try:
            change = self._report(heard)
        except Retryable:
            return  # the lease keeper tells of a ledger that is away
        except StorageError as error:
            # It may refuse for now, as a standby that is read-only: this thread has to be there when it does not.
            self._log.warning("pace_not_reported", error=type(error).__name__, code=error.code)
            return
        if change is not None:
            self._log.info(
                "associations_changed",
                before=change.before,
                after=change.after,
                reason=change.reason,
                instances_per_second=round(change.instances_per_second, 1),
                mb_per_second=round(change.bytes_per_second / 1e6, 2),
            )

    def _lane(self, change: int) -> None:
        with self._lock:
            self._spend()
            self._lanes += change

    def _spend(self) -> None:
        now = self._now()
        self._busy += self._lanes * (now - self._since)
        self._since = now

    def _taken(self) -> Heard:
        with self._lock:
            self._spend()
            heard = Heard(
                instances=self._instances,
                bytes=self._bytes,
                busy=self._busy,
                ended=self._ended,
                failed=self._failed,
            )
            self._busy = 0.0
            self._instances = self._bytes = self._ended = self._failed = 0
            return heard

    def _run(self) -> None:
        while not self._stop.wait(TICK.total_seconds()):
            self.tell()


def reporting(ledger: Ledger, source_id: int, bounds: Bounds) -> Report:
    """Reports of one source, judged by `tuning.decide` within `bounds` and the ledger's own limit."""

    def report(heard: Heard) -> AssociationChange | None:
        return ledger.paces.report(
            source_id, heard, slice_length=TICK, judge=lambda standing: judged(standing, bounds.least)
        )

    return report


def judged(standing: Standing, least: int) -> Judgement:
    """`tuning.decide` in the ledger's terms."""
    bounds = Bounds(least=min(least, standing.limit), most=standing.limit)
    state = remembered(standing.state)
    if state is not None and state.level != standing.allowed:
        # Somebody else changed the row: what was measured belongs to another level.
        state = State(level=standing.allowed)
    heard = Slice(
        seconds=standing.seconds,
        refused=standing.refused,
        **asdict(standing.heard),
    )
    decision = decide(state, heard, bounds)
    measured = Window() if state is None else state.window
    measured = measured if measured.slices else measured.plus(heard)
    return Judgement(
        state=kept(decision.state),
        allowed=decision.state.level,
        reason=(decision.reason or Reason.STARTED).value,
        instances_per_second=measured.instance_rate.mean,
        bytes_per_second=measured.byte_rate.mean,
    )


def kept(state: State) -> dict[str, Any]:
    """The state as the ledger keeps it."""
    return {"version": 1, **asdict(state)}


def remembered(found: Mapping[str, Any]) -> State | None:
    """The state as it was kept; None for nothing, or what another version wrote: the search then starts anew."""
    if found.get("version") != 1:
        return None
    values = {name: value for name, value in found.items() if name != "version"}
    trial, reference = values["trial"], values["reference"]
    if trial is not None:
        trial = Trial(reason=Reason(trial["reason"]), base=trial["base"], before=Window(**trial["before"]))
    rebuilt = {
        "stride": Reason(values["stride"]),
        "window": Window(**values["window"]),
        "reference": None if reference is None else Window(**reference),
        "trial": trial,
    }
    return State(**(values | rebuilt))


class Attempt:
    """A source for the length of one attempt, which remembers whether it broke off in the middle."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.broke_off = False
        self.echo = source.echo
        self.find_studies = source.find_studies
        self.list_instances = source.list_instances
        self.close = source.close

    def retrieve(self, target: MoveTarget, receiver: str, stop: Callable[[], bool]) -> MoveOutcome:
        outcome = self._source.retrieve(target, receiver, stop)
        # What we break off ourselves is lost as well, and says nothing about the source.
        if outcome.end is MoveEnd.LOST and not stop():
            self.broke_off = True
        return outcome
