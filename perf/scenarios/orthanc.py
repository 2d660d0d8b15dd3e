"""From a PACS as hospitals run it: Orthanc 1.10, whose sender leaves Nagle's algorithm on and writes in small pieces.

`orthanc-receive-*`: Orthanc sends what this process asks for by C-MOVE, one study after another on each association,
to a receiver in a process of its own. The clock runs from the first C-MOVE to the last answer; Orthanc answers when the
last instance is acknowledged. Subjects named `..., Nagle off` ask a second Orthanc with the same content and
TCP_NODELAY=1 in its environment: what the same receivers reach where somebody has found that switch. `cpu_s_per_gb` is
the receiver's; Orthanc's own stands beside it. Limosa takes all four digests of each instance; dcmtk and pynetdicom
write the bytes to files in tmpfs.

Slow subjects move fewer studies: rates are compared, and nobody learns more from 40 ms pauses by waiting longer.

`orthanc-end-to-end`: the whole way as in `end-to-end`, with four associations, Nagle on.

Not measured: a disk behind Orthanc; its storage is in the page cache.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from actors.dimse.scu import DimseSource
from actors.source import MoveEnd, MoveTarget
from imaging.uid import parse_uid
from infra.simulator.blaster import Proof
from perf.corpus import Corpus
from perf.harness import Sample, Scale, Scenario, Subject, Wrong
from perf.measure import Meter, cpu_seconds
from perf.migrating import LimosaMovers, UsualWay
from perf.peers.dcmtk_storescp import Storescp
from perf.peers.limosa_receiver import HandOver
from perf.peers.receiver import MEMORY_FOLDER, Receiver
from perf.peers.scripts import Limosa, Pynetdicom
from perf.scenarios.end_to_end import COERCION, LIMOSA, rules
from perf.servers import Servers
from perf.sources import AS_SHIPPED, WITHOUT_NAGLE, Orthanc, Source, asked

AE_TITLE = "LIMOSA"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What Orthanc is loaded with, and how many studies a subject moves per association and turn."""

    name: str
    what: str
    side: int
    studies: int
    instances: int
    slow: int
    fast: int


CT = Load(name="ct", what="0.5 MB slices", side=512, studies=16, instances=40, slow=2, fast=6)
TINY = Load(name="tiny", what="20 KB slices", side=100, studies=24, instances=50, slow=1, fast=12)


class Moved:
    """A receiver, filled by C-MOVE from a source."""

    def __init__(
        self,
        servers: Servers,
        source: Source,
        receiver: Receiver,
        *,
        name: str,
        associations: int,
        studies: int,
    ) -> None:
        self.name, self.about = name, receiver.about
        self.associations, self.processes = associations, receiver.processes
        self._servers, self._source, self._receiver = servers, source, receiver
        self._corpus = source.corpus.part(studies)
        self._folder: Path | None = None

    def prepare(self) -> None:
        self._servers.start(self._source)
        place = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="limosa-bench-", dir=place))
        self._receiver.start(self._folder)

    def once(self) -> Sample:
        corpus = self._corpus
        self._source.register(AE_TITLE, self._receiver.ports[0])
        scus = [DimseSource(asked(self._source)) for _ in range(self.associations)]
        try:
            for scu in scus:
                scu.echo()
            before = cpu_seconds(self._source.pids)
            with Meter(self._receiver.pids) as meter:
                move(scus, corpus.manifest.study_uids)
            sender = cpu_seconds(self._source.pids) - before
        finally:
            for scu in scus:
                scu.close()
        self._verify()
        self._receiver.clear()
        return Sample(
            seconds=meter.cost.seconds,
            bytes=corpus.size,
            objects=len(corpus.manifest),
            cpu_seconds=meter.cost.cpu_seconds,
            peak_rss=meter.cost.peak_rss,
            sender_cpu_seconds=sender,
        )

    def close(self) -> None:
        self._receiver.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._servers.close()

    def _verify(self) -> None:
        corpus = self._corpus
        held = self._receiver.held()
        if held.instances != len(corpus.manifest):
            raise Wrong(f"holds {held.instances} of {len(corpus.manifest)} instances")
        if held.bytes is not None and held.bytes != corpus.size:
            raise Wrong(f"holds {held.bytes} of {corpus.size} bytes")
        for study in corpus.manifest.study_uids:
            last = corpus.manifest.of_study(study)[-1]
            self._receiver.check(Proof(sop_uid=last.sop_uid, size=last.size, raw1=corpus.raw1[last.sop_uid].hex()))


