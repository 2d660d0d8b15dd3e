"""Orthanc's own REST API, as far as an instance can be looked up, read and taken back with it.

Orthanc names a resource by a hash of patient, study, series and instance UID, so one SOP Instance UID under two
patients is two resources, and neither replaces the other (book.orthanc-server.com, "Orthanc identifiers").
"""

import json
from collections.abc import Iterator

from imaging.uid import Uid
from storage.dicomweb.client import Body, WebClient
from storage.errors import IntegrityError

_JSON = "application/json"
_ID = frozenset("0123456789abcdef-")
_GONE = 404


class OrthancArchive:
    """One Orthanc. Safe to use from several threads; every method raises what `WebClient.exchange` and
    `Answer.error` raise."""

    def __init__(self, client: WebClient) -> None:
        self._client = client

    @property
    def place(self) -> str:
        return self._client.place

    def copies(self, sop_uid: Uid) -> tuple[str, ...]:
        """Orthanc's names of every instance with this SOP Instance UID, whoever's it is."""
        text = sop_uid.encode("ascii")
        body = Body(content_type="text/plain", size=len(text), pieces=lambda: iter([text]))
        with self._client.exchange("POST", "/tools/lookup", accept=_JSON, body=body) as answer:
            if answer.status != 200:
                raise answer.error()
            said = answer.body()
        try:
            found = [one["ID"] for one in json.loads(said) if one["Type"] == "Instance"]
        except (ValueError, TypeError, KeyError):
            found = [""]
        if not all(isinstance(one, str) and one and _ID.issuperset(one) for one in found):
            raise IntegrityError("its answer is none of Orthanc's", operation="look up", place=self.place)
        return tuple(found)

    def file(self, copy: str) -> Iterator[bytes]:
        """The Part-10 file as it is stored, in pieces. Raises `FileNotFoundError`, too."""
        with self._client.exchange("GET", f"/instances/{copy}/file", accept="application/dicom") as answer:
            if answer.status == _GONE:
                raise FileNotFoundError("Orthanc has no such instance any more")
            if answer.status != 200:
                raise answer.error()
            yield from answer.pieces()

    def withdraw(self, copy: str) -> None:
        """The instance is gone, and with its last one series, study and patient. Idempotent."""
        with self._client.exchange("DELETE", f"/instances/{copy}", accept=_JSON) as answer:
            if answer.status not in (200, _GONE):
                raise answer.error()
            answer.body()

    def reach(self) -> None:
        """It answers with our credentials, and is an Orthanc."""
        with self._client.exchange("GET", "/system", accept=_JSON) as answer:
            if answer.status != 200:
                raise answer.error()
            answer.body()
