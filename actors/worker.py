"""What movers, feeders and validators have in common: lanes that pull claims until they are drained.

A worker starts nothing it was not asked to by a row: each lane claims, works, commits and claims again.
Whoever started it may be gone; draining, pausing and the hours window are read from the ledger.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import structlog

from actors.faults import fault_site
from actors.leases import Lease, LeaseKeeper
from actors.load import Load
from actors.options import MoverLimits
from actors.problems import problem
from storage.errors import LostClaim, Retryable
from storage.ledger.ledger import Ledger
from storage.ledger.records import Claim

IDLE_POLL = 0.5
"""Seconds between looks for work when there was none: short enough for small jobs, 2 queries a second."""

TROUBLE_POLL = 3.0
"""Seconds before a lane tries again after the ledger could not be reached."""


class Stopped(Exception):
    """The worker is draining or its claim is gone; what the journal has stays resumable."""


class Turn(StrEnum):
    """How one look for work ended."""

    WORKED = "worked"
    IDLE = "idle"
    HALTED = "halted"
    """Something only a person can change (an AE title that is not registered); try again now and then."""


@dataclass(slots=True)
class Tally:
    """Running counters of one worker; written by its lanes under `lock`, reported with each heartbeat."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    studies: int = 0
    instances: int = 0
    bytes: int = 0
    failures: int = 0
    busy_lanes: int = 0
    halted: str = ""

    def add(self, *, studies: int = 0, instances: int = 0, size: int = 0, failures: int = 0) -> None:
        with self.lock:
            self.studies += studies
            self.instances += instances
            self.bytes += size
            self.failures += failures

    def busy(self, change: int) -> None:
        with self.lock:
            self.busy_lanes += change

    def halt(self, reason: str) -> None:
        """Why no lane can work until a person acts; empty when they can."""
        with self.lock:
            self.halted = reason

    def report(self) -> dict[str, int | str]:
        with self.lock:
            return {
                "studies": self.studies,
                "instances": self.instances,
                "bytes": self.bytes,
                "failures": self.failures,
                "busy_lanes": self.busy_lanes,
                "halted": self.halted,
            }


class Lanes:
    """A fixed number of threads, each taking one turn after the other."""

    def __init__(self, name: str, count: int, turn: Callable[[int], Turn], tally: Tally) -> None:
        self._turn = turn
        self._tally = tally
        self._drain = threading.Event()
        self._log = structlog.get_logger("limosa.worker")
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"{name}-lane-{lane}", daemon=True)
            for lane in range(count)
        ]

    @property
    def draining(self) -> bool:
        return self._drain.is_set()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """No new claim is made; work in progress is told to stop. Returns at once."""
        self._drain.set()

    def join(self, seconds: float) -> bool:
        """Whether every lane has ended within `seconds`."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, lane: int) -> None:
        while not self._drain.is_set():
            try:
                turn = self._turn(lane)
            except (Retryable, LostClaim) as error:
                # The row is the truth: whatever was half done is taken up again from there.
                self._log.warning("turn_abandoned", error=type(error).__name__, code=error.code)
                self._tally.add(failures=1)
                turn = Turn.HALTED
            except Exception as error:
                # Outermost frame of a lane. A fault in one study must not end the lane: its lease runs out, the
                # attempt is counted when it is claimed again, and after the last attempt it is an exception.
                self._log.error("turn_failed", error=fault_site(error))
                self._tally.add(failures=1)
                turn = Turn.HALTED
            if turn is Turn.IDLE:
                self._drain.wait(IDLE_POLL)
            elif turn is Turn.HALTED:
                self._drain.wait(TROUBLE_POLL)


C = TypeVar("C", bound=Claim)


class Duty(Protocol[C]):
    """What a worker does with its claims."""

    def claim(self) -> C | None:
        """The next claim, or None when there is nothing to do now."""
        ...

    def work(self, lane: int, lease: Lease[C], stop: Callable[[], bool]) -> Turn:
        """The claim is committed, released or failed. `stop` turns true when it is lost or the worker drains."""
        ...

    def rest(self, lane: int) -> None:
        """The lane found nothing to do: what it keeps open for its next claim is closed."""
        ...

    def close(self) -> None:
        """Connections of the lanes are closed."""
        ...


class Worker(Generic[C]):
    """One worker process: lanes, leases and heartbeat around a duty."""

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        lanes: int,
        limits: MoverLimits,
        ledger: Ledger,
        duty: Duty[C],
        tally: Tally,
        on_beat: Callable[[], None],
    ) -> None:
        """`on_beat` runs with each heartbeat."""
        self._name = name
        self._kind = kind
        self._ledger = ledger
        self._limits = limits
        self._duty = duty
        self._tally = tally
        self._on_beat = on_beat
        self._load = Load()
        self._keeper = LeaseKeeper[C](self._renew, limits.lease, self._beat)
        self._lanes = Lanes(name, lanes, self._turn, tally)

    def start(self) -> None:
        """The lanes run. What a predecessor of the same name held returns to the pool first."""
        self._ledger.claims.recover_worker(self._name)
        self._ledger.control.enrol(self._name, kind=self._kind, host=socket.gethostname(), pid=os.getpid())
        self._keeper.start()
        self._lanes.start()

    def drain(self) -> None:
        """No new claim is made; work in progress is told to stop. Returns at once."""
        self._lanes.drain()

    def stop(self, seconds: float) -> bool:
        """Whether every lane ended within `seconds`; what did not is left to its lease."""
        self._lanes.drain()
        ended = self._lanes.join(seconds)
        self._keeper.stop()
        self._duty.close()
        if ended:
            with contextlib.suppress(Retryable):  # the row only tells who is missed
                self._ledger.control.dismiss(self._name)
        return ended

    def report(self) -> dict[str, int | str]:
        return self._tally.report()

    def _renew(self, claims: Sequence[C], lease: timedelta) -> set[int]:
        return {claim.delivery_id for claim in self._ledger.claims.renew(self._name, claims, lease)}

    def _beat(self) -> None:
        # Every worker looks after dead ones, since the driver may be gone.
        self._ledger.claims.recover()
        self._ledger.control.beat(self._name, self._tally.report() | self._load.report())
        self._on_beat()

    def _turn(self, lane: int) -> Turn:
        asked_at = time.monotonic()
        claim = self._duty.claim()
        if claim is None:
            self._duty.rest(lane)
            return Turn.IDLE
        lease = self._keeper.keep(claim, asked_at)
        self._tally.busy(1)
        try:
            if claim.attempts > self._limits.attempts:
                # Its workers died at it again and again; an attempt counts from the claim on.
                self._ledger.commits.fail(claim, problem("WORKER_DIED", {"attempts": claim.attempts - 1}))
                return Turn.WORKED
            return self._duty.work(lane, lease, lambda: lease.lost or self._lanes.draining)
        finally:
            self._tally.busy(-1)
            self._keeper.drop(lease)
