"""Measuring: CPU seconds and memory of process trees, as the kernel tells them."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from perf.machine import file_system, this_machine
from perf.measure import Meter, cpu_seconds, peak_rss, rss, tree

SPIN = "import time\nwhile time.process_time() < 0.3: pass\n"
CHILD = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPIN!r}])\n"


@pytest.mark.parametrize("program", [SPIN, CHILD], ids=["itself", "by a child"])
def test_all_cpu_time_is_counted_that_was_used_while_measuring(program: str) -> None:
    waiting = "import sys\nsys.stdin.readline()\n" + program + "print('done', flush=True)\nsys.stdin.readline()\n"
    with subprocess.Popen([sys.executable, "-c", waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        with Meter([process.pid]) as meter:
            process.stdin.write(b"go\n")
            process.stdin.flush()
            process.stdout.readline()

        process.stdin.close()
    assert 0.25 < meter.cost.cpu_seconds < 1.5
    assert meter.cost.seconds > 0.25


def test_memory_that_was_given_back_is_still_the_peak() -> None:
    take = "x = bytearray(b'x') * 80_000_000\ndel x\n"
    held = f"import sys\nsys.stdin.readline()\n{take}print(flush=True)\nsys.stdin.readline()\n"
    with subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        with Meter([process.pid]) as meter:
            process.stdin.write(b"go\n")
            process.stdin.flush()
            process.stdout.readline()

        now = rss(process.pid)
        process.stdin.close()
    assert meter.cost.peak_rss > 80_000_000 > now


def test_a_tree_holds_the_process_and_its_children() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD]) as process:
        deadline = time.monotonic() + 10
        while len(found := set(tree([process.pid]))) < 2 and time.monotonic() < deadline:
            pass

    assert process.pid in found
    assert len(found) == 2
    assert process.pid in set(tree([os.getpid(), process.pid]))


def test_a_process_that_ended_costs_nothing_more() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert (cpu_seconds([process.pid]), rss(process.pid), peak_rss(process.pid)) == (0.0, 0, 0)


def test_the_machine_describes_itself() -> None:
    machine = this_machine()

    assert machine.cores >= 1
    assert machine.memory_gb > 0.1
    assert machine.python.startswith("CPython 3.")
    assert {"limosa", "pynetdicom"} <= set(machine.versions)
    assert machine.same_as(this_machine())


def test_the_file_system_is_that_of_the_longest_mount_point() -> None:
    assert file_system(Path("/proc/self")).startswith("proc on /proc")
    assert file_system(Path(tempfile.gettempdir())) != "unknown"
