"""How fast a device may be written: one limit for all processes of this machine that write on it.

A token bucket kept as a single number, the moment up to which the rate is spent (the generic cell rate algorithm of
ITU-T I.371). The number lies in shared memory, so it ends with the machine, as the clock does that it is counted on.

    flock, shared        by every process that writes on the device, for as long as it does; the kernel frees it
    OFD lock, exclusive  by whoever changes the number, for that moment

So a file that can be had by an exclusive flock is nobody's any more.
"""

import fcntl
import math
import os
import stat
import struct
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from storage.durable import storage_error
from storage.errors import Rejected

SHARED = Path("/dev/shm")  # noqa: S108 - a file system in memory, which is the point
BURST = 0.25
"""Seconds of the rate that may be written at once after a pause: less, and a timer's grain slows a fast device."""
_MOMENT = struct.Struct("=d")
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of fcntl(2)."""
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
        path = folder / f"{_prefix()}{device_id}"
        try:
            self._descriptor = _opened(path)
        except OSError as error:
            raise storage_error(error, "keep the write rate", str(folder)) from None
        self._end = weakref.finalize(self, _let_go, self._descriptor, path)

    def close(self) -> None:
        """It is not used any more: where nobody else does, the file is gone. At the latest when the process ends."""
        self._end()

    def take(self, octets: int) -> None:
        """So many bytes may be written now; returns when it is their turn."""
        with self._lock:
            # Between processes; the lock of threads is beside it, because they share the descriptor.
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLKW, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            try:
                now = self._now()
                raw = os.pread(self._descriptor, _MOMENT.size, 0)
                spent = _MOMENT.unpack(raw)[0] if len(raw) == _MOMENT.size else now
                spent = spent_after(spent, now, octets, self._rate)
                os.pwrite(self._descriptor, _MOMENT.pack(spent), 0)
            finally:
                fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
        if spent > now:
            self._sleep(spent - now)


def sweep_paces(folder: Path = SHARED) -> int:
    """Files of this user that no process uses any more are gone: what killed ones left; how many."""
    swept = 0
    for path in folder.glob(f"{_prefix()}*"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # another process swept it, or it is no file of ours
        swept += _let_go(descriptor, path)
    return swept


def _prefix() -> str:
    return f"limosa-pace-{os.geteuid()}-"


def _opened(path: Path) -> int:
    """The file, ours and marked as used. Raises `Rejected` for another user's; OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.fstat(descriptor).st_uid != os.geteuid():
            os.close(descriptor)
            raise Rejected("the file of that name is another user's", operation="keep the write rate", place=str(path))
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # it was swept between the two


def _let_go(descriptor: int, path: Path) -> bool:
    """The descriptor is closed, and the file gone unless somebody else uses it; whether it is."""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or not found.st_nlink:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except OSError:
        return False  # it is used, or went meanwhile
    else:
        return True
    finally:
        os.close(descriptor)
