"""Memory as something one must own before using it.

Two callers, two rules. A study reserves everything its writer will hold before its C-MOVE starts, holding
nothing meanwhile, so waiting cannot deadlock. An arriving instance never waits: it takes memory when there
is some and goes to the spool when there is none.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass

KEEP_FREE = 32 << 20
"""Free buffers a pool keeps for reuse: enough for four of the largest in-memory instances. A fresh 8 MiB
buffer costs its page faults again for every instance; a third of a core was measured for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """A budget at one moment, for metrics."""

    total: int
    used: int
    peak: int
    refused: int
    """How often `try_reserve` said no: each time an instance went to the spool instead."""


class MemoryBudget:
    """`total` bytes shared by the threads of one process."""

    def __init__(self, total: int) -> None:
        if total < 1:
            raise ValueError("a budget of nothing")
        self._total = total
        self._used = 0
        self._peak = 0
        self._refused = 0
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    def reserve(self, size: int, timeout: float | None = None) -> bool:
        """`size` bytes belong to the caller, or `timeout` seconds passed (False).

        First come, first served: a large study is not starved by small ones. Call it while holding nothing.

        Raises
        ------
        ValueError
            More than the whole budget: waiting would never end.
        """
        if not 0 <= size <= self._total:
            raise ValueError(f"{size} bytes asked of a budget of {self._total}")
        deadline = None if timeout is None else time.monotonic() + timeout
        turn = object()
        with self._changed:
            self._queue.append(turn)
            try:
                while self._queue[0] is not turn or self._used + size > self._total:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return False
                    self._changed.wait(left)
                self._take(size)
                return True
            finally:
                self._queue.remove(turn)
                self._changed.notify_all()

    def try_reserve(self, size: int) -> bool:
        """`size` bytes belong to the caller, or at once False.

        It may overtake a waiting `reserve`: an arriving instance belongs to a study that already runs, and
        only running studies give memory back.
        """
        with self._changed:
            if self._used + size > self._total:
                self._refused += 1
                return False
            self._take(size)
            return True

    def release(self, size: int) -> None:
        """`size` bytes of the caller's are free again."""
        with self._changed:
            if not 0 <= size <= self._used:
                raise ValueError(f"{size} bytes given back, {self._used} are out")
            self._used -= size
            self._changed.notify_all()

    @property
    def use(self) -> BudgetUse:
        with self._changed:
            return BudgetUse(total=self._total, used=self._used, peak=self._peak, refused=self._refused)

    def _take(self, size: int) -> None:
        self._used += size
        self._peak = max(self._peak, self._used)


class BufferPool:
    """Hands out bytearrays of asked sizes and keeps a bounded number of returned ones.

    It counts against no budget: who takes a buffer has reserved its size, and what lies idle here is at
    most `keep` bytes.
    """

    def __init__(self, keep: int = KEEP_FREE) -> None:
        self._keep = keep
        self._idle = 0
        self._free: dict[int, list[bytearray]] = {}
        self._lock = threading.Lock()

    def take(self, size: int) -> bytearray:
        """A buffer of exactly `size` bytes with arbitrary content."""
        with self._lock:
            free = self._free.get(size)
            if free:
                self._idle -= size
                return free.pop()
        return bytearray(size)

    def give(self, buffer: bytearray) -> None:
        """The buffer may be handed to someone else; views of it must no longer be used."""
        with self._lock:
            if self._idle + len(buffer) <= self._keep:
                self._idle += len(buffer)
                self._free.setdefault(len(buffer), []).append(buffer)
