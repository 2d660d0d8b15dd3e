"""The errors of storage, split by what the caller does next; each docstring is the message's gist."""

from collections.abc import Sequence


class StorageError(Exception):
    """Something durable could not be written or read.

    The four parts name operation, place and code, so that a person can act on the message alone.
    """

    def __init__(
        self, message: str, *, operation: str = "", place: str = "", code: str = "", sop_uids: Sequence[str] = ()
    ) -> None:
        self.operation = operation
        self.place = place
        self.code = code
        self.sop_uids = tuple(sop_uids)
        """Instances it is about, for the ledger's eyes only: messages are logged."""
        lead = f"{operation} {place}".strip()
        tail = f" [{code}]" if code else ""
        super().__init__(f"{lead}: {message}{tail}" if lead else f"{message}{tail}")


class Retryable(StorageError):
    """The endpoint is busy or away; the same call may succeed later."""


class DeviceHangs(Retryable):
    """A device did not answer in time and is not asked any more until what hangs has returned; others go on."""


class Rejected(StorageError):
    """The endpoint refused for good (permission, policy, bad request); retrying changes nothing."""


class NotTaken(StorageError):
    """A service took all but some instances and did not say that it never will; another attempt is worth its count."""


class UploadLost(StorageError):
    """The upload no longer exists at the endpoint; its parts are gone and it starts over."""


class AlreadyThere(StorageError):
    """An object of that key exists and is not ours to overwrite; its own index decides what follows."""


class VolumeSealed(StorageError):
    """A volume of the study is on a sealed device and cannot be taken back; only the next revision can start over."""


class DeviceFull(StorageError):
    """The device has reached its reserve; the study, or its volume, starts over on the next device."""


class SinkFull(StorageError):
    """Every device of the destination is full; attach another and run again."""


class IntegrityError(StorageError):
    """Bytes read back are not the bytes that were written; stop and look."""


class LostClaim(StorageError):
    """Another worker holds this delivery now; whatever was being done must not be committed."""
