"""What a run has to know of its destinations before it starts: which devices there are, and whether there is room."""

from pathlib import Path

import structlog

from cluster.services import Services
from storage.errors import Retryable
from storage.ledger.job import DeviceRoom, Registered
from storage.ledger.ledger import Ledger
from storage.ledger.records import DestinationState
from storage.sinks.device import AttachedDevice, Device
from storage.sinks.options import SeedOptions
from storage.sinks.unlocking import label_of, unlocked


def attach_destinations(ledger: Ledger, services: Services, registered: Registered) -> None:
    """Every destination that may be tried is open, and the ledger knows the devices of each seed.

    One that was full is open again when a device has room, one that was away is tried again. A seed none of whose
    devices is mounted is stopped with that reason: the others go on without it.

    Raises
    ------
    Rejected
        A device carries a foreign label or cannot be written.
    JobMismatch
        A device belongs to another destination.
    """
    log = structlog.get_logger("limosa.run")
    for options in services.destinations:
        destination_id = registered.destinations[options.name]
        try:
            ready = not isinstance(options, SeedOptions) or _attach_devices(ledger, options, destination_id)
        except Retryable as error:
            ledger.jobs.set_destination(destination_id, DestinationState.STOPPED, str(error))
            log.warning("destination_away", destination=options.name, code=error.code)
            continue
        if ready and ledger.jobs.reopen(destination_id):
            log.info("destination_reopened", destination=options.name)


def _attach_devices(ledger: Ledger, options: SeedOptions, destination_id: int) -> bool:
    """The ledger knows the destination's devices that are mounted; whether one has room. Raises what the last one
    that is away does where all are."""
    log = structlog.get_logger("limosa.run")
    room = False
    away: list[Retryable] = []
    known = {root for root in options.devices if ledger.jobs.loads_at(destination_id, root.name)}
    for root in options.devices:
        try:
            device = _mounted(root, options, new=root not in known)
            state = DeviceRoom.LOADING if device.free() > options.room_kept else DeviceRoom.FULL
        except Retryable as error:
            log.warning("device_away", destination=options.name, device=root.name, code=error.code)
            away.append(error)
            continue
        ledger.jobs.attach_device(destination_id, device_id=device.id, path_label=root.name, state=state)
        room = room or ledger.jobs.devices(destination_id)[device.id] == DeviceRoom.LOADING
    if len(away) == len(options.devices):
        raise away[-1]
    return room


def _mounted(root: Path, options: SeedOptions, *, new: bool) -> Device:
    """The device there, labelled if it is new. Where the ledger knows one by that name, a folder without label is
    what an unmounted disk leaves, on the disk of the system."""
    patience = options.hangs_after
    label = label_of(options.disk_key)
    device = Device(root, label, hangs_after=patience) if new else AttachedDevice(root, hangs_after=patience)
    return unlocked(device, options.disk_key)
