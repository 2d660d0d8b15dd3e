"""Receiving: from a sender that is never the bottleneck to the C-STORE response, for one kind of instance at a time."""

import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from infra.simulator.blaster import Proof, Writes
from perf.harness import NotRun, Sample, Scale, Scenario, Subject, Wrong
from perf.measure import Meter
from perf.peers.dcmtk_storescp import Storescp
from perf.peers.limosa_receiver import HandOver
from perf.peers.program import START_SECONDS, Program, python
from perf.peers.receiver import MEMORY_FOLDER, Receiver
from perf.peers.scripts import Answering, Limosa, Pynetdicom
from perf.targets import over

ASSOCIATIONS = (1, 4)
LIMIT_BUFFERS = (64 << 10, 256 << 10, 1 << 20)
QUICK_SHARE = 8
"""A quick sample is this part of a full one."""
LEAST = 4
"""Instances per association and sample, however slow the receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of instance."""

    name: str
    title: str
    archive: str
    """What the blaster sends of."""
    instances: int
    """In a full sample of a receiver that is as fast as Limosa."""
    bytes: int
    """About, for the machine's limit."""
    pynetdicom: float
    """pynetdicom's share of them."""


CT = Kind(
    name="ct",
    title="CT slices of 0.5 MB",
    archive="workload:studies=1,instances=8",
    instances=2000,
    bytes=525_000,
    pynetdicom=0.15,
)
TINY = Kind(
    name="tiny",
    title="objects of 20 KB",
    archive="workload:studies=1,instances=8,rows=100,columns=100",
    instances=8000,
    bytes=20_700,
    pynetdicom=0.05,
)
MG = Kind(
    name="mg",
    title="objects of 50 MB, as large as mammograms",
    archive="big:size=52428800",
    instances=24,
    bytes=52_430_000,
    pynetdicom=0.34,
)


class Receiving:
    """One receiver and its sender, as a subject."""

    def __init__(
        self,
        receiver: Receiver,
        kind: Kind,
        scale: Scale,
        *,
        associations: int,
        writes: Writes = Writes.WHOLE,
        slowness: float = 1.0,
    ) -> None:
        """`slowness` divides the number of instances: for senders that hold everybody up."""
        self.name, self.about = receiver.name, receiver.about
        self.associations, self.processes = associations, receiver.processes
        full = kind.instances * receiver.share / slowness
        self._instances = max(LEAST * associations, round(full / (QUICK_SHARE if scale is Scale.QUICK else 1)))
        self._receiver, self._kind, self._writes = receiver, kind, writes
        self._folder: Path | None = None
        self._sender: Program | None = None

    def prepare(self) -> None:
        place = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="limosa-bench-", dir=place))
        self._receiver.start(self._folder)

    def once(self) -> Sample:
        if self._sender is None:
            self._sender = self._start_sender()
        self._sender.ask("open")
        with Meter(self._receiver.pids) as meter:
            told = self._sender.ask("fire")
        self._verify(told)
        self._receiver.clear()
        return Sample(
            seconds=told["ended"] - told["started"],
            bytes=told["bytes"],
            objects=told["instances"],
            cpu_seconds=meter.cost.cpu_seconds,
            peak_rss=meter.cost.peak_rss,
            sender_cpu_seconds=told["cpu_seconds"],
        )

    def close(self) -> None:
        if self._sender is not None:
            self._sender.stop()
        self._receiver.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start_sender(self) -> Program:
        ports = [word for port in self._receiver.ports for word in ("--port", port)]
        return Program(
            python(
                "infra.simulator.blaster",
                *ports,
                *("--associations", self.associations),
                *("--instances", self._instances),
                *("--archive", self._kind.archive),
                *("--writes", self._writes),
                "--told",
            )
        )

    def _verify(self, told: dict) -> None:
        if told["statuses"] != {"0000": self._instances}:
            raise Wrong(f"answers to {self._instances} instances: {told['statuses']}")
        held = self._receiver.held()
        if held.instances != self._instances:
            raise Wrong(f"holds {held.instances} of {self._instances} instances")
        if held.bytes is not None and held.bytes != told["bytes"]:
            raise Wrong(f"holds {held.bytes} of {told['bytes']} bytes")
        for proof in told["proofs"]:
            self._receiver.check(Proof(**proof))


