"""What a worker is started with: one frozen value that travels to its node.

Secrets are not in it: ledger and sinks carry references that are resolved where they are used.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from storage.sinks.options import SinkOptions

from actors.options import DimseSource, MoverLimits, Receiver


class HoursWindow(Protocol):
    """When the source may be asked for images."""

    def open_at(self, moment: datetime) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSetup:
    """Common to movers, feeders and validators of one job."""

    job: str
    ledger_url: str
    """May hold `env:NAME` or `file:PATH` as its password; see storage.ledger."""
    source: DimseSource
    destinations: tuple[SinkOptions, ...]
    inline: str
    """Name of the destination that is written while instances arrive."""
    limits: MoverLimits
    hours: HoursWindow
    folder: Path
    """Node-local: spool, quarantine, handover sockets and logs lie below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoverSetup:
    """One mover process."""

    worker: WorkerSetup
    name: str
    receiver: Receiver
