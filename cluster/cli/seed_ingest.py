"""seed ingest: the far side of a shipment. Needs neither job file nor ledger, nor a way to the hospital."""

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cluster.cli.arguments import AsJson, Quiet, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.cli.seed_bucket import bucket_of
from cluster.cli.seed_keys import verifier_of
from cluster.cli.seed_progress import shown
from cluster.output import Output
from cluster.seeding.carrying import Carrier
from cluster.seeding.gathering import Gathered, Gathering
from cluster.seeding.ingest import Finding, Ingest
from cluster.seeding.ingest_journal import IngestJournal
from storage.errors import AlreadyThere
from storage.seeds.notes import SigningKey
from storage.seeds.opening import OpenedSeed, open_seed, read_note
from storage.sinks.s3_parts import MIN_PART
from storage.sinks.unlocking import unlocked

PART_SIZE = 64 << 20
"""Bytes of a part: 100,000 parts for a device of 6 TB, and what a broken line costs at most."""


def add_to(app: typer.Typer) -> None:
    app.command(
        "ingest",
        **texts(
            "Far side: check a device and bring it into a bucket.",
            "limosa seed ingest /mnt/seed --seal S3ZNX0K-041f0aba.seal.txt --to s3://images/archive",
            "limosa seed ingest /mnt/seed --seal seal.txt --to s3://images --endpoint-url https://s3.example --json",
            more="Mount the device read-only. Nothing of it is used before the seal's signature, its lists and every "
            "byte of every pack have been checked. Where a pack is damaged nothing is uploaded and the command ends "
            "with 3, naming pack and instances; --skip-damaged brings in the others. Of a study that lies on several "
            "devices, each brings in its volumes, in any order, and what is still missing is named with its device. "
            "Killed at any time, call it again: what was done is in the state folder. The signed receipt it writes "
            "goes back to the sender.",
        ),
    )(ingest)


