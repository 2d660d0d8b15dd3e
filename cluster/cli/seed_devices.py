"""seed key, init, status: keys, devices before they are loaded, and what is on which."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.job import load_job
from cluster.registry import register_job
from cluster.seeding.choice import attached, seed_of
from cluster.seeding.preparing import prepare
from cluster.services import open_ledger
from storage.errors import Rejected
from storage.seeds.notes import SigningKey
from storage.seeds.seal import SERIAL

To = Annotated[str | None, typer.Option("--to", help="Name of the seed destination; default: the only one.")]


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
            more="Devices need not be mounted; free space is known of those that are.",
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


def init(
    job_file: JobFile,
    device: Annotated[Path, typer.Argument(metavar="DEVICE", help="Where it is mounted.", show_default=False)],
    serial: Annotated[str, typer.Option(help="As it stands on the device; goes onto slip and seal.")],
    to: To = None,
    as_json: AsJson = False,
) -> None:
    if SERIAL.fullmatch(serial) is None:
        raise Stop("--serial takes 1 to 64 letters, digits, dots, hyphens and underscores")
    job = load_job(job_file)
    options = seed_of(job, to)
    root = next((root for root in options.devices if root.absolute() == device.absolute()), None)
    if root is None:
        raise Stop(
            f'{device} is not among the devices of destination "{options.name}" in {job_file}; add it there first'
        )
    with open_ledger(job) as ledger:
        destination_id = register_job(job, ledger).destinations[options.name]
        prepared = prepare(ledger, destination_id, options, root, serial)
    printer(as_json).record(asdict(prepared))


def status(job_file: JobFile, as_json: AsJson = False) -> int:
    job = load_job(job_file)
    found: dict[str, dict[str, Any]] = {}
    for options in job.destinations:
        if options.kind == "seed":
            try:
                for each in attached(options, ()):
                    room = 0 if each.sealed else max(0, each.free() - options.room_kept)
                    found[each.id] = {"serial": each.serial or None, "loadable": room}
            except Rejected:
                continue
    with open_ledger(job) as ledger:
        rows: list[dict[str, Any]] = [
            asdict(row) | found.get(row.device_id, {"loadable": None}) for row in ledger.seeds.devices()
        ]
    printer(as_json).rows(
        "devices",
        (
            "path_label",
            "serial",
            "state",
            "packs",
            "instances",
            "bytes",
            "loadable",
            "waiting",
            "exceptions",
            "arrived",
        ),
        rows,
    )
    return Exit.EXCEPTIONS if any(row["exceptions"] for row in rows) else Exit.DONE
