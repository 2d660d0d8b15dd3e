"""A worker that dies while its driver attaches is not the driver's end."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

from cluster.runtime import RayRuntime, Worker


def test_a_worker_that_was_just_killed_is_started_again_and_found(tmp_path: Path) -> None:
    # Local functions travel to the worker by value, since it could not import a test module; their classes must not
    # name anything from it.
    def start(file: Path) -> Any:
        class Idle:
            def drain(self) -> None: ...

            def stop(self, seconds: float) -> bool:
                return True

            def report(self) -> dict[str, object]:
                return {}

        file.write_text(str(os.getpid()), encoding="ascii")
        return Idle()

    file = tmp_path / "pid"
    worker = Worker(name="idle-1", kind="mover", start=partial(start, file))
    with RayRuntime("local", "restarts", tmp_path) as runtime:
        runtime.ensure([worker])
        first = int(file.read_text(encoding="ascii"))

        os.kill(first, signal.SIGKILL)
        runtime.ensure([worker])

        assert int(file.read_text(encoding="ascii")) != first
        runtime.stop(1.0)
