"""check: try every endpoint before a night is spent on it."""

from dataclasses import asdict
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import typer

from actors.dimse.scu import DimseSource
from actors.options import SourceProfile
from cluster.check import Mark, Row, check_surroundings
from cluster.check_source import SourceCheck
from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit
from cluster.job import Job, load_job
from cluster.logs import start_log
from cluster.services import services
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
    profile: SourceProfile | None = None
    with services(job) as running:
        rows = check_surroundings(job, running, lambda: datetime.now(UTC))
        if any(row.what == "ledger" and row.mark is Mark.OK for row in rows):
            # Instances would land in a running mover that shares the port: the job must be nobody's now.
            with Ledger(running.ledger.resolved(), pool_size=1) as ledger, ledger.job_lock(job.job.name):
                found, profile = _ask_source(job)
                rows += found
    if as_json:
        out.record({"rows": [asdict(row) for row in rows], "profile": profile and profile.model_dump(mode="json")})
    else:
        out.rows("check", ("what", "mark", "detail", "next_step"), [asdict(row) for row in rows])
        if profile is not None:
            out.say(f"\nPaste into the job file:\n\n{as_toml(profile)}")
    return Exit.FAULT if any(row.mark is Mark.FAIL for row in rows) else Exit.DONE


def _ask_source(job: Job) -> tuple[list[Row], SourceProfile | None]:
    source = DimseSource(job.source)
    today = datetime.now(ZoneInfo(job.job.time_zone)).date()
    probes = SourceCheck(source, job.source, job.receivers, job.state_dir, today)
    try:
        return list(probes.rows()), probes.profile
    finally:
        source.close()


def as_toml(profile: SourceProfile) -> str:
    """The [source.profile] table of the job file."""
    lines = ["[source.profile]"]
    for name, value in profile.model_dump(mode="json").items():
        if isinstance(value, bool):
            lines.append(f"{name} = {str(value).lower()}")
        elif value is not None:
            lines.append(f"{name} = {value}" if isinstance(value, int) else f'{name} = "{value}"')
    return "\n".join(lines)
