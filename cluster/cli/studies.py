"""studies: the group of commands about single studies."""

from collections.abc import Mapping
from typing import ClassVar

import typer

from cluster.cli.group import CommandGroup, Entry, nothing_before


class StudyCommands(CommandGroup):
    """Reading the ledger must not wait for what fetching imports."""

    entries: ClassVar[Mapping[str, Entry]] = {
        "list": Entry("cluster.cli.study_list", "List studies in the order they were found."),
        "show": Entry("cluster.cli.study_list", "Show one study: its deliveries' states and its chain of custody."),
        "hold": Entry("cluster.cli.hold", "Keep studies back until `studies readmit`."),
        "readmit": Entry("cluster.cli.hold", "Put studies that were held or excluded back to work."),
        "fetch": Entry("cluster.cli.fetch", "Bring a delivered study back from its destination."),
    }


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        cls=StudyCommands,
        callback=nothing_before,
        no_args_is_help=True,
        help="Look at studies, hold or fetch them. Output holds patients' names.",
    )
    app.add_typer(group, name="studies")
