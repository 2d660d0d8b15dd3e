"""Starting other programs and ending exactly those: by process id, ready by condition."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from infra.simulator.control import ControlClient

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
POLL_INTERVAL = 0.02


class NotReady(Exception):
    """The program ended, or did not become ready in time. The message says where its output is."""


class Child:
    """A child process with its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=os.environ | dict(environment or {}),
                # A group of its own: dcmqrscp forks for every association, and its children must end with it.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], timeout: float = START_TIMEOUT) -> None:
        """Returns once `ready` is true. Raises `NotReady`, the process ended."""
        deadline = time.monotonic() + timeout
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise NotReady(f"see {self._log}")
            time.sleep(POLL_INTERVAL)

    def stop(self) -> None:
        """The process is gone; asked first, killed when it does not listen."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def listens(port: int) -> bool:
    """Something accepts connections on 127.0.0.1:`port`."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that was free a moment ago; whoever takes it first has it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SimulatorProcess:
    """A simulator in a process of its own, so that it does not share an interpreter lock with what it feeds."""

    def __init__(
        self,
        archives: Sequence[str],
        *,
        ae_title: str = "SIMPACS",
        destinations: Mapping[str, tuple[str, int]] | None = None,
        faults: Path | None = None,
        port: int = 0,
        log: Path | None = None,
    ) -> None:
        """`log` takes what the process says about odd samples; without one it goes to our standard error."""
        registered = ",".join(f"{ae}={host}:{at}" for ae, (host, at) in (destinations or {}).items())
        self._command = [sys.executable, "-P", "-m", "infra.simulator", "--port", str(port), "--ae-title", ae_title]
        self._command += ["--destinations", registered]
        for spec in archives:
            self._command += ["--archive", spec]
        if faults is not None:
            self._command += ["--faults", str(faults)]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.control: ControlClient

    @property
    def command(self) -> list[str]:
        """What starts it, with the port it was given."""
        return list(self._command)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """It answers on `port`, and `control` is connected. Raises `NotReady`."""
        self.launch()
        return self.await_ready()

    def launch(self) -> None:
        """The process exists; a large archive takes a while until it answers."""
        with contextlib.ExitStack() as stack:
            errors = None if self._log is None else stack.enter_context(self._log.open("ab"))
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )

    def await_ready(self) -> Self:
        """As `start`, for a process that was launched."""
        output = self._process.stdout if self._process else None
        line = b""
        if output is not None and select.select([output], [], [], START_TIMEOUT)[0]:
            line = output.readline()
        if not line:
            self.stop()
            raise NotReady("the simulator said nothing")
        ports: dict[str, Any] = json.loads(line)
        self.port = ports["port"]
        self.control = ControlClient(ports["control"])
        return self

    def stop(self) -> None:
        """The process is gone."""
        if self._process is None:
            return
        if hasattr(self, "control"):
            self.control.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
