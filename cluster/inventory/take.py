"""One inventory of a job: which pass, which plan, and the walk over the source."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import structlog

from actors.source import Source
from cluster.inventory.delta import delta_plan
from cluster.inventory.plan import Plan
from cluster.inventory.walk import Progress, Reuse, Walk
from cluster.job import Job
from cluster.registry import register_job
from storage.ledger.ledger import Ledger


class Pass(StrEnum):
    """What an inventory asks for."""

    CONTINUE = "continue"
    """What this generation has not asked yet."""
    AGAIN = "again"
    """Everything, as a new generation: what it does not meet is gone from the archive."""
    DELTA = "delta"
    """The last days."""


def take_inventory(
    job: Job,
    ledger: Ledger,
    source: Source,
    *,
    which: Pass = Pass.CONTINUE,
    days: int | None = None,
    report: Callable[[Progress], None],
) -> Progress:
    """The archive's studies are in the ledger. The caller holds the job.

    Raises
    ------
    SourceUnreachable
        The archive is away; what was answered is kept, and the next call goes on from there.
    """
    source_id = register_job(job, ledger).sources[job.source.name]
    if which is Pass.AGAIN or ledger.inventory.generation() == 0:
        ledger.inventory.begin_generation()
    today = datetime.now(ZoneInfo(job.job.time_zone)).date()
    if which is Pass.DELTA:
        plan = delta_plan(job.inventory, cap=job.find_cap, today=today, days=days)
    else:
        plan = Plan(job.inventory, cap=job.find_cap, today=today)
    log = structlog.get_logger("limosa.inventory")

    def told(now: Progress) -> None:
        log.info("window_answered", stage=now.stage, asked=now.asked, rows=now.rows, new=now.new)
        report(now)

    return Walk(
        source=source,
        ledger=ledger,
        source_id=source_id,
        plan=plan,
        options=job.inventory,
        charset=job.source.profile.charset,
        report=told,
        reuse=Reuse.NOTHING if which is Pass.DELTA else Reuse.THIS_GENERATION,
    ).run()
