"""What all associations of one simulator share."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping

from infra.simulator.archive import Archive
from infra.simulator.faults import Faults
from infra.simulator.stats import Stats
from infra.simulator.store import EncodedCache


class Service:
    """The archive, the weather, and what happened so far."""

    def __init__(
        self,
        *,
        archive: Archive,
        ae_title: str,
        destinations: Mapping[str, tuple[str, int]],
        faults: Faults,
        cache_budget: int,
    ) -> None:
        self.archive = archive
        self.ae_title = ae_title
        self.destinations = dict(destinations)
        self.faults = faults
        self.stats = Stats()
        self.cache = EncodedCache(cache_budget)
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._pushes: list[threading.Thread] = []

    def count(self, what: str) -> int:
        """How often `what` has happened, this time included."""
        with self._lock:
            self._seen[what] += 1
            return self._seen[what]

    def forget(self) -> None:
        """Faults limited to the first n times begin anew."""
        with self._lock:
            self._seen.clear()

    def aside(self, push: Callable[[], None]) -> None:
        """`push` runs on a thread of its own; it waits on `closing`, and ends soon once that is set."""
        thread = threading.Thread(target=push, name="simulator-push", daemon=True)
        with self._lock:
            self._pushes = [pending for pending in self._pushes if pending.is_alive()] + [thread]
        thread.start()

    def join(self, timeout: float) -> None:
        with self._lock:
            pushes = tuple(self._pushes)
        for thread in pushes:
            thread.join(timeout)
