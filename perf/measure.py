"""What processes cost: CPU seconds and resident memory of whole process trees, read from /proc (Linux).

The kernel counts CPU time in ticks of 10 ms: samples last a second or more, so that a tick is noise.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
LOOK = 0.1
"""Seconds between looks at memory: costs a thousandth of a core, and catches what a second's work holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a span of work took."""

    seconds: float
    cpu_seconds: float
    peak_rss: int
    """Bytes: the largest sum of resident sets that was seen at one moment; shared pages count once per process, or once
    in all where that was asked for."""


class Meter:
    """Measures the trees of `pids` from `with` to its end; `cost` is there afterwards.

    Children count with all they ever used, ended ones too if their parent waited for them.
    """

    def __init__(self, pids: Sequence[int], *, shared_once: bool = False) -> None:
        """`shared_once`: for servers whose processes share much memory; looking costs ten times as much."""
        self._pids = tuple(pids)
        self._shared_once = shared_once
        self._cpu = 0.0
        self._started = 0.0
        self._peak = 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, name="meter", daemon=True)
        self._cost: Cost | None = None

    @property
    def cost(self) -> Cost:
        """Raises `ValueError` before the end of the measurement."""
        if self._cost is None:
            raise ValueError("still measuring")
        return self._cost

    def __enter__(self) -> "Meter":
        for pid in tree(self._pids):
            forget_peak(pid)
        self._watch.start()
        self._cpu = cpu_seconds(self._pids)
        self._started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        seconds = time.perf_counter() - self._started
        cpu = cpu_seconds(self._pids) - self._cpu
        self._over.set()
        self._watch.join()
        # The kernel remembers a process's own peak, and with it every page that it shares.
        own = 0 if self._shared_once else sum(peak_rss(pid) for pid in self._pids)
        peak = max(self._peak, own)
        self._cost = Cost(seconds=seconds, cpu_seconds=cpu, peak_rss=peak)

    def _look(self) -> None:
        resident, pause = (pss, 10 * LOOK) if self._shared_once else (rss, LOOK)
        while not self._over.wait(pause):
            self._peak = max(self._peak, sum(resident(pid) for pid in tree(self._pids)))


def tree(pids: Iterable[int]) -> Iterator[int]:
    """The processes and all their living descendants, each once."""
    seen: set[int] = set()
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            continue
        seen.add(pid)
        yield pid
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the trees so far."""
    ticks = 0
    for pid in tree(pids):
        with suppress(OSError):
            # The name in field 2 may hold blanks and brackets; fields 14 to 17 are utime, stime, cutime, cstime.
            rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, rest[11:15]))
    return ticks / TICKS


def rss(pid: int) -> int:
    """Resident bytes now; 0 for a process that ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def pss(pid: int) -> int:
    """Resident bytes now, each shared page divided by the processes that share it; 0 for a process that ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def peak_rss(pid: int) -> int:
    """Most bytes resident since `forget_peak`, or since the start; 0 for a process that ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def forget_peak(pid: int) -> None:
    """The peak is counted anew, where the kernel lets us."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")
