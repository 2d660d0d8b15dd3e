"""inventory: ask the archive what it holds, look into a sample of it, and report."""

import csv
import io
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, JobFile, Quiet, printer, texts
from cluster.cli.doing import Told, doing
from cluster.cli.exits import Exit, Stop
from cluster.cli.reports import report_files, write_report, write_reports
from cluster.inventory.baseline import Baseline, open_baseline
from cluster.inventory.export import COLUMNS, Compared, Difference, Kind, UnusableExport, compare
from cluster.inventory.sample import SampleProgress, Sampler, SamplingRefused, Shelf
from cluster.inventory.strata import spread
from cluster.inventory.take import Pass, take_inventory
from cluster.inventory.walk import Progress
from cluster.job import Job, load_job
from cluster.logs import start_log
from cluster.profile import informed
from cluster.registry import register_job
from cluster.reports.counting import count
from cluster.reports.inventory_figures import figures
from cluster.reports.inventory_page import csv_of, inert, page_of
from cluster.reports.pages import json_of
from cluster.services import open_ledger
from cluster.sources import asking, receiving
from storage.ledger.inventory import SeenCounts
from storage.ledger.ledger import Ledger

DOUBTS = frozenset({"INV_UNSPLITTABLE", "INV_UNDECODABLE", "STUDY_UID_MULTI_PATIENT"})
"""Exceptions that an inventory opens."""

FORMS = {".html": page_of, ".json": json_of, ".csv": csv_of}
"""What a report is written as, by the ending of its name."""


def add_to(app: typer.Typer) -> None:
    app.command(
        "inventory",
        **texts(
            "Enumerate the archive, however much it cuts its answers.",
            "limosa inventory move.toml --sample 200 --report baseline.html --report baseline.csv",
            "limosa inventory move.toml --pass delta --days 14 --json",
            more="Interrupted, it continues where it was.",
        ),
    )(inventory)


