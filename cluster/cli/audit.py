"""audit: which private elements there are, what the destination makes of them, and what people decided."""

import getpass
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from actors.destination_options import DestinationOptions, DimseOptions
from cluster.audit.document import Audited, document_of
from cluster.audit.source import Counter, count_source
from cluster.audit.take import Auditor
from cluster.cli.arguments import AsJson, DecidedBy, JobFile, Quiet, printer, texts
from cluster.cli.doing import Told, doing
from cluster.cli.exits import Exit, Stop
from cluster.cli.reports import report_files, write_reports
from cluster.inventory.sample import SamplingRefused
from cluster.job import Job, load_job
from cluster.reports.audit_page import page_of
from cluster.reports.pages import json_of
from cluster.services import open_ledger, services
from cluster.sources import receiving
from storage.budget import MemoryBudget
from storage.ledger.audits import Fate
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate
from storage.sinks.options import DicomwebOptions
from storage.spool import LandingPlace, Spool

MEMORY = 64 << 20
IN_MEMORY = 16 << 20
"""Bytes: an instance is whole before it is looked at; larger ones wait in the spool."""

FORMS = {".html": page_of, ".json": json_of}

_GROUP = re.compile(r"\(?(?:0x)?([0-9A-Fa-f]{4})")
_LOW = re.compile(r"(?:xx|0x)?([0-9A-Fa-f]{2})")
Creator = Annotated[str, typer.Argument(metavar="CREATOR", help="As the audit names it.", show_default=False)]
Group = Annotated[
    str, typer.Argument(metavar="GROUP", help="Four hexadecimal digits, such as 7005.", show_default=False)
]
Destination = Annotated[str | None, typer.Option(help="Destination it is about; default: the last of the job.")]


class Origin(StrEnum):
    """Where a sample is read."""

    WRITTEN = "written"
    SOURCE = "source"


