"""Counts everything a baseline shows: one look at the ledger."""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from cluster.job import Job
from cluster.profile import informed
from cluster.project import misfits
from cluster.reports.inventory_figures import Counted, flaws
from storage.ledger.ledger import Ledger


def count(job: Job, ledger: Ledger, at: datetime) -> Counted:
    """Everything counted at `at`. Raises `LookupError` where the ledger has no job yet."""
    baseline, samples = ledger.baselines, ledger.samples
    totals = baseline.totals()
    quality, exceptions = baseline.quality(), baseline.exceptions()
    pace = next((one for one in ledger.paces.sources() if one.name == totals.source), None)
    return Counted(
        at=at,
        totals=totals,
        groups=baseline.groups(at.astimezone(ZoneInfo(job.job.time_zone)).date()),
        accession_patterns=baseline.accession_patterns(),
        patient_id_patterns=baseline.patient_id_patterns(),
        quality=quality,
        study_sizes=baseline.study_sizes(),
        instance_sizes=baseline.instance_sizes(),
        encoded=baseline.encoded(),
        flags=baseline.flags(),
        written=baseline.written_moments(),
        asking=baseline.asking(),
        moving=baseline.moving(),
        exceptions=exceptions,
        dose=ledger.doses.counts(),
        sample=samples.totals(),
        equipment=samples.equipment(),
        sample_encoded=samples.encoded(),
        sample_marks=samples.marks(),
        sample_sizes=samples.sizes(),
        sample_dose=samples.dose(),
        sampled=samples.moments(),
        cap=informed(job, ledger.jobs.profile(job.source.name)).find_cap,
        associations=None if pace is None else pace.allowed,
        project=job.job.project,
        misfits=misfits_of(job, quality, exceptions),
    )


def misfits_of(job: Job, quality: Mapping[str, int], exceptions: Mapping[str, int]) -> tuple[str, ...]:
    """What does not look like the job's kind of project; nothing where it names none."""
    if job.job.project is None:
        return ()
    return tuple(
        misfits(
            job.job.project,
            destinations={each.kind for each in job.destinations},
            corrects_identity=job.identity is not None,
            flaws=flaws(quality, exceptions),
        )
    )
