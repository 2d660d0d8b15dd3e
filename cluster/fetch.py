"""Brings a delivered study back from its destination: as files, or to a PACS. Nothing leaves unverified.

The ledger says where the study lies and which bytes it must have; the pack's own index only says where in the
object they are. An instance whose bytes are not those of its STO1 gets neither a name nor an association.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from blake3 import blake3

from actors.copying import landed
from actors.dimse.store import StoreConversation, StoredAs, StoreEnd, StoreOutcome, batches
from imaging.uid import Uid
from storage.durable import storage_error, sync_folder, write_all
from storage.errors import IntegrityError, Rejected, StorageError
from storage.ledger.facts import HeldStudy
from storage.ledger.ledger import Ledger
from storage.packs.model import Container, Member, PackId
from storage.packs.volumes import pack_reader
from storage.sinks.protocol import ObjectReader
from storage.sinks.service import LedgerIndexed
from storage.spool import LandingPlace

_PIECE = 1 << 20


class NotHeld(Exception):
    """The study, or an instance of it, is not where it was looked for; the message says what to ask instead."""


class Fetched(StrEnum):
    """What became of one file."""

    WRITTEN = "written"
    PRESENT = "present"
    """It lay there already, with the right bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the PACS said to one instance."""

    sop_uid: Uid
    outcome: StoreOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacs:
    """Where to send."""

    host: str
    port: int
    ae_title: str


class Fetch:
    """One study at one destination, ready to be read."""

    def __init__(self, objects: ObjectReader, study_uid: Uid, held: HeldStudy, ledger: Ledger) -> None:
        """
        Raises
        ------
        IntegrityError
            The object is gone, or holds other instances than the ledger says.
        """
        receipt = held.receipt
        pack = PackId(study_uid=study_uid, revision=held.revision)
        instances = ledger.facts.instances(held.study_key, held.revision)
        if receipt.container is Container.SERVICE:
            self._reader = LedgerIndexed(objects, pack, receipt.key, instances)
        else:
            self._reader = pack_reader(objects, pack, receipt)
        try:
            index = self._reader.index()
        except FileNotFoundError:
            raise IntegrityError("the pack is not there", operation="read", place=held.destination) from None
        known = {facts.sop_uid: facts.sto1 for facts in instances}
        if known != {member.facts.sop_uid: member.facts.sto1 for member in index.members}:
            raise IntegrityError("the pack holds other instances than the ledger", place=held.destination)
        self._members = index.members

    def instances(self, sop_uid: Uid | None = None) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Every instance and its bytes with one request, or a single one with one range request.

        Raises
        ------
        NotHeld
            The study has no such instance.
        IntegrityError
            While the bytes are read, at the latest at their end.
        """
        if sop_uid is None:
            yield from self._reader.walk()
            return
        for member in self._chosen(sop_uid):
            yield member, self._reader.open(member)

    def pairs(self, sop_uid: Uid | None = None) -> list[tuple[StoredAs, ...]]:
        """The presentation contexts of `instances`, as many as fit one association in each group."""
        return batches(
            StoredAs(member.facts.sop_class, member.facts.transfer_syntax) for member in self._chosen(sop_uid)
        )

    def _chosen(self, sop_uid: Uid | None) -> Sequence[Member]:
        chosen = [member for member in self._members if sop_uid is None or member.facts.sop_uid == sop_uid]
        if not chosen:
            raise NotHeld(f"the study has no instance {sop_uid}")
        return chosen


def write_files(fetch: Fetch, folder: Path, sop_uid: Uid | None = None) -> Iterator[tuple[Uid, Fetched]]:
    """Each instance is `folder/<study>/<series>/<sop>.dcm`; a name means that its bytes are verified and durable.

    Repeatable: a file that is there with the right bytes stays.

    Raises
    ------
    Rejected
        A file of that name holds something else, or the folder cannot be written.
    Retryable
        The disk is full or fails.
    """
    for member, pieces in fetch.instances(sop_uid):
        facts = member.facts
        place = folder / facts.study_uid / facts.series_uid
        path = place / f"{facts.sop_uid}.dcm"
        try:
            if path.exists():
                if _digest(path) != facts.sto1:
                    raise Rejected("another file has the name; move it away", operation="write", place=str(path))
                yield facts.sop_uid, Fetched.PRESENT
                continue
            place.mkdir(parents=True, exist_ok=True)
            _write(path, pieces)
        except OSError as error:
            raise storage_error(error, "write", str(path)) from error
        yield facts.sop_uid, Fetched.WRITTEN


def send(
    fetch: Fetch, place: LandingPlace, pacs: Pacs, *, calling_ae: str, sop_uid: Uid | None = None
) -> Iterator[Answered]:
    """Each instance was offered to the PACS as it is stored, and answered.

    Raises
    ------
    SourceUnreachable
        The PACS cannot be reached, refuses us, or takes none of the study's classes in their transfer syntaxes.
    """
    for group in fetch.pairs(sop_uid):
        sender: StoreConversation | None = None
        try:
            for member, pieces in fetch.instances(sop_uid):
                facts = member.facts
                if StoredAs(facts.sop_class, facts.transfer_syntax) not in group:
                    continue
                with landed(place, pieces) as part10:
                    sender = sender or StoreConversation(
                        host=pacs.host, port=pacs.port, called_ae=pacs.ae_title, calling_ae=calling_ae, pairs=group
                    )
                    outcome = sender.send(part10)
                yield Answered(sop_uid=facts.sop_uid, outcome=outcome)
                if outcome.end is StoreEnd.UNKNOWN:
                    # The association is gone; those that follow were never offered and get a new one.
                    sender.close()
                    sender = None
        finally:
            if sender is not None:
                sender.close()


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            for piece in pieces:
                write_all(descriptor, piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.rename(path)
        sync_folder(path.parent)
    except (OSError, StorageError):
        draft.unlink(missing_ok=True)
        raise


def _digest(path: Path) -> bytes:
    digest = blake3()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()
