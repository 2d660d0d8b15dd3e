"""Brings one file of a device into a bucket: in parts, resumable, and looked at where it lies afterwards."""

from contextlib import suppress

from cluster.seeding.ingest_journal import IngestJournal
from imaging.octets import JoinedOctets, Octets, Span
from storage.errors import AlreadyThere, IntegrityError, UploadLost
from storage.packs.crc64 import combine_parts, crc64
from storage.packs.model import Part
from storage.sinks.device import Device
from storage.sinks.s3_client import Bucket, octets_crc64, send_checked
from storage.sinks.s3_errors import Conflict
from storage.sinks.s3_parts import PartPlan

ANEW = 3
"""Uploads begun for one object: the endpoint may lose one, hardly three in a row."""


class Carrier:
    """Copies files of one device; thread-safe."""

    def __init__(self, device: Device, bucket: Bucket, journal: IngestJournal, part_size: int) -> None:
        self._device = device
        self._bucket = bucket
        self._journal = journal
        self._parts = PartPlan(size=part_size)

    def carry(self, key: str, to: str, size: int, checksum: int) -> None:
        """The file, of this size and CRC-64, is the object `to`.

        Raises
        ------
        IntegrityError
            The file is not what it was when it was examined, or the bucket holds other bytes.
        AlreadyThere
            Another object has the key; it was not overwritten.
        """
        if to in self._journal.done:
            return
        with self._device.octets(key) as body:
            if body.size != size:
                raise self._changed()
            try:
                if size <= self._parts.size:
                    send_checked(
                        lambda: self._bucket.put(to, body, checksum, create=True), body, checksum, self._bucket.place
                    )
                else:
                    self._send_parts(to, body, checksum)
            except AlreadyThere:
                # An earlier call was killed between the object and its line in the journal; or it is a stranger's.
                if not self._holds(to, size, checksum):
                    raise
            else:
                if not self._holds(to, size, checksum):
                    raise IntegrityError(
                        "holds other bytes than were sent", operation="check", place=self._bucket.place
                    )
        self._journal.stored(to)

    def _send_parts(self, to: str, body: Octets, checksum: int) -> None:
        for _ in range(ANEW):
            upload = self._journal.uploads.get(to)
            if upload is None:
                self._journal.opened(to, self._bucket.open_upload(to))
                upload = self._journal.uploads[to]
            try:
                self._send_rest(to, body, upload.upload_id, upload.parts)
                if combine_parts(upload.parts) != checksum:
                    with suppress(UploadLost):
                        self._bucket.abort(to, upload.upload_id)
                    raise self._changed()
                self._bucket.complete(to, upload.upload_id, upload.parts, checksum)
            except (UploadLost, Conflict):
                # Gone, or spoilt by another write: what is there decides, else it is sent again.
                if self._exists(to):
                    raise AlreadyThere("an object has the key", operation="put", place=self._bucket.place) from None
                self._journal.opened(to, self._bucket.open_upload(to))
            else:
                return
        raise UploadLost("was lost again and again", operation="upload", place=self._bucket.place)

    def _send_rest(self, to: str, body: Octets, upload_id: str, parts: list[Part]) -> None:
        offset = parts[-1].offset + parts[-1].size if parts else 0
        while offset < body.size:
            number = len(parts) + 1
            stop = min(offset + self._parts.target(number), body.size)
            piece = JoinedOctets([Span(body, offset, stop)])
            value = octets_crc64(piece)
            etag = send_checked(
                lambda piece=piece, value=value, number=number: self._bucket.put_part(
                    to, upload_id, number, piece, value
                ),
                piece,
                value,
                self._bucket.place,
            )
            # `parts` is the journal's own list.
            self._journal.sent(to, Part(number=number, offset=offset, size=stop - offset, crc64=value, etag=etag))
            offset = stop

    def _holds(self, to: str, size: int, checksum: int) -> bool:
        stored = self._bucket.head(to)
        if stored.size != size:
            return False
        if stored.crc64 is not None:
            return stored.crc64 == checksum
        # A store that keeps no checksum is read back.
        value = 0
        for piece in self._bucket.stream(to, 0, size):
            value = crc64(piece, value)
        return value == checksum

    def _exists(self, to: str) -> bool:
        try:
            self._bucket.head(to)
        except FileNotFoundError:
            return False
        return True

    def _changed(self) -> IntegrityError:
        return IntegrityError("a file changed after it was examined", operation="send", place=self._device.place)
