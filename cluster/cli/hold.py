"""studies hold, studies readmit: what does not move for now."""

import getpass
from functools import partial
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, DecidedBy, JobFile, printer, texts
from cluster.cli.decisions import decide
from cluster.cli.worklist import StudyFile, StudyUids, worklist
from cluster.job import load_job
from cluster.services import open_ledger
from storage.ledger.lifecycle import StudyState


def add_to(app: typer.Typer) -> None:
    app.command(
        "hold",
        **texts(
            "Keep studies back until `studies readmit`.",
            'limosa studies hold move.toml 1.2.840.1 1.2.840.2 --reason "legal hold"',
            "limosa studies hold move.toml --studies research.csv --by m.keller --json",
            more="What is written of them stays where it is; what is not written yet is not moved. Studies of which "
            "nothing waits any more are left as they are, and the command ends with 2.",
        ),
    )(hold)
    app.command(
        "readmit",
        **texts(
            "Put studies that were held or excluded back to work.",
            "limosa studies readmit move.toml 1.2.840.1 --by m.keller",
            "limosa studies readmit move.toml --studies research.csv --json",
            more="The next run delivers each as a new revision to every destination. Studies that were neither held "
            "nor excluded are left as they are, and the command ends with 2.",
        ),
    )(readmit)


def hold(
    job_file: JobFile,
    study_uids: StudyUids = None,
    studies: StudyFile = None,
    reason: Annotated[str, typer.Option(help="Goes into the custody log.")] = "held by an operator",
    by: DecidedBy = "",
    as_json: AsJson = False,
) -> int:
    named = worklist(study_uids, studies)
    with open_ledger(load_job(job_file)) as ledger:
        change = partial(ledger.plan.set_aside, state=StudyState.HELD, reason=reason, by=by or getpass.getuser())
        return decide(named, change, end="held", ledger=ledger, out=printer(as_json))


def readmit(
    job_file: JobFile,
    study_uids: StudyUids = None,
    studies: StudyFile = None,
    by: DecidedBy = "",
    as_json: AsJson = False,
) -> int:
    named = worklist(study_uids, studies)
    with open_ledger(load_job(job_file)) as ledger:
        change = partial(ledger.plan.readmit, by=by or getpass.getuser())
        return decide(named, change, end="readmitted", ledger=ledger, out=printer(as_json))
