"""A program under measurement: its own process, a line of JSON at a time, ended by its process id."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from perf.harness import NotRun, Wrong

START_SECONDS = 60
"""Until the first line: a loaded machine imports slowly."""
WORK_SECONDS = 300
"""For one sample: a hundred times what one should take."""
STOP_SECONDS = 10
TAIL = 400
"""Characters of a dead program's last words that are told."""

ROOT = Path(__file__).resolve().parents[2]


def python(module: str, *arguments: object) -> list[str]:
    """What runs a module of this tree in a process of its own."""
    return [sys.executable, "-m", module, *map(str, arguments)]


class Program:
    """A started process. Programs of ours print JSON lines; others are only watched and ended."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Raises `NotRun` where there is no such program."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._ahead = b""
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=ROOT,
                env=os.environ | dict(environment or {}),
                start_new_session=True,  # storescp forks; its children end with its group
            )
        except FileNotFoundError:
            self._errors.close()
            raise NotRun(f"{command[0]} is not installed") from None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def say(self, line: str) -> None:
        """The program can read the line on its standard input."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # the next `hear` tells why
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()

    def hear(self, seconds: float = WORK_SECONDS) -> dict[str, Any]:
        """The program's next line. Raises `Wrong` when it ended or stays silent."""
        output = self._process.stdout
        deadline = time.monotonic() + seconds
        while output is not None and b"\n" not in self._ahead:
            if not select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Wrong(f"silent for {seconds:.0f} s{self.last_words()}")
            piece = os.read(output.fileno(), 1 << 16)
            if not piece:
                raise Wrong(f"ended unasked{self.last_words()}")
            self._ahead += piece
        line, _, self._ahead = self._ahead.partition(b"\n")
        return json.loads(line)

    def ask(self, line: str) -> dict[str, Any]:
        self.say(line)
        return self.hear()

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        return f": {text[-TAIL:]}" if text else ""

    def stop(self) -> None:
        """The process and its children are gone. Idempotent."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
