"""Ray shells: unpack, call, return. The work is done by plain classes that know nothing of Ray.

Shells are named and detached: they pull their own claims, so the driver that started them may die. Ray
restarts a shell whose process was killed; its lanes then take up what the ledger says is left.
"""

import os
from collections.abc import Callable
from typing import Any, Protocol

import ray
from ray.actor import ActorProxy


class Running(Protocol):
    """A started mover, feeder or validator."""

    def drain(self) -> None:
        """No new claim is made; work in progress is told to stop. Returns at once."""
        ...

    def stop(self, seconds: float) -> bool:
        """Whether all lanes ended within `seconds`; sockets and connections are closed in any case."""
        ...

    def report(self) -> dict[str, Any]: ...


class WorkerShell:
    """One worker process."""

    def __init__(self, start: Callable[[], Running], fingerprint: str) -> None:
        """`start` builds and starts the worker; it is pickled with its frozen setup."""
        self._fingerprint = fingerprint
        self._running = start()

    def pid(self) -> int:
        return os.getpid()

    def fingerprint(self) -> str:
        """What the worker was started with; a driver that wants something else replaces it."""
        return self._fingerprint

    def report(self) -> dict[str, Any]:
        return self._running.report()

    def drain(self) -> None:
        self._running.drain()

    def stop(self, seconds: float) -> bool:
        return self._running.stop(seconds)


def launch(
    name: str, start: Callable[[], Running], fingerprint: str, resources: dict[str, float]
) -> "ActorProxy[WorkerShell]":
    """The worker `name` runs in the current namespace: found if it is there already, started otherwise.

    `num_cpus=0`: Ray leaves actors beyond the declared CPUs pending without an error, and a mover mostly
    waits for the source. `max_restarts=-1`: a killed process comes back. `max_task_retries=-1`: a call that met the
    death of the process is made again on the next one; all of them may be repeated.
    """
    shell = ray.remote(WorkerShell).options(
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=4,
        resources=resources,
        name=name,
        lifetime="detached",
        get_if_exists=True,
    )
    return shell.remote(start, fingerprint)
