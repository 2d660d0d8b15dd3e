"""A whole archive from its PACS to the bucket: C-MOVE, digests, pack, multipart upload, ledger commit.

The simulator is the PACS, in a process of its own with its instances encoded beforehand; S3 is an endpoint that
forgets bodies (`perf.nulls3`), so that neither end is the limit, or SeaweedFS where the name says so. All subjects move
the same studies, after a small study has warmed them up. The clock runs from the moment studies may be asked for until
the last is durable and, for Limosa, committed to a real Postgres; then every instance is proven by its digest.

Limosa is the real mover process, without Ray around it. The usual ways are `perf/peers/move_*.py`: they write files (to
tmpfs, in their favour) and upload those; they keep no ledger and cannot resume. `cpu_s_per_gb` counts the movers, or
the usual way's script with all it starts. Beside it, as figures: the simulator's CPU, that of the S3 endpoint, that of
Postgres. Not measured: TLS, inventory, read-back.
"""

import json
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from imaging.uid import parse_uid
from infra.simulator.process import free_port
from perf.corpus import Corpus, ct, tiny
from perf.harness import GB, NotRun, Sample, Scale, Scenario, Subject, Wrong
from perf.measure import Meter
from perf.movers import Movers, simulated
from perf.peers.program import START_SECONDS, Program, python
from perf.peers.receiver import MEMORY_FOLDER
from perf.peers.usual import Task
from perf.servers import SOURCE_AE, Servers
from storage.ledger import Ledger
from storage.sinks.options import S3Options

LANES = 2
"""C-MOVE associations per process, for Limosa and for the usual ways."""


class LimosaMovers:
    """Limosa's movers."""

    def __init__(
        self, servers: Servers, *, name: str, about: str, bucket: Callable[[], S3Options], processes: int = 1
    ) -> None:
        self.name = name
        self.about = about
        self.processes = processes
        self.associations = LANES * processes
        self._servers = servers
        self._bucket = bucket

    def prepare(self) -> None:
        _ = self._servers.simulator, self._servers.ledgers
        self._bucket()

    def once(self) -> Sample:
        servers, corpus = self._servers, self._servers.corpus
        url = servers.ledgers.fresh()
        bucket = self._bucket()
        ae_title = f"L{secrets.token_hex(4).upper()}"
        movers = Movers(
            ledger_url=url,
            source=simulated(servers.simulator.port, SOURCE_AE),
            destination=bucket,
            folder=servers.folder,
            ae_title=ae_title,
            processes=self.processes,
            associations=LANES,
        )
        with movers:
            servers.register(ae_title, movers.receiver.port)
            found = movers.find()
            movers.know(found, corpus.warm.study_uids)
            movers.resume()
            movers.wait()
            movers.pause()
            movers.know(found, corpus.manifest.study_uids)
            aside = servers.aside(bucket)
            with Meter(movers.pids) as meter:
                movers.resume()
                movers.wait()
            spent = aside.spent()
            check_ledger(movers.ledger, corpus)
            servers.check_bucket(bucket, receipts(movers.ledger, corpus))
        servers.ledgers.drop(url)
        return sample(corpus, meter, spent)

    def close(self) -> None:
        self._servers.close()


