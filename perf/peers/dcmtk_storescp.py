"""dcmtk's storescp as a receiver: bit-preserving, large PDUs, Nagle's algorithm off on its side too."""

import time
from collections.abc import Sequence
from pathlib import Path

from infra.simulator.blaster import Proof
from infra.simulator.process import free_port, listens
from perf.harness import NotRun
from perf.peers.program import START_SECONDS, Program
from perf.peers.receiver import Files, Held, need

LARGEST_PDU = 131072
"""The most it takes; its default of 16 KiB is slower."""
POLL_SECONDS = 0.02


class Storescp:
    """One process, or one more for each association: with one, a second association waits until the first ended."""

    share = 1.0

    def __init__(self, associations: int) -> None:
        self._forks = associations > 1
        self.processes = associations
        self.name = "dcmtk storescp" if not self._forks else f"dcmtk storescp, {associations} processes (fork)"
        self.about = "+B: datasets go straight to files; no digest"
        self._port = 0
        self._program: Program | None = None
        self._files: Files | None = None

    def start(self, folder: Path) -> None:
        self._port = free_port()
        command = [need("storescp"), "--quiet", "+B", "+xa", "--max-pdu", str(LARGEST_PDU), "-od", str(folder)]
        command += ["--fork"] if self._forks else []
        self._files = Files(folder)
        self._program = Program([*command, str(self._port)], {"TCP_NODELAY": "1"})
        deadline = time.monotonic() + START_SECONDS
        while not listens(self._port):
            if self._program.ended or time.monotonic() > deadline:
                raise NotRun(f"storescp does not listen{self._program.last_words()}")
            time.sleep(POLL_SECONDS)

    @property
    def ports(self) -> Sequence[int]:
        return (self._port,)

    @property
    def pids(self) -> Sequence[int]:
        return (self._program.pid,) if self._program else ()

    def held(self) -> Held:
        return _started(self._files).held()

    def check(self, proof: Proof) -> None:
        _started(self._files).check(proof)

    def clear(self) -> None:
        _started(self._files).clear()

    def stop(self) -> None:
        if self._program is not None:
            self._program.stop()
            self._program = None


def _started(files: Files | None) -> Files:
    if files is None:
        raise ValueError("not started")
    return files
