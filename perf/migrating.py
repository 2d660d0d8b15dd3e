"""Limosa's movers and the usual ways as subjects: studies go from a source to a bucket, and are proven to be there."""

import json
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.coercion_options import NO_COERCION, CoercionOptions
from imaging.flags import Flag
from imaging.uid import parse_uid
from infra.simulator.process import free_port
from perf.corpus import Corpus
from perf.harness import GB, NotRun, Sample, Wrong
from perf.measure import Meter
from perf.movers import Movers
from perf.peers.program import START_SECONDS, Program, python
from perf.peers.receiver import MEMORY_FOLDER
from perf.peers.usual import Task
from perf.servers import Servers
from perf.sources import MOST_MOVES, Source, asked
from storage.ledger import Ledger
from storage.sinks.options import S3Options, SeedOptions

LANES = 2
"""C-MOVE associations per process, for Limosa and for the usual ways."""
COERCED = frozenset({Flag.COERCED.value})


class LimosaMovers:
    """Limosa's movers."""

    def __init__(
        self,
        servers: Servers,
        source: Source,
        *,
        name: str,
        about: str,
        bucket: Callable[[], S3Options | SeedOptions],
        titles: int = 1,
        processes: int = 1,
        lanes: int = LANES,
        studies: int | None = None,
        asking: int | str = MOST_MOVES,
        coercion: CoercionOptions = NO_COERCION,
        limits: Mapping[str, Any] | None = None,
        profiles: Path | None = None,
        ahead: int = 0,
    ) -> None:
        """`processes` per AE title, `lanes` per process. As many `studies` of the corpus are moved, None for all,
        after its last `ahead` ones without a clock;
        `asking` is the source's `associations` setting."""
        self.name = name
        self.about = about
        self.processes = titles * processes
        self.associations = lanes * self.processes
        self._titles = titles
        self._sharing = processes
        self._servers = servers
        self._source = source
        self._bucket = bucket
        self._lanes = lanes
        self._asking = asking
        self._coercion = coercion
        self._limits = limits
        self._profiles = profiles
        self._ahead = source.corpus.manifest.study_uids[-ahead:] if ahead else ()
        self.corpus = source.corpus.part(studies)

    def prepare(self) -> None:
        self._servers.start(self._source)
        _ = self._servers.ledgers
        self._bucket()

    def once(self) -> Sample:
        servers, corpus = self._servers, self.corpus
        url = servers.ledgers.fresh()
        bucket = self._bucket()
        movers = Movers(
            ledger_url=url,
            source=asked(self._source, associations=self._asking),
            destination=bucket,
            folder=servers.folder,
            ae_titles=[f"L{secrets.token_hex(4).upper()}" for _ in range(self._titles)],
            processes=self._sharing,
            associations=self._lanes,
            coercion=self._coercion,
            limits=self._limits,
            profiles=self._profiles,
        )
        with movers:
            for receiver in movers.receivers:
                self._source.register(receiver.ae_title, receiver.port)
            found = movers.find()
            movers.know(found, (*corpus.warm.study_uids, *self._ahead))
            movers.resume()
            movers.wait()
            movers.pause()
            movers.know(found, corpus.manifest.study_uids)
            aside = servers.aside(self._source, bucket)
            found = self.measure(movers, aside.spent)
            check_ledger(movers.ledger, corpus, flags=COERCED if self._coercion.rules else frozenset())
            servers.check_bucket(bucket, receipts(movers.ledger, corpus))
        servers.ledgers.drop(url)
        return found

    def measure(self, movers: Movers, aside: Callable[[], Mapping[str, float]]) -> Sample:
        """The studies were moved while the clock ran; `aside` tells what other processes have spent."""
        movers.toggle_profile()
        with Meter(movers.pids) as meter:
            movers.resume()
            movers.wait()
        movers.toggle_profile()
        return sample(self.corpus, meter, aside())

    def close(self) -> None:
        self._servers.close()


