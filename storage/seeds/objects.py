"""A device as something packs are read from, with nothing of a sink around it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from storage.packs.model import Container, PackId
from storage.seeds.examine import Examined, examine
from storage.sinks.device import Device


class DeviceObjects:
    """`ObjectReader` over one device."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def size(self, key: str, *, device: str = "") -> int:
        del device
        return self._device.size(key)

    def stream(self, key: str, start: int, length: int, *, device: str = "") -> Iterator[bytes]:
        del device
        return self._device.stream(key, start, length)


def examine_on(
    device: Device,
    pack: PackId,
    container: Container,
    key: str,
    report: Callable[[int], None] = lambda octets: None,
) -> Examined:
    """As `examine`; the SHA-256 is of the file as it lies there, which is not the pack where the device is encrypted.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    Rejected
        The device is encrypted, and not unlocked.
    """
    if not device.key_id:
        return examine(DeviceObjects(device), pack, container, key, report=report)
    digest = hashlib.sha256()
    whole = device.stream(key, 0, device.size(key), digest.update)
    found = examine(DeviceObjects(device), pack, container, key, report=report, whole=whole)
    return replace(found, sha256=digest.digest())
