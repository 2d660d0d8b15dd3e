"""run, validate: the cluster job."""

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from enum import Enum, auto
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, JobFile, Quiet, printer, texts
from cluster.cli.exits import INTERRUPTED, Exit, Stop
from cluster.cli.live import View, live_view
from cluster.cli.worklist import StudyFile, read_studies
from cluster.inventory.take import Pass
from cluster.job import load_job
from cluster.logs import start_log
from cluster.output import Form, Output, plain, told_size
from cluster.request import Phase, Request, outlook
from cluster.run import Halted, Interrupted, Run
from cluster.runtime import RuntimeFault
from cluster.services import open_ledger, services
from cluster.summary import Summary, keep_summary, list_destinations, summarise
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate
from storage.ledger.records import DestinationState

SUMMARY_COLUMNS = (
    "destination",
    "studies",
    "instances",
    "pack_bytes",
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


class Pause(Enum):
    """What a pause means to a run that begins."""

    HOLDS = auto()
    """The run is refused: waiting for a person, it would hold the job all night and look like work."""
    ENDS = auto()


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
    studies: StudyFile = None,
    inventory: Annotated[Pass, typer.Option(help="What to ask the archive first.")] = Pass.CONTINUE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="End a pause first.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    request = Request(
        phase=phase, limit=limit, studies=None if studies is None else read_studies(studies), inventory=inventory
    )
    out = printer(as_json)
    if dry_run:
        return foresee(job_file, request, out)
    return execute(job_file, request, out, view_of(out, quiet), Pause.ENDS if resume else Pause.HOLDS)


def validate(job_file: JobFile, quiet: Quiet = False, as_json: AsJson = False) -> int:
    out = printer(as_json)
    return execute(job_file, Request(phase=Phase.VALIDATE), out, view_of(out, quiet))


def view_of(out: Output, quiet: bool) -> AbstractContextManager[View]:
    """What shows how far a run is."""
    return nullcontext(View()) if quiet else live_view(out)


def foresee(job_file: Path, request: Request, out: Output) -> int:
    """What `execute` would do went to `out`, from the ledger alone: nobody is asked and nothing is changed."""
    job = load_job(job_file)
    with open_ledger(job) as ledger:
        out.record(asdict(outlook(ledger, job.inline_destination.name, request)))
        if paused := ledger.control.paused():
            out.say(f"The job is paused ({paused}): a run would end at once. End the pause with --resume.")
    return Exit.DONE


def execute(
    job_file: Path, request: Request, out: Output, shown: AbstractContextManager[View], pause: Pause = Pause.HOLDS
) -> int:
    """The job went as far as it could; its summary went to `out`."""
    job = load_job(job_file)
    start_log(job.state_dir, "run")
    started = time.monotonic()
    with services(job) as running:
        url = running.ledger.resolved()
        migrate(url)
        with Ledger(url) as ledger, shown as view:
            if pause is Pause.ENDS:
                ledger.control.resume()
            elif request.phase is not Phase.INVENTORY and (reason := ledger.control.paused()):
                raise Stop(
                    f"the job is paused ({reason}) and nothing was begun. Go on with: limosa resume {job_file}, "
                    "or run with --resume.",
                    Exit.EXCEPTIONS,
                )
            before = ledger.facts.written().bytes
            driver = Run(
                job,
                running,
                ledger,
                request,
                watch=view.show,
                watch_inventory=view.show_inventory,
                watch_plan=view.show_plan,
                interrupted=view.interrupted,
            )
            try:
                driver.execute()
            except Interrupted as interrupt:
                # Told here: Typer makes a bare exit code of a KeyboardInterrupt.
                raise Stop(str(interrupt), INTERRUPTED) from None
            except Halted as halted:
                raise Stop(f"no mover can work: {halted}; then run again.") from None
            except RuntimeFault as fault:
                raise Stop(f"{fault}. Logs are in {job.state_dir / 'logs'}; then run again.") from None
            unlisted = [uid for uid in request.studies or () if ledger.status.study(uid) is None]
            asked = running.destinations if request.phase in (Phase.ALL, Phase.VALIDATE) else ()
            summary = summarise(ledger, list_destinations(ledger, asked))
    seconds = time.monotonic() - started
    keep_summary(job.state_dir, plain(summary.document(seconds)))
    show_summary(out, summary, seconds, summary.bytes - before)
    ended = summary.exit_of_part if request.partial else summary.exit
    if unlisted:
        sys.stderr.write(
            f"limosa: {len(unlisted)} of the {len(request.studies or ())} named studies are not in the ledger, "
            f"because the archive does not list them. The first is {unlisted[0]}\n"
        )
    return Exit.EXCEPTIONS if unlisted and ended is Exit.DONE else ended


def show_summary(out: Output, summary: Summary, seconds: float, moved: int) -> None:
    """The summary as a table a person reads, or the document a script does; `moved`: bytes this run brought."""
    if out.form is Form.JSON:
        out.record(summary.document(seconds))
        return
    empty = f" ({summary.empty} more are confirmed empty)" if summary.empty else ""
    out.say(
        f"{summary.written} of {summary.studies} studies are complete{empty}: "
        f"{summary.instances} instances, {told_size(summary.bytes)} of DICOM"
    )
    if moved:
        rate = moved / seconds / 1e6 if seconds else 0.0
        out.say(
            f"this run brought {told_size(moved)} of DICOM from the source in {seconds:.1f} s, start and end included "
            f"({rate:.1f} MB/s)"
        )
    else:
        out.say(f"this run brought nothing new from the source; it took {seconds:.1f} s")
    out.rows(
        "destinations",
        SUMMARY_COLUMNS,
        [asdict(each) | {"pack_bytes": each.bytes} for each in summary.destinations],
    )
    for source in summary.stopped_sources:
        out.say(
            f"{source.name} is stopped ({source.stopped}): {source.waiting} studies wait for it. "
            "Mend what stopped it (`limosa check` tries it), then run again."
        )
    for each in summary.destinations:
        if each.unfinished and not each.closed:
            states = ", ".join(f"{count} {state}" for state, count in sorted(each.unfinished_states.items()))
            back = "; limosa validate reads back what is written" if "written" in each.unfinished_states else ""
            out.say(f"{each.destination}: not proven yet: {states}{back}")
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
