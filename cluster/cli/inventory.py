"""inventory: ask the archive what it holds."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status

from actors.dimse.scu import DimseSource
from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit
from cluster.inventory.take import Pass, take_inventory
from cluster.inventory.walk import Progress
from cluster.job import load_job
from cluster.logs import start_log
from cluster.output import Form, Output
from cluster.profile import informed
from cluster.registry import register_job
from cluster.services import open_ledger
from storage.ledger.inventory import SeenCounts

DOUBTS = frozenset({"INV_UNSPLITTABLE", "INV_UNDECODABLE", "STUDY_UID_MULTI_PATIENT"})
"""Exceptions that an inventory opens."""


def add_to(app: typer.Typer) -> None:
    app.command(
        "inventory",
        **texts(
            "Enumerate the archive, however much it cuts its answers.",
            "limosa inventory move.toml",
            "limosa inventory move.toml --pass delta --days 14 --json",
            more="Interrupted, it continues where it was.",
        ),
    )(inventory)


def inventory(
    job_file: JobFile,
    which: Annotated[Pass, typer.Option("--pass", help="What to ask for.")] = Pass.CONTINUE,
    days: Annotated[int | None, typer.Option(min=1, help="With --pass delta: how far back.")] = None,
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    start_log(job.state_dir, "inventory")
    out = printer(as_json)
    with open_ledger(job) as ledger, ledger.job_lock(job.job.name), _moving_line(out) as line:
        source_id = register_job(job, ledger).sources[job.source.name]
        source = DimseSource(informed(job, ledger.jobs.profile(job.source.name)).source)

        def report(now: Progress) -> None:
            if line is not None:
                line.update(f"{now.stage} {now.day or ''}: {now.asked} asked, {now.rows} answers, {now.new} new")

        try:
            done = take_inventory(job, ledger, source, which=which, days=days, report=report)
        finally:
            source.close()
        seen = ledger.inventory.seen(source_id)
        cap = informed(job, ledger.jobs.profile(job.source.name)).find_cap
        doubts = sum(count for (kind, _), count in ledger.exceptions.counts().items() if kind in DOUBTS)
    out.record(summary(done, seen, cap, doubts))
    return Exit.EXCEPTIONS if doubts else Exit.DONE


def summary(done: Progress, seen: SeenCounts, cap: int | None, doubts: int) -> dict[str, int | None]:
    """What an inventory brought, and what the ledger now holds."""
    return {
        "studies": seen.seen,
        "instances": seen.instances,
        "uncounted_studies": seen.uncounted,
        "not_met_again": seen.unseen,
        "new": done.new,
        "changed": done.changed,
        "questions": done.asked,
        "answers_reused": done.reused,
        "undecodable": done.undecodable,
        "unsplittable": done.unsplittable,
        "two_patients": done.two_patients,
        "cap_shown": done.cap,
        "cap_in_effect": cap,
        "open_exceptions": doubts,
    }


class _NoLine:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _moving_line(out: Output) -> Status | _NoLine:
    """A line that moves, on a terminal; nothing elsewhere."""
    if out.form is Form.TABLE and sys.stderr.isatty():
        return Console(stderr=True).status("asking")
    return _NoLine()
