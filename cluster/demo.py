"""The demo: a whole migration on this machine, with an accident, ending in a proof.

Nothing in it is feigned: the job file is an ordinary one, the run is the one `limosa run` makes, and the movers,
the ledger, the S3 endpoint and the archive are processes of their own. Only the archive is invented, and three
troubles are staged so that exceptions can be seen.

    archive, Postgres, S3 start ─> inventory ─> movers, feeder, validator ─> second opinion ─> all of it ends
                                                  └ one mover is killed, and comes back
"""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from types import FrameType

from actors.destinations import open_destination
from cluster.demo_accidents import Accidents
from cluster.demo_folder import DemoFolder, own_folder
from cluster.demo_proof import Comparison, compare
from cluster.demo_source import (
    ARCHIVE_AE,
    RECEIVER_AE,
    STAGED,
    DemoArchive,
    Ports,
    demo_archive,
    free_ports,
    launched_archive,
)
from cluster.exit import Exit
from cluster.inventory.walk import Progress as InventoryProgress
from cluster.job import Job, load_job
from cluster.logs import start_log
from cluster.progress import Progress
from cluster.request import Request
from cluster.run import Run
from cluster.services import Services, services
from cluster.summary import Summary, list_destination, summarise
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a demo came to."""

    folder: DemoFolder
    archive: DemoArchive
    summary: Summary
    accidents: Accidents
    comparisons: tuple[Comparison, ...]

    @property
    def manifest_compared(self) -> int:
        return sum(each.compared for each in self.comparisons)

    @property
    def damaged(self) -> bool:
        """Bytes at a destination are not what they were, by Limosa's own account or by the second opinion."""
        return self.summary.exit is Exit.INTEGRITY or not all(each.equal for each in self.comparisons)

    @property
    def surprises(self) -> tuple[str, ...]:
        """One sentence for everything that is not as a demo expects it; empty when all is well."""
        return tuple(_surprises(self))

    @property
    def exit(self) -> Exit:
        """0 only when everything is as expected: the staged exceptions are, others are not."""
        if self.damaged:
            return Exit.INTEGRITY
        return Exit.EXCEPTIONS if self.surprises else Exit.DONE


def _surprises(outcome: Outcome) -> Iterator[str]:
    summary = outcome.summary
    kinds = [problem.kind for problem in summary.exceptions]
    for kind in sorted({*kinds, *STAGED}):
        if kinds.count(kind) != (kind in STAGED):
            yield f"{kinds.count(kind)} exceptions {kind}, {int(kind in STAGED)} staged"
    if summary.studies != len(outcome.archive.manifest.study_uids):
        yield f"{summary.studies} studies found, {len(outcome.archive.manifest.study_uids)} held by the archive"
    # The study whose image is withheld waits at the destinations that are fed.
    waiting = len(summary.destinations) - 1
    if summary.unfinished != waiting or summary.unknown:
        yield f"{summary.unfinished} deliveries unfinished ({waiting} expected), {summary.unknown} unknown packs"
    if outcome.accidents.failure is not None:
        yield f"not everything was staged: {outcome.accidents.failure}"
    elif outcome.accidents.killed is None:
        yield "no mover could be killed while it held a study"
    if outcome.damaged:
        yield "bytes at a destination are not those of the archive"


def run_demo(path: Path, studies: int, tell: Tell) -> Outcome:
    """A migration has run in the folder; nothing of it runs any more.

    Raises
    ------
    FolderRefused, FolderInUse
        The folder is not the demo's to use.
    NotReady, ServerError
        The archive, Postgres or S3 does not start.
    RuntimeFault, Halted
        As `Run.execute`.
    """
    with ended_whole(), own_folder(path) as folder:
        tell(f"everything of this demo lies in {folder.root}")
        ports = free_ports()
        folder.device.mkdir()
        folder.job_file.write_text(job_text(folder, ports), encoding="utf-8")
        job = load_job(folder.job_file)
        start_log(job.state_dir, "demo")
        with launched_archive(folder, studies, ports) as process, services(job) as running:
            tell("Postgres and S3 answer")
            archive = demo_archive(studies)
            process.await_ready()
            tell(
                f"the archive answers: {len(archive.manifest.study_uids)} studies, {len(archive.manifest)} objects in "
                f"{archive.syntaxes} transfer syntaxes, {archive.undated} studies without a date"
            )
            migrate(running.ledger.resolved())
            with Ledger(running.ledger.resolved()) as ledger:
                return _migrate(folder, archive, job, running, ledger, ports, tell)


def _migrate(
    folder: DemoFolder,
    archive: DemoArchive,
    job: Job,
    running: Services,
    ledger: Ledger,
    ports: Ports,
    tell: Tell,
) -> Outcome:
    news = News(tell)
    driver = Run(job, running, ledger, Request(), watch=news.show, watch_inventory=news.show_inventory)
    with Accidents(ledger, running.inline, ports.receiver, tell) as accidents:
        driver.execute()
    tell("nothing is left to do; every destination is listed and compared with the archive")
    sinks = [open_destination(options) for options in running.destinations]
    summary = summarise(ledger, {sink.name: list_destination(ledger, sink) for sink in sinks})
    without = frozenset({archive.unsent.study_uid})
    return Outcome(
        folder=folder,
        archive=archive,
        summary=summary,
        accidents=accidents,
        comparisons=tuple(compare(sink, archive.manifest, without) for sink in sinks),
    )


class News:
    """Tells how far the run is whenever that has changed."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._last = ""

    def show(self, progress: Progress) -> None:
        places = "; ".join(
            f"{each.name}: {each.written + each.validated} written, {each.validated} proven"
            for each in progress.destinations
        )
        self._say(f"{progress.total} studies; {places}; {progress.exceptions} exceptions")

    def show_inventory(self, progress: InventoryProgress) -> None:
        self._say(f"the archive is asked for its studies: {progress.stage}")

    def _say(self, sentence: str) -> None:
        if sentence != self._last:
            self._last = sentence
            self._tell(sentence)


def job_text(folder: DemoFolder, ports: Ports) -> str:
    """The demo's job file, as a person could have written it."""
    template = resources.files("cluster").joinpath("demo_job.toml").read_text(encoding="utf-8")
    return Template(template).substitute(
        archive_port=ports.archive,
        archive_ae=ARCHIVE_AE,
        receiver_port=ports.receiver,
        receiver_ae=RECEIVER_AE,
        # For paths, JSON's string is TOML's basic string.
        device=json.dumps(str(folder.device), ensure_ascii=False),
    )


@contextmanager
def ended_whole() -> Iterator[None]:
    """An interrupt ends the block in order, and further ones are ignored meanwhile: servers half stopped would stay."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in _ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
