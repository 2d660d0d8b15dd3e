"""What a run has to know of its destinations before it starts: which devices there are, and whether there is room."""

import structlog

from cluster.services import Services
from storage.errors import Retryable
from storage.ledger.job import DeviceRoom, Registered
from storage.ledger.ledger import Ledger
from storage.ledger.records import DestinationState
from storage.sinks.device import Device
from storage.sinks.options import SeedOptions


def attach_destinations(ledger: Ledger, services: Services, registered: Registered) -> None:
    """Every destination that may be tried is open, and the ledger knows the devices of each seed.

    One that was full is open again when a device has room, one that was away is tried again. A seed whose device
    is not mounted is stopped with that reason: the others go on without it.

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
    """The ledger knows the destination's devices; whether one has room."""
    room = False
    for root in options.devices:
        device = Device(root)
        state = DeviceRoom.LOADING if device.free() > options.room_kept else DeviceRoom.FULL
        ledger.jobs.attach_device(destination_id, device_id=device.id, path_label=root.name, state=state)
        room = room or ledger.jobs.devices(destination_id)[device.id] == DeviceRoom.LOADING
    return room
