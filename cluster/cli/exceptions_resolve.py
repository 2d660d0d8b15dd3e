"""exceptions resolve: what a person decided, about exceptions one by one or a class as far as it was looked at."""

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, DecidedBy, JobFile, printer, texts
from cluster.cli.exceptions_list import Kind, Numbers, class_of, counted, pages
from cluster.cli.exits import Exit, Stop
from cluster.job import load_job
from cluster.planning.changed import in_words
from cluster.services import open_ledger
from storage.ledger.ledger import Ledger
from storage.ledger.resolving import PlanUnderWay, Resolution, Superseded

UpTo = Annotated[
    int | None,
    typer.Option(metavar="ID", help="With --kind: only those up to this one, the last that was looked at."),
]
_WAIT = ", and their studies wait for the next run"


def add_to(app: typer.Typer) -> None:
    app.command(
        "resolve",
        **texts(
            "Close exceptions, and put their studies back to work or aside.",
            "limosa exceptions resolve move.toml 17 18 --as retry --by m.keller",
            "limosa exceptions resolve move.toml --kind DEMOGRAPHIC_REVIEW --up-to 57 --as accept",
            more="Acknowledge them, retry where work stopped, renew the studies as new revisions, accept what the plan "
            "proposes for them, or exclude them. "
            "With --kind all that are open of a class, after a question that names their number. An ID stands for one "
            "proposal: where the plan proposes something else since, the study has another ID and nothing is accepted.",
        ),
    )(resolve)


def resolve(
    job_file: JobFile,
    resolution: Annotated[Resolution, typer.Option("--as", help="What was decided.", show_default=False)],
    numbers: Numbers = None,
    kind: Kind = None,
    up_to: UpTo = None,
    by: DecidedBy = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask no question.")] = False,
    as_json: AsJson = False,
) -> int:
    if bool(numbers) == (kind is not None):
        raise Stop("give either exceptions by ID or --kind CLASS")
    if up_to is not None and kind is None:
        raise Stop("--up-to goes with --kind CLASS")
    if resolution is Resolution.ACCEPT and kind is not None and up_to is None:
        raise Stop(
            "accepting a class wants --up-to ID, the last number in the list that was looked at: "
            "what came after it nobody has seen"
        )
    out = printer(as_json)
    done = 0
    left: dict[int, str] = {}
    with open_ledger(load_job(job_file)) as ledger:
        if numbers:
            chosen = list(dict.fromkeys(numbers))
        else:
            chosen, later = _all_of_class(ledger, kind, up_to, resolution, yes)
            left = dict.fromkeys(later, f"came after {up_to}")
        for number in chosen:
            try:
                ledger.exceptions.resolve(number, resolution, by=by or getpass.getuser())
                done += 1
            except Superseded as error:
                left[number] = _other_proposal(job_file, error)
            except PlanUnderWay:
                raise Stop(
                    f"a plan is being made, so nobody knows yet what it proposes: {counted(done)} of {len(chosen)} "
                    "resolved; give the command again when the plan has ended"
                ) from None
            except (LookupError, ValueError) as error:
                left[number] = str(error.args[0])
    if as_json:
        rows = [{"exception_id": number, "why": why} for number, why in sorted(left.items())]
        out.record({"resolved": done, "resolution": resolution, "left": rows})
    elif done:
        work = "" if resolution in (Resolution.ACKNOWLEDGE, Resolution.EXCLUDE) else _WAIT
        out.say(f"{counted(done)} resolved: {resolution.value}{work}.")
    for number, why in sorted(left.items()):
        sys.stderr.write(f"limosa: exception {number} was left as it is: {why}\n")
    return Exit.FAULT if left else Exit.DONE


def _other_proposal(job_file: Path, error: Superseded) -> str:
    what = f" ({in_words(error.changed)} changed)" if error.changed else ""
    after = (
        f"`limosa plan {job_file} --apply` and `limosa exceptions list {job_file}` show what it proposes"
        if error.successor is None
        else f"`limosa exceptions show {job_file} {error.successor}` shows what it proposes"
    )
    return f"the plan proposes something else for study {error.study_uid} today{what}; {after}"


def _all_of_class(
    ledger: Ledger, kind: str | None, up_to: int | None, resolution: Resolution, yes: bool
) -> tuple[list[int], list[int]]:
    """The ids of all open exceptions of the class up to `up_to`, once a person has agreed to their number, and of
    those after it."""
    chosen = class_of(ledger, kind)
    numbers = [row.exception_id for row in pages(ledger, chosen, None)]
    seen = [number for number in numbers if up_to is None or number <= up_to]
    question = f"{counted(len(seen))} of {chosen} will be resolved as {resolution.value}."
    if seen and not yes:
        if not sys.stdin.isatty():
            raise Stop(f"{question} Nobody can be asked here: add --yes.")
        typer.confirm(f"{question} Go on?", abort=True, err=True)
    return seen, numbers[len(seen) :]
