"""accession: the list of orders that accession numbers are held against."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Stop
from cluster.cli.identity_files import identity_of, told
from cluster.job import load_job
from cluster.planning.reading import Reader, UnreadableFile
from cluster.services import open_ledger


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="The list of orders that accession numbers are held against.")
    group.command(
        "import",
        **texts(
            "Read the list of orders into the ledger.",
            "limosa accession import move.toml orders.csv",
            "limosa accession import move.toml orders.csv --json",
            more="A table with the column accession and perhaps accession_issuer, issuer, id, study_uid, procedure; "
            "numbers as they are after the job's rules. It replaces the earlier list of its file name. A line that "
            "cannot be used is told by its place and ends the command with 2. `limosa plan` matches it.",
        ),
    )(read)
    app.add_typer(group, name="accession")


def read(
    job_file: JobFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The RIS's export.", show_default=False)],
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    options = identity_of(job)
    if job.accession is None:
        raise Stop(f"{job_file} has no [accession]: nothing would be held against a list of orders")
    with open_ledger(job) as ledger:
        try:
            found = Reader(ledger, options, job.job.time_zone).read_orders(file)
        except UnreadableFile as error:
            raise Stop(f"{file}: {error}. Nothing was taken") from None
    return told([found], printer(as_json))
