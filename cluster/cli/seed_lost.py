"""seed lost: a device that nobody will read again."""

import getpass
from typing import Annotated, cast

import typer

from actors.problems import problem
from cluster.cli.arguments import AsJson, DecidedBy, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.cli.seed_seal import One
from cluster.job import SeedDestination, load_job
from cluster.seeding.choice import device_row, mounted
from cluster.seeding.reading import packs_of
from cluster.services import open_ledger
from imaging.uid import Uid
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState
from storage.ledger.records import Json


def add_to(app: typer.Typer) -> None:
    app.command(
        "lost",
        **texts(
            "Record that a device died or never arrived.",
            'limosa seed lost move.toml SN-1 --note "does not spin up any more" --by m.keller',
            'limosa seed lost move.toml S3ZNX0K --note "parcel 1Z999 is lost" --json',
            more="Every study on it becomes an exception DEVICE_LOST. Fetch them all again with `limosa exceptions "
            "resolve move.toml --kind DEVICE_LOST --as renew`; should the device turn up after all, --as retry instead "
            "takes everything back. Refused while the device is mounted here. Ends with 2 when studies were on it.",
        ),
    )(lost)


def lost(
    job_file: JobFile,
    device: One,
    note: Annotated[str, typer.Option(help="What happened to it; goes into the evidence.")],
    by: DecidedBy = "",
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    # A driver would go on handing out what is on it.
    with open_ledger(job) as ledger, ledger.job_lock(job.job.name):
        row = device_row(ledger, device, ())
        here = [each for seed in job.destinations if isinstance(seed, SeedDestination) for each in mounted(seed)]
        if row.device_id in {each.id for each in here}:
            raise Stop(f"device {row.path_label} is mounted; `limosa seed verify` says what of it is damaged")
        evidence = {"device": row.device_id, "serial": row.serial or "", "note": note}
        studies = instances = 0
        told = _told(ledger, row.device_id)
        last: Uid | None = None
        for pack in packs_of(ledger, row.device_id):
            if pack.state is DeliveryState.VOID or not pack.current or pack.study_uid in told:
                continue
            found = problem("DEVICE_LOST", {**evidence, "key": pack.receipt.key})
            ledger.seeds.damaged(pack, found, by=by or getpass.getuser())
            # Volumes of one study are neighbours.
            studies, instances = studies + (pack.study_uid != last), instances + pack.instances
            last = pack.study_uid
    printer(as_json).record(
        {"device_id": row.device_id, "serial": row.serial, "studies": studies, "instances": instances}
    )
    return Exit.EXCEPTIONS if studies else Exit.DONE


def _told(ledger: Ledger, device_id: str) -> set[Uid | None]:
    """The studies of which it is on record already that they were on the device."""
    found: set[Uid | None] = set()
    after = 0
    while page := ledger.exceptions.list_open(kind="DEVICE_LOST", after=after):
        for each in page:
            earlier = cast(list[Json], each.evidence.get("earlier", []))
            if any(one.get("device") == device_id for one in (each.evidence, *earlier)):
                found.add(each.study_uid)
        after = page[-1].exception_id
    return found
