"""studies list, studies show: what the ledger knows of single studies."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, JobFile, StudyUid, given_uid, printer, texts
from cluster.cli.exits import Stop
from cluster.job import load_job
from cluster.services import open_ledger
from storage.ledger.lifecycle import StudyStatus
from storage.ledger.status import StudyRow


def add_to(app: typer.Typer) -> None:
    app.command(
        "list",
        **texts(
            "List studies in the order they were found.",
            "limosa studies list move.toml --state exception",
            "limosa studies list move.toml --after 5000 --limit 1000 --json",
        ),
    )(list_studies)
    app.command(
        "show",
        **texts(
            "Show one study: its deliveries' states and its chain of custody.",
            "limosa studies show move.toml 1.2.840.1",
            "limosa studies show move.toml 1.2.840.1 --json",
        ),
    )(show)


def list_studies(
    job_file: JobFile,
    status: Annotated[
        StudyStatus | None, typer.Option("--state", "--status", help="Only those whose status is this word.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Continue behind this study_key.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Most rows.")] = 100,
    as_json: AsJson = False,
) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        rows = ledger.status.list_studies(status=status, after_key=after, limit=limit)
    columns = (
        "study_key",
        "study_uid",
        "status",
        "study_date",
        "modalities",
        "instance_count",
        "instances",
        "revision",
    )
    printer(as_json).rows("studies", columns, [_row(row) for row in rows])


def show(job_file: JobFile, study_uid: StudyUid, as_json: AsJson = False) -> None:
    uid = given_uid("STUDY_UID", study_uid)
    with open_ledger(load_job(job_file)) as ledger:
        row = ledger.status.study(uid)
        if row is None:
            raise Stop(f"the ledger has no study {uid}; it may have come after the last inventory")
        chain = ledger.custody.chain(uid)
    out = printer(as_json)
    if as_json:
        out.record(_row(row) | {"custody": [asdict(entry) for entry in chain]})
        return
    out.record(_row(row))
    columns = ("destination", "state")
    deliveries = zip(row.destinations, row.states, strict=True)
    out.rows("deliveries", columns, [dict(zip(columns, one, strict=True)) for one in deliveries])
    out.rows("custody", ("seq", "at", "event", "actor"), [asdict(entry) for entry in chain])


def _row(row: StudyRow) -> dict[str, Any]:
    return asdict(row) | {"status": row.status}
