"""The inventory's first step where the source is a tree of files: the ledger's index of it is in step."""

from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from actors.files.index import Indexed, IndexProgress, index_tree
from actors.options import FilesSource
from cluster.inventory.walk import Progress
from cluster.job import Job
from storage.ledger.files import FileState
from storage.ledger.ledger import Ledger
from storage.spool import Quarantine

STAGE = "files"


def refresh_index(job: Job, ledger: Ledger, source_id: int, report: Callable[[Progress], None]) -> Indexed | None:
    """What the pass over the tree came to; None for a source that is no tree. Raises as `index_tree`."""
    if not isinstance(job.source, FilesSource):
        return None

    def told(now: IndexProgress) -> None:
        report(Progress(stage=STAGE, day=None, asked=now.read, rows=now.seen))

    done = index_tree(
        job.source.roots,
        source_id,
        ledger,
        Quarantine(job.state_dir / "quarantine"),
        charset=job.source.profile.charset,
        now=lambda: datetime.now(UTC),
        report=told,
    )
    counts = {state.value: done.counts.get(state, 0) for state in FileState}
    log = structlog.get_logger("limosa.inventory")
    log.info("files_indexed", **counts, gone=done.gone, unlisted=done.unlisted, unreadable=done.unreadable_directories)
    return done
