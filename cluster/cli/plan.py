"""plan: decide whose every study is and what its accession number becomes, before anything moves."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, JobFile, Quiet, printer, texts
from cluster.cli.doing import doing
from cluster.cli.exits import Exit
from cluster.cli.given import given_job
from cluster.cli.identity_files import identity_of
from cluster.job import load_job
from cluster.output import Output
from cluster.planning.carry import make_revisions, planner_of
from cluster.planning.changed import in_words
from cluster.planning.classes import classes_for
from cluster.planning.decide import PlanReport
from cluster.registry import register_job
from cluster.services import open_ledger
from storage.ledger.deciding_records import PlanClass, PlannedChange

VERDICTS = ("auto", "auto_note", "review", "conflict")


def add_to(app: typer.Typer) -> None:
    app.command(
        "plan",
        **texts(
            "Decide whose every study is, and show or apply it.",
            "limosa plan move.toml",
            "limosa plan move.toml --apply --list 100",
            more="Without --apply nothing is changed. --list tells study by study what changes in kind, without any "
            "patient's data. Verdicts: auto moves, auto_note moves and is listed, review and conflict are held until a "
            "person decides or the hospital tells more. `run` plans of its own accord. Ends with 2 when studies are "
            "held.",
        ),
    )(plan)


def plan(
    job_file: JobFile,
    apply: Annotated[bool, typer.Option("--apply", help="Carry it out: hold, release, renew.")] = False,
    listed: Annotated[
        int, typer.Option("--list", min=0, metavar="N", help="Also list N studies whose decision is new or another.")
    ] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    identity_of(job)
    with open_ledger(job) as ledger, doing(quiet) as tell:
        registered = register_job(job, ledger)
        planner = planner_of(
            job, ledger, registered, lambda studies: tell("plan", f"{studies} studies decided", studies=studies)
        )
        report = planner.apply(listed) if apply else planner.preview(listed)
        if apply:
            tell("revisions", "making revisions")
            make_revisions(job, ledger)
    out = printer(as_json)
    out.record(document(report)) if as_json else _show(report, out, classes_for(job.accession))
    return Exit.EXCEPTIONS if held(report) else Exit.DONE


def held(report: PlanReport) -> int:
    """Studies that do not move."""
    return report.tally.verdicts.get("review", 0) + report.tally.verdicts.get("conflict", 0)


def document(report: PlanReport) -> dict[str, Any]:
    """A plan as JSON has it."""
    return {
        "studies": report.tally.studies,
        "changed": report.tally.changed,
        "accepted": report.tally.accepted,
        "verdicts": {verdict: report.tally.verdicts.get(verdict, 0) for verdict in VERDICTS},
        "classes": dict(report.tally.classes),
        "changes": [asdict(one) for one in report.changes],
        "events": report.events,
        "notices": report.notices,
        "orders": report.orders,
        "fits": report.fits,
        "rules": report.rules,
        "applied": None if report.applied is None else asdict(report.applied),
    }


def _in_words(change: PlannedChange) -> dict[str, Any]:
    return asdict(change) | {"headers": in_words(change.headers), "differs": in_words(change.differs)}


def _show(report: PlanReport, out: Output, classes: Sequence[PlanClass]) -> None:
    verdicts = [{"verdict": one, "studies": report.tally.verdicts.get(one, 0)} for one in VERDICTS]
    out.rows("verdicts", ("verdict", "studies"), verdicts)
    known = {one.kind: one.verdict for one in classes}
    rows = [{"class": kind, "verdict": known[kind], "studies": count} for kind, count in report.tally.classes.items()]
    if rows:
        out.rows("classes", ("class", "verdict", "studies"), rows)
    if report.changes:
        columns = ("study_uid", "why", "verdict", "classes", "headers", "differs")
        out.rows("changed", columns, [_in_words(one) for one in report.changes])
        if (count := report.tally.changed) > len(report.changes):
            out.say(f"{len(report.changes)} of {count} are listed; --list {count} lists all.")
    if report.orders:
        out.rows("orders", ("fit", "studies"), [{"fit": fit, "studies": n} for fit, n in report.fits.items()])
    told = f"{report.tally.studies} studies, {report.events} events"
    if report.applied is None:
        out.say(f"{told}; {report.tally.changed} decisions would change. Nothing was changed: --apply does it.")
        return
    done = report.applied
    out.say(
        f"{told}; {done.decided} decisions changed, {done.held} studies stopped, {done.released} released, "
        f"{done.renewed} get a new revision, {done.closed} exceptions settled."
    )
    if count := held(report):
        out.say(f"{count} studies are held until a person decides: limosa exceptions list {given_job()}")
