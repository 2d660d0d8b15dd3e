"""A DICOMweb service as a source: asked by QIDO-RS, retrieved from by WADO-RS (PS3.18 sections 10.4 and 10.6).

Nothing is sent to a receiver: each instance that was fetched is handed to the same handler that a receiver would, in
the caller's thread. A study or series comes in one response, and what a response that breaks off has brought so far is
kept; what is still missing is asked for in smaller pieces, down to single instances. They are asked for as stored;
what a service transcodes all the same is delivered as it came.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actors.dimse.find import study_identifier
from actors.dimse.incoming import Incoming, InstanceHandler, Peer
from actors.dimse.landing import LandingFactory
from actors.options import DicomwebSource
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
from imaging.part10 import encode_meta, split_part10
from imaging.uid import InvalidUid, Uid, parse_uid
from storage.dicomweb.client import Busy, WebClient
from storage.dicomweb.options import WebAccess
from storage.dicomweb.records import JSON, STUDY, Record, number, records, uid, values
from storage.dicomweb.service import Partial, WebService
from storage.errors import IntegrityError, Rejected, Retryable, StorageError

PAGE = 500
"""Studies asked for at once."""

MOST = 1_000_000
"""Studies of one answer: beyond, it does not end."""

HELD = 0x0000
EXPLICIT_LE = "1.2.840.10008.1.2.1"

_TEXTS = {
    "patient_id": "00100020",
    "issuer": "00100021",
    "patient_name": "00100010",
    "birth_date": "00100030",
    "sex": "00100040",
    "accession": "00080050",
    "study_date": "00080020",
    "study_time": "00080030",
    "description": "00081030",
}
_NOBODY = frozenset({"401", "403", "404"})
"""What is answered to whatever is asked: we are not let in, or nothing is there."""
_MODALITIES, _SERIES, _INSTANCES = "00080061", "00201206", "00201208"


class WebSource:
    """A `Source` over one service. Used by one thread at a time."""

    def __init__(self, options: DicomwebSource, handler: InstanceHandler, landing: LandingFactory | None) -> None:
        """`landing` is where instances are put down while they come; None for a source that is only asked."""
        access = WebAccess(**options.model_dump(include=set(WebAccess.model_fields)))
        self._client = WebClient(access)
        self._service = WebService(self._client)
        self._handler = handler
        self._landing = landing
        self._listed: tuple[Uid, Mapping[Uid, Uid | None]] | None = None
        """The series of every instance of the study that was listed last."""

    def echo(self) -> None:
        try:
            self._service.reach()
        except StorageError as error:
            raise _unreachable(error) from None

    def find_studies(self, window: StudyWindow) -> FindAnswer:
        found: dict[Uid, list[StudyFound]] = {}
        undecodable = 0
        end = FindEnd.SUCCESS
        status: int | None = 200
        params = _params(window)
        offset = 0
        while True:
            try:
                page = self._client.patiently(partial(self._page, params, offset))
            except Rejected as error:
                if error.code in _NOBODY:
                    raise _unreachable(error) from None
                status = int(error.code) if error.code.isdigit() else None
                # 413: the question is too broad, which narrower ones are not.
                end = FindEnd.REFUSED if status == 413 else FindEnd.FAILED
                break
            except (Retryable, IntegrityError):
                end, status = FindEnd.LOST, None
                break
            before = sum(map(len, found.values()))
            for record in page:
                study = _study(record)
                if study is None:
                    undecodable += 1
                elif study not in found.setdefault(study.study_uid, []):
                    found[study.study_uid].append(study)
            fresh = sum(map(len, found.values())) - before
            # Some services ignore the offset, and others cap a page lower than asked: only a page without anything
            # new is the end.
            if not page or not fresh:
                break
            offset += len(page)
            if offset >= MOST:
                end, status = FindEnd.UNENDING, None
                break
        studies = tuple(one for each in found.values() for one in each)
        return FindAnswer(
            window=window,
            studies=studies,
            end=end,
            status=status,
            undecodable=undecodable,
            raw=tuple(study_identifier(one) for one in studies),
            transfer_syntax=EXPLICIT_LE,
        )

    def list_instances(self, study_uid: Uid) -> InstanceList:
        try:
            listed = self._list(study_uid)
        except IntegrityError:
            return InstanceList(instances=(), complete=False)
        except Rejected:
            return InstanceList(instances=(), complete=False)
        except Retryable as error:
            raise SourceUnreachable(str(error)) from None
        refs, repeated = distinct(
            [InstanceRef(series_uid=series, sop_uid=sop) for sop, series in listed.items() if series is not None]
        )
        return InstanceList(
            instances=refs, complete=True, repeated=repeated, undecodable=len(listed) - len(refs) - repeated
        )

    def retrieve(self, target: MoveTarget, receiver: str, stop: Callable[[], bool]) -> MoveOutcome:
        if self._landing is None:
            raise RuntimeError("this source was opened for questions only")
        tally = _Tally()
        try:
            fetch = self._one_by_one if target.sop_uids else self._together
            whole = fetch(target, tally, stop)
        except Busy:
            return tally.outcome(MoveEnd.BUSY)
        except (Retryable, IntegrityError, _Stopped):
            return tally.outcome(MoveEnd.LOST)
        return tally.outcome(MoveEnd.SUCCESS if whole and not tally.failed else MoveEnd.PARTIAL)

    def _together(self, target: MoveTarget, tally: "_Tally", stop: Callable[[], bool]) -> bool:
        """A study or series came in one response; False where the service says that it is not whole."""
        try:
            for part in self._service.retrieve(target.study_uid, target.series_uid):
                if stop():
                    raise _Stopped
                self._hand_over(part, None, tally)
        except FileNotFoundError:
            return True
        except (Partial, Rejected):
            return False
        return True

    def _one_by_one(self, target: MoveTarget, tally: "_Tally", stop: Callable[[], bool]) -> bool:
        try:
            series = {} if target.series_uid else self._series(target.study_uid)
        except (Rejected, IntegrityError):
            tally.failed += target.sop_uids
            return True
        for sop_uid in target.sop_uids:
            if stop():
                raise _Stopped
            series_uid = target.series_uid or series.get(sop_uid)
            if series_uid is None:
                tally.failed.append(sop_uid)
                continue
            try:
                self._hand_over(self._service.instance(target.study_uid, series_uid, sop_uid), sop_uid, tally)
            except (Rejected, IntegrityError, FileNotFoundError):
                tally.failed.append(sop_uid)
        return True

    def _series(self, study_uid: Uid) -> Mapping[Uid, Uid | None]:
        """By SOP Instance UID; the service is asked once for all instances that are missing of a study."""
        if self._listed is None or self._listed[0] != study_uid:
            return self._list(study_uid)
        return self._listed[1]

    def _list(self, study_uid: Uid) -> Mapping[Uid, Uid | None]:
        self._listed = None
        listed = self._service.instances(study_uid)
        self._listed = study_uid, listed
        return listed

    def close(self) -> None:
        self._client.close()

    def _hand_over(self, pieces: Iterator[bytes], sop_uid: Uid | None, tally: "_Tally") -> None:
        """The handler was asked to hold one instance. `sop_uid`: what it was asked for by, None: not alone."""
        assert self._landing is not None  # `retrieve` has looked
        landing = self._landing()
        try:
            for piece in pieces:
                landing.write(piece)
            incoming = _incoming(sop_uid, landing.octets(), self._service.place)
            if self._handler(incoming) == HELD:
                tally.held += 1
            else:
                tally.failed.append(incoming.sop_uid)
        finally:
            landing.release()

    def _page(self, params: Mapping[str, str | int], offset: int) -> list[Record]:
        asked = {**params, "limit": PAGE} | ({"offset": offset} if offset else {})
        with self._client.exchange("GET", "/studies", accept=JSON, params=asked) as answer:
            if answer.status == 200:
                return records(answer.body())
            if answer.status not in (204, 404):
                raise answer.error()
        if answer.status == 404:
            # Nothing was found, or there is no service at this address: only the second is so for every question.
            self._service.reach()
        return []


def _unreachable(error: StorageError) -> SourceUnreachable:
    turned_away = isinstance(error, Rejected) and error.code != "404"
    return SourceUnreachable(str(error), refused=turned_away, permanent=isinstance(error, Rejected))


class _Stopped(Exception):
    """The caller wants no more."""


@dataclass(slots=True)
class _Tally:
    """What became of the instances of one retrieve."""

    held: int = 0
    failed: list[str] = field(default_factory=list)

    def outcome(self, end: MoveEnd) -> MoveOutcome:
        status = {MoveEnd.SUCCESS: 0, MoveEnd.PARTIAL: 0xB000}.get(end)
        failed = tuple(self.failed)
        return MoveOutcome(
            end=end, status=status, completed=self.held, failed=len(failed), warning=0, failed_sop_uids=failed
        )


def _params(window: StudyWindow) -> dict[str, str | int]:
    """The window as query parameters: C-FIND keys have the same names in QIDO-RS, lists are divided by commas."""
    keys = {name: text.replace("\\", ",") for name, text in window.keys().items()}
    fields = (*_TEXTS.values(), _MODALITIES, _SERIES, _INSTANCES)
    return {**keys, "includefield": ",".join(fields)}


def _study(record: Record) -> StudyFound | None:
    """None where it names no study."""
    study_uid = uid(record, STUDY)
    if study_uid is None:
        return None
    modalities = tuple(_words(record, _MODALITIES)) if _MODALITIES in record else None
    return StudyFound(
        study_uid=study_uid,
        modalities=modalities,
        series_count=_counted(record, _SERIES),
        instance_count=_counted(record, _INSTANCES),
        **{name: next(_words(record, tag), "") if tag in record else None for name, tag in _TEXTS.items()},
    )


def _counted(record: Record, tag: str) -> int | None:
    found = number(record, tag)
    return found if found is not None and 0 <= found < 10**10 else None


def _words(record: Record, tag: str) -> Iterator[str]:
    """The values of an element as text; of a person's name the first of its writings."""
    for value in values(record, tag):
        told: Any = value
        if isinstance(value, dict):
            told = next((value[way] for way in ("Alphabetic", "Ideographic", "Phonetic") if value.get(way)), "")
        if isinstance(told, str | int | float):
            yield str(told).replace("\0", " ").strip()


def _incoming(asked: Uid | None, fetched: Octets, place: str) -> Incoming:
    """The dataset behind file meta of ours; what has no envelope is handed over as it came, and rejected there."""
    peer = Peer(calling_ae="", called_ae="", address=place)
    sop_uid: str = asked or ""
    try:
        envelope = split_part10(fetched)
        sop_uid = sop_uid or envelope.sop_uid or ""
        meta = MemoryOctets(encode_meta(envelope.sop_class, sop_uid or None, envelope.transfer_syntax))
    except (MalformedDataset, InvalidUid):
        offset, syntax, whole, sop_class = 0, parse_uid(EXPLICIT_LE), fetched, ""
    else:
        whole = JoinedOctets((Span(meta, 0, meta.size), Span(fetched, envelope.dataset_offset, fetched.size)))
        offset, syntax, sop_class = meta.size, envelope.transfer_syntax, envelope.sop_class or ""
    return Incoming(
        peer=peer,
        sop_class=sop_class,
        sop_uid=sop_uid,
        transfer_syntax=syntax,
        move_originator_ae=None,
        move_originator_id=None,
        part10=whole,
        dataset_offset=offset,
        raw1=raw1(whole, offset, syntax),
    )
