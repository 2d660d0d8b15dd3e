"""The Ray runtime: connect, start workers, find those that run already, stop them.

Only this module and `actors.shells` import Ray. Facts behind the settings are in docs/explanation/ray.md.
"""

import contextlib
import hashlib
import os
import pickle
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from actors.shells import Running, launch

READY_SECONDS = 90.0
"""A worker imports its libraries and connects within a few seconds; on a loaded node it may take a minute."""

STOP_SLACK = 5.0
"""Seconds beyond the grace of its lanes that a worker has for closing sockets and connections."""

PACKAGES = ("cluster", "actors", "storage", "imaging", "infra", "perf", "limosa.py")


class RuntimeFault(Exception):
    """Ray cannot be reached, or a worker does not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker that should run: its name is its identity in Ray and in the ledger."""

    name: str
    kind: str
    start: Callable[[], Running]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(pickle.dumps(self.start)).hexdigest()[:16]


class RayRuntime:
    """A connection to Ray in one job's namespace. Workers survive `close` when Ray itself does."""

    def __init__(self, address: str, job: str, scratch: Path) -> None:
        """`address` is `local`, or what `ray.init` takes for a running cluster."""
        self._address = address
        self._namespace = f"limosa-{job}"
        self._scratch = scratch
        # Ray types actor methods only where they are decorated; these are checked by `actors.shells`.
        self._workers: dict[str, Any] = {}

    @property
    def local(self) -> bool:
        """True when this process started Ray, which then ends with it."""
        return self._address == "local"

    def __enter__(self) -> "RayRuntime":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings: dict[str, Any] = {
            "namespace": self._namespace,
            "log_to_driver": False,
            "logging_level": "ERROR",
        }
        folder = self._working_dir()
        if self.local:
            settings |= {
                "address": "local",
                "include_dashboard": False,
                # Without it Ray looks for outside addresses to learn its own.
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": str(ray_temp_dir()),
                "object_store_memory": 80 << 20,  # no pixel ever travels through the object store
            }
        else:
            # A driver with an explicit address does not enable token authentication by itself.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            settings |= {"address": self._address, "runtime_env": {"working_dir": str(folder)}}
        ending = signal.getsignal(signal.SIGTERM)
        try:
            # Ray puts the driver's current folder, and whatever lies there, on the workers' path. A working_dir would
            # keep it from that as well, but costs each worker 0.7 s of CPU when it starts.
            with contextlib.chdir(folder):
                ray.init(**settings)
        except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise RuntimeFault(f"Ray at {self._address} cannot be reached: {error}") from error
        if callable(ending):
            # Ray's own handler kills its processes first, and the driver with them before it could close anything.
            signal.signal(signal.SIGTERM, ending)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray.shutdown()

    def _working_dir(self) -> Path:
        """What workers import: nothing when they share this installation, else the packages themselves."""
        folder = self._scratch / "ray-working-dir"
        folder.mkdir(parents=True, exist_ok=True)
        if not self.local:
            root = Path(__file__).resolve().parent.parent
            for name in PACKAGES:
                link = folder / name
                if not link.exists() and (root / name).exists():
                    link.symlink_to(root / name)
        return folder

    def ensure(self, workers: list[Worker]) -> None:
        """Exactly these workers run, started with these settings.

        Raises
        ------
        RuntimeFault
            One of them did not start; the message says which.
        """
        for worker in workers:
            self._workers[worker.name] = launch(worker.name, worker.start, worker.fingerprint, {})
        for worker in workers:
            handle: Any = self._workers[worker.name]
            if self._call(worker.name, handle.fingerprint.remote()) != worker.fingerprint:
                self._end(handle, grace=5.0)
                handle = launch(worker.name, worker.start, worker.fingerprint, {})
                self._call(worker.name, handle.fingerprint.remote())
                self._workers[worker.name] = handle

    def _call(self, name: str, reference: Any) -> Any:
        try:
            return ray.get(reference, timeout=READY_SECONDS)
        except GetTimeoutError as error:
            raise RuntimeFault(f"worker {name} did not start within {READY_SECONDS:.0f} s") from error
        except RayError as error:
            cause = getattr(error, "cause", None)
            raise RuntimeFault(f"worker {name} did not start: {cause or type(error).__name__}") from error

    def stop(self, grace: float) -> None:
        """Every worker has drained (within `grace` seconds) and is gone."""
        for handle in self._workers.values():
            handle.drain.remote()
        for handle in self._workers.values():
            self._end(handle, grace)
        self._workers.clear()

    def _end(self, handle: Any, grace: float) -> None:
        # One that is dead or stuck is killed all the same; its claims expire.
        with contextlib.suppress(RayActorError, GetTimeoutError):
            ray.get(handle.stop.remote(grace), timeout=grace + STOP_SLACK)
        ray.kill(handle, no_restart=True)


def ray_temp_dir() -> Path:
    """A short folder of this user's own: Ray's socket paths must stay under 108 bytes, and its default folder
    belongs to whoever used it first."""
    return Path(tempfile.gettempdir()) / f"limosa-ray-{os.getuid()}"
