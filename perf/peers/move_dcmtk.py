"""The usual way with dcmtk: `movescu` asks, `storescp` writes, then every file is hashed and uploaded.

One lane per association, each with a storescp of its own (bit-preserving, one process, as it comes) and a movescu per
study; when a study's movescu ends, a thread pool takes its files: BLAKE3 over the whole file, then `upload_file`. Files
are not edited: dcmtk's way to coerce is dcmodify, one more pass over every file, which is left out in its favour.
There is no ledger and no resuming. TCP_NODELAY=1 is set for all of it, or Nagle's algorithm would cost 40 ms an
instance.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3

from infra.simulator.process import listens
from perf.peers.usual import UPLOADERS, Task, client, converse, in_lanes, transfer

LARGEST_PDU = "131072"
NODELAY = {"TCP_NODELAY": "1"}
START_SECONDS = 20.0
POLL_SECONDS = 0.02


class Mover:
    """Lanes, files and uploads of one migration."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._s3 = client(task)
        self._transfer = transfer()
        self._pool = ThreadPoolExecutor(UPLOADERS)
        self._lock = threading.Lock()
        self._uploads: list[Future[bytes]] = []
        self._receivers = [self._receiver(lane, port) for lane, port in enumerate(task.own_ports)]
        """In this script's process group, with which they end."""

    def move(self, studies: Sequence[str]) -> int:
        """Every instance of the studies is hashed and uploaded; how many there were."""
        in_lanes(self._task.associations, studies, self._lane)
        with self._lock:
            uploads, self._uploads = self._uploads, []
        for upload in uploads:
            upload.result()
        return len(uploads)

    def _folder(self, lane: int) -> Path:
        return self._task.place / f"lane-{lane}"

    def _receiver(self, lane: int, port: int) -> subprocess.Popen[bytes]:
        folder = self._folder(lane)
        folder.mkdir()
        command = ["storescp", "--bit-preserving", "--accept-all", "--max-pdu", LARGEST_PDU]
        command += ["--output-directory", str(folder), "--aetitle", f"{self._task.own_ae}{lane}", str(port)]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=os.environ | NODELAY)
        deadline = time.monotonic() + START_SECONDS
        while not listens(port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("storescp does not listen")
            time.sleep(POLL_SECONDS)
        return child

    def _lane(self, lane: int, studies: Iterator[str]) -> None:
        seen = set(self._folder(lane).iterdir())
        for study in studies:
            command = ["movescu", "--study", "--aetitle", self._task.own_ae, "--call", self._task.source_ae]
            command += ["--move", f"{self._task.own_ae}{lane}", "127.0.0.1", str(self._task.source_port)]
            command += ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
            subprocess.run(command, check=True, env=os.environ | NODELAY, capture_output=True)
            found = set(self._folder(lane).iterdir()) - seen
            seen |= found
            with self._lock:
                self._uploads += [self._pool.submit(self._deliver, path) for path in found]

    def _deliver(self, path: Path) -> bytes:
        digest = blake3(path.read_bytes()).digest()
        self._s3.upload_file(str(path), self._task.bucket, path.name, Config=self._transfer)
        return digest


def main() -> None:
    task = Task.told()
    converse(Mover(task).move, task)


if __name__ == "__main__":
    main()
