"""exceptions: the list a person works through."""

import csv
import getpass
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Stop
from cluster.job import load_job
from cluster.output import plain
from cluster.services import open_ledger
from storage.ledger.exceptions import Resolution
from storage.ledger.ledger import Ledger
from storage.ledger.records import OpenProblem

PAGE = 1_000
"""Rows read at a time: the list of a large job does not fit a screen, but must fit memory."""

Number = Annotated[int, typer.Argument(metavar="ID", help="As `exceptions list` shows it.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Studies that need a person.")
    group.command(
        "list",
        **texts(
            "List open exceptions.",
            "limosa exceptions list move.toml",
            "limosa exceptions list move.toml --kind INCOMPLETE_STUDY --json",
        ),
    )(list_open)
    group.command(
        "show",
        **texts(
            "Show one exception with its evidence and remedy.",
            "limosa exceptions show move.toml 17",
            "limosa exceptions show move.toml 17 --json",
        ),
    )(show)
    group.command(
        "resolve",
        **texts(
            "Close an exception, and put its study back to work or aside.",
            "limosa exceptions resolve move.toml 17 --as retry",
            "limosa exceptions resolve move.toml 18 --as exclude --by m.keller",
            more="Acknowledge it, retry where work stopped, renew the study as a new revision, or exclude the study.",
        ),
    )(resolve)
    group.command(
        "export",
        **texts(
            "Write the open exceptions to a CSV file.",
            "limosa exceptions export move.toml exceptions.csv",
            "limosa exceptions export move.toml exceptions.csv --kind INV_UNSPLITTABLE",
            more="For those who work elsewhere; it holds identifiers of patients' studies.",
        ),
    )(export)
    app.add_typer(group, name="exceptions")


def list_open(
    job_file: JobFile,
    kind: Annotated[str | None, typer.Option(help="Only this class.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows.")] = 100,
    as_json: AsJson = False,
) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        rows = ledger.exceptions.list_open(kind=kind, limit=limit)
    columns = ("exception_id", "kind", "severity", "blocking", "study_uid", "destination", "times_seen", "last_seen")
    printer(as_json).rows("open exceptions", columns, [asdict(row) for row in rows])


def show(job_file: JobFile, exception_id: Number, as_json: AsJson = False) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        rows = ledger.exceptions.list_open(after=exception_id - 1, limit=1)
    if not rows or rows[0].exception_id != exception_id:
        raise Stop(f"no open exception {exception_id}; `limosa exceptions list {job_file}` shows those there are")
    printer(as_json).record(asdict(rows[0]))


def resolve(
    job_file: JobFile,
    exception_id: Number,
    resolution: Annotated[Resolution, typer.Option("--as", help="What was decided.", show_default=False)],
    by: Annotated[str, typer.Option(help="Who decided; goes into the custody log.")] = "",
) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        try:
            ledger.exceptions.resolve(exception_id, resolution, by=by or getpass.getuser())
        except (LookupError, ValueError) as error:
            raise Stop(f"exception {exception_id} was left as it is: {error.args[0]}") from None
    printer(False).say(f"Exception {exception_id} is resolved: {resolution.value}.")


def export(
    job_file: JobFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Must not exist yet.", show_default=False)],
    kind: Annotated[str | None, typer.Option(help="Only this class.")] = None,
) -> None:
    job = load_job(job_file)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Stop(f"{file} cannot be written: {error.strerror}") from None
    count = 0
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as opened, open_ledger(job) as ledger:
        table = csv.writer(opened)
        table.writerow([*OpenProblem.__dataclass_fields__])
        for row in _pages(ledger, kind):
            values = plain(asdict(row))
            table.writerow(_cell(value) for value in values.values())
            count += 1
    printer(False).say(f"{count} exceptions are in {file}.")


def _cell(value: object) -> object:
    """Values come from archives; a spreadsheet would run those that look like formulas."""
    text = json.dumps(value) if isinstance(value, dict | list) else value
    return f"'{text}" if isinstance(text, str) and text[:1] in ("=", "+", "-", "@") else text


def _pages(ledger: Ledger, kind: str | None) -> Iterator[OpenProblem]:
    after = 0
    while rows := ledger.exceptions.list_open(kind=kind, after=after, limit=PAGE):
        yield from rows
        after = rows[-1].exception_id
