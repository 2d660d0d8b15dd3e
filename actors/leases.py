"""The local belief in claims, and its time limit.

The ledger is the authority. A worker trusts a claim only until the lease that was granted or last renewed
runs out on its own monotonic clock, counted from before the request was sent. When the ledger cannot be
reached for that long, the worker stops by itself: another may hold the claim by then, and the epoch makes
sure that nothing this one still does can be committed.
"""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

import structlog

from storage.errors import StorageError

RENEWALS_PER_LEASE = 3
"""Two renewals may fail before a lease runs out."""


class Claimed(Protocol):
    """Anything claimed with an epoch."""

    @property
    def delivery_id(self) -> int: ...

    @property
    def epoch(self) -> int: ...


C = TypeVar("C", bound=Claimed)


class Lease(Generic[C]):
    """One claim and how long it may be believed."""

    def __init__(self, claim: C, believed_until: float) -> None:
        self.claim = claim
        self.believed_until = believed_until
        self._revoked = False

    @property
    def lost(self) -> bool:
        return self._revoked or time.monotonic() >= self.believed_until

    def revoke(self) -> None:
        self._revoked = True


class LeaseKeeper(Generic[C]):
    """Renews every open lease from one thread."""

    def __init__(
        self, renew: Callable[[Sequence[C], timedelta], set[int]], lease: timedelta, on_beat: Callable[[], None]
    ) -> None:
        """`renew` returns the delivery ids of lost claims; `on_beat` runs after each round (worker heartbeat)."""
        self._renew = renew
        self._lease = lease
        self._on_beat = on_beat
        self._open: dict[int, Lease[C]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
        self._log = structlog.get_logger("limosa.leases")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=self._lease.total_seconds())

    def keep(self, claim: C, asked_at: float) -> Lease[C]:
        """The claim is renewed until `drop`; `asked_at` is the monotonic time before it was asked for."""
        lease = Lease(claim, asked_at + self._lease.total_seconds())
        with self._lock:
            self._open[claim.delivery_id] = lease
        return lease

    def drop(self, lease: Lease[C]) -> None:
        with self._lock:
            if self._open.get(lease.claim.delivery_id) is lease:
                del self._open[lease.claim.delivery_id]

    def _run(self) -> None:
        while not self._stop.wait(self._lease.total_seconds() / RENEWALS_PER_LEASE):
            self._renew_all()

    def _renew_all(self) -> None:
        with self._lock:
            leases = list(self._open.values())
        asked_at = time.monotonic()
        try:
            lost = self._renew([lease.claim for lease in leases], self._lease)
            self._on_beat()
        except StorageError as error:
            # The ledger is away, or refuses for now (a standby that is read-only): the leases run out by themselves
            # unless it comes back in time, and this thread has to be there when it does.
            self._log.warning("leases_not_renewed", error=type(error).__name__, code=error.code)
            return
        for lease in leases:
            if lease.claim.delivery_id in lost:
                lease.revoke()
            else:
                lease.believed_until = asked_at + self._lease.total_seconds()
