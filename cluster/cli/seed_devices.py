"""seed key, init, status: keys, devices before they are loaded, and what is on which."""

from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.job import SeedDestination, load_job
from cluster.registry import register_job
from cluster.seeding.choice import answering, hanging_devices, seed_of
from cluster.seeding.forecast import forecasts
from cluster.seeding.preparing import prepare
from cluster.services import open_ledger
from storage.errors import Retryable
from storage.seeds.notes import SigningKey
from storage.seeds.seal import SERIAL
from storage.sinks.cipher import DiskKey

PATIENCE = timedelta(seconds=10)
"""Longest wait of `seed status` for a device: a sleeping disk has started by then."""

SeedName = Annotated[
    str | None, typer.Option("--destination", help="Name of the seed destination; default: the only one.")
]


def add_to(app: typer.Typer) -> None:
    app.command(
        "key",
        **texts(
            "Make the key that seals or receipts are signed with.",
            "limosa seed key /srv/limosa/seal.key",
            "limosa seed key ~/receiving.key --name cloud-team --json",
            more="The file is yours alone (0600) and never lies on a device. Its verifier key, printed and beside it "
            "as .pub, is for the other side. Whoever has the file can seal in your name: keep it like a password.",
        ),
    )(key)
    app.command(
        "disk-key",
        **texts(
            "Make the key that plain disks are encrypted with.",
            "limosa seed disk-key /srv/limosa/disk.key",
            "limosa seed disk-key /srv/limosa/disk.key --json",
            more="Name it in the job file (disk_key of the destination) before the first disk is prepared, and hand it "
            "to the receiver by another way than the disks. Whoever has it can read them; without it nobody can.",
        ),
    )(disk_key)
    app.command(
        "init",
        **texts(
            "Prepare a device: label, limits, instructions, ledger.",
            "limosa seed init move.toml /media/seed-1 --serial S3ZNX0K",
            "limosa seed init move.toml /mnt/databox/limosa-seed --serial BSBX1234 --json",
            more="The folder has to be among the destination's `devices` and empty. The kind of device is `profile` of "
            "the destination. Nothing that is there is removed.",
        ),
    )(init)
    app.command(
        "status",
        **texts(
            "Show what is on which device, from the ledger.",
            "limosa seed status move.toml",
            "limosa seed status move.toml --json",
            more="Devices need not be mounted; room and fill are known of those that are. One that hangs does not read "
            "or write. The rate is that of the last "
            "ten minutes; the time left (h:mm) is until the device is full, or until nothing waits for it. Ends with "
            "2 when packs need a person or a device hangs.",
        ),
    )(status)


def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes; must not exist.", show_default=False)],
    name: Annotated[str, typer.Option(help="Whose key it is: lower-case letters, digits, hyphens.")] = "limosa",
    as_json: AsJson = False,
) -> None:
    try:
        made = SigningKey.generate(name)
    except ValueError as error:
        raise Stop(f"--name: {error}") from None
    made.save(file)
    public = file.with_name(f"{file.name}.pub")
    public.write_text(f"{made.verifier}\n", encoding="ascii")
    printer(as_json).record(
        {
            "file": file,
            "verifier_file": public,
            "verifier": str(made.verifier),
            "fingerprint": made.verifier.fingerprint,
        }
    )


def disk_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes; must not exist.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    made = DiskKey.generate()
    made.save(file)
    printer(as_json).record({"file": file, "disk_key": made.id})


def init(
    job_file: JobFile,
    device: Annotated[Path, typer.Argument(metavar="DEVICE", help="Where it is mounted.", show_default=False)],
    serial: Annotated[str, typer.Option(help="As it stands on the device; goes onto slip and seal.")],
    destination: SeedName = None,
    as_json: AsJson = False,
) -> None:
    if SERIAL.fullmatch(serial) is None:
        raise Stop("--serial takes 1 to 64 letters, digits, dots, hyphens and underscores")
    job = load_job(job_file)
    options = seed_of(job, destination)
    root = next((root for root in options.devices if root.absolute() == device.absolute()), None)
    if root is None:
        raise Stop(
            f'{device} is not among the devices of destination "{options.name}" in {job_file}; add it there first'
        )
    if not root.is_dir():
        raise Stop(
            f"{device} is no folder: mount the device there, or make the folder (mkdir {device}) where it is to be one "
            "of this machine's own disk; then give this command again"
        )
    with open_ledger(job) as ledger:
        destination_id = register_job(job, ledger).destinations[options.name]
        prepared = prepare(ledger, destination_id, options, root, serial)
    printer(as_json).record(asdict(prepared))


def status(job_file: JobFile, as_json: AsJson = False) -> int:
    job = load_job(job_file)
    loadable: dict[str, int] = {}
    serials: dict[str, str] = {}
    silent: set[tuple[str, str]] = set()
    for options in (each for each in job.destinations if isinstance(each, SeedDestination)):
        there, hanging = answering(options, PATIENCE)
        silent.update((options.name, name) for name in hanging)
        for each in there:
            serials[each.id] = each.serial
            # One that fails at this moment is as good as not mounted.
            with suppress(OSError, Retryable):
                loadable[each.id] = 0 if each.sealed else max(0, each.free() - options.room_kept)
            if each.deadline.hanging:
                silent.add((options.name, each.root.name))
    with open_ledger(job) as ledger:
        devices, waiting = ledger.seeds.devices(), ledger.seeds.waiting()
        told = hanging_devices(ledger)
    ahead = forecasts(devices, loadable, waiting)
    rows: list[dict[str, Any]] = [
        asdict(row)
        | asdict(ahead[row.device_id])
        | {
            "serial": serials.get(row.device_id) or row.serial,
            "hangs": row.device_id in told or (row.destination, row.path_label) in silent,
        }
        for row in devices
    ]
    out = printer(as_json)
    if out.form.value != "json":
        rows = [row | _readable(row) for row in rows]
    out.rows(
        "devices",
        (
            "path_label",
            "serial",
            "state",
            "hangs",
            "packs",
            "instances",
            "bytes",
            "loadable",
            "fill",
            "rate",
            "eta",
            "waiting",
            "exceptions",
            "arrived",
            "volumes",
        ),
        rows,
    )
    return Exit.EXCEPTIONS if any(row["exceptions"] or row["hangs"] for row in rows) else Exit.DONE


def _readable(row: dict[str, Any]) -> dict[str, str]:
    """As a person reads them: `12.5 %`, `148 MB/s`, `3:20 h`."""
    fill, eta = row["fill"], row["eta"]
    return {
        "fill": "" if fill is None else f"{100 * fill:.1f} %",
        "rate": f"{row['rate'] / 1e6:.1f} MB/s" if row["rate"] else "",
        "hangs": "yes" if row["hangs"] else "",
        "eta": "" if eta is None else f"{int(eta // 3600)}:{int(eta % 3600 // 60):02} h",
    }
