"""A hospital on this machine: a simulated archive, a job file that names it, and the command as a process."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from cluster.job import load_job
from cluster.services import services
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3
from infra.simulator import Archive, Simulator

LIMOSA = (sys.executable, "-m", "limosa")
DEADLINE = 100.0


def _done(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LIMOSA, *words], capture_output=True, text=True, timeout=DEADLINE, env={**os.environ, **environment}
    )


@dataclass(frozen=True, slots=True)
class World:
    """An archive, and the job file that names it."""

    file: Path
    pacs: Simulator

    @property
    def state(self) -> Path:
        return self.file.with_suffix(".limosa")

    def done(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return _done(*words, **environment)

    def run(self, *words: str, rc: int = 0, **environment: str) -> str:
        """What the command said: results, or where it failed the sentence that says why."""
        done = self.done(*words, **environment)
        assert done.returncode == rc, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr if rc == 1 or (rc != 0 and not done.stdout) else done.stdout

    def started(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*LIMOSA, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            # A shell without job control lets what it starts with & ignore interrupts, and so whatever that starts.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Embedded services stay up between commands, which start and stop them otherwise."""
        with services(load_job(self.file)):
            yield

    def keys(self, study_uid: str) -> list[str]:
        """Keys of the study's packs at the embedded destination, oldest revision first."""
        listed = self._s3.list_objects_v2(Bucket="limosa", Prefix="studies/")["Contents"]
        return sorted(item["Key"] for item in listed if study_uid in item["Key"])

    def flip(self, key: str, at: int) -> None:
        """One byte of the object is another one; its name and size stay."""
        body = bytearray(self._s3.get_object(Bucket="limosa", Key=key)["Body"].read())
        body[at] ^= 0xFF
        self._s3.put_object(Bucket="limosa", Key=key, Body=bytes(body))

    @property
    def _s3(self) -> Any:
        folder = self.state / "services"
        endpoint = EmbeddedS3(folder / "s3")
        return boto3.client(
            "s3",
            endpoint_url=endpoint.endpoint_url,
            region_name=endpoint.region,
            aws_access_key_id=endpoint.access_key,
            aws_secret_access_key=endpoint.secret_key,
        )


NewWorld = Callable[..., AbstractContextManager[World]]


@contextmanager
def _world(folder: Path, archive: Archive, *edits: tuple[str, str]) -> Iterator[World]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = folder / "move.toml"
    with Simulator(archive, destinations={"LIMOSA": ("127.0.0.1", port)}) as pacs:
        made = World(file, pacs)
        made.run("init", str(file), "--embedded")
        text = file.read_text()
        for old, new in (
            ("port = 104", f"port = {pacs.port}"),
            ('ae_title = "PACS"', 'ae_title = "SIMPACS"'),
            ("port = 11112", f"port = {port}"),
            ('host = "0.0.0.0"', 'host = "127.0.0.1"'),
            *edits,
        ):
            assert old in text
            text = text.replace(old, new, 1)
        file.write_text(text)
        yield made
    services = made.state / "services"
    EmbeddedPostgres(services / "postgres").remove()
    EmbeddedS3(services / "s3").remove()


@pytest.fixture(scope="session")
def limosa() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command, for a job file of the test's own."""
    return _done


@pytest.fixture(scope="session")
def new_world() -> NewWorld:
    """`with new_world(folder, archive, ("old", "new"), ...) as world`: the job file is edited so before it is used."""
    return _world
