"""coercion: the group of commands about rules that change header values."""

from collections.abc import Mapping
from typing import ClassVar

import typer

from cluster.cli.group import CommandGroup, Entry, nothing_before


class CoercionCommands(CommandGroup):
    """Reading the ledger must not wait for what reading images imports."""

    entries: ClassVar[Mapping[str, Entry]] = {
        "preview": Entry(
            "cluster.cli.coercion_preview", "Show what the job's rules would change in files; nothing is written."
        ),
        "versions": Entry("cluster.cli.coercion_versions", "List the rules that studies were ever written under."),
        "rules": Entry("cluster.cli.coercion_versions", "Print the rules of one version, as a job file has them."),
        "studies": Entry("cluster.cli.coercion_replay", "List studies that a rule changed."),
        "replay": Entry(
            "cluster.cli.coercion_replay", "Write studies anew that other rules than today's were used on."
        ),
    }


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        cls=CoercionCommands,
        callback=nothing_before,
        no_args_is_help=True,
        help="Rules that change header values: try them, look back, use them anew.",
    )
    app.add_typer(group, name="coercion")
