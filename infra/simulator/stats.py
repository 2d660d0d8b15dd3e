"""What the simulator did, for assertions."""

import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

REMEMBERED_MOVES = 100_000
"""Retrieves kept for inspection; a longer run keeps the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRecord:
    """One finished C-MOVE as the simulator saw it."""

    caller: str
    destination: str
    level: str
    study_uid: str
    message_id: int
    asked: int
    """Instances selected in the archive."""
    sent: int
    """C-STOREs answered by the destination."""
    status: int | None
    """Final status; None when the association ended without one."""


class Stats:
    """Counters that only grow, except those named running; read them at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.store_statuses: Counter[int] = Counter()
        self._running: Counter[str] = Counter()
        self._peaks: Counter[str] = Counter()
        self._moves: deque[MoveRecord] = deque(maxlen=REMEMBERED_MOVES)

    def add(self, what: str, amount: int = 1) -> None:
        with self._lock:
            self.counts[what] += amount

    def enter(self, what: str) -> int:
        """One more `what` runs; how many do now."""
        with self._lock:
            self.counts[what] += 1
            self._running[what] += 1
            self._peaks[what] = max(self._peaks[what], self._running[what])
            return self._running[what]

    def leave(self, what: str) -> None:
        with self._lock:
            self._running[what] -= 1

    def stored(self, status: int, octets: int) -> None:
        with self._lock:
            self.counts["stores"] += 1
            self.counts["bytes"] += octets
            self.store_statuses[status] += 1

    def moved(self, record: MoveRecord) -> None:
        with self._lock:
            self._moves.append(record)

    @property
    def move_records(self) -> tuple[MoveRecord, ...]:
        with self._lock:
            return tuple(self._moves)

    @property
    def moves(self) -> int:
        return self.counts["moves"]

    @property
    def finds(self) -> int:
        return self.counts["finds"]

    @property
    def stores(self) -> int:
        """C-STOREs the destinations answered."""
        return self.counts["stores"]

    @property
    def peak_moves(self) -> int:
        return self._peaks["moves"]

    @property
    def peak_associations(self) -> int:
        return self._peaks["associations"]

    @property
    def running_moves(self) -> int:
        return self._running["moves"]

    @property
    def running_associations(self) -> int:
        return self._running["associations"]

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain values, for the control port."""
        with self._lock:
            return {
                "counts": dict(self.counts),
                "store_statuses": {f"{status:04X}": n for status, n in self.store_statuses.items()},
                "running": dict(self._running),
                "peaks": dict(self._peaks),
            }
