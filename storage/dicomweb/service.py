"""What a migration asks of a DICOMweb service: which instances it has, their bytes, and to store more."""

from collections.abc import Iterator, Sequence
from functools import partial

from imaging.octets import Octets
from imaging.uid import Uid
from storage.dicomweb.client import Answer, WebClient
from storage.dicomweb.multipart import DICOM, boundary_of, first_part, fresh_boundary, parts, related
from storage.dicomweb.records import JSON, SERIES, SOP_INSTANCE, StoreReport, records, store_report, uid
from storage.errors import IntegrityError, Rejected

PAGE = 1000
"""Instances asked for at once; services that cap lower are asked again until nothing new comes."""
PAGES = 5000
"""Of one study: five million instances, where pages come that never end."""

AS_STORED = f'multipart/related; type="{DICOM}"; transfer-syntax=*'
"""Without the last parameter a service transcodes to Explicit VR Little Endian (PS3.18 section 8.7.3.5.2)."""

_REPORTING = frozenset({200, 202, 409})
_GONE = frozenset({404, 410})


class Partial(Exception):
    """The service sent what it could and says that this is not all (206, PS3.18 section 10.4.3.1)."""


class NotWhole(Exception):
    """The service takes no message of this size (413), or none with what is in it (400): parts of it may do."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class WebService:
    """One service. Safe to use from several threads; every method raises what `WebClient.exchange` and `Answer.error`
    raise."""

    def __init__(self, client: WebClient) -> None:
        self._client = client

    @property
    def place(self) -> str:
        return self._client.place

    @property
    def client(self) -> WebClient:
        return self._client

    def instances(self, study_uid: Uid) -> dict[Uid, Uid | None]:
        """Series by SOP Instance UID, of every instance the service lists for the study (QIDO-RS)."""
        found: dict[Uid, Uid | None] = {}
        for _ in range(PAGES):
            page = self._client.patiently(partial(self._page, study_uid, len(found)))
            fresh = {sop: series for sop, series in page.items() if sop not in found}
            if not fresh:
                # The only end there is: caps are not announced, and some services ignore the offset.
                return found
            found |= fresh
        raise Rejected("its list does not end", operation="list", place=self.place)

    def _page(self, study_uid: Uid, offset: int) -> dict[Uid, Uid | None]:
        params: dict[str, str | int] = {"limit": PAGE, "includefield": SERIES}
        if offset:
            params["offset"] = offset
        with self._client.exchange("GET", f"/studies/{study_uid}/instances", accept=JSON, params=params) as answer:
            if answer.status in (*_GONE, 204):
                return {}
            if answer.status != 200:
                raise answer.error()
            listed = records(answer.body())
        page: dict[Uid, Uid | None] = {}
        for record in listed:
            sop_uid = uid(record, SOP_INSTANCE)
            if sop_uid is None:
                raise IntegrityError("it lists an instance without a valid UID", operation="list", place=self.place)
            page[sop_uid] = uid(record, SERIES)
        return page

    def instance(self, study_uid: Uid, series_uid: Uid, sop_uid: Uid) -> Iterator[bytes]:
        """The Part-10 file as the service stores it (WADO-RS), in pieces. Raises `FileNotFoundError`, too."""
        path = f"/studies/{study_uid}/series/{series_uid}/instances/{sop_uid}"
        with self._client.exchange("GET", path, accept=AS_STORED) as answer:
            if answer.status in _GONE:
                raise FileNotFoundError("the service has no such instance")
            if answer.status != 200:
                raise answer.error()
            yield from _content(answer)

    def retrieve(self, study_uid: Uid, series_uid: Uid | None) -> Iterator[Iterator[bytes]]:
        """Each Part-10 file of a study, or of one series of it, as the service stores it (WADO-RS), in pieces.

        Raises `FileNotFoundError`, and `Partial` after the last one, too.
        """
        path = f"/studies/{study_uid}" if series_uid is None else f"/studies/{study_uid}/series/{series_uid}"
        with self._client.exchange("GET", path, accept=AS_STORED) as answer:
            if answer.status in (*_GONE, 204):
                raise FileNotFoundError("the service has no such study or series")
            if answer.status not in (200, 206):
                raise answer.error()
            boundary = boundary_of(answer.header("Content-Type"))
            if boundary is None:
                raise IntegrityError("it sent something else than instances", operation="read", place=self.place)
            yield from parts(answer.pieces(), boundary)
            if answer.status == 206:
                raise Partial

    def store(self, study_uid: Uid, parts: Sequence[Octets]) -> StoreReport:
        """What the service says of these instances, all of the study (STOW-RS). Raises `NotWhole`, too."""
        body = related(parts, fresh_boundary())
        with self._client.exchange("POST", f"/studies/{study_uid}", accept=JSON, body=body) as answer:
            if answer.status in (400, 413):
                # Orthanc answers 400 to all of a message with one instance that it cannot read.
                raise NotWhole(answer.status)
            if answer.status not in _REPORTING:
                raise answer.error()
            return store_report(answer.body())

    def reach(self) -> None:
        """The service answers a question with our credentials."""
        with self._client.exchange("GET", "/studies", accept=JSON, params={"limit": 1}) as answer:
            if answer.status not in (200, 204):
                raise answer.error()
            answer.body()


def _content(answer: Answer) -> Iterator[bytes]:
    content_type = answer.header("Content-Type")
    boundary = boundary_of(content_type)
    if boundary is not None:
        yield from first_part(answer.pieces(), boundary)
    elif content_type.lower().startswith(DICOM) and "json" not in content_type:
        yield from answer.pieces()  # some services send a single instance bare
    else:
        raise IntegrityError("it sent something else than an instance", operation="read", place="dicomweb")