class UsualWay:
    """A script of `perf/peers`, in as many processes as asked; each moves its share of the studies."""

    def __init__(
        self,
        servers: Servers,
        source: Source,
        *,
        name: str,
        about: str,
        script: str,
        needs: Sequence[str] = (),
        processes: int = 1,
        lanes: int = LANES,
        studies: int | None = None,
        coercion: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.about = about
        self.processes = processes
        self.associations = lanes * processes
        self._servers = servers
        self._source = source
        self._coercion = dict(coercion or {})
        self._script = script
        self._needs = needs
        self._lanes = lanes
        self._corpus = source.corpus.part(studies)
        self._folder: Path | None = None

    def prepare(self) -> None:
        for program in self._needs:
            if shutil.which(program) is None:
                raise NotRun(f"{program} is not installed")
        self._servers.start(self._source)
        self._servers.forgetful_bucket()

    def once(self) -> Sample:
        servers = self._servers
        bucket = servers.forgetful_bucket()
        self._clear()
        self._folder = MEMORY_FOLDER / f"limosa-bench-{secrets.token_hex(6)}"
        tasks = [self._task(number, bucket) for number in range(self.processes)]
        programs = [Program(python(f"perf.peers.{self._script}", json.dumps(asdict(task)))) for task in tasks]
        try:
            for program in programs:
                program.hear(START_SECONDS)
            aside = servers.aside(self._source, bucket)
            with Meter([program.pid for program in programs]) as meter:
                for program in programs:
                    program.say("go")
                moved = sum(program.hear()["instances"] for program in programs)
            spent = aside.spent()
        finally:
            for program in programs:
                program.stop()
        self._check(bucket, moved)
        return sample(self._corpus, meter, spent)

    def close(self) -> None:
        self._clear()
        self._servers.close()

    def _task(self, number: int, bucket: S3Options) -> Task:
        corpus, source = self._corpus, self._source
        ae_title = f"U{secrets.token_hex(3).upper()}"
        ports = tuple(free_port() for _ in range(self._lanes))
        source.register(ae_title, ports[0])
        for lane, port in enumerate(ports):
            source.register(f"{ae_title}{lane}", port)
        folder = (self._folder or MEMORY_FOLDER) / str(number)
        folder.mkdir(parents=True)
        return Task(
            source_port=source.port,
            source_ae=source.ae_title,
            own_ae=ae_title,
            own_ports=ports,
            associations=self._lanes,
            folder=str(folder),
            endpoint=bucket.endpoint_url or "",
            bucket=bucket.bucket,
            access_key="any",
            secret_key="any",
            warm=corpus.warm.study_uids,
            studies=corpus.manifest.study_uids[number :: self.processes],
            coercion=self._coercion,
        )

    def _check(self, bucket: S3Options, moved: int) -> None:
        """Every instance was saved with its pixels and is in the bucket with the size of its file."""
        corpus = self._corpus
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


def check_ledger(ledger: Ledger, corpus: Corpus, flags: frozenset[str] = frozenset()) -> None:
    """The ledger proves every instance: RAW1 is that of the bytes the archive holds, and `flags` are on each.

    Raises `Wrong`.
    """
    known: dict[str, bytes] = {}
    for study in ledger.status.list_studies(limit=100_000):
        if study.study_uid in corpus.manifest.study_uids:
            found = ledger.facts.instances(study.study_key, study.revision)
            known |= {str(facts.sop_uid): facts.raw1 for facts in found if flags <= set(facts.flags)}
    if known != corpus.raw1:
        raise Wrong(f"{len(known.items() & corpus.raw1.items())} of {len(corpus.raw1)} instances are proven")


def receipts(ledger: Ledger, corpus: Corpus) -> dict[str, int]:
    """Size by key of every pack the ledger has a receipt for."""
    held = [ledger.facts.held(uid) for uid in map(parse_uid, corpus.manifest.study_uids)]
    return {one.receipt.key: one.receipt.size for one in held if one is not None}
