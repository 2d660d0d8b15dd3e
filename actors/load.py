"""How much of its one core a worker process uses: Python runs one thread at a time, so more cores take more of them."""

import os
import time
from collections.abc import Callable


class Load:
    """Shares of a core between one question and the next."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, spent: Callable[[], float] = time.process_time
    ) -> None:
        self._now = now
        self._spent = spent
        self._asked = now()
        self._before = spent()

    def report(self) -> dict[str, int]:
        """`cpu`: percent of one core since the last time; `spare`: percent of one that the machine's load over a minute
        leaves, 800 for eight idle cores."""
        now, spent = self._now(), self._spent()
        share = (spent - self._before) / max(now - self._asked, 1e-3)
        self._asked, self._before = now, spent
        spare = (os.cpu_count() or 1) - os.getloadavg()[0]
        return {"cpu": round(100 * share), "spare": round(100 * spare)}
