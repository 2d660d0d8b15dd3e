"""run, validate: the cluster job."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.cli.live import live_view
from cluster.inventory.take import Pass
from cluster.job import load_job
from cluster.logs import start_log
from cluster.output import Form, Output, plain
from cluster.run import Halted, Phase, Request, Run, outlook
from cluster.runtime import RuntimeFault
from cluster.services import open_ledger, services
from cluster.summary import Summary, keep_summary, list_destinations, summarise
from imaging.uid import InvalidUid, Uid, parse_uid
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate
from storage.ledger.records import DestinationState

SUMMARY_COLUMNS = (
    "destination",
    "studies",
    "instances",
    "bytes",
    "digests_compared",
    "digest_mismatches",
    "missing",
    "duplicated",
    "unknown",
    "gone",
    "unfinished",
)
_NEXT = {
    DestinationState.OPEN: "",
    DestinationState.FULL: "Add a device to its devices in the job file, then run again.",
    DestinationState.STOPPED: "Mend what stopped it (`limosa check` tries it), then run again.",
}


def add_to(app: typer.Typer) -> None:
    app.command(
        "run",
        **texts(
            "Move the archive: inventory, pull, write, feed, validate.",
            "limosa run move.toml",
            "limosa run move.toml --limit 100 --phase move --json",
            more="Interrupted in any way, run it again: it does only what is left.",
        ),
    )(run)
    app.command(
        "validate",
        **texts(
            "Read back every delivery that is not proven yet.",
            "limosa validate move.toml",
            "limosa validate move.toml --json",
            more="Afterwards what the destinations themselves list is held against the ledger.",
        ),
    )(validate)


def run(
    job_file: JobFile,
    phase: Annotated[Phase, typer.Option(help="How far to go.")] = Phase.ALL,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many undelivered studies.")] = None,
    studies: Annotated[Path | None, typer.Option(help="A CSV whose first column holds Study Instance UIDs.")] = None,
    inventory: Annotated[Pass, typer.Option(help="What to ask the archive first.")] = Pass.CONTINUE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")] = False,
    as_json: AsJson = False,
) -> int:
    request = Request(
        phase=phase, limit=limit, studies=None if studies is None else read_studies(studies), inventory=inventory
    )
    out = printer(as_json)
    return foresee(job_file, request, out) if dry_run else execute(job_file, request, out)


def validate(job_file: JobFile, as_json: AsJson = False) -> int:
    return execute(job_file, Request(phase=Phase.VALIDATE), printer(as_json))


def foresee(job_file: Path, request: Request, out: Output) -> int:
    """What `execute` would do went to `out`, from the ledger alone: nobody is asked and nothing is changed."""
    job = load_job(job_file)
    with open_ledger(job) as ledger:
        out.record(asdict(outlook(ledger, job.inline_destination.name, request)))
    return Exit.DONE


def execute(job_file: Path, request: Request, out: Output) -> int:
    """The job went as far as it could; its summary went to `out`."""
    job = load_job(job_file)
    start_log(job.state_dir, "run")
    started = time.monotonic()
    with services(job) as running:
        url = running.ledger.resolved()
        migrate(url)
        with Ledger(url) as ledger, live_view(out) as view:
            before = ledger.facts.written().bytes
            driver = Run(job, running, ledger, request, watch=view.show, watch_inventory=view.show_inventory)
            try:
                driver.execute()
            except Halted as halted:
                raise Stop(f"no mover can work: {halted}; then run again.") from None
            except RuntimeFault as fault:
                raise Stop(f"{fault}. Logs are in {job.state_dir / 'logs'}; then run again.") from None
            asked = running.destinations if request.phase in (Phase.ALL, Phase.VALIDATE) else ()
            summary = summarise(ledger, list_destinations(ledger, asked))
    seconds = time.monotonic() - started
    keep_summary(job.state_dir, plain(summary.document(seconds)))
    show_summary(out, summary, seconds, summary.bytes - before)
    return summary.exit_of_part if request.partial else summary.exit


def show_summary(out: Output, summary: Summary, seconds: float, moved: int) -> None:
    """The summary as a table a person reads, or the document a script does; `moved` is what this run wrote."""
    if out.form is Form.JSON:
        out.record(summary.document(seconds))
        return
    out.say(
        f"{summary.studies} studies ({summary.empty} confirmed empty), {summary.instances} instances, "
        f"{summary.bytes} bytes are complete"
    )
    rate = moved / seconds / 1e6 if seconds else 0.0
    out.say(f"this run wrote {moved} bytes in {seconds:.1f} s, start and end included ({rate:.1f} MB/s)")
    out.rows(
        "destinations",
        SUMMARY_COLUMNS,
        [asdict(each) for each in summary.destinations],
    )
    for source in summary.stopped_sources:
        out.say(
            f"{source.name} is stopped ({source.stopped}): {source.waiting} studies wait for it. "
            "Mend what stopped it (`limosa check` tries it), then run again."
        )
    for each in summary.destinations:
        if each.closed:
            out.say(
                f"{each.destination} is {each.closed}: {each.unfinished} deliveries wait for it. {_NEXT[each.state]}"
            )
        if each.unlisted:
            out.say(f"{each.destination} was not counted: {each.unlisted}. Mend it, then: limosa validate")
    if summary.exceptions:
        out.rows(
            f"open exceptions ({summary.exception_count})",
            ("exception_id", "kind", "severity", "blocking", "study_uid", "remedy"),
            [asdict(problem) for problem in summary.exceptions],
        )


def read_studies(path: Path) -> tuple[Uid, ...]:
    """The UIDs in the first column of a CSV; a first line without one is its heading."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"{path.name} cannot be read: {type(error).__name__}") from None
    found: dict[Uid, None] = {}
    for number, line in enumerate(lines, start=1):
        cell = line.split(",")[0].strip().strip('"')
        if not cell:
            continue
        try:
            found[parse_uid(cell)] = None
        except InvalidUid as error:
            if number > 1:
                raise Stop(f"{path.name}, line {number}: not a Study Instance UID: {error}") from None
    if not found:
        raise Stop(f"{path.name} names no study")
    return tuple(found)
