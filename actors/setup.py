"""What a worker is started with: one frozen value that travels to its node.

Passwords are not in it: ledger and sinks carry references that are resolved where they are used.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from actors.coercion_options import NO_COERCION, CoercionOptions
from actors.destination_options import DestinationOptions
from actors.dose_options import NO_DOSE, DoseOptions
from actors.identity_options import IdentityOptions
from actors.options import AnySource, MoverLimits, Receiver
from storage.ledger.address import LedgerAddress


class HoursWindow(Protocol):
    """When the source may be asked for images."""

    def open_at(self, moment: datetime) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSetup:
    """Common to movers, feeders and validators of one job."""

    ledger: LedgerAddress
    secret: bytes
    """Keys the hash that stands for a study in logs; from the ledger."""
    source: AnySource
    source_id: int
    destinations: tuple[DestinationOptions, ...]
    inline: str
    """Name of the destination that is written while instances arrive."""
    limits: MoverLimits
    hours: HoursWindow
    folder: Path
    """Node-local: spool, quarantine and logs lie below it."""
    log_level: str
    only: tuple[int, ...] | None
    """Study keys this run is restricted to; None: all."""
    coercion: CoercionOptions = NO_COERCION
    dose: DoseOptions = NO_DOSE
    identity: IdentityOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoverSetup:
    """One mover process."""

    job: JobSetup
    name: str
    names: tuple[str, ...]
    """Every process that shares the receiver's AE title and port, this one included."""
    receiver: Receiver | None
    """None: the source hands instances over in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederSetup:
    """One feeder process."""

    job: JobSetup
    name: str
    lanes: int
    destinations: dict[str, int]
    """Name and id of the destinations it feeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorSetup:
    """One validator process."""

    job: JobSetup
    name: str
    lanes: int
    destinations: dict[str, int]
    """Name and id of the destinations it reads back."""
