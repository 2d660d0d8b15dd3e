"""pilot: representative days through the whole path, then go or no-go."""

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, JobFile, Quiet, printer, texts
from cluster.cli.doing import Told, doing
from cluster.cli.exits import Exit, Stop
from cluster.cli.inventory import tell_sample
from cluster.cli.reports import Writer, report_files, write_reports
from cluster.cli.run import Pause, execute, view_of
from cluster.inventory.sample import Sampler, Shelf
from cluster.inventory.take import Pass
from cluster.job import Job, load_job
from cluster.logs import start_log
from cluster.output import Form, Output
from cluster.pilot.choice import choose, days_of, shares, unmet
from cluster.profile import informed
from cluster.registry import register_job
from cluster.reports.names import kind_name
from cluster.reports.pages import json_of, render
from cluster.reports.pilot_figures import Decision, Limits, Piloted, pilot_figures
from cluster.request import Request
from cluster.services import open_ledger, services
from cluster.sources import receiving
from storage.ledger.ledger import Ledger

DAYS = 40
"""Between the 30 and 60 of practice: a week of looking, and room for what is rare."""

MOST_STUDIES = 2_000
"""Studies of a pilot: with none failing, the rate is below 0.2 % with 95 % confidence."""

FORMS: dict[str, Writer] = {".html": lambda document: render("pilot.html.j2", {"r": document}), ".json": json_of}


def add_to(app: typer.Typer) -> None:
    app.command(
        "pilot",
        **texts(
            "Move representative days first, and say go or no-go for the rest.",
            "limosa pilot move.toml --dry-run",
            "limosa pilot move.toml --report pilot.html",
            more="Run again, it goes on with the same days. Ends with 0 for go, 2 for anything else.",
        ),
    )(pilot)


def pilot(
    job_file: JobFile,
    days: Annotated[int, typer.Option(min=1, max=366, help="How many days.")] = DAYS,
    limit: Annotated[int, typer.Option(min=1, help="At most so many studies, shared by the days.")] = MOST_STUDIES,
    again: Annotated[
        bool, typer.Option("--again", help="Choose anew instead of going on with the days chosen.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the days and why, and move nothing.")] = False,
    report: Annotated[
        list[Path] | None, typer.Option(help="Write the page as .html or .json; may be given several times.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    reports = report_files(report, FORMS)
    out = printer(as_json)
    job = load_job(job_file)
    start_log(job.state_dir, "pilot")
    with services(job), open_ledger(job) as ledger:
        # Embedded services stay up from one step to the next.
        source_id = register_job(job, ledger).sources[job.source.name]
        if not ledger.inventory.ended(source_id):
            raise Stop(f"the inventory is not at its end; first: limosa inventory {job_file}")
        if dry_run:
            return _foresee(job, ledger, days, limit, out)
        if again or not ledger.pilots.days():
            _begin(job, ledger, days, limit)
        with doing(quiet) as tell:
            _look(job, ledger, tell)
        chosen = tuple(one.study_uid for one in ledger.pilots.studies())
        # What `run` tells is in the figures, and more.
        silent = Output(Form.JSON, StringIO())
        ended = execute(
            job_file, Request(studies=chosen, inventory=Pass.NOTHING), silent, view_of(out, quiet), Pause.HOLDS
        )
        document = pilot_figures(_piloted(job, ledger))
    write_reports(reports, FORMS, document)
    _tell(out, document, reports)
    if ended == Exit.INTEGRITY:
        return ended
    return Exit.DONE if document["decision"] == Decision.GO else Exit.EXCEPTIONS


def _chosen(job: Job, ledger: Ledger, days: int, limit: int) -> list[tuple[str, int, int, tuple[str, ...]]]:
    """Day, its studies, how many of them move, and why."""
    known = days_of(ledger.pilots.contents())
    if not known:
        raise Stop("the ledger holds no study that could be moved")
    taken = choose(known, days, job.job.name)
    given = shares(taken, limit)
    return [
        (day.date, day.studies, given[day.date], tuple(str(trait) for trait in day.why))
        for day in sorted(taken, key=lambda day: day.date)
    ]


def _foresee(job: Job, ledger: Ledger, days: int, limit: int, out: Output) -> int:
    rows = [
        {"day": day, "studies": studies, "moved": moved, "why": "; ".join(why) or "drawn by chance"}
        for day, studies, moved, why in _chosen(job, ledger, days, limit)
    ]
    out.rows("days of the pilot", ("day", "studies", "moved", "why"), rows)
    return Exit.DONE


def _begin(job: Job, ledger: Ledger, days: int, limit: int) -> None:
    rows = _chosen(job, ledger, days, limit)
    ledger.pilots.begin({day: (studies, moved, why) for day, studies, moved, why in rows}, job.job.name)


def _look(job: Job, ledger: Ledger, tell: Told) -> None:
    """Whose device made each study of the pilot is known, as far as the archive sends an image: failures are grouped by
    it, and what fails leaves no image behind."""
    studies = ledger.pilots.unsampled()
    if not studies:
        return
    job = informed(job, ledger.jobs.profile(job.source.name))
    shelf = Shelf()
    try:
        with ledger.job_lock(job.job.name), receiving(job, ledger, shelf.take) as (source, receiver):
            sampler = Sampler(source, shelf, ledger, receiver=receiver, quiet=job.source.quiet)
            sampler.look_into(studies, lambda now: tell_sample(tell, now))
    except OSError as error:
        raise Stop(f"{job.receivers[0].ae_title} cannot listen: {error.strerror}. End what has its port.") from None


def _piloted(job: Job, ledger: Ledger) -> Piloted:
    now = datetime.now(UTC)
    archive: dict[str, int] = {}
    groups = ledger.baselines.groups(now.date())
    for group in groups:
        name = kind_name(group.modalities)
        archive[name] = archive.get(name, 0) + group.studies
    known = days_of(ledger.pilots.contents())
    days = ledger.pilots.days()
    moving = ledger.baselines.moving()
    return Piloted(
        at=now,
        job=job.job.name,
        source=job.source.name,
        days=days,
        studies=ledger.pilots.studies(),
        archive=archive,
        unmet=unmet(known, frozenset(day.day for day in days)),
        instances_per_second=moving.items / moving.seconds if moving.seconds else None,
        archive_instances=sum(group.instances for group in groups),
        limits=Limits(),
    )


def _tell(out: Output, document: dict[str, Any], reports: list[Path]) -> None:
    if out.form is Form.JSON:
        out.record(document)
        return
    out.say(f"{document['decision'].upper()}: {'; '.join(document['reasons'])}")
    columns = ("kind", "modality", "manufacturer", "studies", "of", "exceptions")
    if document["patterns"]:
        out.rows("what failed, in patterns", columns, document["patterns"])
    for path in reports:
        out.say(f"report: {path}")
