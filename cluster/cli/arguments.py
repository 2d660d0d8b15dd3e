"""Arguments that several commands share, and the shape of their help."""

from pathlib import Path
from typing import Annotated, TypedDict

import typer

from cluster.cli.exits import EXIT_CODES, Stop
from cluster.cli.given import noted
from cluster.output import Form, Output
from imaging.uid import InvalidUid, Uid, parse_uid

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file.", show_default=False, callback=noted)]
StudyUid = Annotated[str, typer.Argument(metavar="STUDY_UID", help="Study Instance UID.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; fields are only ever added.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error; only what goes wrong.")]
DecidedBy = Annotated[str, typer.Option("--by", help="Who decided; goes into the custody log. Default: your account.")]


def printer(as_json: bool) -> Output:
    """Where a command's results go."""
    return Output.of(Form.JSON if as_json else None)


def given_uid(name: str, text: str) -> Uid:
    """The UID that was given as `name`."""
    try:
        return parse_uid(text)
    except InvalidUid as error:
        raise Stop(f"{name} is no UID: {error}") from None


class HelpTexts(TypedDict):
    """What a command says of itself: a line in the list of commands, and its own page."""

    help: str
    short_help: str


def texts(short: str, *examples: str, more: str = "") -> HelpTexts:
    """`short` is one sentence; `more` follows it on the command's own page."""
    return HelpTexts(help=help_of(f"{short} {more}".strip(), *examples), short_help=short)


def help_of(what: str, *examples: str) -> str:
    """Help that starts with examples and ends with the exit codes."""
    shown = "\n".join(f"  $ {line}" for line in examples)
    return f"\b\n{shown}\n\n{what}\n\n{EXIT_CODES}"
