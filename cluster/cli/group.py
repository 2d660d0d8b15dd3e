"""A group of commands that are imported when one of them is asked for, and only then.

Ray, DICOM and S3 libraries take two seconds to import together; a list of commands, `status` or a completion by the
shell needs none of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command comes from, and what the list of commands says of it."""

    module: str
    """Its `add_to(app)` registers the command, perhaps beside others."""
    sentence: str


class _Imported(Mapping[str, Any]):
    """Commands by name: all names are known, a command is imported when it is looked up."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        entry = self._entries[name]
        if name not in self._made:
            # With a callback it is a group even where the module registers a single command.
            app = typer.Typer(callback=nothing_before)
            import_module(entry.module).add_to(app)
            self._made |= cast(TyperGroup, get_command(app)).commands
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class CommandGroup(TyperGroup):
    """Lists its `entries` without importing them; a subclass names them."""

    entries: ClassVar[Mapping[str, Entry]]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast(Any, _Imported(self.entries))

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What lists need of a command: its name and its sentence."""
        entry = self.entries.get(cmd_name)
        return None if entry is None else TyperCommand(name=cmd_name, help=entry.sentence, short_help=entry.sentence)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is run, or completed: imported."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else self.commands[name], rest


def nothing_before() -> None:
    """What a group does before its command. Typer takes an application without a callback or commands for none."""
