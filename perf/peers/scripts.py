"""Receivers of this tree that speak JSON lines: pynetdicom's, Limosa's own, and one that only answers."""

from collections.abc import Sequence
from pathlib import Path

from infra.simulator.blaster import Proof
from perf.harness import NotRun, Wrong
from perf.peers.program import START_SECONDS, Program, python
from perf.peers.receiver import Files, Held


class Pynetdicom:
    """pynetdicom's receiver, files written from the encoded bytes."""

    processes = 1
    share = 0.15
    """It takes about a seventh of the bytes per second, and a twentieth of the small objects."""

    def __init__(self, digest: str = "file", share: float = share) -> None:
        """`digest` is "file" for none, or "blake3"."""
        self.share = share
        self.name = "pynetdicom" if digest == "file" else "pynetdicom + BLAKE3"
        self.about = "encoded bytes go to files" + ("; no digest" if digest == "file" else "; BLAKE3 of each file")
        self._digest = digest
        self._script = _Script()
        self._files: Files | None = None

    def start(self, folder: Path) -> None:
        self._files = Files(folder)
        self._script.start(python("perf.peers.pynetdicom_storescp", folder, self._digest))

    @property
    def ports(self) -> Sequence[int]:
        return self._script.ports

    @property
    def pids(self) -> Sequence[int]:
        return self._script.pids

    def held(self) -> Held:
        if self._files is None:
            raise ValueError("not started")
        held = self._files.held()
        hashed = sum(said["digests"] for said in self._script.ask("digests"))
        if self._digest == "blake3" and hashed != held.instances:
            raise Wrong(f"{hashed} digests of {held.instances} files")
        return held

    def check(self, proof: Proof) -> None:
        if self._files is not None:
            self._files.check(proof)

    def clear(self) -> None:
        if self._files is not None:
            self._files.clear()

    def stop(self) -> None:
        self._script.stop()


class Limosa:
    """Limosa's receiver as the mover runs it, with a handler that takes what the scenario says."""

    share = 1.0

    def __init__(self, hand_over: str, name: str, about: str, processes: int = 1) -> None:
        """`hand_over` is a member of `perf.peers.limosa_receiver.HandOver`."""
        self.name = name if processes == 1 else f"{name}, {processes} processes"
        self.about = about
        self.processes = processes
        self._hand_over = hand_over
        self._script = _Script()

    def start(self, folder: Path) -> None:
        for _ in range(self.processes):
            self._script.start(python("perf.peers.limosa_receiver", folder, self._hand_over))

    @property
    def ports(self) -> Sequence[int]:
        return self._script.ports

    @property
    def pids(self) -> Sequence[int]:
        return self._script.pids

    def held(self) -> Held:
        stocks = self._script.ask("held")
        return Held(
            instances=sum(stock["instances"] for stock in stocks), bytes=sum(stock["bytes"] for stock in stocks)
        )

    def check(self, proof: Proof) -> None:
        found = [said["raw1"] for said in self._script.ask(f"raw1 {proof.sop_uid}")]
        if proof.raw1 not in found:
            raise Wrong("RAW1 of an instance is not that of what was sent")

    def clear(self) -> None:
        self._script.ask("clear")

    def stop(self) -> None:
        self._script.stop()


class Answering:
    """Takes the bytes, looks at the PDUs' lengths only, and answers: what is left is the sender."""

    processes = 1
    share = 1.0

    def __init__(
        self,
        name: str = "answers only",
        about: str = "reads PDU headers, throws everything away, answers success: how fast sender and loopback are",
    ) -> None:
        self.name, self.about = name, about
        self._script = _Script()

    def start(self, folder: Path) -> None:
        self._script.start(python("perf.peers.answering"))

    @property
    def ports(self) -> Sequence[int]:
        return self._script.ports

    @property
    def pids(self) -> Sequence[int]:
        return self._script.pids

    def held(self) -> Held:
        return Held(instances=sum(said["instances"] for said in self._script.ask("held")))

    def check(self, proof: Proof) -> None:
        """It holds nothing and promises nothing."""

    def clear(self) -> None:
        self._script.ask("clear")

    def stop(self) -> None:
        self._script.stop()


class _Script:
    """One or several processes that print their port first and answer every line with one."""

    def __init__(self) -> None:
        self._programs: list[Program] = []
        self.ports: list[int] = []

    @property
    def pids(self) -> list[int]:
        return [program.pid for program in self._programs]

    def start(self, command: Sequence[str]) -> None:
        program = Program(command)
        self._programs.append(program)
        try:
            self.ports.append(program.hear(START_SECONDS)["port"])
        except Wrong as silent:
            raise NotRun(f"did not start: {silent}") from silent

    def ask(self, line: str) -> list[dict]:
        return [program.ask(line) for program in self._programs]

    def stop(self) -> None:
        for program in self._programs:
            program.stop()
        self._programs.clear()
        self.ports.clear()