def move(scus: Sequence[DimseSource], studies: Sequence[str]) -> None:
    """Every study was asked for, on as many associations as there are, and the source sent it. Raises `Wrong`."""
    waiting: SimpleQueue[str] = SimpleQueue()
    for study in studies:
        waiting.put(study)

    def lane(scu: DimseSource) -> None:
        while True:
            try:
                study = waiting.get_nowait()
            except Empty:
                return
            outcome = scu.retrieve(MoveTarget(study_uid=parse_uid(study)), AE_TITLE, lambda: False)
            if outcome.end is not MoveEnd.SUCCESS:
                raise Wrong(f"a C-MOVE ended with {outcome.end}")

    with ThreadPoolExecutor(len(scus)) as pool:
        for done in [pool.submit(lane, scu) for scu in scus]:
            done.result()


def _receivers(associations: int) -> list[Receiver]:
    return [
        Limosa(HandOver.FACTS, "limosa", "RAW1 while it arrives, then STO1, PD1, CAN1 and identity; kept in memory"),
        Storescp(associations),
        Pynetdicom(),
    ]


def _receiving(load: Load, scale: Scale) -> list[Subject]:
    corpus = Corpus(studies=load.studies, instances=load.instances, side=load.side, seed=3)
    shipped, quick = Orthanc(corpus, AS_SHIPPED), Orthanc(corpus, WITHOUT_NAGLE)
    servers = Servers(shipped, quick)
    subjects: list[Subject] = []
    sources = [(shipped, ""), (quick, ", Nagle off")]
    for source, suffix in sources if scale is Scale.FULL else sources[:1]:
        for associations in (1, 4) if source is shipped else (1,):
            for receiver, short in zip(_receivers(associations), ("limosa", "dcmtk", "pynetdicom"), strict=True):
                swift = short == "limosa" or source is quick
                each = 1 if scale is Scale.QUICK else load.fast if swift else load.slow
                count = "1 association" if associations == 1 else f"{associations} associations"
                subjects.append(
                    Moved(
                        servers,
                        source,
                        receiver,
                        name=f"{short}, {count}{suffix}",
                        associations=associations,
                        studies=max(associations, each * min(associations, 2)),
                    )
                )
    return subjects


def _whole(scale: Scale) -> list[Subject]:
    studies = {Scale.QUICK: 4, Scale.FULL: CT.studies}[scale]
    source = Orthanc(Corpus(studies=studies, instances=CT.instances, side=CT.side, seed=3), AS_SHIPPED)
    servers = Servers(source)
    return [
        LimosaMovers(
            servers,
            source,
            name="limosa, 1 mover",
            about=LIMOSA,
            bucket=lambda: servers.forgetful_bucket(compression="none"),
            lanes=4,
            coercion=rules(),
        ),
        UsualWay(
            servers,
            source,
            name="pynetdicom",
            about="pydicom decodes, edits and saves, upload_file per instance; no digest, no ledger",
            script="move_pynetdicom",
            lanes=4,
            studies=4,
            coercion=COERCION,
        ),
        LimosaMovers(
            servers,
            source,
            name="limosa, 2 movers",
            about=f"{LIMOSA}; an AE title each",
            bucket=lambda: servers.forgetful_bucket(compression="none"),
            titles=2,
            lanes=2,
            coercion=rules(),
        ),
        UsualWay(
            servers,
            source,
            name="pynetdicom, 2 processes",
            about="as pynetdicom, half of the studies each",
            script="move_pynetdicom",
            processes=2,
            lanes=2,
            studies=4,
            coercion=COERCION,
        ),
    ]


def _made(load: Load) -> Callable[[Scale], list[Subject]]:
    return lambda scale: _receiving(load, scale)


SCENARIOS = (
    *(
        Scenario(
            name=f"orthanc-receive-{load.name}",
            title=f"C-MOVE of {load.what} from Orthanc to a receiver, until the last answer",
            subjects=_made(load),
            quick=load is TINY,
        )
        for load in (TINY, CT)
    ),
    Scenario(
        name="orthanc-end-to-end",
        title="C-MOVE of 0.5 MB slices from Orthanc to an S3 endpoint, four associations, until the last is durable",
        subjects=_whole,
        quick=False,
    ),
)
