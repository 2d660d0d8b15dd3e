"""A worker that dies while its driver attaches is not the driver's end."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from ray.util import list_named_actors

from cluster.runtime import RayRuntime, Worker


def idle(folder: Path, name: str) -> Worker:
    """A worker that does nothing and leaves its process id in a file of its name."""

    # Local functions travel to the worker by value, since it could not import a test module; their classes must not
    # name anything from it.
    def start(file: Path) -> Any:
        class Idle:
            def drain(self) -> None: ...

            def stop(self, seconds: float) -> bool:
                return True

            def report(self) -> dict[str, object]:
                return {}

        if (file.parent / "away").exists():
            raise OSError("the ledger is away")
        file.write_text(str(os.getpid()), encoding="ascii")
        return Idle()

    return Worker(name=name, kind="mover", start=partial(start, folder / name))


def test_a_worker_that_was_just_killed_is_started_again_and_found(tmp_path: Path) -> None:
    file, worker = tmp_path / "idle-1", idle(tmp_path, "idle-1")
    with RayRuntime("local", "restarts", tmp_path) as runtime:
        runtime.ensure([worker])
        first = int(file.read_text(encoding="ascii"))

        os.kill(first, signal.SIGKILL)
        runtime.ensure([worker])

        assert int(file.read_text(encoding="ascii")) != first
        runtime.stop(1.0)


def test_a_worker_that_left_the_job_file_is_ended_by_the_next_driver(tmp_path: Path) -> None:
    stays, left = idle(tmp_path, "mover-1-1"), idle(tmp_path, "mover-2-1")
    with RayRuntime("local", "strangers", tmp_path) as runtime:
        runtime.ensure([stays, left])
        pids = {name: int((tmp_path / name).read_text(encoding="ascii")) for name in ("mover-1-1", "mover-2-1")}
        # A driver that attaches to a Ray which outlived its predecessor knows no worker yet.
        runtime._workers.clear()

        runtime.ensure([stays])

        psutil.wait_procs([psutil.Process(pids["mover-2-1"])] if psutil.pid_exists(pids["mover-2-1"]) else [], 10)
        assert not psutil.pid_exists(pids["mover-2-1"])
        assert psutil.pid_exists(pids["mover-1-1"])
        assert list_named_actors() == ["mover-1-1"]

        # One more beside those that run is no reason to end them.
        runtime.add([idle(tmp_path, "mover-1-2")])

        assert sorted(list_named_actors()) == ["mover-1-1", "mover-1-2"]
        assert psutil.pid_exists(pids["mover-1-1"])
        runtime.stop(1.0)


def test_a_worker_that_ray_gave_up_is_started_anew_by_the_driver(tmp_path: Path, wait_until: Any) -> None:
    file, worker = tmp_path / "idle-1", idle(tmp_path, "idle-1")
    with RayRuntime("local", "dead", tmp_path) as runtime:
        runtime.ensure([worker])
        assert runtime.restore() == ()
        first = file.read_text(encoding="ascii")
        (tmp_path / "away").touch()

        os.kill(int(first), signal.SIGKILL)
        wait_until(lambda: runtime.restore() == ("idle-1",), timeout=60, what="Ray gave the worker up")
        (tmp_path / "away").unlink()

        wait_until(lambda: not runtime.restore() and file.read_text(encoding="ascii") != first, timeout=60, what="back")
        runtime.stop(1.0)
