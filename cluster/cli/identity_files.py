"""identity import, identity show: files of the hospital, and what became of its numbers."""

import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.identity_options import IdentityOptions
from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.job import Job, load_job
from cluster.output import Output
from cluster.planning.reading import Kind, Reader, ReadFile, UnreadableFile
from cluster.services import open_ledger
from imaging.identity.graph import Resolution, build
from imaging.identity.issuers import Assigner
from imaging.identity.people import Conflict

SHOWN = 100
"""Defects of a file that a terminal gets; the JSON form has them all."""

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="In any order.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    app.command(
        "import",
        **texts(
            "Read HL7 messages and tables of numbers into the ledger.",
            "limosa identity import move.toml adt-2019.hl7 adt-2020.hl7 crosswalk.csv index.csv",
            "limosa identity import move.toml corrections.csv --as overrides",
            more="Messages, batches and files with any line ends; a crosswalk and an export of the index are known by "
            "their column names. Reading a file twice is reading it once; a table replaces an earlier one of its "
            "name. What cannot be used is told by its place, never by its value, and ends the command with 2. Nothing "
            "is decided yet: see `limosa plan`.",
        ),
    )(read)
    app.command(
        "show",
        **texts(
            "List the files that were read, or what a number has become.",
            "limosa identity show move.toml",
            "limosa identity show move.toml --issuer NORTH --id 4711 --date 2014-03-01",
            more="With a number the output holds patients' names.",
        ),
    )(show)


def read(
    job_file: JobFile,
    files: Files,
    kind: Annotated[
        Kind | None, typer.Option("--as", help="What all of them are; default: found out.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    options = identity_of(job)
    found: list[ReadFile] = []
    with open_ledger(job) as ledger:
        reader = Reader(ledger, options, job.job.time_zone)
        for file in files:
            try:
                found.append(reader.read(file, kind))
            except UnreadableFile as error:
                raise Stop(f"{file}: {error}. {_taken(found)}") from None
    out = printer(as_json)
    code = told(found, out)
    out.say(f"Nothing is decided yet; limosa plan {job_file} shows what follows.")
    return code


def told(found: list[ReadFile], out: Output) -> int:
    """What became of files that were read; the command's exit code."""
    columns = ("name", "kind", "again", "messages", "events", "defects")
    out.rows("files", columns, [asdict(one) for one in found])
    for file in found:
        for one in file.told[:SHOWN]:
            detail = f" ({one.detail})" if one.detail else ""
            sys.stderr.write(f"limosa: {one.file}: {one.place}: {one.defect}{detail}\n")
        left = sum(file.defects.values()) - min(len(file.told), SHOWN)
        if left > 0:
            sys.stderr.write(f"limosa: {file.name}: {left} more; --json tells {len(file.told)} of them\n")
    return Exit.EXCEPTIONS if any(file.defects for file in found) else Exit.DONE


def _taken(found: list[ReadFile]) -> str:
    return f"{len(found)} files before it were taken" if found else "Nothing was taken"


def identity_of(job: Job) -> IdentityOptions:
    """The job's [identity] table."""
    if job.identity is None:
        raise Stop(f"{job.file} has no [identity]: describe who gives patients their numbers as [[identity.issuers]]")
    return job.identity


def show(
    job_file: JobFile,
    number: Annotated[str | None, typer.Option("--id", help="A patient's number.", show_default=False)] = None,
    issuer: Annotated[str, typer.Option(help="Who gave it; default: the job's default issuer.")] = "",
    studied: Annotated[str, typer.Option("--date", help="Of a study, YYYY-MM-DD.")] = "",
    as_json: AsJson = False,
) -> None:
    job = load_job(job_file)
    options = identity_of(job)
    out = printer(as_json)
    with open_ledger(job) as ledger:
        reading = options.reading(job.job.time_zone)
        if number is None:
            rows = [
                {**asdict(file), "counts": file.reading == reading, "reading": None} for file in ledger.identity.files()
            ]
            out.rows("files", ("file_id", "kind", "name", "read_at", "messages", "events", "defects", "counts"), rows)
            return
        asked = options.authorities().identifier(number, Assigner(namespace=issuer))
        if isinstance(asked, Conflict):
            known = ", ".join(name.name for name in options.issuers)
            raise Stop(
                f"this is no number of a known issuer: {asked.value}. [identity] knows {known}; "
                "add the issuer there as name or alias, or correct --id and --issuer"
            )
        try:
            day = date.fromisoformat(studied) if studied else None
        except ValueError:
            raise Stop("--date wants YYYY-MM-DD") from None
        graph = build(ledger.identity.events(reading), options.thresholds(), in_turn=True)
        out.record(_answer(graph.resolve(asked, day), [*graph.linked(asked)]))


def _answer(found: Resolution, linked: list[Any]) -> dict[str, Any]:
    return {
        "issuer": found.asked.issuer,
        "id": found.asked.value,
        "survivor": found.survivor,
        "conflict": found.conflict,
        "candidates": found.candidates,
        "person": found.person,
        "path": [
            {
                "old": step.old,
                "new": step.new,
                "kind": step.kind,
                "said_by": step.origin.source,
                "label": step.origin.label,
                "at": step.origin.at,
            }
            for step in found.path
        ],
        "linked": sorted(linked),
    }
