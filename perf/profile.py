"""Where a process's CPU time goes, by thread and function, without slowing it down.

Every few milliseconds each thread's own CPU clock is read, and what it has advanced since is put down to where the
thread stands now. A thread that waits advances nothing, so waiting is not counted; C code that has released the
interpreter lock (hashing, compressing, the kernel's copies) is counted at the line that called it.
"""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import FrameType

TICK = 0.003
"""Seconds between looks: some 300 a second, at a cost of about two per cent."""
SWITCH = 2e-5
"""Seconds after which a thread gives up the interpreter to the one that looks, while it looks. With the usual 5 ms
threads would only ever be met where they let go by themselves, and a response's send would be blamed for all the Python
before it."""
OURS = ("actors/", "storage/", "imaging/")
DEPTH = 40
"""Frames walked from the innermost outwards until one of ours is met."""


Place = tuple[str, str, str]
"""Kind of thread, innermost function of ours, innermost function of all with its line."""


@dataclass(slots=True)
class Profile:
    """CPU seconds by place."""

    seconds: defaultdict[Place, float] = field(default_factory=lambda: defaultdict[Place, float](float))

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


class Profiler:
    """Watches all threads of this process but its own."""

    def __init__(self) -> None:
        self.profile = Profile()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._switch = sys.getswitchinterval()

    def toggle(self) -> None:
        """It starts, or stops when it runs."""
        if self._thread is None:
            self._over.clear()
            self._switch = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH)
            self._thread = threading.Thread(target=self._watch, name="profiler", daemon=True)
            self._thread.start()
        else:
            self.stop()

    def stop(self) -> None:
        """What was seen is in `profile`. Idempotent."""
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = None
            sys.setswitchinterval(self._switch)

    def _watch(self) -> None:
        clocks: dict[int, int] = {}
        while not self._over.wait(TICK):
            frames = sys._current_frames()
            for thread in threading.enumerate():
                frame = frames.get(thread.ident or 0)
                tid = thread.native_id
                if frame is None or tid is None or thread is self._thread:
                    continue
                try:
                    now = time.clock_gettime_ns(clock_of(tid))
                except OSError:
                    continue  # It ended meanwhile.
                spent = now - clocks.get(tid, now)
                clocks[tid] = now
                if spent:
                    self.profile.seconds[(kind_of(thread.name), *places(frame))] += spent / 1e9


def clock_of(tid: int) -> int:
    """The CPU clock of a thread by its kernel id, as pthread_getcpuclockid(3) makes it; that one may crash for a thread
    that has ended, where this clock gives an error."""
    return ~tid << 3 | 6


def kind_of(name: str) -> str:
    """Threads of one kind share a name up to their number."""
    return name.split("-lane-")[-2] + "-lane" if "-lane-" in name else name.rstrip("0123456789").rstrip("_-( ")


def places(frame: FrameType) -> tuple[str, str]:
    """The innermost function of ours and the innermost of all with its line."""
    inner = f"{_short(frame)}:{frame.f_lineno}"
    outer: FrameType | None = frame
    for _ in range(DEPTH):
        if outer is None:
            break
        if any(folder in outer.f_code.co_filename for folder in OURS):
            return _short(outer), inner
        outer = outer.f_back
    return "elsewhere", inner


def _short(frame: FrameType) -> str:
    folders = frame.f_code.co_filename.removesuffix(".py").split("/")
    return f"{'.'.join(folders[-2:])}.{frame.f_code.co_qualname}"


def table(profiles: Iterable[Profile], gigabytes: float, most: int = 45) -> str:
    """A text table: CPU seconds per GB and share, by thread and then by place, the largest first."""
    threads: defaultdict[tuple[str, ...], float] = defaultdict(float)
    ours: defaultdict[tuple[str, ...], float] = defaultdict(float)
    lines: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for profile in profiles:
        for (thread, place, line), seconds in profile.seconds.items():
            threads[(thread,)] += seconds
            ours[thread, place] += seconds
            lines[thread, line] += seconds
    total = sum(threads.values())
    told = [f"CPU {total:.2f} s for {gigabytes:.2f} GB: {total / gigabytes:.2f} s/GB"]
    for title, found in (
        ("by thread", threads),
        ("by function of ours, with what it calls up to the next one of ours", ours),
        ("by line that was running", lines),
    ):
        told += ["", title]
        for key, seconds in sorted(found.items(), key=lambda item: -item[1])[:most]:
            told.append(f"{seconds / gigabytes:8.3f} s/GB {100 * seconds / total:5.1f} %  {'  '.join(key)}")
    return "\n".join(told) + "\n"
