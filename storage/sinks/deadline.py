"""File operations on a device, each with a time after which nobody waits for it any more.

A disk that dies, a FUSE daemon that is stuck or a share whose server is gone keeps whoever asks in the kernel, where no
signal reaches (state D of proc(5)). So operations run in threads that can be left behind: whoever asked goes on with an
error, and the device is asked nothing more until all that hangs has returned. A thread that hangs cannot be ended;
there are at most as many as operations were under way.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from storage.errors import DeviceHangs

HANGS_AFTER = timedelta(minutes=5)
"""A disk that still works answers in time: Linux gives a command 30 s and repeats it five times, and what a full page
cache has for a slow disk is written meanwhile."""
THREADS = 32
"""Operations on one device at once, so also what one that hangs leaves behind; others wait for their turn."""
_IDLE = 10.0
"""Seconds without work after which a thread ends."""

HANGS = "HANGS"
"""The code of `DeviceHangs`."""

P = ParamSpec("P")
T = TypeVar("T")
_inside = threading.local()


class _Call:
    """One operation, and how it ended."""

    def __init__(self, run: Callable[[], Any], undo: Callable[[Any], object] | None) -> None:
        self.run = run
        self.undo = undo
        self.ended = threading.Lock()
        self.ended.acquire()
        self.over = False
        self.left = False
        """Nobody waits for it any more. Never of one that is over before."""
        self.result: Any = None
        self.error: BaseException | None = None


class Deadline:
    """The operations of one device. Safe to use from several threads."""

    def __init__(self, place: str, limit: timedelta = HANGS_AFTER) -> None:
        self._place = place
        self._limit = limit.total_seconds()
        self._lock = threading.Lock()
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._idle = 0
        self._hanging = 0
        self._owed: list[Callable[[], object]] = []
        self._turns = threading.BoundedSemaphore(THREADS)

    @property
    def hanging(self) -> int:
        """Operations that were given up and have not returned; while there are any, the device is not used."""
        return self._hanging

    def do(self, operation: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What the operation returns or raises. Within an operation of this device it runs at once.

        Raises
        ------
        DeviceHangs
            It took too long, and may still be done; or another one does, and it was not begun.
        """
        return self._do(lambda: operation(*args, **named), None)

    def obtain(self, operation: Callable[[], T], undo: Callable[[T], object]) -> T:
        """As `do`; `undo` is given what the operation returns when nobody waits for it any more."""
        return self._do(operation, undo)

    def release(self, operation: Callable[[], object]) -> None:
        """It is done, or will be once what hangs has returned; an OSError says nothing to anybody."""
        if getattr(_inside, "deadline", None) is self:
            operation()
        elif self._enter():
            with suppress(DeviceHangs, OSError):
                self._done(operation, None)
        else:
            with self._lock:
                self._owed.append(operation)

    def _do(self, run: Callable[[], T], undo: Callable[[T], object] | None) -> T:
        if getattr(_inside, "deadline", None) is self:
            return run()
        if not self._enter():
            raise self.gone()
        return self._done(run, undo)

    def _enter(self) -> bool:
        return not self._hanging and self._turns.acquire(timeout=self._limit)

    def _done(self, run: Callable[[], T], undo: Callable[[T], object] | None) -> T:
        call = _Call(run, undo)
        try:
            self._hand_over(call)
            if not call.ended.acquire(timeout=self._limit):
                self._leave(call)
        except BaseException:
            self._leave(call)
            raise
        if call.left:
            raise self.gone()
        if call.error is not None:
            raise call.error
        return call.result

    def gone(self) -> DeviceHangs:
        """What whoever wants to use it is told while it hangs."""
        return DeviceHangs(
            f"does not answer; {self._hanging} operations hang in it", operation="use", place=self._place, code=HANGS
        )

    def _hand_over(self, call: _Call) -> None:
        with self._lock:
            served = self._idle > 0
            self._idle -= served
        self._calls.put(call)
        if not served:
            threading.Thread(target=self._serve, name=self._place, daemon=True).start()

    def _leave(self, call: _Call) -> None:
        with self._lock:
            if not call.over and not call.left:
                call.left = True
                self._hanging += 1

    def _serve(self) -> None:
        _inside.deadline = self
        while True:
            try:
                call = self._calls.get(timeout=_IDLE)
            except Empty:
                with self._lock:
                    if self._idle:
                        self._idle -= 1
                        return
                continue
            self._run(call)
            del call

    def _run(self, call: _Call) -> None:
        try:
            call.result = call.run()
        except BaseException as error:  # whoever waits raises it
            call.error = error
        with self._lock:
            call.over = True
            if not call.left:
                self._idle += 1
                self._turns.release()
                call.ended.release()
                return
            owed, self._owed = self._owed, []
        if call.error is None and call.undo is not None:
            owed.append(lambda: call.undo(call.result))  # pyright: ignore[reportOptionalCall]
        for operation in owed:
            with suppress(OSError):
                operation()
        with self._lock:
            self._hanging -= 1
            self._idle += 1
            self._turns.release()
