"""One inventory of a job: which pass, which plan, and the walk over the source."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import structlog

from actors.source import Source
from cluster.inventory.delta import delta_plan, recount_plan
from cluster.inventory.plan import Plan, Stage
from cluster.inventory.recount import RecountPlan
from cluster.inventory.tree import refresh_index
from cluster.inventory.walk import Progress, Reuse, Walk
from cluster.job import Job
from cluster.profile import informed
from cluster.registry import register_job
from storage.ledger.ledger import Ledger


class Pass(StrEnum):
    """What an inventory asks for."""

    CONTINUE = "continue"
    """What this generation has not asked yet."""
    AGAIN = "again"
    """Everything, as a new generation: what it does not meet is gone from the archive."""
    DELTA = "delta"
    """What is dated in the last days, or was new or changed then."""
    NOTHING = "nothing"
    """Nothing: what the ledger holds already."""


def take_inventory(
    job: Job,
    ledger: Ledger,
    source: Source,
    *,
    which: Pass = Pass.CONTINUE,
    days: int | None = None,
    report: Callable[[Progress], None],
) -> Progress:
    """The archive's studies are in the ledger, and what the answers showed of the archive is learnt. The caller holds
    the job.

    Raises
    ------
    SourceUnreachable
        The archive is away; what was answered is kept, and the next call goes on from there.
    """
    if which is Pass.NOTHING:
        return Progress(stage=Stage.DONE.value, day=None)
    source_id = register_job(job, ledger).sources[job.source.name]
    job = informed(job, ledger.jobs.profile(job.source.name))
    if which is Pass.AGAIN or ledger.inventory.generation() == 0:
        ledger.inventory.begin_generation()
    elif which is Pass.CONTINUE and ledger.inventory.ended(source_id):
        return Progress(stage=Stage.DONE.value, day=None)
    refresh_index(job, ledger, source_id, report)
    now = datetime.now(ZoneInfo(job.job.time_zone))
    today = now.date()
    log = structlog.get_logger("limosa.inventory")

    def told(far: Progress) -> None:
        log.info("window_answered", stage=far.stage, asked=far.asked, rows=far.rows, new=far.new)
        report(far)

    def walk(plan: Plan | RecountPlan, reuse: Reuse) -> Progress:
        return Walk(
            source=source,
            ledger=ledger,
            source_id=source_id,
            plan=plan,
            options=job.inventory,
            charset=job.source.profile.charset,
            report=told,
            now=now,
            reuse=reuse,
        ).run()

    if which is Pass.DELTA:
        begun = ledger.control.now()
        back = days or job.inventory.delta_days
        by_date = walk(delta_plan(job.inventory, cap=job.find_cap, today=today, days=back), Reuse.NOTHING)
        return by_date + walk(recount_plan(ledger, source_id, back, begun=begun), Reuse.NOTHING)
    done = walk(Plan(job.inventory, cap=job.find_cap, today=today), Reuse.THIS_GENERATION)
    # Only at the end: a cap known from the start makes other windows, and a walk resumes by asking the same ones.
    if done.cap is not None:
        ledger.jobs.learn(source_id, {"find_cap": done.cap})
    if not done.unsplittable:
        ledger.inventory.end_pass(source_id)
    return done
