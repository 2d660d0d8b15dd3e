"""Seals a device: it holds exactly what the ledger says, every byte was read just now, and from here on it is final.

    nothing unfinished, nobody's exception -> leftovers and replaced packs are gone -> layout obeys the profile
      -> every pack read back -> manifests, bag, seal -> ledger: seal, then its deliveries and their chains

Interrupted before the seal it starts over; between seal and ledger it goes on with the ledger.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from cluster.seeding.reading import PackReading, SeedBlocked, packs_of, read_pack, record_damage
from storage.errors import IntegrityError
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState
from storage.ledger.records import CustodyNote
from storage.ledger.seeds import SealRow, ShippedPack
from storage.ledger.volumes import VolumePlace
from storage.packs.index import Index
from storage.packs.naming import index_key, pack_key, pack_named
from storage.seeds.examine import Examined
from storage.seeds.manifest import InstanceRow, PackRow, VolumeHolder
from storage.seeds.notes import SigningKey
from storage.seeds.profiles import PROFILES, LayoutCheck, ProfileName
from storage.seeds.seal import SEAL, Seal, open_seal
from storage.seeds.tagging import TAG_FILES, SealFacts, seal_device
from storage.seeds.tree import folders
from storage.sinks.device import PAYLOAD, Device

TOLD = 20
"""Things in the way that are named; the count beside them is complete."""

SHIPPABLE = frozenset({DeliveryState.WRITTEN, DeliveryState.VALIDATED, DeliveryState.SEALED})


class DamagedPacks(IntegrityError):
    """Packs on the device are not what was written; nothing was sealed."""

    def __init__(self, readings: Sequence[PackReading], count: int, place: str) -> None:
        super().__init__(f"{count} packs are damaged; nothing was sealed", operation="seal", place=place)
        self.readings = tuple(readings)
        """The first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What was sealed."""

    seal: Seal
    note: str
    """The signed text, as it lies on the device and travels apart from it."""
    withdrawn: int
    """Packs taken off because a later revision replaced them."""
    deliveries: int
    """Whose state moved now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """One device to be sealed, and by whom."""

    ledger: Ledger
    device: Device
    job: str
    destination: str
    profile: ProfileName
    key: SigningKey
    by: str
    serials: Mapping[str, str]
    """Serial numbers of devices that are mounted, by their ids."""

    def run(self, now: datetime, report: Callable[[int], None] = lambda octets: None) -> Sealed:
        """The device is sealed.

        Raises
        ------
        SeedBlocked
            Something is unfinished, needs a person, or lies on it that nobody wrote.
        DamagedPacks
            Packs are not what was written; each is an exception now.
        """
        withdrawn = 0
        if self.device.sealed:
            note = b"".join(self.device.stream(SEAL, 0, self.device.size(SEAL))).decode("utf-8")
            seal = open_seal(note, self.key.verifier)
        else:
            self._check_states()
            withdrawn = self._withdraw()
            self._check_files()
            if next(self._packs(), None) is None:
                raise self._blocked("no pack is on it")
            facts = SealFacts(
                job=self.job,
                destination=self.destination,
                serial=self.device.serial or "-",
                profile=self.profile,
                at=now,
            )
            seal, note = seal_device(self.device, self._rows(report), facts, self.key)
        if self.ledger.seeds.sealed(self.device.id) is None and self._written_meanwhile(seal):
            # Behind our back: it cannot go on, and what it left would be ingested, or shipped without being listed.
            self.device.remove(SEAL)
            raise self._blocked("a worker writes on it; let it end, then seal again")
        return Sealed(seal=seal, note=note, withdrawn=withdrawn, deliveries=self._record(seal, note))

    def _written_meanwhile(self, seal: Seal) -> bool:
        """The device has, or gets, another number of packs than was sealed."""
        return bool(self.ledger.seeds.unfinished(self.device.id)) or sum(1 for _ in self._packs()) != seal.packs

    def _packs(self) -> Iterator[ShippedPack]:
        """What is shipped: asked for anew each time, since a device may hold a million packs."""
        return (pack for pack in packs_of(self.ledger, self.device.id) if pack.state is not DeliveryState.VOID)

    def _check_states(self) -> None:
        if unfinished := self.ledger.seeds.unfinished(self.device.id):
            raise self._blocked(f"{len(unfinished)} packs are unfinished; let a run finish them")
        states = Counter(pack.state for pack in self._packs())
        if stopped := states[DeliveryState.EXCEPTION]:
            raise self._blocked(f"{stopped} packs need a person: limosa exceptions list")
        if strange := states.keys() - SHIPPABLE:
            raise self._blocked(f"packs on it are {', '.join(sorted(strange))} already")

    def _withdraw(self) -> int:
        """Packs whose delivery is void are gone: at the far side they would be taken for the study."""
        count = 0
        for pack in packs_of(self.ledger, self.device.id):
            if pack.state is DeliveryState.VOID and self._there(pack.receipt.key):
                self.device.remove(pack.receipt.key)
                self.device.remove(index_key(pack.pack, PAYLOAD))
                self.ledger.seeds.withdraw(pack, self.device.id, by=self.by)
                count += 1
        return count

    def _check_files(self) -> None:
        """Every file is one of ours, and the profile takes it; what a crash left unfinished is gone."""
        known = {key for pack in self._packs() for key in (pack.receipt.key, index_key(pack.pack, PAYLOAD))}
        found: list[str] = []
        profile = PROFILES[self.profile]
        layout = LayoutCheck(profile)
        for folder in folders(self.device.root, profile):
            inside = f"{folder.path}/" if folder.path else ""
            unknown = [inside + name for name, _ in folder.files if inside + name not in known | TAG_FILES]
            found += [f"{path}: not ours" for path in unknown if not self._remove_leftover(path)]
            found += [f"{each.path or 'the device'}: {each.what}" for each in layout.folder(folder)]
        found += [each.what for each in layout.end()]
        if found:
            told = "; ".join(found[:TOLD])
            raise self._blocked(f"{len(found)} things are in the way of a shipment: {told}")

    def _remove_leftover(self, path: str) -> bool:
        """A pack that was never finished (no index beside it), or an index without its pack, is gone."""
        named = pack_named(path)
        if named is not None and path == pack_key(*named, PAYLOAD):
            leftover = not self._there(index_key(named[0], PAYLOAD))
        else:
            leftover = path.startswith(f"{PAYLOAD}/index/") and path.endswith(".jsonl") and not self._pack_of(path)
        if leftover:
            self.device.remove(path)
        return leftover

    def _pack_of(self, index_path: str) -> bool:
        stem = index_path.replace(f"{PAYLOAD}/index/", f"{PAYLOAD}/studies/", 1).removesuffix(".jsonl")
        return self._there(f"{stem}.tar") or self._there(f"{stem}.tar.zst")

    def _there(self, key: str) -> bool:
        try:
            return self.device.size(key) >= 0
        except FileNotFoundError:
            return False

    def _rows(self, report: Callable[[int], None]) -> Iterator[tuple[PackRow, tuple[InstanceRow, ...]]]:
        """Every pack as it was read just now. Raises `DamagedPacks` once all were, so that all are known."""
        damaged: list[PackReading] = []
        count = 0
        for pack in self._packs():
            reading = read_pack(self.ledger, self.device, pack, report)
            found = reading.examined
            if reading.sound and found is not None and found.index is not None:
                places = self.ledger.volumes.places(pack.delivery_id) if pack.volume else ()
                yield rows_of(pack, found, found.index, holders_of(places, self.serials), of_all(places))
                continue
            record_damage(self.ledger, self.device, reading, by=self.by)
            count += 1
            if len(damaged) < TOLD:
                damaged.append(reading)
        if damaged:
            raise DamagedPacks(damaged, count, self.device.place)

    def _record(self, seal: Seal, note: str) -> int:
        """The ledger says what the device does."""
        self.ledger.seeds.seal(
            SealRow(
                device_id=seal.device,
                sealed_at=seal.sealed,
                root=seal.root,
                packs=seal.packs,
                instances=seal.instances,
                bytes=seal.pack_bytes,
                serial=seal.serial,
                note=note,
                sealed_by=self.by,
            )
        )
        told = CustodyNote(
            event="sealed",
            payload={
                "device": seal.device,
                "serial": seal.serial,
                "root": seal.root.hex(),
                "key": self.key.verifier.fingerprint,
            },
        )
        return sum(self._pages(lambda: self.ledger.seeds.seal_page(seal.device, told, by=self.by)))

    @staticmethod
    def _pages(step: Callable[[], int]) -> Iterator[int]:
        while moved := step():
            yield moved

    def _blocked(self, what: str) -> SeedBlocked:
        return SeedBlocked(what, operation="seal", place=self.device.place)


