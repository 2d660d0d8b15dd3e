"""Arguments that several commands share, and the shape of their help."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.exits import EXIT_CODES
from cluster.output import Form, Output

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; fields are only ever added.")]


def printer(as_json: bool) -> Output:
    """Where a command's results go."""
    return Output.of(Form.JSON if as_json else None)


def help_of(what: str, *examples: str) -> str:
    """Help that starts with examples and ends with the exit codes."""
    shown = "\n".join(f"  $ {line}" for line in examples)
    return f"\b\n{shown}\n\n{what}\n\n{EXIT_CODES}"
