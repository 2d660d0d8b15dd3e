"""coercion preview: what the job's rules would do, or those of another version."""

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from actors.coercing import kept_rules
from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.coercion_preview import PreviewRow, preview
from cluster.job import Job, load_job
from cluster.planning.replaying import replayer_of
from cluster.services import open_ledger
from imaging.coercion.rules import Profile, RuleSet
from storage.spool import FileOctets

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="DICOM files (Part 10).", show_default=False)]


def add_to(app: typer.Typer) -> None:
    app.command(
        "preview",
        **texts(
            "Show what the job's rules would change in files; nothing is written.",
            "limosa coercion preview move.toml image.dcm",
            "limosa coercion preview move.toml samples/*.dcm --profile strict",
            more="Prints values as they are: patients' names, too. Ends with 2 when a file would stop its study.",
        ),
    )(show)


def show(
    job_file: JobFile,
    files: Files,
    profile: Annotated[Profile, typer.Option(help="Also what a destination of this kind would refuse.")] = Profile.NONE,
    version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="The rules of this version, as the ledger keeps them, not today's."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    rules = job.coercion.rule_set() if version is None else _of_then(job, version)
    if not rules.rules and profile is Profile.NONE:
        raise Stop(f"{job_file} has no rules; write them as [[coercion.rules]]")
    now = datetime.now(UTC)
    rows = [row for file in files for row in _of(file, rules, job.source.name, now, profile)]
    out = printer(as_json)
    out.rows(
        "coercion",
        ("file", "rule", "attribute", "before", "after", "problem"),
        [asdict(row) for row in rows],
    )
    stopped = {row.file for row in rows if row.problem}
    changed = {row.file for row in rows} - stopped
    number = "1 file" if len(files) == 1 else f"{len(files)} files"
    out.say(f"{number}, {len(changed)} would be changed, {len(stopped)} would stop their study.")
    return Exit.EXCEPTIONS if stopped else Exit.DONE


def _of_then(job: Job, begin: str) -> RuleSet:
    with open_ledger(job, pool_size=1) as ledger:
        version = replayer_of(job, ledger).version(begin)
        rules = kept_rules(version, ledger.replay.rules(version))
    if rules is None:
        raise Stop(f"the rules of {version} were not kept, or cannot be used by this release")
    return rules


def _of(file: Path, rules: RuleSet, source: str, now: datetime, profile: Profile) -> list[PreviewRow]:
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError as error:
        return [_unread(file, error)]
    try:
        return preview(file, FileOctets(descriptor, os.fstat(descriptor).st_size), rules, source, now, profile)
    except OSError as error:
        return [_unread(file, error)]
    finally:
        os.close(descriptor)


def _unread(file: Path, error: OSError) -> PreviewRow:
    """The others are looked at all the same."""
    return PreviewRow(file=file, problem=f"cannot be read: {error.strerror}")
