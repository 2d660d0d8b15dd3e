"""The `limosa` command: one small module per group of commands, put together here."""

import sys

import typer

from cluster.cli import check, demo, exceptions, inventory, jobfile, run, steer, studies
from cluster.cli.exits import EXIT_CODES, ended


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="limosa",
        help=f"Moves an image archive to its next home and proves that nothing was lost.\n\n{EXIT_CODES}",
        no_args_is_help=True,
        # Local values hold patients' names.
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in (demo, jobfile, check, inventory, run, steer, studies, exceptions):
        group.add_to(app)
    return app


def main() -> None:
    """The command of this process has run; the process ends with its exit code."""
    app = build()
    sys.exit(ended(lambda: app(standalone_mode=False)))