class Limit:
    """The machine's limit with one buffer size, as a subject."""

    processes = 1

    def __init__(self, kind: Kind, scale: Scale, *, associations: int, buffer: int) -> None:
        self.name = f"machine's limit, {buffer >> 10} KiB buffer"
        self.about = "loopback, BLAKE3, a file in tmpfs per object; no DICOM, no answers"
        self.associations = associations
        self._kind, self._buffer = kind, buffer
        self._objects = max(LEAST * associations, kind.instances // (QUICK_SHARE if scale is Scale.QUICK else 1))
        self._folder: Path | None = None
        self._programs: list[Program] = []
        self._port = 0

    def prepare(self) -> None:
        if not MEMORY_FOLDER.is_dir():
            raise NotRun(f"no {MEMORY_FOLDER} here")
        self._folder = Path(tempfile.mkdtemp(prefix="limosa-bench-", dir=MEMORY_FOLDER))
        self._programs.append(Program(python("perf.peers.limit", "receive", self._folder, self._buffer)))
        self._port = self._programs[0].hear(START_SECONDS)["port"]

    def once(self) -> Sample:
        receiver = self._programs[0]
        numbers = (self._port, self.associations, self._objects, self._kind.bytes)
        sender = Program(python("perf.peers.limit", "send", *numbers))
        try:
            digest = sender.hear(START_SECONDS)["digest"]
            with Meter([receiver.pid]) as meter:
                told = sender.ask("go")
        finally:
            sender.stop()
        size = self._objects * self._kind.bytes
        if receiver.ask("held") != {"instances": self._objects, "bytes": size, "digests": [digest]}:
            raise Wrong("not every object arrived as it was sent")
        receiver.ask("clear")
        return Sample(
            seconds=told["ended"] - told["started"],
            bytes=size,
            objects=self._objects,
            cpu_seconds=meter.cost.cpu_seconds,
            peak_rss=meter.cost.peak_rss,
            sender_cpu_seconds=told["cpu_seconds"],
        )

    def close(self) -> None:
        for program in self._programs:
            program.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def limosa(hand_over: HandOver, processes: int = 1) -> Limosa:
    """Limosa's receiver under the name that reports and targets know."""
    name, about = {
        HandOver.MEMORY: (
            "limosa",
            "RAW1, handed over as the mover gets it: up to 8 MiB in memory, above in the spool (tmpfs)",
        ),
        HandOver.FILES: ("limosa, to files", "RAW1, each instance kept as a file in tmpfs, as the peers do"),
        HandOver.PIXELS: ("limosa, RAW1 + PD1", "RAW1, handed over, header read, PD1"),
        HandOver.FACTS: ("limosa, all digests", "RAW1, PD1, STO1, CAN1, identity: all a mover takes"),
    }[hand_over]
    return Limosa(hand_over, name, about, processes)


def receivers(kind: Kind, associations: int, scale: Scale) -> list[Subject]:
    ours: list[Receiver] = [limosa(HandOver.MEMORY), limosa(HandOver.FILES)]
    if associations > 1:
        ours.append(limosa(HandOver.MEMORY, associations))
    theirs: list[Receiver] = [
        Storescp(associations),
        Pynetdicom("file", kind.pynetdicom),
        Pynetdicom("blake3", kind.pynetdicom),
    ]
    subjects: list[Subject] = [
        Receiving(each, kind, scale, associations=associations) for each in (*ours, *theirs, Answering())
    ]
    return subjects


NAGLE_SLOWNESS = {"ct": 4.0, "tiny": 8.0}
"""A sender with Nagle's algorithm waits 40 ms per instance for receivers that delay acknowledgements."""
NAGLE_INSTANCES = 60
"""For those receivers: some seconds of waiting."""


def against_nagle(kind: Kind, scale: Scale) -> list[Subject]:
    slow = kind.instances / NAGLE_INSTANCES
    pieces = partial(Receiving, kind=kind, scale=scale, associations=1, writes=Writes.PIECES)
    return [
        pieces(limosa(HandOver.MEMORY), slowness=NAGLE_SLOWNESS[kind.name]),
        pieces(Storescp(1), slowness=slow),
        pieces(Pynetdicom("file", 1.0), slowness=slow),
    ]


def with_digests(kind: Kind, associations: int, scale: Scale) -> list[Subject]:
    ours = [limosa(HandOver.MEMORY), limosa(HandOver.PIXELS), limosa(HandOver.FACTS)]
    subjects: list[Subject] = [Receiving(each, kind, scale, associations=associations) for each in ours]
    subjects += [Limit(kind, scale, associations=associations, buffer=size) for size in LIMIT_BUFFERS]
    return subjects


SCENARIOS: tuple[Scenario, ...] = (
    *(
        Scenario(
            name=f"receive-{kind.name}-{associations}",
            title=f"Receive {kind.title} over {over(associations)}, until each is acknowledged.",
            subjects=partial(receivers, kind, associations),
            quick=associations == 1,
        )
        for kind, associations in (*product((CT, TINY), ASSOCIATIONS), (MG, 1))
    ),
    *(
        Scenario(
            name=f"receive-nagle-{kind.name}",
            title=f"The same with a sender that leaves Nagle's algorithm on and writes in pieces, as many PACS do: "
            f"{kind.title}, one association.",
            subjects=partial(against_nagle, kind),
        )
        for kind in (CT, TINY)
    ),
    *(
        Scenario(
            name=f"digest-ct-{associations}",
            title=f"Receive {CT.title} over {over(associations)}, take the digests, and what the machine can do.",
            subjects=partial(with_digests, CT, associations),
            quick=associations == 1,
        )
        for associations in ASSOCIATIONS
    ),
)
