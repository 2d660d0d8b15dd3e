"""What comes after receiving, to S3: packs beside an object per instance, boto3 and rclone.

Files and processes are those of `perf.scenarios.writing`. `s3-ct`, `s3-tiny`: to an endpoint that forgets bodies; what
is called ready-made gets packs that were made before, so that it only uploads. `s3-seaweedfs`: the same to a real
server on the same cores, which is most of the cost. The endpoint's objects and their sizes are looked at after every
turn.
"""

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.embedded.seaweedfs import EmbeddedS3
from perf.corpus import Corpus
from perf.harness import GB, Scale, Scenario, Subject, Wrong
from perf.nulls3 import NullS3Process
from perf.peers.receiver import MEMORY_FOLDER
from perf.pieces.task import Task
from perf.scenarios.writing import LANES, Files, Writing, files_of
from perf.servers import ACCESS, SECRET


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


def _s3(scale: Scale, side: int, instances: int, slow: int) -> list[Subject]:
    """`slow`: studies of those who are."""
    os.environ |= {ACCESS: "any", SECRET: "any"}
    files = files_of(scale, side, instances)
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
        name, about = (f"{name}, ready-made tars", "16 MiB parts, four at once of each tar")
    return Uploading(files, name=name, about=about, module="tools", how="rclone", lanes=4, **where)


SCENARIOS = (
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
)