class _AuditGroup(TyperGroup):
    """`limosa audit JOB` is `limosa audit take JOB`: what follows is a job file unless it is a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args and args[0] in self.commands else ["take", *args])


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        cls=_AuditGroup, no_args_is_help=True, help="Private elements: what is there, and what becomes of it."
    )
    group.command(
        "take",
        **texts(
            "Count the private elements of a sample, written or at the source.",
            "limosa audit take move.toml --from source --sample 2 --report audit.html",
            "limosa audit take move.toml --sample 10 --destination vna --json",
            more="Of each kind of study and year so many studies, of each series its first, middle and last instance. "
            "Before anything is written they are retrieved from the source, counted and let go. "
            "Where the destination is a DICOM service, the same instances are read back from it and compared: that "
            "shows what it drops. Ends with 2 while an element needs a word, or where nothing was looked at.",
        ),
    )(take)
    group.command(
        "decide",
        **texts(
            "Decide what becomes of a private block, or of one element of it.",
            'limosa audit decide move.toml TOSHIBA_MEC_CT3 7005 --as keep --by "A. Physicist"',
            'limosa audit decide move.toml "SPI-P Release 1" 0029 --element C0 --as accept_loss --note "not used"',
            more="The latest decision counts; all are kept. `open` takes one back.",
        ),
    )(decide)
    app.add_typer(group, name="audit")


def take(
    job_file: JobFile,
    sample: Annotated[int, typer.Option(min=1, max=1_000, help="Studies of each kind and year.")] = 5,
    destination: Destination = None,
    origin: Annotated[
        Origin | None, typer.Option("--from", help="Where to read; default: what is written, if anything is.")
    ] = None,
    seed: Annotated[str, typer.Option(help="Another one chooses other studies.")] = "1",
    report: Annotated[
        list[Path] | None, typer.Option(help="Write the audit as .html or .json; may be given several times.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    reports = report_files(report, FORMS)
    job = load_job(job_file)
    name = _destination(job, destination)
    with services(job) as running:
        url = running.ledger.resolved()
        migrate(url)
        with Ledger(url, pool_size=2) as ledger, doing(quiet) as tell:
            if origin is None:
                written = ledger.audits.chosen(per_stratum=1, seed=seed)
                origin = Origin.WRITTEN if written else Origin.SOURCE
            if origin is Origin.WRITTEN:
                found = _of_written(job, ledger, running.destinations, name, sample, seed, tell)
            else:
                found = _of_source(job, ledger, running.destinations, name, sample, seed, tell)
    document = document_of(found)
    write_reports(reports, FORMS, document)
    _show(document, reports, as_json)
    # A sample of nothing finds nothing; that must not look like an audit that went well.
    return Exit.EXCEPTIONS if document["open"] or not document["sample"]["instances"] else Exit.DONE


def _of_written(
    job: Job, ledger: Ledger, destinations: Sequence[DestinationOptions], name: str, sample: int, seed: str, tell: Told
) -> Audited:
    spool = Spool(job.state_dir / "audit")
    try:
        place = LandingPlace(spool, MemoryBudget(MEMORY), IN_MEMORY)
        return Auditor(ledger, destinations, place).take(
            job=job.job.name,
            at=datetime.now(UTC),
            destination=name,
            per_stratum=sample,
            seed=seed,
            report=lambda done, of: tell_audit(tell, done, of),
        )
    finally:
        spool.close()


def _of_source(
    job: Job, ledger: Ledger, destinations: Sequence[DestinationOptions], name: str, sample: int, seed: str, tell: Told
) -> Audited:
    counter = Counter()
    chosen = ledger.audits.chosen(per_stratum=sample, seed=seed, written=False)
    if chosen:
        try:
            with ledger.job_lock(job.job.name), receiving(job, ledger, counter.take) as (source, receiver):
                count_source(
                    source,
                    receiver,
                    counter,
                    chosen,
                    quiet=job.source.quiet,
                    report=lambda done: tell_audit(tell, done, len(chosen)),
                )
        except SamplingRefused as error:
            raise Stop(f"{error}: have its administrator register it; `limosa check` says with which port.") from None
        except OSError as error:
            raise Stop(f"{job.receivers[0].ae_title} cannot listen: {error.strerror}. End what has its port.") from None
    [options] = [each for each in destinations if each.name == name]
    return Audited(
        job=job.job.name,
        at=datetime.now(UTC),
        seed=seed,
        destination=name,
        read_from="source",
        keeps_bytes=not isinstance(options, DicomwebOptions | DimseOptions),
        chosen=chosen,
        tally=counter.tally,
        round_trip=None,
        decisions=ledger.audits.decisions(name),
    )


def tell_audit(tell: Told, done: int, of: int) -> None:
    """How far an audit is went to `tell`."""
    tell("audit", f"{done} of {of} studies looked at", studies=done, of=of)


def decide(
    job_file: JobFile,
    creator: Creator,
    group: Group,
    fate: Annotated[Fate, typer.Option("--as", help="What becomes of it.", show_default=False)],
    element: Annotated[str | None, typer.Option(help="Low byte of one element; default: the whole block.")] = None,
    destination: Destination = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    by: DecidedBy = "",
) -> None:
    number = _GROUP.fullmatch(group.strip("(), "))
    low = _LOW.fullmatch(element) if element is not None else None
    if number is None or not int(number[1], 16) & 1:
        raise Stop("GROUP is an odd group of four hexadecimal digits, such as 7005")
    if element is not None and low is None:
        raise Stop("--element takes the low byte as two hexadecimal digits, such as 63")
    job = load_job(job_file)
    with open_ledger(job) as ledger:
        ledger.audits.decide(
            _destination(job, destination),
            creator.strip(),
            int(number[1], 16),
            None if low is None else int(low[1], 16),
            fate,
            by=by or getpass.getuser(),
            note=note,
        )
    typer.echo(f"{creator.strip()} ({number[1].upper()},xx{low[1].upper() if low else '..'}): {fate.value}", err=True)


def _destination(job: Job, named: str | None) -> str:
    """The last destination is the next archive more often than the first, which is written while the source sends."""
    names: Sequence[str] = [item.name for item in job.destinations]
    if named is not None and named not in names:
        raise Stop(f"the job has no destination {named}; it has {', '.join(names)}")
    return named or names[-1]


def _show(document: dict[str, Any], reports: list[Path], as_json: bool) -> None:
    out = printer(as_json)
    if as_json:
        out.record(document)
        return
    columns = ("creator", "group", "vendor", "instances", "studies", "elements", "unknown", "roles", "open")
    rows = [
        {**block, "elements": len(block["elements"]), "roles": " ".join(block["roles"])} for block in document["blocks"]
    ]
    out.rows("private blocks", columns, rows)
    for path in reports:
        out.say(f"report: {path}")
    if not document["sample"]["instances"]:
        out.say(
            "Nothing was looked at: the inventory knows no study yet, or the archive sent none."
            if document["read_from"] == "source"
            else "Nothing was looked at: no study is written yet, or none could be read."
        )
        return
    trip = document["round_trip"]
    if trip is not None:
        out.rows("what came back otherwise", ("element", "change", "instances"), trip["differences"])
        out.say(f"{trip['equal']} of {trip['instances']} instances came back the same from {trip['destination']}.")
    out.say(
        f"{document['sample']['instances']} instances of {document['sample']['studies']} studies looked at; "
        f"{document['open']} elements need a word{' (limosa audit decide)' if document['open'] else ''}."
    )
