"""Devices that do not answer: told while they hang, and settled when they answer again."""

from collections.abc import Mapping

import structlog

from actors.problems import problem
from storage.ledger.ledger import Ledger
from storage.sinks.protocol import Sink


def hanging(sinks: Mapping[str, Sink]) -> Mapping[str, int]:
    """The devices that hang now, and how many operations each keeps: what lies on them is left for later."""
    return {device: count for sink in sinks.values() for device, count in sink.hanging.items()}


class HangingDevices:
    """What one worker has told of its devices."""

    def __init__(self, name: str, ledger: Ledger, sinks: Mapping[str, Sink]) -> None:
        self._name = name
        self._ledger = ledger
        self._sinks = sinks
        self._told: frozenset[str] = frozenset()
        self._open: dict[int | None, int] = {}
        """The exception of each destination, by id."""
        self._log = structlog.get_logger("limosa.worker")

    def look(self) -> None:
        """Log and exceptions say which devices hang now. Raises `Retryable` where the ledger is away."""
        now = hanging(self._sinks)
        for device in sorted(now.keys() - self._told):
            self._log.warning("device_hangs", device=device, threads=now[device])
        for device in sorted(self._told - now.keys()):
            self._log.info("device_answers", device=device)
        self._told = frozenset(now)
        found: dict[int | None, dict[str, int]] = {}
        for device, count in sorted(now.items()):
            found.setdefault(self._ledger.seeds.destination_of(device), {})[device] = count
        for destination, devices in found.items():
            # Each time: another worker's devices may have come back, and it has closed what is open.
            evidence = {"worker": self._name, "devices": devices}
            told = problem("DEVICE_HANGS", evidence)
            self._open[destination] = self._ledger.exceptions.open(told, destination_id=destination)
        for destination in self._open.keys() - found.keys():
            self._ledger.exceptions.settle(self._open.pop(destination), by=self._name)
