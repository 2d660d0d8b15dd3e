"""The Ray runtime: connect, start workers, find those that run already, stop them.

Only this module and `actors.shells` import Ray. Facts behind the settings are in docs/explanation/ray.md.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util import list_named_actors

from actors.shells import Running, launch
from cluster.leftovers import sweep_sessions, sweep_sockets
from storage.sinks.write_pace import sweep_paces

READY_SECONDS = 90.0
"""A worker imports its libraries and connects within a few seconds; on a loaded node it may take a minute."""

STOP_SLACK = 5.0
"""Seconds beyond the grace of its lanes that a worker has for closing sockets and connections."""

STRANGER_GRACE = 20.0
"""Seconds that a worker which is wanted no more has for what it is writing; it is resumed by others."""

LOOPBACK = "127.0.0.1"

LONGEST_TEMP_DIR = 35
"""Bytes; Ray appends up to 70 (session, date, pid, socket), and the kernel takes 107 for a socket."""

SHORT_TEMP_DIR = Path("/tmp")  # noqa: S108 - only a folder that is proven to be ours is used in it

PACKAGES = ("cluster", "actors", "storage", "imaging", "infra", "perf", "limosa.py")


class RuntimeFault(Exception):
    """Ray cannot be reached, or a worker does not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker that should run: its name is its identity in Ray and in the ledger."""

    name: str
    kind: str
    start: partial[Running]
    """One of `actors.start`'s functions with its frozen setup."""

    @property
    def fingerprint(self) -> str:
        """The same in every driver for equal settings. Not of the pickle: that lists sets in the order of a process."""
        told = f"{self.start.func.__qualname__} {self.start.args!r} {self.start.keywords!r}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]


