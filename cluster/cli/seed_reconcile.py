"""seed reconcile: what became of a shipped device, from the words of whoever received it."""

import getpass
import hashlib
import os
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.arguments import AsJson, DecidedBy, JobFile, printer, texts
from cluster.cli.exits import Exit, Stop
from cluster.cli.given import given_job
from cluster.cli.seed_bucket import bucket_of
from cluster.cli.seed_keys import verifier_of
from cluster.job import load_job
from cluster.seeding.accounting import Account, Proof, Shipped, Verdict, by_objects, by_receipt
from cluster.seeding.bucket_listing import take_listing
from cluster.seeding.choice import device_row
from cluster.seeding.evidence import Seen, databox_bom, databox_errors, listing, read_text, snowball
from cluster.seeding.reconcile import Reconciled, Reconciling, digest_of, expected
from cluster.services import open_ledger
from storage.durable import sync_folder
from storage.ledger.ledger import Ledger
from storage.ledger.seeds import DeviceRow
from storage.packs.naming import pack_key
from storage.seeds.notes import VerifyingKey
from storage.seeds.receipt import Receipt, open_receipt
from storage.sinks.s3_client import Bucket

SHIPPED = ("sealed", "shipped", "arrived")


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """The documents that were given."""

    receipt: Path | None
    snowball_success: Path | None
    snowball_failure: Path | None
    databox_bom: Path | None
    databox_copylog: Path | None
    listing: Path | None
    bucket: str | None = None
    """Its answer is `listing`, once it was asked."""

    def kind(self) -> str:
        """Which one way of accounting they belong to."""
        kinds = {
            "receipt": (self.receipt,),
            "snowball": (self.snowball_success, self.snowball_failure),
            "databox": (self.databox_bom, self.databox_copylog),
            "bucket" if self.bucket else "listing": (self.bucket, self.listing),
        }
        given = [kind for kind, files in kinds.items() if any(files)]
        if len(given) != 1:
            raise Stop("give one kind of evidence: --receipt, --snowball-..., --databox-..., --listing or --bucket")
        return given[0]

    def files(self) -> list[Path]:
        found = (
            self.receipt, self.snowball_success, self.snowball_failure, self.databox_bom, self.databox_copylog,
            self.listing,
        )  # fmt: skip
        return [path for path in found if path is not None]

    def account(self, shipped: dict[str, Shipped], receipt: Receipt | None) -> Account:
        """What they say of what was shipped."""
        if receipt is not None:
            return by_receipt(shipped, ((pack_key(row.pack, row.container), row) for row in receipt.rows()))
        ours = self.databox_bom is None
        return by_objects(shipped, self._objects(), silence=self._silence(), crc64_is_ours=ours)

    def _objects(self) -> Iterator[Seen]:
        if self.snowball_success:
            yield from snowball(read_text(self.snowball_success), "")
        if self.snowball_failure:
            yield from snowball(read_text(self.snowball_failure), "not imported")
        errors = list(databox_errors(read_text(self.databox_copylog))) if self.databox_copylog else []
        failed = {each.path for each in errors}
        if self.databox_bom:
            # It says what the device held; without the upload's log nothing arrived yet.
            if not self.databox_copylog:
                raise Stop("--databox-bom says what the device held, not what arrived: give --databox-copylog too")
            yield from (each for each in databox_bom(read_text(self.databox_bom)) if each.path not in failed)
        yield from errors
        if self.listing:
            yield from listing(read_text(self.listing))

    def _silence(self) -> Verdict:
        """A list of failures alone says nothing of what it does not name."""
        complete = self.snowball_success or self.databox_bom or self.listing
        return Verdict.MISSING if complete else Verdict.UNKNOWN


def add_to(app: typer.Typer) -> None:
    app.command(
        "reconcile",
        **texts(
            "Account for every instance of a shipped device.",
            "limosa seed reconcile move.toml --receipt receipt.jsonl --receipt-key cloud-team.pub",
            "limosa seed reconcile move.toml --device S3ZNX0K --bucket s3://images/archive",
            more="Takes the signed receipt of `limosa seed ingest`, Snowball's success and failure reports, a Data "
            "Box's bill of materials with its copy log, the answer of `aws s3api list-objects-v2`, or asks the bucket "
            "itself for sizes and CRC-64 and keeps its answer. Every instance "
            "is arrived, missing, altered or unknown, and what arrived is counted by what proves it: digest, crc64, "
            "size or name only; objects that were not sealed are an alert. A receipt signed by "
            "the key given as --receipt-key is proof: what arrived is validated with it. Ends with 3 when something "
            "is missing or altered, with 2 when something is unknown or was not sealed.",
        ),
    )(reconcile)


