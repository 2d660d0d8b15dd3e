"""Single instances are fetched from S3: `how` is `range`, `object` or `whole`; `files` is a list of what to fetch.

`range`: one range request to the pack that holds it, by Limosa's reader, which holds it against STO1; the pack's index
was read before. `object`: a GET of the object that is this instance alone. `whole`: a GET of the whole pack.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from imaging.uid import Uid
from perf.pieces.task import Task, converse
from perf.pieces.tools import client_of
from perf.servers import ACCESS, SECRET
from storage.packs.model import Container, PackId
from storage.packs.reader import PackReader
from storage.sinks.open import open_sink
from storage.sinks.options import S3Options

Fetch = Callable[[Mapping[str, Any]], bytes]
KEYS = {"object": "sop", "whole": "pack"}
"""Which of what is told about an instance is the object's key."""


def by_range(task: Task, wanted: list[dict[str, Any]]) -> Fetch:
    """Raises what the sink raises."""
    given = {"name": "cloud", "endpoint_url": task.endpoint, "bucket": task.bucket}
    options = S3Options.model_validate(given | {"access_key": f"env:{ACCESS}", "secret_key": f"env:{SECRET}"})
    pack = PackId(study_uid=Uid(wanted[0]["study"]), revision=1)
    reader = PackReader(open_sink(options), pack, Container(task.container), wanted[0]["pack"])
    members = {str(member.facts.sop_uid): member for member in reader.index().members}
    return lambda one: b"".join(reader.open(members[one["sop"]]))


def by_get(task: Task, what: str) -> Fetch:
    client = client_of(task)
    return lambda one: client.get_object(Bucket=task.bucket, Key=one[what])["Body"].read()


def main() -> None:
    task = Task.told()
    wanted: list[dict[str, Any]] = json.loads(Path(task.files).read_text(encoding="utf-8"))
    fetch = (
        by_range(task, wanted) if task.how == "range" else by_get(task, {"object": "sop", "whole": "pack"}[task.how])
    )

    def work() -> dict[str, Any]:
        took: list[float] = []
        digests: list[str] = []
        for one in wanted:
            started = time.perf_counter()
            content = fetch(one)
            took.append(time.perf_counter() - started)
            digests.append(blake3(content).hexdigest())
        return {"took": took, "digests": digests}

    converse(work)


if __name__ == "__main__":
    main()