class RayRuntime:
    """A connection to Ray in one job's namespace. Workers survive `close` when Ray itself does."""

    def __init__(self, address: str, job: str, scratch: Path) -> None:
        """`address` is `local`, or what `ray.init` takes for a running cluster."""
        self._address = address
        self._namespace = f"limosa-{job}"
        self._scratch = scratch
        # Ray types actor methods only where they are decorated; these are checked by `actors.shells`.
        self._workers: dict[str, Any] = {}
        self._wanted: dict[str, Worker] = {}
        self._pings: dict[str, Any] = {}
        """Calls that have not been answered yet."""
        self._stack = contextlib.ExitStack()

    @property
    def local(self) -> bool:
        """True when this process started Ray, which then ends with it."""
        return self._address == "local"

    def __enter__(self) -> "RayRuntime":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        folder = self._working_dir()
        sweep_sockets(Path(tempfile.gettempdir()))
        sweep_paces()
        settings: dict[str, Any] = {
            "namespace": self._namespace,
            "log_to_driver": False,
            "logging_level": "ERROR",
        }
        with contextlib.ExitStack() as stack:
            if self.local:
                # Ray asks for a token by itself, but would keep it in the home folder, which not every account has.
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
                stack.enter_context(_loopback_only())
                sweep_sessions(ray_temp_dir())
                settings |= {
                    "address": "local",
                    "include_dashboard": False,
                    "_node_ip_address": LOOPBACK,
                    "_temp_dir": str(ray_temp_dir()),
                    "object_store_memory": 80 << 20,  # no pixel ever travels through the object store
                }
            else:
                # A driver with an explicit address does not enable token authentication by itself.
                os.environ.setdefault("RAY_AUTH_MODE", "token")
                settings |= {"address": self._address, "runtime_env": {"working_dir": str(folder)}}
            # Ray puts the driver's current folder, and whatever lies there, on the workers' path. A working_dir keeps
            # it from that as well, but costs each worker 0.7 s of CPU when it starts.
            stack.enter_context(contextlib.chdir(folder))
            self._connect(settings)
        return self

    def _connect(self, settings: dict[str, Any]) -> None:
        ending = signal.getsignal(signal.SIGTERM)
        try:
            context: Any = ray.init(**settings)
        except Exception as error:  # Ray raises bare ones, too: when its node does not start within 30 s, for one
            raise RuntimeFault(f"Ray at {self._address} cannot be reached: {error}") from error
        if callable(ending):
            # Ray's own handler kills its processes first, and the driver with them before it could close anything.
            signal.signal(signal.SIGTERM, ending)
        if self.local:
            self._stack.callback(shutil.rmtree, context.address_info["session_dir"], ignore_errors=True)
            self._stack.callback(sweep_paces)  # workers are ended with their Ray, and cannot do it
        self._stack.callback(ray.shutdown)
        # Ray prints what became of a killed worker to standard output, where a script expects one document.
        notices = self._stack.enter_context((self._scratch / "notices.log").open("a", encoding="utf-8"))
        self._stack.enter_context(contextlib.redirect_stdout(notices))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

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
        """Exactly these workers run, started with these settings. Others of the job that outlived their driver, on a
        Ray that did, are ended first: one that left the job file may hold a port, and would go on claiming.

        Raises
        ------
        RuntimeFault
            One of them did not start; the message says which.
        """
        wanted = {worker.name for worker in workers}
        for name in list_named_actors():
            if name not in wanted:
                self._end_stranger(name)
        self.add(workers)

    def add(self, workers: list[Worker]) -> None:
        """These workers run as well, started with these settings. Raises like `ensure`."""
        for worker in workers:
            self._wanted[worker.name] = worker
            self._workers[worker.name] = launch(worker.name, worker.start, worker.fingerprint, {})
        for worker in workers:
            handle: Any = self._workers[worker.name]
            if self._call(worker.name, handle.fingerprint.remote()) != worker.fingerprint:
                self._end(handle, grace=5.0)
                handle = launch(worker.name, worker.start, worker.fingerprint, {})
                self._call(worker.name, handle.fingerprint.remote())
                self._workers[worker.name] = handle

    def restore(self) -> tuple[str, ...]:
        """Workers that are dead for good are being started anew; their names. Returns at once, so ask again.

        Ray restarts a killed process, but gives an actor up whose start fails, as it does while the ledger is away.
        """
        found: list[str] = []
        for name, worker in self._wanted.items():
            ping = self._pings.pop(name, None) or self._workers[name].pid.remote()
            answered, _ = ray.wait([ping], timeout=0)
            if not answered:
                self._pings[name] = ping
                continue
            try:
                ray.get(ping)
            except RayActorError:
                self._workers[name] = launch(name, worker.start, worker.fingerprint, {})
                found.append(name)
        return tuple(found)

    def _end_stranger(self, name: str) -> None:
        try:
            handle: Any = ray.get_actor(name)
        except ValueError:
            return  # it ended by itself meanwhile
        self._end(handle, STRANGER_GRACE)
        self._workers.pop(name, None)
        self._wanted.pop(name, None)

    def _call(self, name: str, reference: Any) -> Any:
        try:
            return ray.get(reference, timeout=READY_SECONDS)
        except GetTimeoutError as error:
            raise RuntimeFault(f"worker {name} did not start within {READY_SECONDS:.0f} s") from error
        except RayError as error:
            # Ray carries what was raised at the worker's start only as the last line of a printed traceback.
            told = str(error).strip().splitlines()
            raise RuntimeFault(f"worker {name} did not start: {told[-1] if told else type(error).__name__}") from error

    def stop(self, grace: float) -> None:
        """Every worker has drained (within `grace` seconds) and is gone."""
        for handle in self._workers.values():
            handle.drain.remote()
        for handle in self._workers.values():
            self._end(handle, grace)
        self._workers.clear()
        self._wanted.clear()

    def _end(self, handle: Any, grace: float) -> None:
        # One that is dead or stuck is killed all the same; its claims expire.
        with contextlib.suppress(RayActorError, GetTimeoutError):
            ray.get(handle.stop.remote(grace), timeout=grace + STOP_SLACK)
        ray.kill(handle, no_restart=True)


def ray_temp_dir() -> Path:
    """A short folder that only this user reaches: Ray's socket paths must stay under 108 bytes, its default folder
    belongs to whoever used it first, and what it makes itself is open to everyone.

    Raises
    ------
    RuntimeFault
        Somebody else has taken the name.
    """
    name = f"limosa-ray-{os.getuid()}"
    mine = Path(tempfile.gettempdir()) / name
    if len(os.fsencode(mine)) > LONGEST_TEMP_DIR:
        mine = SHORT_TEMP_DIR / name
    mine.mkdir(mode=0o700, exist_ok=True)
    status = mine.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise RuntimeFault(f"{mine} belongs to somebody else; remove it, or set TMPDIR")
    mine.chmod(0o700)
    return mine / "r"


@contextlib.contextmanager
def _loopback_only() -> Iterator[None]:
    """A Ray that is started inside listens on the loopback address alone.

    Ray replaces 127.0.0.1 by the machine's outer address and then listens on every interface, except where it
    believes that clusters are not possible.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
