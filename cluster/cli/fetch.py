"""studies fetch: bring one delivered study, or one instance of it, back from a destination."""

import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.destinations import open_destination
from actors.dimse.store import StoreEnd
from actors.options import CALLING_AE, DimseSource
from actors.source import SourceUnreachable
from cluster.cli.arguments import AsJson, JobFile, StudyUid, given_uid, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.fetch import Fetch, NotHeld, Pacs, send, write_files
from cluster.job import Job, load_job
from cluster.output import Form, Output
from cluster.services import services
from imaging.uid import Uid
from storage.budget import MemoryBudget
from storage.errors import IntegrityError
from storage.ledger.ledger import Ledger
from storage.ledger.migrate import migrate
from storage.spool import LandingPlace, Spool

_PACS = re.compile(r"(?P<host>[^\s:]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d{1,5}):(?P<title>[\x20-\x5b\x5d-\x7e]{1,16})")

MEMORY = 64 << 20
IN_MEMORY = 8 << 20
"""Bytes: an instance is whole before any of it is sent; larger ones wait in the spool."""


def add_to(app: typer.Typer) -> None:
    app.command(
        "fetch",
        **texts(
            "Bring a delivered study back from its destination.",
            "limosa studies fetch move.toml 1.2.840.1 --out /tmp/look",
            "limosa studies fetch move.toml 1.2.840.1 --instance 1.2.840.1.7 --to-pacs viewer.example:104:VIEWER",
            more="Every byte is held against the ledger before a file gets its name or an instance is sent. Sent "
            "instances keep their transfer syntax; what the PACS answers to each is listed, and anything but success "
            "ends with 2.",
        ),
    )(fetch)


def fetch(
    job_file: JobFile,
    study_uid: StudyUid,
    instance: Annotated[str | None, typer.Option(help="Only this SOP Instance UID, by one range request.")] = None,
    source: Annotated[str | None, typer.Option("--destination", help="To be read; default: a proven one.")] = None,
    revision: Annotated[int | None, typer.Option(min=1, help="Default: the latest that was written.")] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Write files below this folder.")] = None,
    to_pacs: Annotated[str | None, typer.Option(metavar="HOST:PORT:AETITLE", help="Send to a PACS instead.")] = None,
    as_json: AsJson = False,
) -> int:
    uid = given_uid("STUDY_UID", study_uid)
    sop_uid = None if instance is None else given_uid("--instance", instance)
    if (folder is None) == (to_pacs is None):
        raise Stop("give either --out FOLDER or --to-pacs HOST:PORT:AETITLE")
    pacs = None if to_pacs is None else parse_pacs(to_pacs)
    job = load_job(job_file)
    if source is not None and source not in (item.name for item in job.destinations):
        raise Stop(f"the job has no destination {source}; it has {', '.join(d.name for d in job.destinations)}")
    with services(job) as running:
        url = running.ledger.resolved()
        migrate(url)
        with Ledger(url, pool_size=1) as ledger:
            held = ledger.facts.held(uid, destination=source, revision=revision)
            if held is None:
                raise Stop(f"study {uid} is not written {_where(source, revision)}; see limosa studies show")
            options = next((item for item in running.destinations if item.name == held.destination), None)
            if options is None:
                raise Stop(f"study {uid} lies at {held.destination}, which is no longer in {job_file}")
            shown = {"study_uid": uid, "revision": held.revision, "destination": held.destination}
            try:
                found = Fetch(open_destination(options), uid, held, ledger)
                if pacs is not None:
                    return _send(printer(as_json), job, found, pacs, sop_uid, shown)
                assert folder is not None  # one of the two was given
                return _write(printer(as_json), found, folder, sop_uid, shown)
            except NotHeld as error:
                raise Stop(f"{error} in revision {held.revision} of study {uid}") from None
            except IntegrityError as error:
                step = "Nothing of it was kept; try another --destination, then run limosa validate"
                raise Stop(f"study {uid} at {held.destination}: {error}. {step}", Exit.INTEGRITY) from None


def parse_pacs(text: str) -> Pacs:
    """The PACS of `HOST:PORT:AETITLE`."""
    found = _PACS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535 or not found["title"].strip():
        raise Stop("--to-pacs takes HOST:PORT:AETITLE, for example pacs.example:104:ARCHIVE")
    return Pacs(host=found["host"].strip("[]"), port=int(found["port"]), ae_title=found["title"].strip())


def _where(source: str | None, revision: int | None) -> str:
    place = f"at {source}" if source else "anywhere"
    return f"{place} in revision {revision}" if revision else place


def _write(out: Output, found: Fetch, folder: Path, sop_uid: Uid | None, shown: dict[str, Any]) -> int:
    ends = Counter(end.value for _, end in write_files(found, folder, sop_uid))
    out.record(shown | {"folder": folder.absolute(), "instances": ends.total(), **ends})
    return Exit.DONE


def _send(out: Output, job: Job, found: Fetch, pacs: Pacs, sop_uid: Uid | None, shown: dict[str, Any]) -> int:
    spool = Spool(job.state_dir / "fetch")
    place = LandingPlace(spool, MemoryBudget(MEMORY), IN_MEMORY)
    try:
        calling_ae = job.source.calling_ae_title if isinstance(job.source, DimseSource) else CALLING_AE
        answers = list(send(found, place, pacs, calling_ae=calling_ae, sop_uid=sop_uid))
    except SourceUnreachable as error:
        raise Stop(f"{pacs.ae_title} at {pacs.host}:{pacs.port} takes nothing: {error}") from None
    finally:
        spool.close()
    rows = [{"sop_uid": each.sop_uid, **asdict(each.outcome)} for each in answers]
    for row in rows:
        row["status"] = None if row["status"] is None else f"{row['status']:04X}"
    if out.form is Form.JSON:
        out.record(shown | {"pacs": pacs.ae_title, "answers": rows})
    else:
        out.record(shown)
        out.rows("answers", ("sop_uid", "end", "status"), rows)
    return Exit.DONE if all(each.outcome.end is StoreEnd.STORED for each in answers) else Exit.EXCEPTIONS
