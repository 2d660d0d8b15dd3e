"""The key of a destination's disks, and devices that are opened with it."""

from pathlib import Path

from storage.errors import Rejected
from storage.sinks.cipher import DiskKey
from storage.sinks.device import Device
from storage.sinks.secret import SecretRef, resolve


def disk_key(reference: SecretRef | None) -> DiskKey | None:
    """The key behind the reference. Raises `Rejected`."""
    return None if reference is None else DiskKey.parse(resolve(reference).get_secret_value())


def unlocked(device: Device, reference: SecretRef | None) -> Device:
    """The device, its packs to be written and read with the key behind the reference.

    Raises
    ------
    Rejected
        It was prepared for another key, or the key lies on it, where it would travel with what it protects.
    """
    kind, _, path = (reference or "").partition(":")
    if kind == "file" and Path(path).resolve().is_relative_to(device.root.resolve()):
        raise Rejected("the disk key lies on it; keep it elsewhere", operation="unlock", place=device.place)
    device.unlock(disk_key(reference))
    return device


def label_of(reference: SecretRef | None) -> dict[str, str]:
    """What a device's label says of its key."""
    key = disk_key(reference)
    return {} if key is None else {"key_id": key.id}
