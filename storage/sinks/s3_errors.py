"""What an S3 endpoint said, as one of storage's errors. Keys hold study UIDs, so only the bucket is named."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from storage.errors import AlreadyThere, Rejected, Retryable, SinkFull, StorageError, UploadLost


class WrongChecksum(StorageError):
    """The endpoint computed another checksum than we sent."""


class Conflict(Retryable):
    """Another write to the key was under way (409); an upload that meets it is spoilt."""


_CHECKSUM = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})
_LOST = frozenset({"NoSuchUpload", "InvalidPart", "InvalidPartOrder"})
_EXISTS = frozenset({"PreconditionFailed", "412"})
_CONFLICT = frozenset({"ConditionalRequestConflict", "409"})
_ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
_FULL = frozenset({"InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"})
"""MinIO's and Ceph's words for a store, or a bucket's quota, that has no room: no other study would fit either."""
_OF_UPLOADS = frozenset({"upload part", "complete upload", "abort upload"})
"""Operations that name an upload: a bare 404, as gateways give it, means that one and no object."""
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
"""Credentials that were good: the next ones are."""
_BUSY = EXPIRED | frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "InternalError",
        "ServiceUnavailable",
        # A new request is signed with fresh time.
        "RequestTimeTooSkewed",
    }
)


@contextmanager
def translated(operation: str, place: str) -> Iterator[None]:
    """What boto3 raises inside leaves as a storage error or FileNotFoundError."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(error, operation, place) from error
    except (HTTPClientError, BotoConnectionError) as error:
        # The first covers time-outs and resets, the second refused connections and broken streams.
        raise Retryable("no answer", operation=operation, place=place, code=type(error).__name__) from error
    except BotoCoreError as error:
        # Credentials that cannot be found, parameters that cannot be right.
        raise Rejected("cannot be asked", operation=operation, place=place, code=type(error).__name__) from error


def _from_answer(error: ClientError, operation: str, place: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))[:64]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind: type[StorageError]
    if code in _ABSENT and operation not in _OF_UPLOADS:
        return FileNotFoundError(f"{operation} {place}: no such object")
    if code in _LOST or code in _ABSENT:
        kind = UploadLost
    elif code in _EXISTS or status == 412:
        kind = AlreadyThere
    elif code in _CONFLICT or status == 409:
        kind = Conflict
    elif code in _CHECKSUM:
        kind = WrongChecksum
    elif code in _FULL or status == 507:
        kind = SinkFull
    elif code in _BUSY or status >= 500 or status == 429:
        kind = Retryable
    else:
        kind = Rejected
    return kind(f"answered {status}", operation=operation, place=place, code=code)