def reconcile(
    job_file: JobFile,
    device: Annotated[
        str | None, typer.Option(help="Serial number, folder name or id; default: the receipt's, or the only one.")
    ] = None,
    receipt: Annotated[Path | None, typer.Option(help="Of `limosa seed ingest`.")] = None,
    receipt_key: Annotated[str | None, typer.Option(help="The receiver's verifier key, or its .pub file.")] = None,
    snowball_success: Annotated[Path | None, typer.Option(help="Success report of the import job (CSV).")] = None,
    snowball_failure: Annotated[Path | None, typer.Option(help="Failure report of the import job (CSV).")] = None,
    databox_bom: Annotated[Path | None, typer.Option(help="Bill of materials (XML).")] = None,
    databox_copylog: Annotated[Path | None, typer.Option(help="Copy log of the upload (XML).")] = None,
    listing: Annotated[Path | None, typer.Option(help="JSON of `aws s3api list-objects-v2`.")] = None,
    bucket: Annotated[
        str | None, typer.Option(metavar="s3://BUCKET/PREFIX", help="Where the packs went: it is asked now.")
    ] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="Of the bucket; default: AWS.")] = None,
    region: Annotated[str, typer.Option(help="Of the bucket.")] = "us-east-1",
    access_key: Annotated[
        str | None, typer.Option(help="env:NAME or file:/path; default: the SDK's own chain.")
    ] = None,
    secret_key: Annotated[str | None, typer.Option(help="env:NAME or file:/path.")] = None,
    connections: Annotated[int, typer.Option(min=1, max=512, help="Requests at once.")] = 8,
    by: DecidedBy = "",
    as_json: AsJson = False,
) -> int:
    papers = Papers(
        receipt=receipt,
        snowball_success=snowball_success,
        snowball_failure=snowball_failure,
        databox_bom=databox_bom,
        databox_copylog=databox_copylog,
        listing=listing,
        bucket=bucket,
    )
    if bucket and listing:
        raise Stop("give --listing or --bucket, not both")
    kind = papers.kind()
    trusted = None if receipt_key is None else verifier_of("--receipt-key", receipt_key)
    opened = None if receipt is None else open_receipt(receipt, trusted)
    job = load_job(job_file)
    with open_ledger(job) as ledger:
        row = device_row(ledger, device or (opened.head.device if opened else None), SHIPPED)
        _check_seal(ledger, row, opened)
        destination_id = ledger.seeds.destination_of(row.device_id)
        assert destination_id is not None  # it has a row
        shipped = expected(ledger, row.device_id)
        if bucket is not None:
            there, prefix = bucket_of(
                "--bucket",
                bucket,
                endpoint_url=endpoint_url,
                region=region,
                access_key=access_key,
                secret_key=secret_key,
                connections=connections,
            )
            papers = replace(papers, listing=_ask(there, prefix, shipped, connections, job.state_dir, row))
        work = Reconciling(
            ledger=ledger,
            device_id=row.device_id,
            destination=row.destination,
            destination_id=destination_id,
            evidence=kind,
            document=digest_of(*papers.files()),
            proof=opened.key if opened is not None and trusted is not None else None,
            by=by or getpass.getuser(),
        )
        found = work.settle(papers.account(shipped, opened))
    return _tell(as_json, row, found, opened, trusted, papers.files())


def _ask(bucket: Bucket, prefix: str, shipped: Collection[str], threads: int, state_dir: Path, row: DeviceRow) -> Path:
    """What the bucket answered, kept beside the shipment's other papers."""
    folder = state_dir / "shipments"
    folder.mkdir(parents=True, exist_ok=True)
    name = row.serial if row.serial != "-" else "device"
    path = folder / f"{name}-{row.device_id[:8]}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.listing.json"
    with path.open("xb") as file:
        take_listing(bucket, prefix, shipped, threads, file)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    return path


def _check_seal(ledger: Ledger, row: DeviceRow, opened: Receipt | None) -> None:
    seal = ledger.seeds.sealed(row.device_id)
    if seal is None:
        raise Stop(f"device {row.path_label} was never sealed; there is nothing to reconcile")
    if opened is not None:
        if opened.head.device != row.device_id:
            raise Stop("the receipt is another device's", Exit.INTEGRITY)
        if opened.head.seal != hashlib.sha256(seal.note.encode("utf-8")).hexdigest():
            raise Stop("the receipt is of another seal than this device's", Exit.INTEGRITY)


def _tell(
    as_json: bool,
    row: DeviceRow,
    found: Reconciled,
    opened: Receipt | None,
    trusted: VerifyingKey | None,
    documents: list[Path],
) -> int:
    accounted = sum(found.instances.values())
    told: dict[str, Any] = {
        "device_id": row.device_id,
        "serial": row.serial,
        "packs": {verdict.value: found.packs[verdict] for verdict in Verdict},
        "instances": {verdict.value: found.instances[verdict] for verdict in Verdict},
        "packs_proved_by": {proof.value: found.packs_proved[proof] for proof in Proof},
        "instances_proved_by": {proof.value: found.instances_proved[proof] for proof in Proof},
        "accounted": accounted,
        "arrived_percent": round(100 * found.instances[Verdict.ARRIVED] / accounted, 3) if accounted else 0.0,
        "moved": found.moved,
        "proven": found.proven,
        "held": found.held,
        "strangers": len(found.strangers),
        "signed_by": None if opened is None else f"{opened.key.name} {opened.key.fingerprint}",
        "note": found.note,
        "documents": [str(path) for path in documents],
    }
    trouble = [asdict(each) for each in found.trouble]
    out = printer(as_json)
    if as_json:
        out.record(told | {"trouble": trouble, "stranger_objects": list(found.strangers)})
    else:
        out.record(told)
        if trouble:
            out.rows("not as it was sealed", ("key", "verdict", "what", "instances"), trouble)
            out.say(f"Each is an exception of its study now: limosa exceptions list {given_job()}")
        if found.strangers:
            out.rows("nobody sealed", ("object",), [{"object": path} for path in found.strangers])
        if weak := found.packs_proved[Proof.SIZE] + found.packs_proved[Proof.NAME]:
            out.say(
                f"Of {weak} packs the documents give no checksum that can be compared: their bytes are not proven. A"
                " signed receipt (limosa seed ingest) or the bucket itself (--bucket) proves them."
            )
        if opened is not None and trusted is None:
            out.say("The receipt is signed, but by whom? Compare the fingerprint, then again with --receipt-key.")
    if found.instances[Verdict.MISSING] or found.instances[Verdict.ALTERED]:
        return Exit.INTEGRITY
    return Exit.EXCEPTIONS if found.instances[Verdict.UNKNOWN] or found.strangers or found.held else Exit.DONE
