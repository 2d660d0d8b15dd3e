"""Which studies a command is about: UIDs on the command line, or the first column of a file."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import given_uid
from cluster.cli.exits import Stop
from imaging.uid import InvalidUid, Uid, parse_uid

StudyUids = Annotated[list[str] | None, typer.Argument(metavar="STUDY_UID", help="Study Instance UIDs.")]
StudyFile = Annotated[
    Path | None, typer.Option("--studies", help="A CSV whose first column holds Study Instance UIDs.")
]

_NEARLY_A_UID = re.compile(r"\d\s*\.\s*\d")
"""Digits around a dot: no heading has them, and a UID keeps some whatever was mistyped."""


def worklist(given: Iterable[str] | None, file: Path | None) -> tuple[Uid, ...]:
    """The studies that were named, each once."""
    named = tuple(given_uid("STUDY_UID", text) for text in given or ())
    if bool(named) == (file is not None):
        raise Stop("name studies by STUDY_UID or by --studies FILE, one of the two")
    return tuple(dict.fromkeys(named)) if file is None else read_studies(file)


def read_studies(path: Path) -> tuple[Uid, ...]:
    """The UIDs in the first column of a CSV; a first line that is nothing like a UID is its heading."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise Stop(f"{path} cannot be read: {(error.strerror or type(error).__name__).lower()}") from None
    except UnicodeDecodeError:
        raise Stop(f"{path} is not UTF-8 text; export it as CSV") from None
    found: dict[Uid, None] = {}
    for number, line in enumerate(lines, start=1):
        cell = re.split(r"[,;\t]", line)[0].strip().strip('"').strip()
        if not cell:
            continue
        try:
            found[parse_uid(cell)] = None
        except InvalidUid as error:
            if number > 1 or _NEARLY_A_UID.search(cell):
                raise Stop(f"{path}, line {number} is no Study Instance UID: {error}. Nothing was done.") from None
    if not found:
        raise Stop(f"{path} names no study")
    return tuple(found)
