"""identity forget: a file of the hospital that should never have been imported."""

import getpass
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, DecidedBy, JobFile, printer, texts
from cluster.cli.exits import Stop
from cluster.job import load_job
from cluster.output import Form
from cluster.services import open_ledger
from storage.ledger.forgetting import Unforgettable


def add_to(app: typer.Typer) -> None:
    app.command(
        "forget",
        **texts(
            "Take back a file that was imported by mistake.",
            'limosa identity forget move.toml 3 --reason "export of the test system"',
            "limosa identity forget move.toml 3 --by m.keller --yes --json",
            more="`limosa identity show` has the numbers of files. What only this file told does not count any more; "
            "what another file told as well stays. The ledger keeps who took it back, when and why. Nothing is decided "
            "yet: `limosa plan` shows what follows, for studies that were delivered, too. The file may be imported "
            "again.",
        ),
    )(forget)


def forget(
    job_file: JobFile,
    file_id: Annotated[int, typer.Argument(metavar="FILE_ID", help="As `identity show` has it.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "",
    by: DecidedBy = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask no question.")] = False,
    as_json: AsJson = False,
) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        file = next((one for one in ledger.identity.files() if one.file_id == file_id), None)
        if file is None:
            raise Stop(f"no file {file_id} counts; `limosa identity show {job_file}` lists those that do")
        if not yes:
            question = f"{file.name} ({file.kind}, {_events(file.events)}) will not count any more."
            if not sys.stdin.isatty():
                raise Stop(f"{question} Nobody can be asked here: add --yes.")
            typer.confirm(f"{question} Go on?", abort=True, err=True)
        try:
            done = ledger.forgetting.forget(file_id, by=by or getpass.getuser(), why=reason)
        except Unforgettable as error:
            raise Stop(f"{file.name} was not forgotten: {error}") from None
    out = printer(as_json)
    if out.form is Form.JSON:
        out.record(asdict(done))
        return
    out.say(f"{done.name} is forgotten: {_events(done.events)} of it only, {done.kept} that other files told as well.")
    if done.replaced is not None:
        out.say(f"The table of that name before it ({done.replaced}) does not count again by itself: import it anew.")
    out.say(f"Nothing is decided yet; limosa plan {job_file} shows what follows.")


def _events(count: int) -> str:
    return f"{count} event{'' if count == 1 else 's'}"
