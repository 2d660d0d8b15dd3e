"""What comes after receiving, piece by piece: packing, S3, seed devices.

Every subject reads the same Part-10 files from tmpfs, one folder a study, and is a process of its own that is ready
before the clock starts; `cpu_s_per_gb` counts it with its children. A GB is one of those files, whatever is written.

`pack`: the writer alone, to a file in tmpfs, beside `tar` and `tar | zstd -1`; no fsync anywhere. Limosa's keeps an
index too; its zstd frames hold one member each, so that one instance can be read alone. `s3-ct`, `s3-tiny`: to an
endpoint that forgets bodies; what is called ready-made gets packs that were made before, so that it only uploads.
`s3-seaweedfs`: the same to a real server on the same cores, which is most of the cost. `seed`: to a folder of the
temporary file system with fsync, as a device needs it; `cp -r` and `tar | zstd -1` end with `sync -f`.

Every output is read back and compared instance by instance (`pack`, `seed`), or its objects and sizes are (`s3`).
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

from infra.embedded.seaweedfs import EmbeddedS3
from infra.simulator.archive import Archive
from perf.corpus import Corpus
from perf.harness import GB, NotRun, Sample, Scale, Scenario, Subject, Wrong
from perf.measure import Meter, cpu_seconds
from perf.nulls3 import NullS3Process
from perf.peers.program import START_SECONDS, Program, python
from perf.peers.receiver import MEMORY_FOLDER
from perf.pieces.task import Task
from perf.servers import ACCESS, SECRET, Servers
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
        for tool in ("zstd", "rclone"):
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


class Uploading(Writing):
    """As `Writing`, into a bucket of its own."""

    def __init__(
        self, files: Files, *, real: bool = False, ready_made: bool = False, studies: int | None = None, **told: Any
    ) -> None:
        """`real`: at SeaweedFS; else at the endpoint that forgets. `ready_made`: one tar per study is uploaded.
        `studies`: only the first so many, for who is slow."""
        super().__init__(files, **told)
        self._real, self._ready_made, self._studies = real, ready_made, studies

    def prepare(self) -> None:
        super().prepare()
        _ = self._endpoint

    @property
    def _endpoint(self) -> NullS3Process | EmbeddedS3:
        servers = self._files.servers
        return servers.seaweedfs if self._real else servers.nulls3

    @property
    def _corpus(self) -> Corpus:
        return self._files.corpus.part(self._studies)

    @property
    def _folder(self) -> Path:
        return self._files.folder if self._studies is None else self._files.part(self._studies)

    @property
    def _size(self) -> int:
        return sum(path.stat().st_size for path in self._folder.rglob("*.dcm"))

    def _told(self) -> Task:
        servers = self._files.servers
        self._bucket = servers.real_bucket() if self._real else servers.forgetful_bucket()
        task = {**self._task, "endpoint": self._bucket.endpoint_url, "bucket": self._bucket.bucket}
        files = self._folder
        if self._ready_made:
            files = packed(files, self._out or MEMORY_FOLDER)
        return Task(files=str(files), out=str(self._out), **task)

    def _aside(self) -> tuple[int, ...]:
        pid = self._endpoint.pid
        return () if pid is None else (pid,)

    def _figures(self, done: Mapping[str, Any], aside: float) -> dict[str, float]:
        return {"s3_cpu_s_per_gb": aside * GB / self._size}

    def _verify(self, done: Mapping[str, Any]) -> None:
        held = self._files.servers.held(self._bucket)
        total = sum(held.values())
        manifest = self._corpus.manifest
        least = len(manifest.study_uids if self._ready_made or self._task["how"] == "s3" else manifest)
        if total < self._size or len(held) < least:
            raise Wrong(f"{len(held)} objects of {total} bytes hold {self._size} bytes of files")
        if self._task["how"] == "s3" and done["written"] > total:
            raise Wrong("the endpoint holds less than the receipts say")


def packed(files: Path, out: Path) -> Path:
    """A folder with one tar per study."""
    place = out / "tars"
    place.mkdir()
    for study in files.iterdir():
        with tarfile.open(place / f"{study.name}.tar", "w") as tar:
            tar.add(study, arcname=study.name)
    return place


def digests(paths: list[Path]) -> Iterator[bytes]:
    """BLAKE3 of every Part-10 file in what was written: loose, in a tar, in a tar.zst."""
    for path in paths:
        if path.name.endswith((".tar", ".tar.zst")):
            with path.open("rb") as file:
                yield from _members(file, compressed=path.suffix == ".zst")
        elif path.suffix == ".dcm":
            yield blake3(path.read_bytes()).digest()


def _members(file: IO[bytes], compressed: bool) -> Iterator[bytes]:
    stream: Any = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) if compressed else file
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None and member.name.endswith(".dcm"):
                yield blake3(content.read()).digest()


def _files(scale: Scale, side: int, instances: int) -> Files:
    studies = {Scale.QUICK: 2, Scale.FULL: 6}[scale]
    return Files(Corpus(studies=studies, instances=instances, side=side, seed=4))


def _pack(scale: Scale) -> list[Subject]:
    files = _files(scale, 512, 80)
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


def _s3(scale: Scale, side: int, instances: int, slow: int) -> list[Subject]:
    """`slow`: studies of those who are."""
    os.environ |= {ACCESS: "any", SECRET: "any"}
    files = _files(scale, side, instances)
    return [
        _limosa(files),
        Uploading(
            files,
            name="boto3 upload_file",
            about="ready-made tars, 16 MiB parts, four threads each; two studies at once",
            module="tools",
            how="upload_file",
            lanes=LANES,
            ready_made=True,
        ),
        _rclone(files, ready_made=True, studies=slow),
        Uploading(
            files,
            name="boto3 put_object",
            about="one PUT per instance, two threads as Limosa has",
            module="tools",
            how="put",
            lanes=LANES,
            studies=slow,
        ),
        _rclone(files, studies=slow),
    ]


def _seaweedfs(scale: Scale) -> list[Subject]:
    files = Files(Corpus(studies=2, instances={Scale.QUICK: 20, Scale.FULL: 50}[scale], side=512, seed=4))
    return [_limosa(files, real=True), _rclone(files, ready_made=True, real=True), _rclone(files, real=True)]


def _limosa(files: Files, **where: Any) -> Uploading:
    return Uploading(
        files,
        name="limosa",
        about="tar, 16 MiB parts, CRC64 of each and of all, If-None-Match, index; two studies at once",
        module="write",
        how="s3",
        lanes=LANES,
        **where,
    )


def _rclone(files: Files, **where: Any) -> Uploading:
    name, about = ("rclone", "one object per instance, four at once, no check of what is there")
    if where.get("ready_made"):
        name, about = (f"{name}, ready-made tars", "16 MiB parts, four at once, of two tars")
    return Uploading(files, name=name, about=about, module="tools", how="rclone", lanes=4, **where)


def _seed(scale: Scale) -> list[Subject]:
    files = _files(scale, 512, 80)
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
    Scenario(
        name="s3-ct",
        title="Half-megabyte slices from memory to an S3 endpoint that forgets them",
        subjects=lambda scale: _s3(scale, 512, 80, slow=2),
        quick=False,
    ),
    Scenario(
        name="s3-tiny",
        title="20 KB slices from memory to an S3 endpoint that forgets them",
        subjects=lambda scale: _s3(scale, 100, 1000, slow=1),
        quick=False,
    ),
    Scenario(
        name="s3-seaweedfs",
        title="Half-megabyte slices from memory to SeaweedFS on the same cores",
        subjects=_seaweedfs,
        quick=False,
    ),
    Scenario(name="seed", title="Half-megabyte slices onto a device, durable", subjects=_seed, quick=False),
)
