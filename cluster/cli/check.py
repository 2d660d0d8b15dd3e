"""check: try every endpoint before a night is spent on it."""

from dataclasses import asdict
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import typer

from actors.options import DicomwebSource, FilesSource
from cluster.check import Mark, Row, check_surroundings
from cluster.check_files import check_files
from cluster.check_source import Shelf, SourceCheck
from cluster.check_web import check_matching
from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit
from cluster.job import Job, load_job
from cluster.logs import start_log
from cluster.profile import Trait, informed, traits
from cluster.registry import register_job
from cluster.services import services
from cluster.sources import asking
from storage.ledger.ledger import Ledger


def add_to(app: typer.Typer) -> None:
    app.command(
        "check",
        **texts(
            "Try every endpoint, and learn what is peculiar about the source.",
            "limosa check move.toml",
            "limosa check move.toml --json",
            more="Ledger, source, receivers, destinations, folders and Ray are tried. One small study is retrieved to "
            "each receiver, and nothing of it is kept. What was learnt is stored in the ledger; `limosa config show` "
            "says what is in effect.",
        ),
    )(check)


def check(job_file: JobFile, as_json: AsJson = False) -> int:
    job = load_job(job_file)
    start_log(job.state_dir, "check")
    out = printer(as_json)
    known: tuple[Trait, ...] = ()
    with services(job) as running:
        rows = check_surroundings(job, running, lambda: datetime.now(UTC))
        if any(row.what == "ledger" and row.mark is Mark.OK for row in rows):
            # Instances would land in a running mover that shares the port: the job must be nobody's now.
            with Ledger(running.ledger.resolved(), pool_size=1) as ledger, ledger.job_lock(job.job.name):
                found, known = _ask_source(job, ledger)
                rows += found
    if as_json:
        profile = {trait.name: asdict(trait) for trait in known}
        out.record({"rows": [asdict(row) for row in rows], "profile": profile})
    else:
        out.rows("check", ("what", "mark", "detail", "next_step"), [asdict(row) for row in rows])
        out.rows("source profile", ("name", "value", "origin", "learnt"), [asdict(trait) for trait in known])
        out.say("\nLearnt values are in effect; the job file's [source.profile] overrides them.")
        failed = sum(row.mark is Mark.FAIL for row in rows)
        out.say(
            f"{failed} of {len(rows)} probes failed: the column next_step says what to do; then check again."
            if failed
            else f"Everything answers. Next: limosa inventory {job_file}"
        )
    return Exit.FAULT if any(row.mark is Mark.FAIL for row in rows) else Exit.DONE


def _ask_source(job: Job, ledger: Ledger) -> tuple[list[Row], tuple[Trait, ...]]:
    """Every probe's row, and the profile as it is now that the ledger has what they showed."""
    name = job.source.name
    job = informed(job, ledger.jobs.profile(name))
    options = job.source
    if isinstance(options, FilesSource):
        register_job(job, ledger)
        return list(check_files(options)), traits(job.source.profile, ledger.jobs.profile(name))
    today = datetime.now(ZoneInfo(job.job.time_zone)).date()
    shelf = Shelf()
    with asking(job, ledger, shelf.take) as source:
        probes = SourceCheck(source, options, job.receivers, shelf, job.state_dir, today)
        rows = list(probes.rows())
        if isinstance(options, DicomwebSource) and all(row.mark is not Mark.FAIL for row in rows):
            rows += check_matching(source)
    ledger.jobs.learn(register_job(job, ledger).sources[name], dict(probes.learnt))
    return rows, traits(job.source.profile, ledger.jobs.profile(name))
