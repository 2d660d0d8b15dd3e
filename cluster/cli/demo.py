"""demo: the main job, for real, on this machine."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.cli.run import show_summary
from cluster.demo import Outcome, run_demo
from cluster.demo_folder import FolderInUse, FolderRefused
from cluster.demo_source import STAGED
from cluster.output import Form, Output
from cluster.run import Halted
from cluster.runtime import RuntimeFault
from infra.simulator.process import NotReady

FOLDER = Path("limosa-demo")
"""Where a demo lies unless told otherwise: beside the person who started it, and named for what it is."""


def add_to(app: typer.Typer) -> None:
    app.command(
        "demo",
        **texts(
            "Show a whole migration on this machine, ending in a proof.",
            "limosa demo",
            "limosa demo --dir /tmp/limosa-demo --json",
            more="An archive, Postgres, S3, a device folder and Ray are started, studies move, a mover is killed, "
            "everything is read back and compared. Three exceptions are staged; 0 means that all is as it should be. "
            "The folder is emptied first, if a demo made it.",
        ),
    )(demo)


def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Where everything lies afterwards.")] = FOLDER,
    studies: Annotated[int, typer.Option(min=4, max=5000, help="Generated studies beside the sample files.")] = 60,
    as_json: AsJson = False,
) -> int:
    out = printer(as_json)
    started = time.monotonic()
    told = Output(Form.PLAIN, sys.stderr if as_json else sys.stdout)

    def tell(sentence: str) -> None:
        told.say(f"{time.monotonic() - started:5.1f} s  {sentence}")

    try:
        outcome = run_demo(folder, studies, tell)
    except FolderRefused as error:
        raise Stop(f"{error}. Name another folder with --dir.") from None
    except FolderInUse as error:
        raise Stop(str(error), Exit.HELD) from None
    except NotReady as error:
        raise Stop(f"the demo's archive did not start: {error}") from None
    except Halted as halted:
        raise Stop(f"no mover can work: {halted}") from None
    except RuntimeFault as fault:
        raise Stop(f"{fault}. Logs are in {folder}/demo.limosa/logs.") from None
    show(out, outcome, time.monotonic() - started)
    return outcome.exit


def show(out: Output, outcome: Outcome, seconds: float) -> None:
    """What the demo came to, where it lies, and how to look further."""
    if out.form is Form.JSON:
        out.record(document(outcome, seconds))
        return
    out.say("")
    show_summary(out, outcome.summary, seconds, outcome.summary.bytes)
    out.say("")
    for kind, who in STAGED.items():
        out.say(f"staged on purpose: {kind}: {who}")
    if (killed := outcome.accidents.killed) is not None:
        out.say(f"killed: {killed.worker}, with {killed.held} studies half done; nothing of them is missing or twice")
    for each in outcome.comparisons:
        out.say(
            f"compared with the archive itself, at {each.destination}: {each.compared} datasets, "
            f"{each.different} different, {each.absent} absent, {each.surplus} too many"
        )
    for surprise in outcome.surprises:
        out.say(f"NOT AS EXPECTED: {surprise}")
    if not outcome.surprises:
        out.say("All is as expected: what the archive sent is at both destinations, once, to the byte.")
    file = outcome.folder.job_file
    out.say("")
    out.say(f"Everything lies in {outcome.folder.root}: the job file, the device, S3, the ledger, logs. Look further:")
    out.say(f"  limosa status {file}")
    out.say(f"  limosa exceptions list {file}")
    out.say(f"  limosa studies show {file} {outcome.archive.unsent.study_uid}")
    out.say(f"The archive ended with the demo; {outcome.folder.archive_script} starts it again for `limosa check`.")


def document(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The outcome for scripts; fields are only ever added."""
    killed, folder = outcome.accidents.killed, outcome.folder
    return outcome.summary.document(seconds) | {
        "killed_movers": int(killed is not None),
        "killed": None if killed is None else asdict(killed) | {"returned_as": outcome.accidents.returned_as},
        "staged": STAGED,
        "manifest_compared": outcome.manifest_compared,
        "manifest": [asdict(each) for each in outcome.comparisons],
        "surprises": outcome.surprises,
        "where": {"folder": folder.root, "job_file": folder.job_file, "archive": folder.archive_script},
    }
