"""One bucket, spoken to by the few low-level calls Limosa needs."""

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ResponseStreamingError
from urllib3.exceptions import HTTPError

from imaging.octets import Octets, chunks
from storage.errors import AlreadyThere, IntegrityError, Rejected, Retryable
from storage.packs.crc64 import crc64 as crc64_of
from storage.packs.crc64 import from_header, to_header
from storage.packs.model import Part
from storage.sinks.options import S3Options
from storage.sinks.s3_errors import EXPIRED, WrongChecksum, translated
from storage.sinks.s3_session import client_of

READ_PIECE = 1 << 20

MAX_PUT = 5 << 30
"""Largest object of a single PUT."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the endpoint says of an object."""

    size: int
    etag: str
    version_id: str
    crc64: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    """A multipart upload that was never completed."""

    key: str
    upload_id: str
    age: float
    """Seconds, by the endpoint's own clock."""


class Body(io.RawIOBase):
    """A request body over Octets: botocore may rewind it for a retry, urllib3 reads it in large pieces.

    botocore refuses memoryviews, and urllib3 would otherwise read 16 KiB at a time.
    """

    def __init__(self, content: Octets) -> None:
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._content.size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> Any:
        """The next piece; longer than asked when that is cheaper. Views, not copies."""
        piece = self._content.read(self._at, READ_PIECE if size >= 0 else self._content.size - self._at)
        self._at += len(piece)
        return piece if piece else b""

    def readinto(self, buffer: Any) -> int:
        """The SDK's native signer reads a body that must be signed in this way."""
        piece = self._content.read(self._at, len(buffer))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


