"""How fast a device may be written: one limit for all processes of this machine that write on it.

A token bucket kept as a single number, the moment up to which the rate is spent (the generic cell rate algorithm of
ITU-T I.371). The number lies in shared memory, so it ends with the machine, as the clock does that it is counted on.
"""

import fcntl
import math
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from storage.durable import storage_error
from storage.errors import Rejected

SHARED = Path("/dev/shm")  # noqa: S108 - a file system in memory, which is the point
BURST = 0.25
"""Seconds of the rate that may be written at once after a pause: less, and a timer's grain slows a fast device."""
_MOMENT = struct.Struct("=d")
_FAR = 3600.0
"""Seconds: nobody is ever told to wait so long, so a moment behind it was not written by us."""


def spent_after(spent: float, now: float, octets: int, rate: int) -> float:
    """The moment up to which `rate` (bytes a second) is spent, once `octets` more are written. All in seconds."""
    believable = spent if math.isfinite(spent) and spent < now + _FAR else now
    return max(believable, now - BURST) + octets / rate


class WritePace:
    """The limit of one device. Safe to use from several threads and processes."""

    def __init__(
        self,
        device_id: str,
        rate: int,
        *,
        folder: Path = SHARED,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`rate` in bytes a second.

        Raises
        ------
        Rejected
            The file that holds the number is another user's, or cannot be made.
        """
        self._rate = rate
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        path = folder / f"limosa-pace-{os.geteuid()}-{device_id}"
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(error, "keep the write rate", str(folder)) from None
        if os.fstat(self._descriptor).st_uid != os.geteuid():
            os.close(self._descriptor)
            raise Rejected("the file of that name is another user's", operation="keep the write rate", place=str(path))

    def take(self, octets: int) -> None:
        """So many bytes may be written now; returns when it is their turn."""
        with self._lock:
            # Between processes; the lock of threads is beside it, because they share the descriptor.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                now = self._now()
                raw = os.pread(self._descriptor, _MOMENT.size, 0)
                spent = _MOMENT.unpack(raw)[0] if len(raw) == _MOMENT.size else now
                spent = spent_after(spent, now, octets, self._rate)
                os.pwrite(self._descriptor, _MOMENT.pack(spent), 0)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        if spent > now:
            self._sleep(spent - now)