def holders_of(places: Sequence[VolumePlace], serials: Mapping[str, str]) -> tuple[VolumeHolder, ...]:
    """Which device holds which volumes of a study, in order."""
    holders: list[VolumeHolder] = []
    for device, group in groupby(places, key=lambda place: place.device):
        volumes = tuple(group)
        serial = volumes[0].serial.removeprefix("-") or serials.get(device, "")
        holders.append(VolumeHolder(device=device, serial=serial, first=volumes[0].number, last=volumes[-1].number))
    return tuple(holders)


def of_all(places: Sequence[VolumePlace]) -> int | None:
    """How many volumes the study has; None while more may follow, 1 where it has none."""
    if not places:
        return 1
    return len(places) if places[-1].last else None


def rows_of(
    pack: ShippedPack, found: Examined, index: Index, holders: tuple[VolumeHolder, ...] = (), of: int | None = 1
) -> tuple[PackRow, tuple[InstanceRow, ...]]:
    """The pack and its instances as manifests list them."""
    row = PackRow(
        pack=pack.pack,
        container=pack.receipt.container,
        size=found.size,
        crc64=found.crc64,
        sha256=found.sha256,
        blake3=found.blake3,
        instances=len(index.members),
        index_size=found.index_size,
        index_sha256=found.index_sha256,
        of=of,
        holders=holders,
    )
    members = (each.facts for each in index.members)
    return row, tuple(
        InstanceRow(key=row.key, sop_uid=each.sop_uid, size=each.sto_size, sto1=each.sto1) for each in members
    )
