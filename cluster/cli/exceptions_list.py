"""exceptions: the list a person works through."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TextIO

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.exception_classes import exception_classes, nearest
from cluster.job import load_job
from cluster.output import plain
from cluster.services import open_ledger
from storage.ledger.ledger import Ledger
from storage.ledger.records import OpenProblem

OWNER_LIMIT = 100
"""Characters of a name that a list can show."""

PAGE = 1_000
"""Rows read at a time: the list of a large job does not fit a screen, but must fit memory."""

Number = Annotated[int, typer.Argument(metavar="ID", help="As `exceptions list` shows it.", show_default=False)]
Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="ID", help="As `exceptions list` shows them.", show_default=False)
]


def _begin(incomplete: str) -> list[str]:
    return [name for name in exception_classes() if name.startswith(incomplete.upper())]


Owner = Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this person.")]
Kind = Annotated[str | None, typer.Option(metavar="CLASS", help="Only this class.", autocompletion=_begin)]


def add_to(app: typer.Typer) -> None:
    app.command(
        "list",
        **texts(
            "List open exceptions.",
            "limosa exceptions list move.toml",
            "limosa exceptions list move.toml --kind INCOMPLETE_STUDY --json",
        ),
    )(list_open)
    app.command(
        "show",
        **texts(
            "Show one exception with its evidence and remedy.",
            "limosa exceptions show move.toml 17",
            "limosa exceptions show move.toml 17 --json",
        ),
    )(show)
    app.command(
        "assign",
        **texts(
            "Give exceptions to the person who works through them.",
            "limosa exceptions assign move.toml 17 18 --to a.braun",
            "limosa exceptions assign move.toml --kind DEMOGRAPHIC_REVIEW --to a.braun",
        ),
    )(assign)
    app.command(
        "export",
        **texts(
            "Write the open exceptions to a CSV or JSON file.",
            "limosa exceptions export move.toml exceptions.csv",
            "limosa exceptions export move.toml reviews.json --kind DEMOGRAPHIC_REVIEW",
            more="For those who work elsewhere; it holds identifiers of patients' studies.",
        ),
    )(export)


def list_open(
    job_file: JobFile,
    kind: Kind = None,
    owner: Owner = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows.")] = 100,
    as_json: AsJson = False,
) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        chosen = class_of(ledger, kind)
        rows = ledger.exceptions.list_open(kind=chosen, owner=owner, limit=limit)
        count = sum(n for (name, _), n in ledger.exceptions.counts(owner).items() if chosen in (None, name))
    columns = ("exception_id", "kind", "severity", "blocking", "study_uid", "destination", "times_seen", "last_seen")
    printer(as_json).rows("open exceptions", columns, [asdict(row) for row in rows])
    if count > len(rows):
        sys.stderr.write(f"limosa: {len(rows)} of {count} are shown; --limit shows more, `exceptions export` all\n")


def show(job_file: JobFile, exception_id: Number, as_json: AsJson = False) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        rows = ledger.exceptions.list_open(after=exception_id - 1, limit=1)
    if not rows or rows[0].exception_id != exception_id:
        raise Stop(f"no open exception {exception_id}; `limosa exceptions list {job_file}` shows those there are")
    printer(as_json).record(asdict(rows[0]))


def assign(
    job_file: JobFile,
    owner: Annotated[str, typer.Option("--to", metavar="NAME", help="Who works through them.", show_default=False)],
    numbers: Numbers = None,
    kind: Kind = None,
    as_json: AsJson = False,
) -> int:
    if bool(numbers) == (kind is not None):
        raise Stop("give either exceptions by ID or --kind CLASS")
    if not owner.isprintable() or not 1 <= len(owner.strip()) <= OWNER_LIMIT:
        raise Stop(f"--to wants a name of at most {OWNER_LIMIT} characters")
    with open_ledger(load_job(job_file)) as ledger:
        chosen = list(numbers or (row.exception_id for row in pages(ledger, class_of(ledger, kind), None)))
        done = ledger.exceptions.assign(chosen, owner.strip())
    left = sorted({*chosen} - {*done})
    out = printer(as_json)
    if as_json:
        out.record({"assigned": len(done), "owner": owner.strip(), "left": left})
    else:
        out.say(f"{counted(len(done))} assigned to {owner.strip()}.")
    for number in left:
        sys.stderr.write(f"limosa: exception {number} is not open\n")
    return Exit.FAULT if left else Exit.DONE


def counted(count: int) -> str:
    """Such as "2 exceptions"."""
    return f"{count} exception{'' if count == 1 else 's'}"


def class_of(ledger: Ledger, kind: str | None) -> str | None:
    """The class as it is written; one of another version counts when the ledger has it."""
    if kind is None:
        return None
    known = tuple(sorted({*exception_classes(), *(name for name, _ in ledger.exceptions.counts())}))
    if (name := kind.upper()) in known:
        return name
    meant = nearest(name, known)
    hint = f"Did you mean {meant}?" if meant else f"There are: {', '.join(known)}."
    raise Stop(f"{kind} is no class of exceptions. {hint}")


def export(
    job_file: JobFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Must not exist yet.", show_default=False)],
    kind: Kind = None,
    owner: Owner = None,
) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        chosen = class_of(ledger, kind)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Stop(f"{file} exists and was left as it is; name a file that does not exist yet") from None
        except OSError as error:
            raise Stop(f"{file} cannot be written: {(error.strerror or 'failed').lower()}") from None
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as opened:
            rows = pages(ledger, chosen, owner)
            count = (_write_json if file.suffix.lower() == ".json" else _write_csv)(opened, rows)
    printer(False).say(f"{counted(count)} written to {file}.")


def _write_csv(opened: TextIO, rows: Iterable[OpenProblem]) -> int:
    """A line of names and one per exception; how many."""
    count = 0
    table = csv.writer(opened)
    table.writerow([*OpenProblem.__dataclass_fields__])
    for row in rows:
        table.writerow(_cell(value) for value in plain(asdict(row)).values())
        count += 1
    return count


def _write_json(opened: TextIO, rows: Iterable[OpenProblem]) -> int:
    """One list, written as the rows come; how many."""
    count = 0
    for row in rows:
        opened.write((",\n" if count else "[\n") + json.dumps(plain(asdict(row))))
        count += 1
    opened.write("[]\n" if not count else "\n]\n")
    return count


def _cell(value: object) -> object:
    """Values come from archives; a spreadsheet would run those that look like formulas."""
    text = json.dumps(value) if isinstance(value, dict | list) else value
    return f"'{text}" if isinstance(text, str) and text[:1] in ("=", "+", "-", "@") else text


def pages(ledger: Ledger, kind: str | None, owner: str | None) -> Iterator[OpenProblem]:
    """The open exceptions of a class and a person, where given, in order of their ids."""
    after = 0
    while rows := ledger.exceptions.list_open(kind=kind, owner=owner, after=after, limit=PAGE):
        yield from rows
        after = rows[-1].exception_id
