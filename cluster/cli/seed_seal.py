"""seed verify, seal, ship: the last that is done to a device before it leaves."""

import getpass
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, DecidedBy, JobFile, Quiet, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.cli.seed_devices import SeedName
from cluster.cli.seed_progress import Meter, shown
from cluster.job import load_job
from cluster.output import Output, told_size
from cluster.seeding.choice import attached, device_row, mounted, seed_of
from cluster.seeding.reading import PackReading, SeedBlocked, packs_of, read_pack, record_damage
from cluster.seeding.sealing import DamagedPacks, Sealed, Sealing
from cluster.seeding.slip import fingerprint, packing_slip
from cluster.services import open_ledger
from storage.durable import sync_folder
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState
from storage.ledger.records import CustodyNote
from storage.seeds.notes import SigningKey
from storage.sinks.device import Device
from storage.sinks.unlocking import unlocked

LISTED = 1_000
"""Damaged packs that are listed; every one is an exception as well."""

Devices = Annotated[
    list[str] | None,
    typer.Argument(metavar="DEVICE", help="Path, folder name, serial number or id; default: all.", show_default=False),
]
One = Annotated[
    str, typer.Argument(metavar="DEVICE", help="Path, folder name, serial number or id.", show_default=False)
]
DAMAGE_COLUMNS = ("serial", "key", "what", "instances")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One device as it was read back."""

    device_id: str
    serial: str
    packs: int
    instances: int
    bytes: int
    damaged: int
    """Packs."""


def add_to(app: typer.Typer) -> None:
    app.command(
        "verify",
        **texts(
            "Read devices back, every byte.",
            "limosa seed verify move.toml",
            "limosa seed verify move.toml S3ZNX0K --json",
            more="Several devices are read at once. Every pack is held against the ledger: its own bytes, every "
            "instance's digest, the index beside it. A damaged one becomes an exception that names the pack and its "
            "instances; resolve it with --as renew and the study is fetched from the source again. Ends with 3 when "
            "one is damaged.",
        ),
    )(verify)
    app.command(
        "seal",
        **texts(
            "Read a device back and make it ready to leave.",
            "limosa seed seal move.toml /media/seed-1 --key /srv/limosa/seal.key",
            "limosa seed seal move.toml S3ZNX0K --key /srv/limosa/seal.key --out shipment --json",
            more="Writes manifests, BagIt tag files and the signed seal onto the device, and into a folder the seal's "
            "copy, which travels apart from the device, and the packing slip to print. The device takes nothing more. "
            "Refused while a pack is unfinished, damaged or an exception. Interrupted, run it again.",
        ),
    )(seal)
    app.command(
        "ship",
        **texts(
            "Record that a sealed device has left.",
            'limosa seed ship move.toml S3ZNX0K --carrier "Courier Ltd" --tracking 1Z999',
            "limosa seed ship move.toml S3ZNX0K --carrier hand --by m.keller --json",
            more="Who gave it to whom goes into the chain of custody of every study on it. Refused while other "
            "destinations still wait to be fed from it.",
        ),
    )(ship)


def verify(
    job_file: JobFile,
    devices: Devices = None,
    destination: SeedName = None,
    by: DecidedBy = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    chosen = attached(seed_of(job, destination), devices or ())
    out = printer(as_json)
    found: list[Verified] = []
    damage: list[dict[str, Any]] = []
    with (
        open_ledger(job, pool_size=len(chosen)) as ledger,
        _shown(ledger, chosen, quiet) as meters,
        ThreadPoolExecutor(len(chosen)) as threads,
    ):
        who = by or getpass.getuser()
        for verified, readings in threads.map(lambda one: _verify(ledger, one, meters[one.id], who), chosen):
            found.append(verified)
            damage += readings
    if as_json:
        out.record({"devices": [asdict(each) for each in found], "damaged": damage})
    else:
        out.rows("read back", ("serial", "packs", "instances", "bytes", "damaged"), [asdict(each) for each in found])
        _show_damage(out, damage)
    return Exit.INTEGRITY if damage else Exit.DONE


def seal(
    job_file: JobFile,
    device: One,
    key: Annotated[Path, typer.Option(help="The key of `limosa seed key`.")],
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="For seal and slip; default: shipments below the state folder.")
    ] = None,
    destination: SeedName = None,
    by: DecidedBy = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    job = load_job(job_file)
    options = seed_of(job, destination)
    (chosen,) = attached(options, (device,))
    if key.absolute().is_relative_to(chosen.root.absolute()):
        raise Stop(f"{key} lies on the device, where it would travel with what it protects; keep it elsewhere")
    signing = SigningKey.load(key)
    folder = out_folder or job.state_dir / "shipments"
    out = printer(as_json)
    # A driver would go on handing out studies to be written there.
    with open_ledger(job) as ledger, ledger.job_lock(job.job.name), _shown(ledger, [chosen], quiet) as meters:
        sealing = Sealing(
            ledger=ledger,
            # Only now, with the lock, is it opened to be written.
            device=unlocked(Device(chosen.root), options.disk_key),
            job=job.job.name,
            destination=options.name,
            profile=options.profile,
            key=signing,
            by=by or getpass.getuser(),
            serials={each.id: each.serial for each in mounted(options)},
        )
        try:
            sealed = sealing.run(datetime.now(UTC), meters[chosen.id].add)
            unfed = ledger.seeds.unfed(chosen.id)
        except SeedBlocked as error:
            raise Stop(f"{error}. Nothing was sealed.", Exit.EXCEPTIONS) from None
        except DamagedPacks as error:
            damage = [_told(chosen, reading) for reading in error.readings]
            if as_json:
                out.record({"sealed": False, "damaged": damage})
            else:
                out.say(f"{error}. Resolve the exceptions with --as renew, run, then seal again.")
                _show_damage(out, damage)
            return Exit.INTEGRITY
    shown_seal = _keep(folder, sealed, signing, chosen.key_id)
    if as_json:
        out.record({"sealed": True, "damaged": [], "unfed": unfed, **shown_seal})
    else:
        out.record(shown_seal)
        if unfed:
            out.say(f"{_unfed(unfed)} it: keep it attached until limosa run {job_file} has written them.")
        out.say("Send the seal file by another way than the device, and read its SHA-256 to the recipient.")
    return Exit.DONE


def ship(
    job_file: JobFile,
    device: One,
    carrier: Annotated[str, typer.Option(help="Who took it.")],
    tracking: Annotated[str, typer.Option(help="Their number for the parcel.")] = "",
    leave_unfed: Annotated[
        bool, typer.Option("--leave-unfed", help="Also where other destinations still wait for what is on it.")
    ] = False,
    by: DecidedBy = "",
    as_json: AsJson = False,
) -> None:
    with open_ledger(load_job(job_file)) as ledger:
        row = device_row(ledger, device, ("sealed",))
        if row.state not in ("sealed", "shipped"):
            raise Stop(f"device {row.path_label} is {row.state}; only a sealed one leaves: limosa seed seal")
        if (unfed := ledger.seeds.unfed(row.device_id)) and row.state == "sealed" and not leave_unfed:
            raise Stop(
                f"{_unfed(unfed)} device {row.path_label}: let limosa run {job_file} write them while it is "
                "attached, or add --leave-unfed"
            )
        payload = {"device": row.device_id, "serial": row.serial, "carrier": carrier, "tracking": tracking}
        note = CustodyNote(event="shipped", payload=payload)
        moved = ledger.seeds.ship(row.device_id, note, by=by or getpass.getuser())
    printer(as_json).record({"device_id": row.device_id, "serial": row.serial, "deliveries": moved})


def _unfed(count: int) -> str:
    return f"{count} deliver{'y' if count == 1 else 'ies'} to other destinations still to be written from"


def _verify(ledger: Ledger, device: Device, meter: Meter, by: str) -> tuple[Verified, list[dict[str, Any]]]:
    packs = instances = octets = damaged = 0
    told: list[dict[str, Any]] = []
    for pack in packs_of(ledger, device.id):
        if pack.state is DeliveryState.VOID:
            continue
        reading = read_pack(ledger, device, pack, meter.add)
        packs, instances, octets = packs + 1, instances + pack.instances, octets + pack.receipt.size
        if not reading.sound:
            record_damage(ledger, device, reading, by=by)
            damaged += 1
            if len(told) < LISTED:
                told.append(_told(device, reading))
    return Verified(
        device_id=device.id,
        serial=device.serial or device.root.name,
        packs=packs,
        instances=instances,
        bytes=octets,
        damaged=damaged,
    ), told


def _told(device: Device, reading: PackReading) -> dict[str, Any]:
    return {
        "device_id": device.id,
        "serial": device.serial or device.root.name,
        "study_uid": reading.shipped.study_uid,
        "key": reading.shipped.receipt.key,
        "what": reading.what or "bytes of instances differ",
        "instances": list(reading.instances),
    }


def _show_damage(out: Output, damage: Sequence[dict[str, Any]]) -> None:
    if damage:
        out.rows("damaged", DAMAGE_COLUMNS, damage)
        out.say("Each is an exception now: limosa exceptions list")


def _shown(ledger: Ledger, devices: Sequence[Device], quiet: bool) -> AbstractContextManager[dict[str, Meter]]:
    sizes = {row.device_id: row.bytes for row in ledger.seeds.devices()}
    return shown({each.id: (each.serial or each.root.name, sizes.get(each.id, 0)) for each in devices}, quiet)


def _keep(folder: Path, sealed: Sealed, key: SigningKey, key_id: str) -> dict[str, Any]:
    """Seal and slip lie in the folder, durable."""
    seal = sealed.seal
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{seal.serial if seal.serial != '-' else 'device'}-{seal.device[:8]}"
    texts_of = {
        folder / f"{stem}.seal.txt": sealed.note,
        folder / f"{stem}.slip.html": packing_slip(seal, sealed.note, key.verifier, key_id),
    }
    for path, text in texts_of.items():
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)
    seal_file, slip = texts_of
    return {
        "device_id": seal.device,
        "serial": seal.serial,
        "packs": seal.packs,
        "instances": seal.instances,
        "bytes": seal.pack_bytes,
        "root": seal.root,
        "withdrawn": sealed.withdrawn,
        "deliveries": sealed.deliveries,
        "seal_file": seal_file,
        "seal_sha256": hashlib.sha256(sealed.note.encode("utf-8")).hexdigest(),
        "read_out": fingerprint(sealed.note),
        "slip": slip,
        "key": str(key.verifier),
        "disk_key": key_id or None,
        "size": told_size(seal.pack_bytes),
    }
