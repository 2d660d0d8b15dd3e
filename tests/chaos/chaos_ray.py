"""A Ray of its own: a head node that outlives every driver, on this machine only."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chaos_world import MARK, end_all, free_port, wait_for

START_SECONDS = 60.0
END_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A running head node."""

    address: str
    mark: str
    environment: dict[str, str]
    """Lets a driver in: Ray asks for the token that lies in a file."""


@contextmanager
def ray_head(folder: Path) -> Iterator[Head]:
    """A head node answers for as long as the block lasts; afterwards nothing of it runs."""
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / "token"
    token.write_text(secrets.token_hex(32), encoding="ascii")
    token.chmod(0o600)
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    mark, port = secrets.token_hex(8), free_port()
    log = folder / "ray.log"
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats",
        "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false", "--num-cpus=2",
        f"--object-store-memory={80 << 20}", f"--temp-dir={folder / 't'}",
    ]  # fmt: skip
    with log.open("wb") as output:
        head = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment | {MARK: mark},
            start_new_session=True,
        )
    try:
        started = wait_for(lambda: head.poll() is not None or b"Ray runtime started" in log.read_bytes(), START_SECONDS)
        assert started and head.poll() is None, log.read_text(encoding="utf-8")[-2000:]
        yield Head(address=f"127.0.0.1:{port}", mark=mark, environment=environment)
    finally:
        head.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            head.wait(END_SECONDS)
        head.kill()
        head.wait()
        end_all(mark)
