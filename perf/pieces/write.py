"""Limosa's pack writers over files in memory: `how` is `pack`, `s3` or `seed`.

`pack` writes the pack's bytes to a file without any sink; `s3` and `seed` are the real sinks with a journal in memory.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from perf.pieces.task import MemoryJournal, Study, Task, converse, read, studies_below
from perf.servers import ACCESS, SECRET
from storage.durable import write_all
from storage.packs.format import PackEncoder
from storage.packs.model import Container, Receipt
from storage.sinks.device import Device
from storage.sinks.open import open_sink
from storage.sinks.options import S3Options, SeedOptions
from storage.sinks.protocol import Sink
from storage.sinks.unlocking import label_of

SEED_RESERVE = 1 << 20


def pack(study: Study, container: Container, path: Path) -> int:
    """The study's pack is at `path`, not fsynced; its size."""
    encoder = PackEncoder(study.pack, container)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for facts, file in study.instances:
            for piece in encoder.add(facts, read(file)):
                write_all(descriptor, piece)
        for piece in encoder.finish():
            write_all(descriptor, piece)
    finally:
        os.close(descriptor)
    return encoder.offset


def deliver(sink: Sink, study: Study, container: Container) -> Receipt:
    """The study is durable at the destination, which gave this for it."""
    writer = sink.writer(study.pack, container, study.size, MemoryJournal(), None)
    try:
        for facts, file in study.instances:
            writer.add(facts, read(file))
        return writer.finish()
    finally:
        writer.close()


def sink_of(task: Task) -> Sink:
    """The sink that a job would open. Raises what the sink raises."""
    options: S3Options | SeedOptions
    if task.how == "s3":
        given = {"name": "cloud", "endpoint_url": task.endpoint, "bucket": task.bucket}
        options = S3Options.model_validate(given | {"access_key": f"env:{ACCESS}", "secret_key": f"env:{SECRET}"})
    else:
        key = f"file:{task.disk_key}" if task.disk_key else None
        Device(Path(task.out), label_of(key))
        given = {"name": "seed", "devices": [task.out], "reserve": SEED_RESERVE, "disk_key": key}
        options = SeedOptions.model_validate(given)
    return open_sink(options)


def main() -> None:
    task = Task.told()
    studies = studies_below(Path(task.files))
    container = Container(task.container)
    pool = ThreadPoolExecutor(task.lanes)
    sink = None if task.how == "pack" else sink_of(task)

    def write(study: Study) -> int:
        if sink is None:
            return pack(study, container, Path(task.out) / f"{study.pack.study_uid}.{container.value}")
        return deliver(sink, study, container).size

    def work() -> dict[str, Any]:
        sizes: Sequence[int] = list(pool.map(write, studies))
        return {"objects": sum(len(study.instances) for study in studies), "written": sum(sizes)}

    converse(work)


if __name__ == "__main__":
    main()
