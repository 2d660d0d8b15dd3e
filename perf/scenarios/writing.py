"""What comes after receiving, onto this machine: packing, seed devices.

Every subject reads the same Part-10 files from tmpfs, one folder a study, and is a process of its own that is ready
before the clock starts; `cpu_s_per_gb` counts it with its children. A GB is one of those files, whatever is written.

`pack`: the writer alone, to a file in tmpfs, beside `tar` and `tar | zstd -1`; no fsync anywhere. Limosa's keeps an
index too; its zstd frames hold one member each, so that one instance can be read alone. `seed`: to a folder of the
temporary file system with fsync, as a device needs it; `cp -r` and `tar | zstd -1` end with `sync -f`.

Every output is read back and compared instance by instance.
"""

import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import zstandard
from blake3 import blake3

from infra.simulator.archive import Archive
from perf.corpus import Corpus
from perf.harness import NotRun, Sample, Scale, Scenario, Subject, Wrong
from perf.measure import Meter, cpu_seconds
from perf.peers.program import START_SECONDS, Program, python
from perf.peers.receiver import MEMORY_FOLDER
from perf.pieces.task import Task
from perf.servers import Servers
from storage.packs.model import Container

LANES = 2
"""Studies written at once: as many as a mover has lanes."""


class Files:
    """The corpus as Part-10 files in tmpfs, shared by the subjects of a scenario."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.servers = Servers()
        self._folder: Path | None = None
        self._parts: list[Path] = []
        self._digests: set[bytes] = set()
        self.size = 0

    @property
    def folder(self) -> Path:
        """Where they are; written when first asked for."""
        if self._folder is None:
            self._folder = MEMORY_FOLDER / f"limosa-bench-{secrets.token_hex(6)}"
            paths = Archive(self.corpus.manifest).export(self._folder)
            self._digests = {blake3(path.read_bytes()).digest() for path in paths}
            self.size = sum(path.stat().st_size for path in paths)
        return self._folder

    def part(self, studies: int) -> Path:
        """A folder with the first so many studies: the same files under another name."""
        place = self.folder.with_name(f"{self.folder.name}-{studies}")
        if not place.exists():
            for study in sorted(self.folder.iterdir())[:studies]:
                shutil.copytree(study, place / study.name, copy_function=os.link)
            self._parts.append(place)
        return place

    def check(self, found: Iterator[bytes]) -> None:
        """The digests are those of exactly these files. Raises `Wrong`."""
        digests = list(found)
        if len(digests) != len(self._digests) or set(digests) != self._digests:
            raise Wrong(f"{len(set(digests) & self._digests)} of {len(self._digests)} instances came through")

    def close(self) -> None:
        for place in self._parts:
            shutil.rmtree(place, ignore_errors=True)
        self._parts.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self.servers.close()


class Writing:
    """A program of `perf.pieces` over the files."""

    associations = 0

    def __init__(self, files: Files, *, name: str, about: str, module: str, **task: Any) -> None:
        self.name, self.about = name, about
        self.processes = 1
        self._files = files
        self._module = module
        self._task = task
        self._out: Path | None = None

    def prepare(self) -> None:
        if not MEMORY_FOLDER.is_dir():
            raise NotRun(f"no {MEMORY_FOLDER} here")
        for tool in ("zstd", "rclone", "openssl"):
            if tool in self._task["how"] and shutil.which(tool) is None:
                raise NotRun(f"{tool} is not installed")
        _ = self._files.folder

    def once(self) -> Sample:
        self._clear()
        self._out = self._place() / f"limosa-bench-{secrets.token_hex(6)}"
        self._out.mkdir()
        program = Program(python(f"perf.pieces.{self._module}", json.dumps(asdict(self._told()))))
        try:
            program.hear(START_SECONDS)
            before = cpu_seconds(self._aside())
            with Meter([program.pid]) as meter:
                done = program.ask("go")
            aside = cpu_seconds(self._aside()) - before
        finally:
            program.stop()
        self._verify(done)
        return Sample(
            seconds=meter.cost.seconds,
            bytes=self._size,
            objects=len(self._corpus.manifest),
            cpu_seconds=meter.cost.cpu_seconds,
            peak_rss=meter.cost.peak_rss,
            figures=self._figures(done, aside),
        )

    def close(self) -> None:
        self._clear()
        self._files.close()

    def _place(self) -> Path:
        return self._files.servers.folder if "sync" in self._task["how"] or self._seed else MEMORY_FOLDER

    @property
    def _corpus(self) -> Corpus:
        return self._files.corpus

    @property
    def _size(self) -> int:
        return self._files.size

    @property
    def _seed(self) -> bool:
        return self._task["how"] == "seed"

    def _told(self) -> Task:
        return Task(files=str(self._files.folder), out=str(self._out), **self._task)

    def _aside(self) -> tuple[int, ...]:
        return ()

    def _figures(self, done: Mapping[str, Any], aside: float) -> dict[str, float]:
        del aside
        written = sum(path.stat().st_size for path in self._written())
        return {"written_mb": written / 1e6} if written else {}

    def _written(self) -> list[Path]:
        return [path for path in self._out.rglob("*") if path.is_file()] if self._out else []

    def _verify(self, done: Mapping[str, Any]) -> None:
        self._files.check(digests(self._written()))

    def _clear(self) -> None:
        if self._out is not None:
            shutil.rmtree(self._out, ignore_errors=True)
            self._out = None


def digests(paths: list[Path]) -> Iterator[bytes]:
    """BLAKE3 of every Part-10 file in what was written: loose, in a tar, in a tar.zst."""
    for path in paths:
        if path.name.endswith((".tar", ".tar.zst")):
            with path.open("rb") as file:
                yield from members(file, compressed=path.suffix == ".zst")
        elif path.suffix == ".dcm":
            yield blake3(path.read_bytes()).digest()


def members(file: IO[bytes], *, compressed: bool) -> Iterator[bytes]:
    """BLAKE3 of every Part-10 file in a tar, which is read as a stream."""
    stream: Any = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) if compressed else file
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None and member.name.endswith(".dcm"):
                yield blake3(content.read()).digest()


def files_of(scale: Scale, side: int, instances: int) -> Files:
    """Six studies of so many slices of `side` pixels; two where it is quick."""
    studies = {Scale.QUICK: 2, Scale.FULL: 6}[scale]
    return Files(Corpus(studies=studies, instances=instances, side=side, seed=4))


def _pack(scale: Scale) -> list[Subject]:
    files = files_of(scale, 512, 80)
    return [
        Writing(files, name="limosa, tar", about="an index beside the instances", module="write", how="pack"),
        Writing(files, name="tar", about="GNU tar through a pipe", module="tools", how="tar"),
        Writing(
            files,
            name="limosa, tar.zst",
            about="level 1, a frame per instance, an index",
            module="write",
            how="pack",
            container=Container.TAR_ZST.value,
        ),
        Writing(files, name="tar | zstd -1", about="one frame per study", module="tools", how="tar-zstd"),
    ]


def _seed(scale: Scale) -> list[Subject]:
    files = files_of(scale, 512, 80)
    return [
        Writing(
            files,
            name="limosa",
            about="tar, fsync every 64 MiB, index, two studies",
            module="write",
            how="seed",
            lanes=LANES,
        ),
        Writing(files, name="cp -r", about="loose files, then sync -f", module="tools", how="cp-sync"),
        Writing(
            files,
            name="limosa, tar.zst",
            about="as limosa, level 1",
            module="write",
            how="seed",
            container=Container.TAR_ZST.value,
            lanes=LANES,
        ),
        Writing(files, name="tar | zstd -1", about="then sync -f", module="tools", how="tar-zstd-sync"),
    ]


SCENARIOS = (
    Scenario(name="pack", title="Half-megabyte slices into packs, in memory", subjects=_pack),
    Scenario(name="seed", title="Half-megabyte slices onto a device, durable", subjects=_seed, quick=False),
)