class UsualWay:
    """A script of `perf/peers`, in as many processes as asked; each moves its share of the studies."""

    def __init__(
        self, servers: Servers, *, name: str, about: str, script: str, needs: Sequence[str] = (), processes: int = 1
    ) -> None:
        self.name = name
        self.about = about
        self.processes = processes
        self.associations = LANES * processes
        self._servers = servers
        self._script = script
        self._needs = needs
        self._folder: Path | None = None

    def prepare(self) -> None:
        for program in self._needs:
            if shutil.which(program) is None:
                raise NotRun(f"{program} is not installed")
        _ = self._servers.simulator
        self._servers.forgetful_bucket()

    def once(self) -> Sample:
        servers, corpus = self._servers, self._servers.corpus
        bucket = servers.forgetful_bucket()
        self._clear()
        self._folder = MEMORY_FOLDER / f"limosa-bench-{secrets.token_hex(6)}"
        tasks = [self._task(number, bucket) for number in range(self.processes)]
        programs = [Program(python(f"perf.peers.{self._script}", json.dumps(asdict(task)))) for task in tasks]
        try:
            for program in programs:
                program.hear(START_SECONDS)
            aside = servers.aside(bucket)
            with Meter([program.pid for program in programs]) as meter:
                for program in programs:
                    program.say("go")
                moved = sum(program.hear()["instances"] for program in programs)
            spent = aside.spent()
        finally:
            for program in programs:
                program.stop()
        self._check(bucket, moved)
        return sample(corpus, meter, spent)

    def close(self) -> None:
        self._clear()
        self._servers.close()

    def _task(self, number: int, bucket: S3Options) -> Task:
        servers, corpus = self._servers, self._servers.corpus
        ae_title = f"U{secrets.token_hex(3).upper()}"
        ports = tuple(free_port() for _ in range(LANES))
        servers.register(ae_title, ports[0])
        for lane, port in enumerate(ports):
            servers.register(f"{ae_title}{lane}", port)
        folder = (self._folder or MEMORY_FOLDER) / str(number)
        folder.mkdir(parents=True)
        return Task(
            source_port=servers.simulator.port,
            source_ae=SOURCE_AE,
            own_ae=ae_title,
            own_ports=ports,
            associations=LANES,
            folder=str(folder),
            endpoint=bucket.endpoint_url or "",
            bucket=bucket.bucket,
            access_key="any",
            secret_key="any",
            warm=corpus.warm.study_uids,
            studies=corpus.manifest.study_uids[number :: self.processes],
            coercion={},
        )

    def _check(self, bucket: S3Options, moved: int) -> None:
        """Every instance was saved with its pixels and is in the bucket with the size of its file."""
        corpus = self._servers.corpus
        warm = corpus.warm.sop_uids(corpus.warm.study_uids[0])
        paths = [path for path in (self._folder or MEMORY_FOLDER).rglob("*") if path.is_file()]
        files = {uid: path for path in paths if (uid := uid_of(path)) is not None and uid not in warm}
        corpus.check_files(files)
        if moved != len(files):
            raise Wrong(f"{moved} uploads of {len(files)} files")
        held = self._servers.nulls3.objects()
        sizes = {path.name: path.stat().st_size for path in files.values()}
        if {name: held.get(f"{bucket.bucket}/{name}") for name in sizes} != sizes:
            raise Wrong("the bucket does not hold what was saved")

    def _clear(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def uid_of(path: Path) -> str | None:
    """The SOP Instance UID in the name of a file: pynetdicom's script writes UID.dcm, storescp CT.UID."""
    name = path.name.removesuffix(".dcm")
    name = name if name[0].isdigit() else name.partition(".")[2]
    return name if name[:1].isdigit() else None


def sample(corpus: Corpus, meter: Meter, spent: Mapping[str, float]) -> Sample:
    """A verified turn over the whole corpus."""
    return Sample(
        seconds=meter.cost.seconds,
        bytes=corpus.size,
        objects=len(corpus.manifest),
        cpu_seconds=meter.cost.cpu_seconds,
        peak_rss=meter.cost.peak_rss,
        sender_cpu_seconds=spent["source"],
        figures={
            f"{name}_cpu_s_per_gb": seconds * GB / corpus.size for name, seconds in spent.items() if name != "source"
        },
    )


def check_ledger(ledger: Ledger, corpus: Corpus) -> None:
    """The ledger proves every instance of the corpus: RAW1 is that of the bytes the archive holds. Raises `Wrong`."""
    known: dict[str, bytes] = {}
    for study in ledger.status.list_studies(limit=100_000):
        if study.study_uid in corpus.manifest.study_uids:
            known |= {str(facts.sop_uid): facts.raw1 for facts in ledger.facts.instances(study.study_key, 1)}
    if known != corpus.raw1:
        raise Wrong(f"RAW1 of {len(known.items() & corpus.raw1.items())} of {len(corpus.raw1)} instances is proven")


def receipts(ledger: Ledger, corpus: Corpus) -> dict[str, int]:
    """Size by key of every pack the ledger has a receipt for."""
    held = [ledger.facts.held(uid) for uid in map(parse_uid, corpus.manifest.study_uids)]
    return {one.receipt.key: one.receipt.size for one in held if one is not None}


@dataclass(frozen=True, kw_only=True)
class _Load:
    name: str
    what: str
    corpus: Callable[[Scale], Corpus]


def _subjects(load: _Load, scale: Scale) -> list[Subject]:
    servers = Servers(load.corpus(scale))

    def plain() -> S3Options:
        return servers.forgetful_bucket(compression="none")

    limosa = "C-MOVE, RAW1, STO1, PD1 and CAN1, tar, 16 MiB parts with CRC64, ledger commit"
    subjects: list[Subject] = [
        LimosaMovers(servers, name="limosa, 1 mover", about=limosa, bucket=plain),
        UsualWay(
            servers,
            name="pynetdicom",
            about="C-MOVE, pydicom decodes and saves, upload_file per instance; no digest, no ledger",
            script="move_pynetdicom",
        ),
        UsualWay(
            servers,
            name="dcmtk",
            about="movescu + storescp, BLAKE3 pass, upload_file per instance; no coercion, no ledger; one storescp per "
            "association and one movescu per study beside the script",
            script="move_dcmtk",
            needs=("movescu", "storescp"),
        ),
        LimosaMovers(servers, name="limosa, 2 movers", about=limosa, bucket=plain, processes=2),
        UsualWay(
            servers,
            name="pynetdicom, 2 processes",
            about="as pynetdicom, half of the studies each",
            script="move_pynetdicom",
            processes=2,
        ),
    ]
    if load.name == "ct":
        subjects += [
            LimosaMovers(
                servers,
                name="limosa, 1 mover, zstd",
                about="as limosa, 1 mover, but packs are tar.zst of level 1, as raw pixels are packed by default",
                bucket=servers.forgetful_bucket,
            ),
            LimosaMovers(
                servers,
                name="limosa, 1 mover, SeaweedFS",
                about="as limosa, 1 mover, into a real S3 server on the same two cores, which is the limit",
                bucket=lambda: servers.real_bucket(compression="none"),
            ),
        ]
    return subjects


LOADS = (
    _Load(name="ct", what="0.5 MB slices", corpus=ct),
    _Load(name="tiny", what="20 KB slices", corpus=tiny),
)

SCENARIOS = tuple(
    Scenario(
        name=f"end-to-end-{load.name}",
        title=f"C-MOVE of {load.what} from the simulator to an S3 endpoint, until the last study is durable",
        subjects=lambda scale, load=load: _subjects(load, scale),
        quick=load.name == "ct",
    )
    for load in LOADS
)
