"""The write rate of a device: what it lets through in time, whoever writes."""

import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.errors import Rejected
from storage.sinks.write_pace import BURST, WritePace, spent_after, sweep_paces

RATE = 10_000_000


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def pace(folder: Path, clock: Clock, rate: int = RATE) -> WritePace:
    return WritePace("a" * 32, rate, folder=folder, now=clock.now, sleep=clock.sleep)


def test_a_device_gets_no_more_than_its_rate_over_any_length_of_time(tmp_path: Path) -> None:
    clock = Clock()
    limit = pace(tmp_path, clock)

    for _ in range(100):
        limit.take(1_000_000)

    assert clock.at - 1000.0 == pytest.approx(100_000_000 / RATE, abs=BURST)


def test_a_pause_saves_up_no_more_than_a_burst(tmp_path: Path) -> None:
    clock = Clock()
    limit = pace(tmp_path, clock)
    limit.take(1)
    clock.at += 3600.0

    began = clock.at
    for _ in range(10):
        limit.take(1_000_000)

    assert clock.at - began >= 10_000_000 / RATE - BURST


def test_two_processes_share_the_rate_of_a_device_and_two_devices_do_not(tmp_path: Path) -> None:
    clock = Clock()
    one, again = pace(tmp_path, clock), pace(tmp_path, clock)
    other = WritePace("b" * 32, RATE, folder=tmp_path, now=clock.now, sleep=clock.sleep)

    for _ in range(10):
        one.take(1_000_000)
        again.take(1_000_000)
    shared = clock.at - 1000.0
    other.take(1_000_000)

    assert shared == pytest.approx(20_000_000 / RATE, abs=BURST)
    assert clock.at - 1000.0 - shared == pytest.approx(1_000_000 / RATE)


def test_real_threads_together_keep_the_rate(tmp_path: Path) -> None:
    import time

    limit = WritePace("c" * 32, 40_000_000, folder=tmp_path)
    limit.take(int(40_000_000 * BURST))
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: [limit.take(500_000) for _ in range(8)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert time.monotonic() - began >= 0.95 * 16_000_000 / 40_000_000


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, 1e300])
def test_nonsense_in_the_file_stops_nobody(nonsense: float) -> None:
    assert spent_after(nonsense, 1000.0, RATE, RATE) <= 1001.0


def test_a_link_where_the_number_goes_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / f"limosa-pace-{os.geteuid()}-{'a' * 32}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Rejected):
        pace(tmp_path, Clock())


def test_the_file_goes_with_the_last_who_uses_it(tmp_path: Path) -> None:
    one, other = pace(tmp_path, Clock()), pace(tmp_path, Clock())

    one.close()
    assert sweep_paces(tmp_path) == 0, "a file that is used was swept"
    other.take(1)
    other.close()

    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_swept_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    killed = (
        "import os, pathlib, sys; from storage.sinks.write_pace import WritePace; "
        "p = WritePace('a' * 32, 10, folder=pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    left = [path.name for path in tmp_path.iterdir()]
    theirs = tmp_path / f"limosa-pace-{os.geteuid() + 1}-{'b' * 32}"
    theirs.write_bytes(b"")
    folder = tmp_path / f"limosa-pace-{os.geteuid()}-folder"
    folder.mkdir()

    swept = sweep_paces(tmp_path)

    assert left == [f"limosa-pace-{os.geteuid()}-{'a' * 32}"]
    assert (swept, sorted(tmp_path.iterdir())) == (1, sorted([theirs, folder]))


def test_an_orderly_end_of_the_process_leaves_nothing(tmp_path: Path) -> None:
    ended = (
        "import pathlib, sys; from storage.sinks.write_pace import WritePace; "
        "p = WritePace('a' * 32, 10**9, folder=pathlib.Path(sys.argv[1])); p.take(1)"
    )

    subprocess.run([sys.executable, "-c", ended, str(tmp_path)], check=True)

    assert not list(tmp_path.iterdir())
