"""Writes what a command reports to a file."""

from pathlib import Path

from cluster.cli.exits import Stop


def write_report(path: Path, text: str) -> None:
    """The report is whole under its name, or the earlier one still is."""
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(path)
    except OSError as error:
        raise Stop(f"{path} cannot be written: {error.strerror}") from None
