"""Which destination and which devices a command speaks of."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from cluster.job import Job, SeedDestination
from storage.errors import DeviceHangs, Rejected, Retryable
from storage.ledger.ledger import Ledger
from storage.ledger.seeds import DeviceRow
from storage.sinks.device import Device, ReadOnlyDevice
from storage.sinks.options import SeedOptions
from storage.sinks.unlocking import unlocked


def seed_of(job: Job, name: str | None) -> SeedDestination:
    """The job's seed destination: the one of that name, or the only one. Raises `Rejected`."""
    seeds = [item for item in job.destinations if isinstance(item, SeedDestination)]
    found = [item for item in seeds if name in (None, item.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(item.name for item in seeds)
    if not seeds:
        raise Rejected('no destination of kind "seed" is in the job file', operation="choose", place="destination")
    what = f"it is none of {names}" if name else f"say which with --destination: {names}"
    raise Rejected(what, operation="choose", place="destination")


def attached(options: SeedOptions, named: Sequence[str]) -> list[Device]:
    """The devices of the destination that are mounted: those named by path, folder name, serial number or id, or all.

    Raises
    ------
    Rejected, Retryable
        One that is named is not there; without names, none is.
    """
    found = mounted(options)
    if not named:
        if not found:
            raise Rejected("none of its devices is mounted and prepared", operation="choose", place=options.name)
        return found
    chosen: list[Device] = []
    for name in named:
        device = next((device for device in found if name in _names(device)), None)
        if device is None:
            raise Rejected(f"{name} is no mounted, prepared device of it", operation="choose", place=options.name)
        chosen.append(device)
    return chosen


def mounted(options: SeedOptions) -> list[Device]:
    """The devices of the destination that are mounted and prepared; none is no fault.

    Raises
    ------
    Rejected
        One was prepared for another disk key.
    """
    return answering(options, options.hangs_after)[0]


def answering(options: SeedOptions, within: timedelta) -> tuple[list[Device], frozenset[str]]:
    """As `mounted`; and the names of the folders whose devices do not answer in this time."""
    found: list[Device] = []
    silent: set[str] = set()
    for root in options.devices:
        try:
            device = ReadOnlyDevice(root, hangs_after=within)
        except DeviceHangs:
            silent.add(root.name)
            continue
        except (Rejected, Retryable):
            continue
        found.append(unlocked(device, options.disk_key))
    return found, frozenset(silent)


def hanging_devices(ledger: Ledger) -> frozenset[str]:
    """Ids of the devices that workers say do not answer them."""
    told = ledger.exceptions.list_open(kind="DEVICE_HANGS")
    found = [each.evidence.get("devices") for each in told]
    return frozenset(device for devices in found if isinstance(devices, Mapping) for device in devices)


def device_row(ledger: Ledger, name: str | None, states: Sequence[str]) -> DeviceRow:
    """The device of that id, serial number or folder name, mounted or not; or the only one in these states.

    Raises
    ------
    Rejected
        There is none, or several.
    """
    rows = [row for row in ledger.seeds.devices() if name in (row.device_id, row.serial, row.path_label)]
    if name is None:
        rows = [row for row in ledger.seeds.devices() if row.state in states]
    if len(rows) != 1:
        what = f"{len(rows)} devices are {' or '.join(states)}: name one" if name is None else "is not one device"
        raise Rejected(what, operation="choose", place=f"device {name}" if name else "device")
    return rows[0]


def _names(device: Device) -> set[str]:
    return {str(device.root), str(Path(device.root).resolve()), device.root.name, device.serial, device.id} - {""}
