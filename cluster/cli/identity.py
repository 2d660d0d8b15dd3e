"""identity: the group of commands about patients' numbers, inwards and outwards."""

from collections.abc import Mapping
from typing import ClassVar

import typer

from cluster.cli.group import CommandGroup, Entry, nothing_before

SENTENCE = "What the hospital told about its patients' numbers."


class IdentityCommands(CommandGroup):
    """In the order a migration needs them."""

    entries: ClassVar[Mapping[str, Entry]] = {
        "import": Entry("cluster.cli.identity_files", "Read HL7 messages and tables of numbers into the ledger."),
        "listen": Entry("cluster.cli.identity_listen", "Take HL7 messages over MLLP into the ledger."),
        "refused": Entry("cluster.cli.identity_listen", "Write the messages that cannot be used to a file."),
        "show": Entry("cluster.cli.identity_files", "List the files that were read, or what a number has become."),
        "forget": Entry("cluster.cli.identity_forget", "Take back a file that was imported by mistake."),
        "outbound": Entry("cluster.cli.identity_outbound", "Tell destinations of merges by HL7 messages."),
    }


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(cls=IdentityCommands, callback=nothing_before, no_args_is_help=True, help=SENTENCE)
    app.add_typer(group, name="identity")
