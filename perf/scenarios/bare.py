"""What the machine asks for the work that no mover can leave out, each kind alone: the floor of `cpu_s_per_gb`.

A moved GB passes loopback twice (in, and out to S3; half of each is the other side's), three BLAKE3 digests and a
CRC-64. Two lanes at once show what a second virtual core is worth: where it shares its execution units with the first,
each digest takes longer beside another.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from perf.harness import Sample, Scale, Scenario, Subject, Wrong
from perf.measure import Meter
from perf.peers.program import START_SECONDS, Program, python
from perf.pieces.bare import OBJECT, ROUNDS
from perf.pieces.task import Task


class Bare:
    """One kind of work, on one or two threads."""

    associations = 0
    processes = 1

    def __init__(self, name: str, about: str, how: str, lanes: int) -> None:
        self.name, self.about = name, about
        self._task = Task(files="", how=how, lanes=lanes)
        self._program: Program | None = None

    def prepare(self) -> None:
        self._program = Program(python("perf.pieces.bare", json.dumps(asdict(self._task))))
        self._program.hear(START_SECONDS)

    def once(self) -> Sample:
        if self._program is None:
            raise Wrong("not prepared")
        with Meter([self._program.pid]) as meter:
            done = self._program.ask("go")
        if done["objects"] != ROUNDS * self._task.lanes:
            raise Wrong("not everything was done")
        return Sample(
            seconds=meter.cost.seconds,
            bytes=OBJECT * done["objects"],
            objects=done["objects"],
            cpu_seconds=meter.cost.cpu_seconds,
            peak_rss=meter.cost.peak_rss,
        )

    def close(self) -> None:
        if self._program is not None:
            self._program.stop()
            self._program = None


def _subjects(scale: Scale) -> Sequence[Subject]:
    del scale  # a second or two as it is
    return [
        Bare("BLAKE3, one thread", "half a megabyte at a time, in the processor's cache", "blake3", 1),
        Bare("BLAKE3, two threads", "at once, each with its own bytes", "blake3", 2),
        Bare("CRC-64/NVME, one thread", "as S3 parts have it", "crc64", 1),
        Bare("CRC-64/NVME, two threads", "at once, each with its own bytes", "crc64", 2),
        Bare("loopback, one connection", "sendall to recv_into, both sides counted", "loopback", 1),
    ]


SCENARIOS = (
    Scenario(
        name="bare",
        title="Digests, checksums and sockets with nothing around them, over objects of 0.5 MB",
        subjects=_subjects,
        unit="objects",
        quick=False,
    ),
)