def ingest(
    device: Annotated[Path, typer.Argument(metavar="DEVICE", help="Where it is mounted.", show_default=False)],
    seal: Annotated[Path, typer.Option(help="The seal that came apart from the device.")],
    to: Annotated[str, typer.Option(metavar="s3://BUCKET/PREFIX", help="Where its packs go.")],
    key: Annotated[str | None, typer.Option(help="The sender's verifier key, or the file that holds it.")] = None,
    disk_key: Annotated[
        str | None, typer.Option(help="Of an encrypted device: env:NAME or file:/path, never on the device.")
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(help="Key of `limosa seed key` to sign the receipt; default: one is made.")
    ] = None,
    receipt: Annotated[Path | None, typer.Option(help="Where it goes; default: in the state folder.")] = None,
    state: Annotated[Path | None, typer.Option(help="What this remembers; default: ./limosa-ingest-<device>.")] = None,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Bring in the packs that are sound.")] = False,
    endpoint_url: Annotated[str | None, typer.Option(help="Default: AWS.")] = None,
    region: Annotated[str, typer.Option(help="Of the bucket.")] = "us-east-1",
    access_key: Annotated[
        str | None, typer.Option(help="env:NAME or file:/path; default: the SDK's own chain.")
    ] = None,
    secret_key: Annotated[str | None, typer.Option(help="env:NAME or file:/path.")] = None,
    checksum: Annotated[Literal["crc64nvme", "none"], typer.Option(help="none: the store refuses it.")] = "crc64nvme",
    connections: Annotated[int, typer.Option(min=1, max=512, help="Uploads at once.")] = 8,
    part_size: Annotated[int, typer.Option(min=MIN_PART, help="Bytes of a part.")] = PART_SIZE,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    trusted = None if key is None else verifier_of("--key", key)
    note = read_note(seal)
    folder = state or Path(f"limosa-ingest-{device.name}")
    if folder.absolute().is_relative_to(device.absolute()):
        raise Stop("--state lies on the device; nothing is ever written there")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    opened = open_seed(device, note, trusted, folder)
    if opened.device.key_id and disk_key is None:
        raise Stop(f"{device} is encrypted: give the disk key {opened.device.key_id} with --disk-key")
    unlocked(opened.device, disk_key)
    signing = SigningKey.load(sign) if sign is not None else _own_key(folder)
    bucket, prefix = bucket_of(
        "--to",
        to,
        endpoint_url=endpoint_url,
        region=region,
        access_key=access_key,
        secret_key=secret_key,
        checksum=checksum,
        connections=connections,
    )
    out = printer(as_json)
    journal = IngestJournal(folder / "journal.jsonl", _sha256(note), to)
    try:
        work = Ingest(opened, journal, prefix)
        meters = {"check": ("checked", opened.seal.pack_bytes), "upload": ("uploaded", opened.seal.pack_bytes)}
        with shown({"check": meters["check"]}, quiet) as seen:
            damaged = list(work.examine(seen["check"].add))
        gathering = Gathering(opened, bucket, prefix)
        damaged += work.compare(gathering)
        if damaged and not skip_damaged:
            _tell(out, opened, damaged, list(gathering.gathered()), 0, None, signing)
            return Exit.INTEGRITY
        carrier = Carrier(opened.device, bucket, journal, part_size)
        with shown({"upload": meters["upload"]}, quiet) as seen:
            try:
                uploaded = work.upload(carrier, connections, seen["upload"].add)
            except AlreadyThere as error:
                raise Stop(
                    f"{error}: something else lies in the bucket where a pack goes. Nothing was overwritten; name "
                    "another prefix, or move it away.",
                    Exit.INTEGRITY,
                ) from None
        path = receipt or folder / f"receipt-{opened.seal.serial}-{opened.seal.device[:8]}.jsonl"
        work.receipt(path, to, datetime.now(UTC), signing)
    finally:
        journal.close()
    _tell(out, opened, damaged, list(gathering.gathered()), uploaded, path, signing)
    return Exit.INTEGRITY if damaged else Exit.DONE


def _tell(
    out: Output,
    opened: OpenedSeed,
    damaged: list[Finding],
    gathered: list[Gathered],
    uploaded: int,
    receipt: Path | None,
    key: SigningKey,
) -> None:
    seal = opened.seal
    told: dict[str, Any] = {
        "device_id": seal.device,
        "serial": seal.serial,
        "sealed_by": f"{opened.key.name} {opened.key.fingerprint}",
        "packs": seal.packs,
        "instances": seal.instances,
        "uploaded": uploaded,
        "damaged_packs": len(damaged),
        "studies_incomplete": sum(not each.complete for each in gathered),
        "receipt": receipt,
        "receipt_key": str(key.verifier),
        "receipt_fingerprint": key.verifier.fingerprint,
    }
    rows = [asdict(each) for each in damaged]
    if out.form.value == "json":
        volumes = [asdict(each) | {"complete": each.complete} for each in gathered]
        out.record(told | {"damaged": rows, "volumes": volumes})
        return
    out.record(told)
    if rows:
        out.rows("damaged", ("key", "state", "what", "instances"), rows)
        if receipt is None:
            out.say("Nothing was uploaded. Tell the sender; or bring in the others with --skip-damaged.")
    for each in gathered:
        out.say(_sentence(each))
    if receipt is not None:
        out.say("Read the key's fingerprint to the sender and send them the receipt. Erase nothing until they say so.")


def _sentence(study: Gathered) -> str:
    """What a person has to know of a study in several packs."""
    if study.complete:
        return f"Study {study.study_uid}: all its {study.of} volumes are there."
    missing = ", ".join(
        f"volume {each.volume} on {each.device}" if each.device else f"volume {each.volume} on a device loaded later"
        for each in study.missing
    )
    return f"Study {study.study_uid} is INCOMPLETE: missing is {missing}. Do not use it before that is ingested, too."


def _own_key(folder: Path) -> SigningKey:
    path = folder / "receipt.key"
    if not path.exists():
        SigningKey.generate("receiver").save(path)
    return SigningKey.load(path)


def _sha256(note: str) -> str:
    return hashlib.sha256(note.encode("utf-8")).hexdigest()
