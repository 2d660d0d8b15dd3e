"""One instance is wanted back: by one range request to its pack, as an object of its own, or with the whole pack.

A study lies at SeaweedFS three times over: as tar, as tar.zst, and as one object per instance. Instances are fetched in
random order over one connection, by a process that is ready before the clock starts; the pack's index is known, as to
whoever fetched an instance of the study before, and costs one request more otherwise. `ms_median` is the latency of one
instance. Each one's bytes are compared by their digest; Limosa's reader does so itself while it reads, and for zstd it
decompresses the frame.

The study is small enough for the server's own cache: for a range SeaweedFS reads the whole part that holds it, and
does so again and again where the pack is larger than that cache.
"""

import json
import random
import statistics
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from blake3 import blake3

from perf.corpus import Corpus
from perf.harness import Sample, Scale, Scenario, Subject, Wrong
from perf.measure import Meter, cpu_seconds
from perf.peers.program import START_SECONDS, Program, python
from perf.pieces.task import Study, Task, studies_below
from perf.pieces.tools import client_of
from perf.pieces.write import deliver
from perf.scenarios.writing import Files
from storage.packs.model import Container
from storage.sinks.open import open_sink
from storage.sinks.options import S3Options

WHOLE = 4
"""Whole packs that are fetched in a turn."""


class Shelf:
    """The study at SeaweedFS, put there when first asked for."""

    def __init__(self, files: Files, instances: int) -> None:
        self.files = files
        self.instances = instances
        """Fetched in a turn."""

    @cached_property
    def study(self) -> Study:
        return studies_below(self.files.folder)[0]

    @cached_property
    def bucket(self) -> S3Options:
        return self.files.servers.real_bucket()

    @cached_property
    def packs(self) -> dict[Container, str]:
        """Keys by container; every instance lies beside them under its UID."""
        sink = open_sink(self.bucket)
        client = client_of(Task(files="", endpoint=self.bucket.endpoint_url or ""))
        for facts, path in self.study.instances:
            client.put_object(Bucket=self.bucket.bucket, Key=facts.sop_uid, Body=path.read_bytes())
        return {each: deliver(sink, self.study, each).key for each in (Container.TAR, Container.TAR_ZST)}

    def wanted(self, container: Container, count: int) -> list[dict[str, Any]]:
        """Some instances, the same for every subject."""
        chosen = random.Random(1).sample(self.study.instances, count)
        pack = self.packs[container]
        return [{"study": facts.study_uid, "sop": facts.sop_uid, "pack": pack} for facts, _ in chosen]

    def digests(self, wanted: list[dict[str, Any]]) -> list[str]:
        paths = {facts.sop_uid: path for facts, path in self.study.instances}
        return [blake3(paths[one["sop"]].read_bytes()).hexdigest() for one in wanted]

    def close(self) -> None:
        for name in ("study", "bucket", "packs"):
            self.__dict__.pop(name, None)
        self.files.close()


class Fetching:
    """A program of `perf.pieces.fetch`."""

    associations = 0
    processes = 1

    def __init__(self, shelf: Shelf, *, name: str, about: str, how: str, container: Container = Container.TAR) -> None:
        self.name, self.about = name, about
        self._shelf, self._how, self._container = shelf, how, container
        self._wanted: list[dict[str, Any]] = []
        self._list = Path()

    def prepare(self) -> None:
        count = WHOLE if self._how == "whole" else self._shelf.instances
        self._wanted = self._shelf.wanted(self._container, count)
        self._list = self._shelf.files.servers.folder / f"{self._how}-{self._container.value}.json"
        self._list.write_text(json.dumps(self._wanted), encoding="utf-8")

    def once(self) -> Sample:
        shelf = self._shelf
        told = Task(
            files=str(self._list),
            how=self._how,
            container=self._container.value,
            endpoint=shelf.bucket.endpoint_url or "",
            bucket=shelf.bucket.bucket,
        )
        program = Program(python("perf.pieces.fetch", json.dumps(asdict(told))))
        server = tuple(pid for pid in (shelf.files.servers.seaweedfs.pid,) if pid is not None)
        try:
            program.hear(START_SECONDS)
            before = cpu_seconds(server)
            with Meter([program.pid]) as meter:
                done = program.ask("go")
            aside = cpu_seconds(server) - before
        finally:
            program.stop()
        found, whole = done["digests"], self._how == "whole"
        if len(set(found)) != 1 if whole else found != shelf.digests(self._wanted):
            raise Wrong("what was fetched is not what was stored")
        took = [1e3 * each for each in done["took"]]
        sizes = {facts.sop_uid: facts.sto_size for facts, _ in shelf.study.instances}
        return Sample(
            seconds=meter.cost.seconds,
            bytes=sum(sizes[one["sop"]] for one in self._wanted),
            objects=len(self._wanted),
            cpu_seconds=meter.cost.cpu_seconds,
            peak_rss=meter.cost.peak_rss,
            figures={
                "ms_median": statistics.median(took),
                "ms_most": max(took),
                "s3_cpu_ms": 1e3 * aside / len(self._wanted),
            },
        )

    def close(self) -> None:
        self._shelf.close()


def _subjects(scale: Scale) -> list[Subject]:
    instances = {Scale.QUICK: 20, Scale.FULL: 50}[scale]
    shelf = Shelf(Files(Corpus(studies=1, instances=instances, side=512, seed=8)), instances)
    return [
        Fetching(shelf, name="limosa, a range of a tar", about="one request, held against STO1", how="range"),
        Fetching(
            shelf,
            name="limosa, a range of a tar.zst",
            about="one request, one frame decompressed, held against STO1",
            how="range",
            container=Container.TAR_ZST,
        ),
        Fetching(shelf, name="boto3, an object per instance", about="one GET; nothing is checked", how="object"),
        Fetching(
            shelf,
            name="boto3, the whole pack",
            about="one GET of all; bytes are those of the instance that was wanted",
            how="whole",
        ),
    ]


SCENARIOS = (
    Scenario(
        name="fetch-one",
        title="One half-megabyte slice after another, in random order, from a study at SeaweedFS",
        subjects=_subjects,
        quick=False,
    ),
)
