"""The profiler counts work, not waiting."""

import threading
import time

from blake3 import blake3

from perf.profile import Profiler, kind_of, table


def busy(seconds: float) -> None:
    block = bytes(1 << 20)
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        blake3(block).digest()


def test_a_busy_thread_is_counted_and_a_waiting_one_is_not() -> None:
    profiler = Profiler()
    over = threading.Event()
    waiting = threading.Thread(target=over.wait, name="waiter-1")
    working = threading.Thread(target=busy, args=(0.3,), name="worker-1")
    waiting.start()

    profiler.toggle()
    working.start()
    working.join()
    profiler.toggle()
    over.set()
    waiting.join()

    seconds = {"worker": 0.0, "waiter": 0.0}
    for (thread, _, _), spent in profiler.profile.seconds.items():
        if thread in seconds:
            seconds[thread] += spent
    assert seconds["worker"] > 0.15
    assert seconds["waiter"] < 0.05
    assert "worker" in table([profiler.profile], 1.0)


def test_threads_of_one_kind_share_a_name() -> None:
    assert kind_of("s3-cloud_0") == kind_of("s3-cloud_11") == "s3-cloud"
    assert kind_of("mover-1-lane-3") == kind_of("mover-1-lane-0")
