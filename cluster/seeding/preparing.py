"""Prepares a device: labels it for this job, looks at what is on it already, and puts the instructions there."""

from dataclasses import dataclass
from pathlib import Path

from storage.durable import storage_error
from storage.errors import Rejected
from storage.ledger.job import DeviceRoom
from storage.ledger.ledger import Ledger
from storage.seeds import bag
from storage.seeds.profiles import PROFILES, root_name_problem
from storage.seeds.tagging import put_instructions
from storage.seeds.tree import folders
from storage.sinks.device import LABEL, PAYLOAD, Device
from storage.sinks.options import SeedOptions
from storage.sinks.unlocking import label_of, unlocked

_OURS = frozenset({PAYLOAD, LABEL.partition("/")[0], bag.BAGIT, bag.INFO, bag.MANIFEST, bag.TAGMANIFEST})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A device that may be loaded."""

    device_id: str
    path: Path
    serial: str
    profile: str
    free: int
    """Bytes."""
    loadable: int
    """Bytes of them that packs may take."""


def prepare(ledger: Ledger, destination_id: int, options: SeedOptions, root: Path, serial: str) -> Prepared:
    """The device at `root` has its label, its instructions and its place in the ledger. Idempotent.

    Raises
    ------
    Rejected
        Something else lies on it, it is sealed, holds packs under another serial number, or has a name that its kind
        of device does not take.
    Retryable
        It is not mounted.
    JobMismatch
        It belongs to another destination.
    """
    profile = PROFILES[options.profile]
    place = f"device {root.name}"
    if problem := root_name_problem(profile, root.resolve().name):
        raise Rejected(problem, operation="prepare", place=place)
    foreign = _foreign(root, options)
    if foreign:
        raise Rejected(
            f"{len(foreign)} other things lie on it ({foreign[0]}) and would be shipped; empty it",
            operation="prepare",
            place=place,
        )
    told = {"serial": serial, "profile": options.profile.value, **label_of(options.disk_key)}
    device = Device(root, told)
    if device.sealed:
        raise Rejected("is sealed: what is on it is final", operation="prepare", place=place)
    if (device.serial, device.profile, device.key_id) != (serial, options.profile.value, told.get("key_id", "")):
        if ledger.seeds.packs(device.id, limit=1) or ledger.seeds.unfinished(device.id):
            raise Rejected(
                f"holds packs as {device.serial or 'a device without serial'} with"
                f" {f'disk key {device.key_id}' if device.key_id else 'no disk key'}",
                operation="prepare",
                place=place,
            )
        device.relabel(told)
    unlocked(device, options.disk_key)
    put_instructions(device)
    free = device.free()
    loadable = max(0, free - options.room_kept)
    state = DeviceRoom.LOADING if loadable else DeviceRoom.FULL
    ledger.jobs.attach_device(destination_id, device_id=device.id, path_label=root.name, state=state)
    return Prepared(
        device_id=device.id, path=root, serial=serial, profile=options.profile.value, free=free, loadable=loadable
    )


def _foreign(root: Path, options: SeedOptions) -> list[str]:
    if not root.is_dir():
        # `Device` says the same in a better way.
        return []
    try:
        top = next(folders(root, PROFILES[options.profile]))
    except OSError as error:
        raise storage_error(error, "look at", f"device {root.name}") from None
    names = [*(name for name, _ in top.files), *top.folders, *top.others]
    return [name for name in names if name not in _OURS]
