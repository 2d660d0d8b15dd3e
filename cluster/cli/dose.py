"""dose: what CT dose machines can read, and the reports that are made of it."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.dose_files import FileStudy, Gathering, rows_of
from cluster.job import load_job
from cluster.services import open_ledger
from storage.spool import FileOctets

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="DICOM files (Part 10).", show_default=False)]
COLUMNS = ("study_uid", "status", "event", "quantity", "value", "unit", "basis", "where", "instances")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="CT dose that machines can read, and reports made of it.")
    group.command(
        "read",
        **texts(
            "Show what dose files hold, each number with its place.",
            "limosa dose read study/*.dcm",
            "limosa dose read study/*.dcm --out /tmp/reports",
            more="Give all files of a study, or the sum is of some. With --out the report that would be added to "
            "each study is written to a folder. Ends with 2 when a study has readable dose and no report can be made.",
        ),
    )(read)
    group.command(
        "report",
        **texts(
            "Count studies by the dose they offer, and how many are proven.",
            "limosa dose report move.toml",
            "limosa dose report move.toml --json",
            more="From the custody logs of studies that were moved with [dose] on.",
        ),
    )(report)
    app.add_typer(group, name="dose")


def read(
    files: Files,
    folder: Annotated[Path | None, typer.Option("--out", help="Write reports into this folder.")] = None,
    as_json: AsJson = False,
) -> int:
    gathering = Gathering.empty()
    for file in files:
        _add(gathering, file)
    studies = list(gathering.studies())
    written = _written(studies, folder) if folder is not None else {}
    out = printer(as_json)
    rows = [row for study in studies for row in rows_of(study)]
    if as_json:
        out.record({"studies": [_told(study, written) for study in studies], "numbers": rows})
    else:
        out.rows("dose", COLUMNS, rows)
    for study in studies:
        told = _told(study, written)
        out.say(
            f"{told['study_uid']}: {told['status']}, {told['events']} events"
            + (f"; no report: {', '.join(told['obstacles'])}" if told["obstacles"] else "")
            + (f"; written: {told['file']}" if told["file"] else "")
        )
    for path, why in gathering.refused:
        out.say(f"{path} is no instance: {why}")
    return Exit.EXCEPTIONS if any(study.dose.obstacles for study in studies) else Exit.DONE


def report(job_file: JobFile, as_json: AsJson = False) -> int:
    job = load_job(job_file)
    with open_ledger(job) as ledger:
        counts = ledger.doses.counts()
    out = printer(as_json)
    out.rows(
        "dose", ("status", "studies", "added", "proven", "conflicts", "obstacles"), [asdict(one) for one in counts]
    )
    if not counts:
        out.say('No study was moved with [dose] reports = "measure" or "add".')
    return Exit.DONE


def _add(gathering: Gathering, file: Path) -> None:
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise Stop(f"{file} cannot be read: {error.strerror}") from None
    try:
        gathering.add(file, FileOctets(descriptor, os.fstat(descriptor).st_size))
    except OSError as error:
        raise Stop(f"{file} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _written(studies: Sequence[FileStudy], folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    now = datetime.now(UTC)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for study in studies:
            made = study.report(now)
            if made is not None:
                path = folder / f"{made[0]}.dcm"
                path.write_bytes(made[1])
                found[study.study_uid] = path
    except OSError as error:
        raise Stop(f"{folder} cannot be written: {error.strerror}") from None
    return found


def _told(study: FileStudy, written: dict[str, Path]) -> dict[str, Any]:
    dose = study.dose
    return {
        "study_uid": study.study_uid,
        "status": dose.status,
        "events": len(dose.events),
        "obstacles": [one.value for one in dose.obstacles],
        "conflicts": list(dose.conflicts),
        "instances": {kind.value: count for kind, count in dose.counts.items()},
        "file": written.get(study.study_uid),
    }
