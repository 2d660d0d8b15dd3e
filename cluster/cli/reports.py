"""Writes what a command reports to files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.cli.exits import Stop

Writer = Callable[[Mapping[str, Any]], str]
"""A document as the text of a file."""


def report_files(given: Sequence[Path] | None, forms: Mapping[str, Writer]) -> list[Path]:
    """The files of `--report`; `forms` says by the ending of a name what is written. Raises `Stop` for another one."""
    files = list(given or ())
    if strange := [path.name for path in files if path.suffix not in forms]:
        *most, last = forms
        raise Stop(f"--report {strange[0]}: the name has to end in {', '.join(most)} or {last}")
    return files


def write_reports(files: Sequence[Path], forms: Mapping[str, Writer], document: Mapping[str, Any]) -> None:
    """The document is in every file, in the form that its name asks for."""
    for path in files:
        write_report(path, forms[path.suffix](document))


def write_report(path: Path, text: str) -> None:
    """The report is whole under its name, or the earlier one still is."""
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(path)
    except OSError as error:
        raise Stop(f"{path} cannot be written: {error.strerror}") from None
