"""A tree of files as a source: questions are answered from the ledger's index, instances from the files.

Nothing is sent to a receiver: `retrieve` hands each instance to the same handler that a receiver would, in the
caller's thread, so everything behind it (routing, digests, coercion, quarantine) is the same.
"""

import os
from collections.abc import Callable
from pathlib import Path

from actors.dimse.find import study_identifier
from actors.dimse.incoming import Incoming, InstanceHandler, Peer, nobody
from actors.files.reading import EXPLICIT_LE, IMPLICIT_LE, envelope_of, opened
from actors.source import (
    FindAnswer,
    FindEnd,
    InstanceList,
    InstanceRef,
    MoveEnd,
    MoveOutcome,
    MoveTarget,
    SourceUnreachable,
    StudyFound,
    StudyWindow,
    distinct,
)
from imaging.digests import raw1
from imaging.errors import MalformedDataset
from imaging.octets import JoinedOctets, MemoryOctets, Octets, Span
from imaging.part10 import encode_meta
from imaging.uid import Uid
from storage.errors import StorageError
from storage.ledger.files import FileState, IndexedStudy, InstanceFile
from storage.ledger.ledger import Ledger

HELD = 0x0000
PEER = Peer(calling_ae="", called_ae="", address="")


class FileTree:
    """A `Source` over the folders `roots`. Used by one thread at a time."""

    def __init__(
        self, roots: tuple[Path, ...], source_id: int, ledger: Ledger, handler: InstanceHandler = nobody
    ) -> None:
        self._roots = roots
        self._source_id = source_id
        self._ledger = ledger
        self._handler = handler

    def echo(self) -> None:
        for root in self._roots:
            try:
                with os.scandir(root):
                    pass
            except OSError as error:
                raise SourceUnreachable(f"{root.name}: {error.strerror or 'cannot be read'}") from None

    def find_studies(self, window: StudyWindow) -> FindAnswer:
        found = [_told(one) for one in self._ledger.files.studies(self._source_id, window.keys())]
        return FindAnswer(
            window=window,
            studies=tuple(found),
            end=FindEnd.SUCCESS,
            status=0,
            undecodable=0,
            raw=tuple(study_identifier(one) for one in found),
            transfer_syntax=EXPLICIT_LE,
        )

    def list_instances(self, study_uid: Uid) -> InstanceList:
        files = self._ledger.files.instances(self._source_id, study_uid)
        refs, repeated = distinct(
            [InstanceRef(series_uid=one.series_uid, sop_uid=one.sop_uid, sop_class=one.sop_class) for one in files]
        )
        return InstanceList(instances=refs, complete=True, repeated=repeated)

    def retrieve(self, target: MoveTarget, receiver: str, stop: Callable[[], bool]) -> MoveOutcome:
        self.echo()
        files = self._ledger.files.instances(
            self._source_id, target.study_uid, series_uid=target.series_uid, sop_uids=target.sop_uids
        )
        held: set[str] = set()
        failed: list[Uid] = []
        for file in files:
            if stop():
                return MoveOutcome(end=MoveEnd.LOST)
            if self._hand_over(file):
                held.add(file.sop_uid)
            else:
                failed.append(file.sop_uid)
        failed = [uid for uid in failed if uid not in held]
        return MoveOutcome(
            end=MoveEnd.PARTIAL if failed else MoveEnd.SUCCESS,
            status=0xB000 if failed else 0,
            completed=len(held),
            failed=len(failed),
            warning=0,
            failed_sop_uids=tuple(failed),
        )

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _hand_over(self, file: InstanceFile) -> bool:
        """Whether the handler holds the instance."""
        if file.state is FileState.MISSING:
            return False
        try:
            with opened(file.path) as octets:
                try:
                    incoming = _incoming(file, octets)
                except (EOFError, StorageError):
                    return False
                return self._handler(incoming) == HELD
        except OSError:
            # Gone, cut or unreadable since it was indexed: the study stays incomplete, and says so.
            return False


def _incoming(file: InstanceFile, octets: Octets) -> Incoming:
    """The file's dataset behind file meta of ours; a damaged file as it lies there, with nothing of it called a
    dataset, so that it is rejected: an image that breaks off would be taken for one that was made so."""
    try:
        envelope = None if file.state is FileState.DAMAGED else envelope_of(octets)
    except MalformedDataset:
        envelope = None
    if envelope is None:
        return _made(file, octets, octets.size, IMPLICIT_LE)
    meta = MemoryOctets(encode_meta(file.sop_class, file.sop_uid, envelope.transfer_syntax))
    whole = JoinedOctets(
        (Span(meta, 0, meta.size), Span(envelope.octets, envelope.dataset_offset, envelope.octets.size))
    )
    return _made(file, whole, meta.size, envelope.transfer_syntax)


def _made(file: InstanceFile, part10: Octets, offset: int, syntax: Uid) -> Incoming:
    return Incoming(
        peer=PEER,
        sop_class=file.sop_class or "",
        sop_uid=file.sop_uid,
        transfer_syntax=syntax,
        move_originator_ae=None,
        move_originator_id=None,
        part10=part10,
        dataset_offset=offset,
        raw1=raw1(part10, offset, syntax),
    )


def _told(one: IndexedStudy) -> StudyFound:
    return StudyFound(
        study_uid=one.study_uid,
        patient_id=one.patient_id,
        issuer=one.issuer,
        patient_name=one.patient_name,
        birth_date=one.birth_date,
        sex=one.sex,
        accession=one.accession,
        study_date=one.study_date,
        study_time=one.study_time,
        modalities=tuple(one.modalities),
        description=one.description,
        series_count=one.series_count,
        instance_count=one.instance_count,
    )
