"""exceptions: the group of commands about what needs a person."""

from collections.abc import Mapping
from typing import ClassVar

import typer

from cluster.cli.group import CommandGroup, Entry, nothing_before

SENTENCE = "Studies that need a person."


class ExceptionCommands(CommandGroup):
    """A list must not wait for what `reconcile` imports to ask source and destinations."""

    entries: ClassVar[Mapping[str, Entry]] = {
        "list": Entry("cluster.cli.exceptions_list", "List open exceptions."),
        "show": Entry("cluster.cli.exceptions_list", "Show one exception with its evidence and remedy."),
        "assign": Entry("cluster.cli.exceptions_list", "Give exceptions to the person who works through them."),
        "resolve": Entry(
            "cluster.cli.exceptions_resolve", "Close exceptions, and put their studies back to work or aside."
        ),
        "reconcile": Entry(
            "cluster.cli.exceptions_reconcile",
            "Close exceptions whose cause is gone, reopen those it is back for.",
        ),
        "export": Entry("cluster.cli.exceptions_list", "Write the open exceptions to a CSV or JSON file."),
    }


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(cls=ExceptionCommands, callback=nothing_before, no_args_is_help=True, help=SENTENCE)
    app.add_typer(group, name="exceptions")