def inventory(
    job_file: JobFile,
    which: Annotated[Pass, typer.Option("--pass", help="What to ask for.")] = Pass.CONTINUE,
    days: Annotated[int | None, typer.Option(min=1, help="With --pass delta: how far back.")] = None,
    sample: Annotated[
        int,
        typer.Option(
            min=0, help="Look into so many studies, spread over modalities and years: one image of each series."
        ),
    ] = 0,
    report: Annotated[
        list[Path] | None,
        typer.Option(help="Write the baseline as .html, .json or .csv; may be given several times."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            help="A CSV from the archive's database, or a DICOM Inventory (its first file, or a folder of them), to be "
            "held against the archive's answers."
        ),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="With --export: FIELD=NAME of a column that is called otherwise.")
    ] = None,
    differences: Annotated[
        Path | None, typer.Option(help="With --export: write what differs as CSV. It holds patients' numbers.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    reports = report_files(report, FORMS)
    job = load_job(job_file)
    start_log(job.state_dir, "inventory")
    out = printer(as_json)
    with open_ledger(job) as ledger, doing(quiet) as tell:
        # Only to read the ledger, nobody has to stop.
        holding: AbstractContextManager[object] = ledger.job_lock(job.job.name)
        with nullcontext() if which is Pass.NOTHING and not sample and export is None else holding:
            source_id = register_job(job, ledger).sources[job.source.name]
            job = informed(job, ledger.jobs.profile(job.source.name))
            done = _ask(job, ledger, which, days, tell)
            baseline = None if export is None else _baseline(export, column or [], job.source.profile.charset)
            told = {} if baseline is None else _hold_against(baseline, differences, ledger, source_id)
            if sample:
                _look(job, ledger, sample, tell)
        seen = ledger.inventory.seen(source_id)
        cap = informed(job, ledger.jobs.profile(job.source.name)).find_cap
        doubts = sum(number for (kind, _), number in ledger.exceptions.counts().items() if kind in DOUBTS)
        told = summary(done, seen, cap, doubts, ledger.samples.totals().studies) | told
        if reports:
            document = figures(count(job, ledger, datetime.now(UTC)))
            write_reports(reports, FORMS, document)
            told |= {"baseline": document} if as_json else {"reports": [str(path) for path in reports]}
    out.record(told)
    if doubts:
        out.say(f"The archive's answers leave a doubt: limosa exceptions list {job_file}")
    return Exit.EXCEPTIONS if doubts else Exit.DONE


def _ask(job: Job, ledger: Ledger, which: Pass, days: int | None, tell: Told) -> Progress:
    def report(now: Progress) -> None:
        told = f"{now.stage} {now.day or ''}: {now.asked} asked, {now.rows} answers, {now.new} new"
        tell("inventory", told, stage=now.stage, asked=now.asked, new=now.new)

    with asking(job, ledger) as source:
        return take_inventory(job, ledger, source, which=which, days=days, report=report)


def _look(job: Job, ledger: Ledger, wanted: int, tell: Told) -> None:
    """The ledger has a sample of `wanted` studies, what earlier ones looked into included."""

    today = datetime.now(UTC).date()
    studies = ledger.samples.pick(spread(ledger.baselines.groups(today), wanted), job.job.name)
    shelf = Shelf()
    try:
        with receiving(job, ledger, shelf.take) as (source, receiver):
            Sampler(source, shelf, ledger, receiver=receiver, quiet=job.source.quiet).look_into(
                studies, lambda now: tell_sample(tell, now)
            )
    except SamplingRefused as error:
        raise Stop(f"{error}: have its administrator register it; `limosa check` says with which port.") from None
    except OSError as error:
        raise Stop(f"{job.receivers[0].ae_title} cannot listen: {error.strerror}. End what has its port.") from None


def tell_sample(tell: Told, now: SampleProgress) -> None:
    """How far a sample is went to `tell`."""
    told = f"sample: {now.done} of {now.wanted} studies; {now.damaged} damaged, {now.absent} not sent"
    tell("sample", told, **asdict(now))


def _baseline(path: Path, given: list[str], charset: str) -> Baseline:
    """What is held against the archive's answers, opened before anything is asked."""
    columns: dict[str, str] = {}
    for word in given:
        name, _, column = word.partition("=")
        columns[name] = column
    if strange := [name for name in columns if name not in COLUMNS]:
        raise Stop(f"--column {strange[0]}: the fields are {', '.join(COLUMNS)}")
    try:
        return open_baseline(path, columns, charset)
    except UnusableExport as error:
        raise Stop(f"{path} {error}") from None


def _hold_against(baseline: Baseline, differences: Path | None, ledger: Ledger, source_id: int) -> dict[str, Any]:
    """What it and the archive's answers differ in; what only it has is in the ledger afterwards."""
    found = io.StringIO()
    writer = csv.writer(found, lineterminator="\r\n")
    writer.writerow(("study_uid", "difference", "export", "archive"))

    def tell(one: Difference) -> None:
        if differences is not None:
            writer.writerow((one.study_uid, one.kind.value, inert(one.export), inert(one.archive)))

    try:
        done = compare(baseline.studies, ledger, source_id, tell)
        told = {**told_export(done), **baseline.told()}
    except UnusableExport as error:
        raise Stop(f"{baseline.path} {error}") from None
    finally:
        baseline.close()
    if differences is not None:
        write_report(differences, found.getvalue())
    return told


def told_export(done: Compared) -> dict[str, Any]:
    """What an export adds to the summary."""
    return {
        "export_rows": done.rows,
        "export_unusable": done.unusable,
        "export_repeated": done.repeated,
        "export_differences": {kind.value: done.kinds.get(kind, 0) for kind in Kind},
    }


def summary(done: Progress, seen: SeenCounts, cap: int | None, doubts: int, sampled: int) -> dict[str, int | None]:
    """What an inventory brought, and what the ledger now holds."""
    return {
        "studies": seen.seen,
        "instances": seen.instances,
        "uncounted_studies": seen.uncounted,
        "not_met_again": seen.unseen,
        "new": done.new,
        "changed": done.changed,
        "questions": done.asked,
        "answers_reused": done.reused,
        "undecodable": done.undecodable,
        "unsplittable": done.unsplittable,
        "two_patients": done.two_patients,
        "cap_shown": done.cap,
        "cap_in_effect": cap,
        "sampled_studies": sampled,
        "open_exceptions": doubts,
    }
