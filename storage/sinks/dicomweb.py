"""The DICOMweb sink: instances go into a service by STOW-RS and are read back by WADO-RS."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from imaging.uid import Uid
from storage.dicomweb.client import PAUSE, PIECE, WebClient
from storage.dicomweb.service import NotWhole, WebService
from storage.errors import IntegrityError, NotTaken, Rejected, Retryable, StorageError
from storage.packs.model import Container, HeldPack, PackId
from storage.packs.naming import instance_key
from storage.sinks.options import DicomwebOptions
from storage.sinks.protocol import Journal, Probe, SinkTraits, StudyWriter, UploadState
from storage.sinks.sameness import same_instance
from storage.sinks.service import Outgoing, ServiceWriter, addressed, window
from storage.sinks.withdrawal import Withdrawal

ROUNDS = 3
"""Requests for an instance that the service neither takes nor refuses for good."""

TOO_LARGE = 413

_DUPLICATE = 0x0111
_PROCESSING_FAILURE = 0x0110
_OUT_OF_RESOURCES = 0xA7
_UNNAMED = 0


class DicomwebSink:
    """See `Sink`."""

    def __init__(self, options: DicomwebOptions, *, wait: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._web = WebService(WebClient(options, wait=wait))
        self._withdrawal = None if options.orthanc is None else Withdrawal(options.orthanc)

    @property
    def name(self) -> str:
        return self._options.name

    @property
    def traits(self) -> SinkTraits:
        return SinkTraits(writer_memory=self._options.batch_size + 2 * PIECE, local=False, listed=False)

    @property
    def devices(self) -> frozenset[str]:
        return frozenset({""})

    @property
    def hanging(self) -> Mapping[str, int]:
        return {}

    def writer(
        self, pack: PackId, container: Container, size_hint: int, journal: Journal, resume: UploadState | None
    ) -> StudyWriter:
        del container, size_hint  # a service has one shape and says nothing of its room
        options = self._options
        sender = StowSender(
            self._web, batch_size=options.batch_size, batch_count=options.batch_count, first=pack.revision == 1
        )
        return ServiceWriter(sender, pack, journal, resume, options.existing, self._withdrawal)

    def discard(self, state: UploadState) -> None:
        """Nothing: a service takes nothing back."""

    def sweep(self, live_upload_ids: frozenset[str]) -> int:
        del live_upload_ids
        return 0

    def packs(self) -> Iterator[HeldPack]:
        yield from ()

    def loose(self, pack: PackId, key: str) -> Iterator[str]:
        yield from listed_keys(self._web, pack, key)

    def size(self, key: str, *, device: str = "") -> int:
        """By reading it: services tell no sizes."""
        return sum(map(len, self._instance(key)))

    def stream(self, key: str, start: int, length: int, *, device: str = "") -> Iterator[bytes]:
        return window(self._instance(key), start, length)

    def probe(self) -> Iterator[Probe]:
        """Questions only: what is stored at a service could not be removed again."""
        try:
            self._web.reach()
        except StorageError as error:
            yield Probe(what="answers a question", ok=False, detail=str(error), place=error.place, code=error.code)
        else:
            yield Probe(what="answers a question", ok=True, detail="storing is not tried: nothing could be removed")
        if self._withdrawal is not None:
            yield self._withdrawal.probe()

    def _instance(self, key: str) -> Iterator[bytes]:
        return self._web.instance(*addressed(key))


class StowSender:
    """See `Sender`."""

    def __init__(self, web: WebService, *, batch_size: int, batch_count: int, first: bool) -> None:
        """`first`: no earlier revision of the study was ever sent, so what the service lists of it is this one."""
        self._web = web
        self._first = first
        self._batch_size = batch_size
        self._batch_count = batch_count

    @property
    def place(self) -> str:
        return self._web.place

    @property
    def batch_size(self) -> int:
        return self._batch_size

    @property
    def batch_count(self) -> int:
        return self._batch_count

    def present(self, study_uid: Uid) -> frozenset[str]:
        return frozenset(self._web.instances(study_uid))

    def same(self, outgoing: Outgoing) -> bool:
        facts = outgoing.facts
        theirs = self._web.instance(facts.study_uid, facts.series_uid, facts.sop_uid)
        try:
            return same_instance(facts, outgoing.part10, theirs)
        except FileNotFoundError:  # it lies in another series
            return False

    def send(self, batch: Sequence[Outgoing]) -> None:
        study_uid = batch[0].facts.study_uid
        pending: dict[str, Outgoing] = {each.facts.sop_uid: each for each in batch}
        reasons: dict[str, int] = {}
        for number in range(ROUNDS):
            if number:
                self._web.client.rest(PAUSE * (1 << number))
            reasons = self._round(study_uid, pending)
            if not reasons:
                return
            pending = {sop_uid: pending[sop_uid] for sop_uid in reasons}
        raise self._not_taken(reasons)

    def close(self) -> None:
        """Connections belong to the process."""

    def _round(self, study_uid: Uid, pending: dict[str, Outgoing]) -> dict[str, int]:
        """Failure Reasons of what is still to be sent; 0 where nothing was said."""
        failed, unnamed = self._store(study_uid, list(pending.values()))
        for sop_uid, reason in list(failed.items()):
            if reason == _DUPLICATE and self.same(pending[sop_uid]):
                del failed[sop_uid]
            elif reason not in (_UNNAMED, _PROCESSING_FAILURE) and reason >> 8 != _OUT_OF_RESOURCES:
                raise self._refused("refuses an instance", f"{reason:04X}", pending[sop_uid])
        if unnamed:
            # Said to be neither stored nor refused: only its list tells, and sending again unasked could double.
            there = self._web.instances(study_uid)
            failed |= {
                sop_uid: _UNNAMED
                for sop_uid in unnamed
                if sop_uid not in there or not (self._first or self.same(pending[sop_uid]))
            }
        return failed

    def _store(self, study_uid: Uid, batch: list[Outgoing]) -> tuple[dict[str, int], set[str]]:
        """What the service refused, with its reasons, and what it did not mention."""
        try:
            report = self._web.client.patiently(lambda: self._web.store(study_uid, [each.part10 for each in batch]))
        except NotWhole as refused:
            return self._store_halves(study_uid, batch, refused.status)
        names = {str(each.facts.sop_uid) for each in batch}
        failed = {sop_uid: reason for sop_uid, reason in report.failed.items() if sop_uid in names}
        return failed, names - failed.keys() - report.stored.keys()

    def _store_halves(self, study_uid: Uid, batch: list[Outgoing], status: int) -> tuple[dict[str, int], set[str]]:
        if len(batch) == 1:
            why = "takes no instance of that size" if status == TOO_LARGE else "takes no such instance"
            raise self._refused(why, str(status), batch[0])
        if status == TOO_LARGE:
            # The rest of the study is spared the same refusal.
            self._batch_size = max(1, sum(each.part10.size for each in batch) // 2)
        half = len(batch) // 2
        first, unnamed_first = self._store(study_uid, batch[:half])
        second, unnamed_second = self._store(study_uid, batch[half:])
        return first | second, unnamed_first | unnamed_second

    def _refused(self, why: str, code: str, outgoing: Outgoing) -> Rejected:
        return Rejected(why, operation="store", place=self.place, code=code, sop_uids=(outgoing.facts.sop_uid,))

    def _not_taken(self, reasons: dict[str, int]) -> StorageError:
        worst = max(reasons.values())
        if all(reason >> 8 == _OUT_OF_RESOURCES for reason in reasons.values()):
            return Retryable("is out of resources", operation="store", place=self.place, code=f"{worst:04X}")
        message = f"did not take {len(reasons)} instances"
        code = f"{worst:04X}" if worst else "unnamed"
        return NotTaken(message, operation="store", place=self.place, code=code, sop_uids=tuple(reasons))


def listed_keys(web: WebService, pack: PackId, key: str) -> Iterator[str]:
    """As `Sink.loose`: what the service lists of the study, as keys below `key`.

    Raises
    ------
    IntegrityError
        It lists an instance without its series.
    """
    for sop_uid, series_uid in web.instances(pack.study_uid).items():
        if series_uid is None:
            raise IntegrityError("it lists an instance without its series", operation="list", place=web.place)
        yield instance_key(key, series_uid, sop_uid)
