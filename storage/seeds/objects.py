"""A device as something packs are read from, with nothing of a sink around it."""

from collections.abc import Iterator

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
