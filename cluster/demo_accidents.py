"""The demo's accidents: strangers send to the receiver, and a mover is killed while it holds studies."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cluster.demo_source import send_unasked
from storage.ledger.control import WorkerRow
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState
from storage.ledger.records import LeaseKind

GLANCE = 0.1
"""Seconds between looks: all studies of a demo are pulled within a few seconds."""

KILL_AT = 4
"""A mover is killed when one study in so many is written: well after the start, well before the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A mover that was killed, and how things stood."""

    worker: str
    pid: int
    written: int
    studies: int
    held: int
    """Studies it had begun and not finished."""


class Accidents:
    """A thread beside the run. It looks at the ledger as anyone may, and knows processes by the rows there."""

    def __init__(self, ledger: Ledger, inline: str, receiver_port: int, tell: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._inline = inline
        self._port = receiver_port
        self._tell = tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="accidents", daemon=True)
        self.killed: Killed | None = None
        self.returned_as: int | None = None
        """The process id that the killed mover came back with."""
        self.failure: Exception | None = None
        """Why not everything was staged."""

    def __enter__(self) -> "Accidents":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._stage()
        except Exception as error:
            # Outermost frame of a thread: the demo names it and does not end well.
            self.failure = error

    def _stage(self) -> None:
        if not self._until(lambda: self._written()[1]):
            return
        self._tell("studies are planned; Ray starts two movers, a feeder and a validator")
        if not self._until(lambda: self._written()[0]):
            return
        send_unasked(self._port)
        self._tell("a stranger sent two images to our receiver, one of them broken")
        if not self._until(lambda: self._a_quarter_is_written() and self._busy_mover()):
            return
        victim = self._busy_mover()
        if victim is None:
            return
        os.kill(victim.pid, signal.SIGKILL)
        # It cannot write any more, and it takes a second to come back.
        written, studies = self._written()
        held = sum(claim.worker == victim.name for claim in self._ledger.status.live_claims())
        self.killed = Killed(worker=victim.name, pid=victim.pid, written=written, studies=studies, held=held)
        self._tell(
            f"{victim.name} (process {victim.pid}) was killed with {written} of {studies} studies written "
            f"and {held} of its own half done"
        )
        if self._until(lambda: self._returned(victim)):
            self.returned_as = self._returned(victim)
            self._tell(f"Ray started {victim.name} again as process {self.returned_as}")

    def _until(self, condition: Callable[[], object]) -> bool:
        """Whether it came true before the run was over."""
        while not self._over.is_set():
            if condition():
                return True
            self._over.wait(GLANCE)
        return False

    def _written(self) -> tuple[int, int]:
        """Studies that are written at the inline destination, and all of them."""
        rows = [row for row in self._ledger.status.deliveries() if row.destination == self._inline]
        done = sum(row.deliveries for row in rows if row.state in (DeliveryState.WRITTEN, DeliveryState.VALIDATED))
        return done, sum(row.deliveries for row in rows)

    def _a_quarter_is_written(self) -> bool:
        written, studies = self._written()
        return written * KILL_AT >= studies

    def _busy_mover(self) -> WorkerRow | None:
        """A mover that holds a study now."""
        busy = {claim.worker for claim in self._ledger.status.live_claims() if claim.kind is LeaseKind.PULL}
        return next((row for row in self._ledger.control.workers() if row.name in busy), None)

    def _returned(self, victim: WorkerRow) -> int | None:
        rows = self._ledger.control.workers()
        return next((row.pid for row in rows if row.name == victim.name and row.pid != victim.pid), None)
