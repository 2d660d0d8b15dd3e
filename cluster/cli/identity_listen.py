"""identity listen, identity refused: messages that come over a line."""

import os
import signal
import ssl
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from actors.dimse.tls import receiver_context
from actors.mllp import MllpListener
from actors.options import TlsOptions
from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Stop
from cluster.cli.identity_files import identity_of
from cluster.job import load_job
from cluster.logs import start_log
from cluster.planning.hearing import Hearing
from cluster.services import open_ledger
from imaging.hl7.acknowledge import Answer

PROGRESS = 1.0
"""Seconds between two counts on a terminal."""


def add_to(app: typer.Typer) -> None:
    app.command(
        "listen",
        **texts(
            "Take HL7 messages over MLLP into the ledger.",
            "limosa identity listen move.toml --port 2575",
            "limosa identity listen move.toml --host 0.0.0.0 --port 2575 --allow 10.1.2.7 --json",
            more="Runs until it is interrupted, then answers what it has and ends with 0. A message is acknowledged "
            "when the ledger has it: AA; AE where something in it cannot be used; AR where it is no message, or the "
            "ledger is away. It counts as one of a file `heard-DATE.hl7`. Nothing is decided yet: see `limosa plan`.",
        ),
    )(listen)
    app.command(
        "refused",
        **texts(
            "Write the messages that cannot be used to a file.",
            "limosa identity refused move.toml refused.hl7",
            "limosa identity refused move.toml /secure/refused.hl7",
            more="As they came over MLLP, one behind the other, to be corrected and imported. It holds patient data.",
        ),
    )(refused)


def listen(
    job_file: JobFile,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one, told on standard error.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all of this machine.")] = "127.0.0.1",
    allow: Annotated[
        list[str] | None, typer.Option(metavar="NETWORK", help="Who may connect; may be repeated. Default: anybody.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="Ours, PEM with its chain: turns TLS on.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key; default: in the certificate's file.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Who must have signed a sender's certificate.")] = None,
    as_json: AsJson = False,
) -> None:
    job = load_job(job_file)
    options = identity_of(job)
    start_log(job.state_dir, "identity-listen")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with open_ledger(job) as ledger:
        hearing = Hearing(ledger, options, job.job.time_zone)
        try:
            listener = MllpListener(host, port, hearing.answer, allow=allow or (), tls=_tls(certificate, key, ca))
            listener.start()
        except (OSError, ValueError) as error:
            raise Stop(f"nobody can be listened to at {host}:{port}: {error}") from None
        sys.stderr.write(f"limosa: listening at {host}:{listener.port}; interrupt it to end\n")
        sys.stderr.flush()
        while not stopping.wait(PROGRESS):
            _show_progress(hearing)
        listener.stop()
    printer(as_json).record(
        {
            "messages": sum(hearing.answers.values()),
            "accepted": hearing.answers[Answer.ACCEPTED],
            "errors": hearing.answers[Answer.ERROR],
            "rejected": hearing.answers[Answer.REJECTED],
            "events": hearing.events,
            "defects": dict(hearing.defects),
            "turned_away": dict(listener.turned_away),
        }
    )


def _show_progress(hearing: Hearing) -> None:
    """Counts on a terminal, and nothing of what was said."""
    if sys.stderr.isatty():
        told = ", ".join(f"{hearing.answers[answer]} {answer.value}" for answer in Answer)
        sys.stderr.write(f"\rlimosa: {told}, {hearing.events} events")
        sys.stderr.flush()


def _tls(certificate: Path | None, key: Path | None, ca: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None or ca is not None:
            raise Stop("--key and --ca need --certificate")
        return None
    files = {"certificate": certificate, "key": key, "ca": ca}
    return receiver_context(TlsOptions(**{name: path and path.absolute() for name, path in files.items()}))


def refused(
    job_file: JobFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Must not exist yet.", show_default=False)],
) -> None:
    count = 0
    with open_ledger(load_job(job_file)) as ledger:
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise Stop(f"{file} cannot be written: {(error.strerror or 'failed').lower()}") from None
        with os.fdopen(descriptor, "wb") as opened:
            for message in ledger.identity.refused():
                opened.write(message.octets.rstrip(b"\r\n") + b"\r")
                count += 1
    printer(False).say(f"{count} message{'' if count == 1 else 's'} written to {file}.")