class Bucket:
    """The bucket of one destination; thread-safe, one per process."""

    def __init__(self, options: S3Options, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._options = options
        self._now = now
        self._name = options.bucket
        self._place = f"s3://{options.bucket}"
        self._client: Any = client_of(options)
        self._renewing = threading.Lock()

    @property
    def place(self) -> str:
        return self._place

    def put(self, key: str, body: Octets, crc64: int | None, *, create: bool, lasting: bool = True) -> Stored:
        """The object exists with these bytes. `create`: refused with `AlreadyThere` where one exists. One that is
        not `lasting` is not locked: it is about to be deleted."""
        if create:
            self._look_first(key)
        with self._asked("put") as client:
            answer = client.put_object(
                Bucket=self._name,
                Key=key,
                Body=Body(body),
                ContentLength=body.size,
                **self._checksum(crc64),
                **(self._only_new() if create else {}),
                **self._storage(),
                **(self._lock() if lasting else {}),
            )
        return Stored(size=body.size, etag=answer.get("ETag", ""), version_id=answer.get("VersionId", ""), crc64=crc64)

    def open_upload(self, key: str, *, lasting: bool = True) -> str:
        """A multipart upload for the key exists; its id.

        Raises
        ------
        AlreadyThere
            An object has the key, and the endpoint would have deleted it.
        """
        if self._options.endpoint.opening_replaces:
            self._look_first(key)
        asked = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"} if self._checks else {}
        with self._asked("create upload") as client:
            answer = client.create_multipart_upload(
                Bucket=self._name, Key=key, **asked, **self._storage(), **(self._lock() if lasting else {})
            )
        return answer["UploadId"]

    def put_part(self, key: str, upload_id: str, number: int, body: Octets, crc64: int) -> str:
        """The part is durable; its ETag. Sent again, it replaces the earlier one."""
        with self._asked("upload part") as client:
            answer = client.upload_part(
                Bucket=self._name,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=Body(body),
                ContentLength=body.size,
                **self._checksum(crc64),
            )
        return answer["ETag"]

    def complete(self, key: str, upload_id: str, parts: Sequence[Part], crc64: int) -> Stored:
        """The parts are one object; refused with `AlreadyThere` where one exists."""
        self._look_first(key)
        size = sum(part.size for part in parts)
        extra = self._checksum(crc64)
        if self._checks:
            extra |= {"ChecksumType": "FULL_OBJECT", "MpuObjectSize": size}
        with self._asked("complete upload") as client:
            answer = client.complete_multipart_upload(
                Bucket=self._name,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": [self._listed(part) for part in parts]},
                **extra,
                **self._only_new(),
            )
        return Stored(size=size, etag=answer.get("ETag", ""), version_id=answer.get("VersionId", ""), crc64=crc64)

    def abort(self, key: str, upload_id: str) -> None:
        """The upload and its parts are gone. Raises `UploadLost` when there was none."""
        with self._asked("abort upload") as client:
            client.abort_multipart_upload(Bucket=self._name, Key=key, UploadId=upload_id)

    def uploads(self, prefix: str) -> Iterator[OpenUpload]:
        """Every unfinished upload under the prefix."""
        with self._asked("list uploads") as client:
            for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=self._name, Prefix=prefix):
                now = _date_of(page)
                for upload in page.get("Uploads", ()):
                    age = (now - upload["Initiated"]).total_seconds()
                    yield OpenUpload(key=upload["Key"], upload_id=upload["UploadId"], age=age)

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key under the prefix, in order."""
        return (key for key, _ in self.sizes(prefix))

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every key under the prefix with its object's bytes, in order of the keys."""
        if not self._options.endpoint.lists_v2:
            yield from self._listed_at_once(prefix)
            return
        with self._asked("list") as client:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix):
                yield from ((entry["Key"], entry["Size"]) for entry in page.get("Contents", ()))

    def _listed_at_once(self, prefix: str) -> list[tuple[str, int]]:
        """As `sizes`, of an endpoint whose list has neither pages nor order."""
        with self._asked("list") as client:
            answer = client.list_objects(Bucket=self._name, Prefix=prefix)
        if answer.get("IsTruncated"):
            # Its later pages could not be asked for: half a list would call the other half lost.
            raise Rejected("the list is cut off", operation="list", place=self._place, code="IsTruncated")
        return sorted((entry["Key"], entry["Size"]) for entry in answer.get("Contents", ()))

    def head(self, key: str) -> Stored:
        """What the endpoint says of the object. Raises FileNotFoundError."""
        extra = {"ChecksumMode": "ENABLED"} if self._checks else {}
        with self._asked("head") as client:
            answer = client.head_object(Bucket=self._name, Key=key, **extra)
        return Stored(
            size=answer["ContentLength"],
            etag=answer.get("ETag", ""),
            version_id=answer.get("VersionId", ""),
            crc64=from_header(answer.get("ChecksumCRC64NVME", "")),
        )

    def stream(self, key: str, start: int, length: int) -> Iterator[bytes]:
        """Bytes [start, start + length) in pieces. Raises `Retryable` where the stream breaks off."""
        if not length:
            return
        with self._asked("get") as client:
            answer = client.get_object(Bucket=self._name, Key=key, Range=f"bytes={start}-{start + length - 1}")
        with closing(answer["Body"]) as body:
            while True:
                try:
                    piece = body.read(READ_PIECE)
                except (HTTPError, OSError, ResponseStreamingError, BotoCoreError) as error:
                    raise Retryable(
                        "the stream broke off", operation="get", place=self._place, code=type(error).__name__
                    ) from error
                if not piece:
                    return
                yield piece

    def delete(self, key: str) -> None:
        """There is no such object (any more)."""
        with self._asked("delete") as client:
            client.delete_object(Bucket=self._name, Key=key)

    def locks(self) -> None:
        """The bucket keeps Object Locks. Raises `Rejected` where it does not."""
        with self._asked("get object lock") as client:
            answer = client.get_object_lock_configuration(Bucket=self._name)
        if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise Rejected("the bucket was made without Object Lock", operation="get object lock", place=self._place)

    def reach(self) -> None:
        """The bucket exists and we may see it."""
        try:
            with self._asked("head bucket") as client:
                client.head_bucket(Bucket=self._name)
        except FileNotFoundError:
            # The answer to HEAD has no body that could say of what kind the missing thing is.
            raise Rejected(
                "there is no such bucket", operation="head bucket", place=self._place, code="NoSuchBucket"
            ) from None

    @contextmanager
    def _asked(self, operation: str) -> Iterator[Any]:
        """The client for one call; errors leave as `translated` says, and the next call has fresh credentials where
        these have expired."""
        client = self._client
        try:
            with translated(operation, self._place):
                yield client
        except Retryable as error:
            if error.code in EXPIRED:
                self._renew(client)
            raise

    def _renew(self, stale: Any) -> None:
        """Secrets are read anew, once for all the calls that met their end."""
        with self._renewing:
            if self._client is stale:
                # A secret that is away while it is replaced is read after the next call.
                with suppress(Rejected):
                    self._client = client_of(self._options)

    @property
    def _checks(self) -> bool:
        return self._options.checksum == "crc64nvme"

    def _checksum(self, crc64: int | None) -> dict[str, Any]:
        return {"ChecksumCRC64NVME": to_header(crc64)} if self._checks and crc64 is not None else {}

    def _only_new(self) -> dict[str, Any]:
        return {"IfNoneMatch": "*"} if self._options.if_none_match else {}

    def _look_first(self, key: str) -> None:
        """Where the store knows no If-None-Match, looking is the best there is; two at once may both win."""
        if self._options.if_none_match:
            return
        try:
            self.head(key)
        except FileNotFoundError:
            return
        raise AlreadyThere("an object has the key", operation="put", place=self._place)

    def _storage(self) -> dict[str, Any]:
        options = self._options
        extra: dict[str, Any] = {}
        if options.storage_class:
            extra["StorageClass"] = options.storage_class
        if options.sse:
            extra["ServerSideEncryption"] = options.sse
        if options.kms_key:
            # One data key per bucket instead of one call to the key service per object.
            extra |= {"SSEKMSKeyId": options.kms_key, "BucketKeyEnabled": True}
        if options.tags:
            extra["Tagging"] = urlencode(options.tags)
        return extra

    def _lock(self) -> dict[str, Any]:
        options = self._options
        if options.lock_mode is None or options.lock_days is None:
            return {}
        until = self._now() + timedelta(days=options.lock_days)
        return {"ObjectLockMode": options.lock_mode, "ObjectLockRetainUntilDate": until}

    def _listed(self, part: Part) -> dict[str, Any]:
        return {"PartNumber": part.number, "ETag": part.etag, **self._checksum(part.crc64)}


def octets_crc64(content: Octets) -> int:
    """CRC-64/NVME of the whole content."""
    value = 0
    for piece in chunks(content, 0, content.size):
        value = crc64_of(piece, value)
    return value


def send_checked(send: Callable[[], T], content: Octets, crc64: int, place: str) -> T:
    """The result of `send`, which the endpoint's checksum agreed with at the first or second try.

    Sending blindly again would repeat bytes that changed in our own memory, so they are summed up once more.

    Raises
    ------
    IntegrityError
        Our bytes have changed, or the endpoint disagrees twice.
    """
    try:
        return send()
    except WrongChecksum:
        if octets_crc64(content) != crc64:
            raise IntegrityError("bytes changed before they were sent", operation="send", place=place) from None
    try:
        return send()
    except WrongChecksum as error:
        raise IntegrityError("the endpoint reads other bytes than we send", operation="send", place=place) from error


def _date_of(page: dict[str, Any]) -> datetime:
    headers = page["ResponseMetadata"]["HTTPHeaders"]
    try:
        return parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        raise Retryable("answer without a date", operation="list uploads", place="s3") from None
