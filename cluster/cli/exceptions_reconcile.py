"""exceptions reconcile: which exceptions have lost their cause, and which have it again."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit
from cluster.job import load_job
from cluster.output import Form
from cluster.planning.carry import make_revisions, planner_of
from cluster.reconcile.recount import Recount
from cluster.registry import register_job
from cluster.services import services
from cluster.sources import asking
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate

COLUMNS = ("exception_id", "kind", "study_uid", "destination", "source", "ledger", "today", "why", "change")


def add_to(app: typer.Typer) -> None:
    app.command(
        "reconcile",
        **texts(
            "Close exceptions whose cause is gone, reopen those it is back for.",
            "limosa exceptions reconcile move.toml",
            "limosa exceptions reconcile move.toml --dry-run --json",
            more="For every day: plans anew where the job has [identity], then asks the source and the destinations "
            "about each open exception, and about those it closed in the last 30 days. What a closed one had stopped "
            "goes on with the next run. Ends with 2 while exceptions are open.",
        ),
    )(reconcile)


def reconcile(
    job_file: JobFile,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change and change nothing.")] = False,
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    planned = 0
    with services(job) as running:
        url = running.ledger.resolved()
        migrate(url)
        with Ledger(url) as ledger:
            registered = register_job(job, ledger)
            if job.identity is not None and not dry_run:
                applied = planner_of(job, ledger, registered).apply().applied
                planned = 0 if applied is None else applied.closed
                make_revisions(job, ledger)
            with asking(job, ledger) as source:
                rows = list(Recount(source, ledger, running.destinations, dry=dry_run).run())
            left = sum(ledger.exceptions.counts().values())
    changes = Counter(row.change for row in rows if row.change)
    out = printer(as_json)
    if out.form is Form.JSON:
        out.record(
            {
                "settled_by_plan": planned,
                "closed": changes["closed"],
                "reopened": changes["reopened"],
                "open": left,
                "dry_run": dry_run,
                "exceptions": [asdict(row) for row in rows],
            }
        )
    else:
        changed = [asdict(row) for row in rows if row.change]
        if changed:
            out.rows("changed", COLUMNS, changed)
        would = "would be " if dry_run else ""
        out.say(
            f"{planned} settled by the plan, {changes['closed']} {would}closed, {changes['reopened']} {would}reopened; "
            f"{left} are open."
        )
    return Exit.EXCEPTIONS if left else Exit.DONE
