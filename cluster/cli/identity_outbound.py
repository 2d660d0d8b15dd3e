"""identity outbound: what destinations that keep their first copy are told."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.job import SERVICES, Job, load_job
from cluster.planning.outbound import Sent, Teller, write_messages
from cluster.registry import register_job
from cluster.services import open_ledger
from storage.ledger.ledger import Ledger
from storage.sinks.existing import Existing

COLUMNS = ("destination", "messages", "studies", "untellable", "accepted", "written", "waiting", "trouble")


def add_to(app: typer.Typer) -> None:
    app.command(
        "outbound",
        **texts(
            "Tell destinations of merges by HL7 messages.",
            "limosa identity outbound move.toml",
            "limosa identity outbound move.toml --out corrections.hl7",
            more='For destinations with existing = "told": A40 where a patient\'s studies there belong under another '
            "number by now, A08 where the patient has another name, birth date or sex. Makes each message once, and "
            "sends it until it is accepted. With --out those that wait go to a file instead, and are done. Ends with 2 "
            "when a message was not accepted or no message can tell what changed.",
        ),
    )(outbound)


def outbound(
    job_file: JobFile,
    file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write them there; must not exist yet.")
    ] = None,
    destination: Annotated[str | None, typer.Option(help="Only this one.", metavar="NAME")] = None,
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    with open_ledger(job) as ledger:
        tellers = _tellers(job, ledger, destination)
        found = [(teller, teller.make()) for teller in tellers]
        if file is None:
            for teller, sent in found:
                teller.send(sent)
        else:
            _write(file, found)
    rows = [
        asdict(sent.made) | {name: value for name, value in asdict(sent).items() if name != "made"} for _, sent in found
    ]
    printer(as_json).rows("told", COLUMNS, rows)
    failed = any(sent.trouble or sent.made.untellable for _, sent in found)
    return Exit.EXCEPTIONS if failed else Exit.DONE


def _tellers(job: Job, ledger: Ledger, destination: str | None) -> list[Teller]:
    told = [item for item in job.destinations if isinstance(item, SERVICES) and item.existing is Existing.TOLD]
    chosen = [item for item in told if destination in (None, item.name)]
    if not chosen:
        raise Stop(
            f'{job.file} has no destination with existing = "told"'
            + ("" if destination is None else f" that is called {destination}")
        )
    registered = register_job(job, ledger)
    return [Teller(ledger, registered.destinations[item.name], item, job.job.time_zone) for item in chosen]


def _write(file: Path, found: list[tuple[Teller, Sent]]) -> None:
    messages = [(teller, sent, teller.to_send()) for teller, sent in found]
    if not any(waiting for _, _, waiting in messages):
        return
    try:
        write_messages(file, [one for _, _, waiting in messages for one in waiting])
    except OSError as error:
        raise Stop(f"{file} cannot be written: {(error.strerror or 'failed').lower()}") from None
    for teller, sent, waiting in messages:
        teller.write(sent, waiting)
