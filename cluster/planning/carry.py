"""A plan carried out: decisions where the job has an [identity] table, then revisions and deliveries."""

from collections.abc import Callable, Sequence

from cluster.job import Job
from cluster.planning.decide import Planner
from imaging.uid import Uid
from storage.ledger.job import Registered
from storage.ledger.ledger import Ledger
from storage.ledger.plan import Planned
from storage.ledger.records import Json


def planner_of(
    job: Job, ledger: Ledger, registered: Registered, progress: Callable[[int], None] = lambda studies: None
) -> Planner:
    """What decides the job's studies; `progress` is called with their number so far."""
    if job.identity is None:
        raise ValueError("a job without [identity] decides nothing")
    return Planner(
        ledger,
        registered.sources[job.source.name],
        job.source.name,
        identity=job.identity,
        accession=job.accession,
        time_zone=job.job.time_zone,
        progress=progress,
    )


def make_revisions(job: Job, ledger: Ledger, only: Sequence[Uid] | None = None) -> int:
    """Every study that waits for a plan, and that nothing holds, has its next revision; how many."""
    rules = {"coercion": job.coercion.rule_set().version}
    made = 0
    while studies := _step(job, ledger, rules, only).studies:
        made += studies
    return made


def _step(job: Job, ledger: Ledger, rules: Json, only: Sequence[Uid] | None) -> Planned:
    if job.identity is None:
        return ledger.plan.step(rules, only=only)
    return ledger.plan.step_decided(rules, accessions=job.accession is not None, only=only)
