"""priority: what moves first."""

from functools import partial
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.decisions import decide
from cluster.cli.worklist import StudyFile, StudyUids, worklist
from cluster.job import load_job
from cluster.services import open_ledger
from storage.ledger.plan import LAST_PRIORITY, URGENT_PRIORITY


def add_to(app: typer.Typer) -> None:
    app.command(
        "priority",
        **texts(
            "Say which studies move first.",
            "limosa priority move.toml 1.2.840.1",
            "limosa priority move.toml --studies clinic.csv --to 500 --json",
            more="Smaller numbers come first; studies have 100 unless told otherwise. What a worker holds goes on. "
            "Ends with 2 when the ledger does not know some of them.",
        ),
    )(priority)


def priority(
    job_file: JobFile,
    study_uids: StudyUids = None,
    studies: StudyFile = None,
    to: Annotated[int, typer.Option(min=0, max=LAST_PRIORITY, help="Smaller comes first.")] = URGENT_PRIORITY,
    as_json: AsJson = False,
) -> int:
    named = worklist(study_uids, studies)
    with open_ledger(load_job(job_file)) as ledger:
        change = partial(ledger.plan.prioritise, priority=to)
        return decide(named, change, end=f"priority {to}", ledger=ledger, out=printer(as_json))
