"""Claims and completing commits against a real Postgres: `how` is `claim` or `commit`.

A turn prepares studies beforehand, and claims them where commits are measured; 20 instances are committed with each.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from perf.ledger_scale import PER_COMMIT, claim, commit, prepare, work_of
from perf.pieces.task import Task, converse
from storage.ledger import Ledger
from storage.ledger.job import DestinationSpec, SourceSpec

STUDIES = {"claim": 2000, "commit": 600}
SOURCE_LIMIT = 100_000


def main() -> None:
    task = Task.told()
    with Ledger(task.ledger, pool_size=task.lanes + 1) as ledger, ThreadPoolExecutor(task.lanes) as pool:
        known = ledger.jobs.register(
            "pieces",
            source_identity="none",
            sources=[SourceSpec(name="pacs", kind="dimse", pull_limit=SOURCE_LIMIT)],
            destinations=[DestinationSpec(name="cloud", kind="s3", inline=True, fingerprint="")],
        )
        ledger.inventory.begin_generation()
        source = known.sources["pacs"]

        def ready() -> list[Any]:
            prepare(ledger, source, STUDIES[task.how], time.time_ns())
            if task.how == "claim":
                return list(range(STUDIES[task.how]))
            return [work_of(claim(ledger, source, "w0")) for _ in range(STUDIES[task.how])]

        waiting = [ready()]

        def one(item: Any) -> object:
            return claim(ledger, source, f"w{item % task.lanes}") if task.how == "claim" else commit(ledger, *item)

        def work() -> dict[str, Any]:
            done = list(pool.map(one, waiting.pop()))
            return {"objects": len(done), "instances": len(done) * PER_COMMIT, "written": written(ledger)}

        def again() -> dict[str, Any]:
            if not waiting:
                waiting.append(ready())
                return {"ready": True}
            return work()

        converse(again)


def written(ledger: Ledger) -> int:
    """Studies that are complete in the ledger so far."""
    return ledger.facts.written().studies


if __name__ == "__main__":
    main()
