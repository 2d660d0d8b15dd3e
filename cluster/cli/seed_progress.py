"""What is seen while devices are read: bytes, rate and time left, each device by itself."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

LINE_SECONDS = 5.0


class Meter:
    """Counts the bytes read of one device; one thread adds, another looks."""

    def __init__(self, name: str, expected: int) -> None:
        self.name = name
        self.read = 0
        self._expected = expected
        self._began = time.monotonic()

    def add(self, octets: int) -> None:
        self.read += octets

    def line(self) -> str:
        """For instance `S3ZNX0K: 12.3 of 80.0 GB, 410 MB/s, 3 min left`."""
        seconds = max(time.monotonic() - self._began, 0.001)
        rate = self.read / seconds
        left = max(0, self._expected - self.read) / rate if rate else 0.0
        return (
            f"{self.name}: {self.read / 1e9:.1f} of {self._expected / 1e9:.1f} GB, {rate / 1e6:.0f} MB/s,"
            f" {left / 60:.0f} min left"
        )


@contextmanager
def shown(devices: Mapping[str, tuple[str, int]], quiet: bool) -> Iterator[dict[str, Meter]]:
    """A meter for each device (its name and expected bytes), shown on standard error every few seconds."""
    meters = {key: Meter(name, expected) for key, (name, expected) in devices.items()}
    done = threading.Event()

    def tell() -> None:
        while not done.wait(LINE_SECONDS):
            for meter in meters.values():
                sys.stderr.write(f"limosa: {meter.line()}\n")

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    if not quiet:
        thread.start()
    try:
        yield meters
    finally:
        done.set()
        if not quiet:
            thread.join()
