"""What a run has to know of its destinations before it starts: which devices there are, and whether there is room."""

import structlog

from cluster.services import Services
from storage.ledger.job import DeviceRoom, Registered
from storage.ledger.ledger import Ledger
from storage.sinks.device import Device
from storage.sinks.options import SeedOptions


def attach_devices(ledger: Ledger, services: Services, registered: Registered) -> None:
    """The ledger knows every device of each seed destination; one that was full and has room again is open.

    Raises
    ------
    Retryable
        A device is not mounted.
    Rejected
        A device carries a foreign label or cannot be written.
    JobMismatch
        A device belongs to another destination.
    """
    log = structlog.get_logger("limosa.run")
    for options in services.destinations:
        if not isinstance(options, SeedOptions):
            continue
        destination_id = registered.destinations[options.name]
        room = False
        for root in options.devices:
            device = Device(root)
            state = DeviceRoom.LOADING if device.free() > options.reserve else DeviceRoom.FULL
            ledger.jobs.attach_device(destination_id, device_id=device.id, path_label=root.name, state=state)
            known = ledger.jobs.devices(destination_id)[device.id]
            room = room or known == DeviceRoom.LOADING
        if room and ledger.jobs.reopen(destination_id):
            log.info("destination_reopened", destination=options.name)
