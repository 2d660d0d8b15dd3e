"""Reads a device back, every byte, and holds each pack against what the ledger has of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from actors.problems import problem
from actors.verify import EVIDENCE_UIDS
from imaging.uid import Uid
from storage.durable import storage_error
from storage.errors import StorageError
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState
from storage.ledger.records import Json
from storage.ledger.seeds import ShippedPack
from storage.seeds.examine import Examined
from storage.seeds.objects import examine_on
from storage.sinks.device import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReading:
    """One pack as the device gives it back."""

    shipped: ShippedPack
    examined: Examined | None
    """None where there is nothing to examine."""
    instances: tuple[Uid, ...]
    """Instances that are not there as they were written."""
    what: str
    """What is wrong beside them; empty when nothing."""

    @property
    def sound(self) -> bool:
        return self.examined is not None and not self.instances and not self.what

    def evidence(self, device: Device) -> Json:
        """For the exception."""
        return {
            "device": device.id,
            "serial": device.serial,
            "key": self.shipped.receipt.key,
            "what": self.what or "instances",
            "instances": list(self.instances[:EVIDENCE_UIDS]),
            "count": len(self.instances),
        }


def packs_of(ledger: Ledger, device_id: str) -> Iterator[ShippedPack]:
    """Every pack the ledger has of the device, in order of its key."""
    after = ""
    while page := ledger.seeds.packs(device_id, after=after):
        yield from page
        after = page[-1].receipt.key


def read_pack(
    ledger: Ledger, device: Device, shipped: ShippedPack, report: Callable[[int], None] = lambda octets: None
) -> PackReading:
    """The pack was read whole; `report` is told of bytes read.

    Raises
    ------
    Retryable
        The device is away.
    """
    receipt = shipped.receipt
    try:
        found = examine_on(device, shipped.pack, receipt.container, receipt.key, report)
    except FileNotFoundError:
        return PackReading(shipped=shipped, examined=None, instances=(), what="is not there")
    except OSError as error:
        # A sector that cannot be read: the pack is damaged, the rest of the device may not be.
        failure = storage_error(error, "read", device.place)
        return PackReading(shipped=shipped, examined=None, instances=(), what=f"cannot be read [{failure.code}]")
    expected = _expected(ledger, shipped)
    members = () if found.index is None else found.index.members
    held = {each.facts.sop_uid: (each.facts.sto1, each.facts.sto_size) for each in members}
    wrong = sorted({*found.damaged, *_differing(expected, held)})
    what = found.fault
    if not what and not wrong and (found.size, found.crc64) != (receipt.size, receipt.crc64 or found.crc64):
        what = "is not the object of its receipt"
    if what and found.index is None:
        wrong = sorted(expected)
    return PackReading(shipped=shipped, examined=found, instances=tuple(wrong), what=what)


def record_damage(ledger: Ledger, device: Device, reading: PackReading, *, by: str) -> int | None:
    """The delivery is an exception, whose number is returned; None for a pack that a later revision has replaced."""
    if reading.shipped.state is DeliveryState.VOID:
        return None
    return ledger.seeds.damaged(reading.shipped, problem("DIGEST_MISMATCH", reading.evidence(device)), by=by)


def _expected(ledger: Ledger, shipped: ShippedPack) -> dict[Uid, tuple[bytes, int]]:
    """STO1 and stored size of what the ledger has of the pack."""
    if shipped.volume:
        return ledger.volumes.instances(shipped.delivery_id, shipped.volume)
    facts = ledger.facts.instances(shipped.study_key, shipped.revision)
    return {each.sop_uid: (each.sto1, each.sto_size) for each in facts}


def _differing(expected: dict[Uid, tuple[bytes, int]], held: dict[Uid, tuple[bytes, int]]) -> Iterator[Uid]:
    return (sop_uid for sop_uid in expected.keys() | held.keys() if expected.get(sop_uid) != held.get(sop_uid))


class SeedBlocked(StorageError):
    """The device cannot be sealed as it is; a person has to do something first."""
