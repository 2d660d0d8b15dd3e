"""One bucket, spoken to by the few low-level calls Limosa needs.

boto3's transfer manager is not used: it cannot resume, cannot send If-None-Match, and its CRT mode ignores
`endpoint_url` and would send a hospital's images to another host.
"""

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ResponseStreamingError
from urllib3.exceptions import HTTPError

from imaging.octets import Octets, chunks
from storage.errors import AlreadyThere, IntegrityError, Rejected, Retryable
from storage.packs.crc64 import crc64 as crc64_of
from storage.packs.crc64 import from_header, to_header
from storage.packs.model import Part
from storage.sinks.options import S3Options
from storage.sinks.s3_errors import EXPIRED, WrongChecksum, translated
from storage.sinks.secret import resolve

CONNECT_TIMEOUT = 5
"""Seconds to a connection: an endpoint in the same or the next building answers in milliseconds; a dead one
must not hold a C-MOVE."""
READ_TIMEOUT = 60
"""Seconds of silence: completing an upload of 10,000 parts takes S3 tens of seconds before it answers."""
ATTEMPTS = 5
"""Requests per call, standard mode (exponential pauses up to 20 s, and a retry quota against storms)."""
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
        self._client: Any = _client(options)
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
                    self._client = _client(self._options)

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


def _client(options: S3Options) -> Any:
    keys: dict[str, Any] = {}
    if options.access_key is not None and options.secret_key is not None:
        keys["aws_access_key_id"] = resolve(options.access_key).get_secret_value()
        keys["aws_secret_access_key"] = resolve(options.secret_key).get_secret_value()
    config = Config(
        region_name=options.region,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=options.connections,
        # The SDK's default adds trailers in chunked encoding, which many S3-compatible stores refuse.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": "path" if options.path_style else "auto",
            "payload_signing_enabled": options.endpoint.signs_bodies or not _body_is_safe(options.endpoint_url),
        },
        tcp_keepalive=True,
    )
    # A session of our own: the default one is shared and its creation is not thread-safe.
    session = boto3.session.Session()
    client = session.client(
        "s3",
        endpoint_url=options.endpoint_url,
        config=config,
        verify=str(options.ca_bundle) if options.ca_bundle else None,
        **keys,
    )
    client.meta.events.register("before-sign.s3.UploadPart", _typed)
    return client


def _typed(request: Any, **_: Any) -> None:
    """The request says what its body is. SeaweedFS guesses the type of a part that does not by its first bytes, takes a
    tar's header for text, and gzips all of it, which halves its rate and makes a range read the whole part."""
    request.headers["Content-Type"] = "application/octet-stream"


def _body_is_safe(endpoint_url: str | None) -> bool:
    """Signing a body costs a SHA-256 of it; TLS or the loopback guard it as well, and its CRC is sent."""
    if endpoint_url is None:
        return True
    url = urlsplit(endpoint_url)
    return url.scheme == "https" or url.hostname in {"127.0.0.1", "::1", "localhost"}


def _date_of(page: dict[str, Any]) -> datetime:
    headers = page["ResponseMetadata"]["HTTPHeaders"]
    try:
        return parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        raise Retryable("answer without a date", operation="list uploads", place="s3") from None
