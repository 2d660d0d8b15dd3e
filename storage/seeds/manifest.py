"""What a sealed device says it holds: one line per pack, and one per instance.

    limosa/packs.jsonl            {"format":"limosa-packs","version":1,"device":...}, a line per pack by key, {"end":N}
    limosa/instances.jsonl.zst    {"format":"limosa-instances",...}, per pack its instances in its order, {"end":N}

The seal's Merkle root is over the pack lines, without their breaks. Paths in a line are not believed: they have to be
the ones that study, revision and container give, so a manifest cannot point anywhere else.

The line of a volume says of how many, and where the others are, as far as that was known when the device was sealed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from imaging.uid import InvalidUid, Uid, parse_uid
from storage.packs.model import Container, PackId
from storage.packs.naming import MAX_REVISION, MAX_VOLUME, index_key, pack_key
from storage.seeds.errors import SeedRefused
from storage.seeds.lines import line_of, lines_of, object_of
from storage.seeds.merkle import MerkleRoot
from storage.seeds.seal import SERIAL
from storage.sinks.device import PAYLOAD

PACKS = "limosa/packs.jsonl"
INSTANCES = "limosa/instances.jsonl.zst"

MAX_PACKS = 50_000_000
"""Lines of one device: more than any profile allows files."""

_DEVICE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_MAX_SIZE = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeHolder:
    """A device that holds some volumes of a study."""

    device: str
    serial: str
    """As it stands on the device; empty where it was not known."""
    first: int
    last: int
    """Volumes [first, last]."""

    @property
    def label(self) -> str:
        """What a person looks for."""
        return self.serial or f"device {self.device[:8]}"

    def told(self) -> dict[str, Any]:
        return {"device": self.device, "serial": self.serial, "first": self.first, "last": self.last}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRow:
    """One pack on the device, and the index beside it."""

    pack: PackId
    container: Container
    size: int
    crc64: int
    sha256: bytes
    """Of the file as it lies there; all else is of the pack, which is another thing only where it is encrypted."""
    blake3: bytes
    instances: int
    index_size: int
    index_sha256: bytes
    of: int | None = 1
    """How many volumes the study has; None where its last was not written yet."""
    holders: tuple[VolumeHolder, ...] = ()
    """Which device holds which volume, this one among them; empty where the pack is the study."""

    @property
    def last(self) -> bool:
        """No other volume of the study follows."""
        return self.of == self.pack.volume

    @property
    def key(self) -> str:
        """Where it lies on the device."""
        return pack_key(self.pack, self.container, PAYLOAD)

    @property
    def index_key(self) -> str:
        return index_key(self.pack, PAYLOAD)

    def line(self) -> bytes:
        """The row as the manifest has it."""
        return line_of(
            {
                "key": self.key,
                "study_uid": self.pack.study_uid,
                "revision": self.pack.revision,
                "container": self.container.value,
                "size": self.size,
                "crc64": f"{self.crc64:016x}",
                "sha256": self.sha256.hex(),
                "blake3": self.blake3.hex(),
                "instances": self.instances,
                "index_size": self.index_size,
                "index_sha256": self.index_sha256.hex(),
                **self._volume(),
            }
        )

    def _volume(self) -> dict[str, Any]:
        if not self.holders:
            return {}
        holders = [holder.told() for holder in self.holders]
        return {"volume": self.pack.volume, "of": self.of, "volumes": holders}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """One instance of one pack."""

    key: str
    sop_uid: Uid
    size: int
    sto1: bytes

    def line(self) -> bytes:
        return line_of({"pack": self.key, "sop_uid": self.sop_uid, "size": self.size, "sto1": self.sto1.hex()})


def packs_head(device: str) -> bytes:
    """The first line of the packs' manifest."""
    return line_of({"format": "limosa-packs", "version": 1, "device": device})


def instances_head(device: str) -> bytes:
    """The first line of the instances' manifest."""
    return line_of({"format": "limosa-instances", "version": 1, "device": device})


def end_line(rows: int) -> bytes:
    """The last line of either."""
    return line_of({"end": rows})


def read_packs(file: BinaryIO, device: str, tree: MerkleRoot) -> Iterator[PackRow]:
    """The rows in order of their keys; `tree` has a leaf for each. Act on nothing before the iteration has ended.

    Raises
    ------
    SeedRefused
        Anything is not as it was written.
    """
    lines = lines_of(file, PACKS)
    if object_of(next(lines, b"\n"), PACKS) != {"format": "limosa-packs", "version": 1, "device": device}:
        raise SeedRefused("format, version or device unknown", operation="read", place=PACKS)
    last = ""
    count = 0
    study: list[PackRow] = []
    for line in lines:
        value = object_of(line, PACKS)
        if value.keys() == {"end"}:
            if value["end"] != count or next(lines, None) is not None:
                raise SeedRefused("count differs, or goes on after its end", operation="read", place=PACKS)
            _check_claims(study, device)
            return
        row = _pack_row(value)
        if row.line() != line:
            raise SeedRefused("a line is not as it is written", operation="read", place=PACKS)
        if row.key <= last:
            raise SeedRefused("a pack is named twice or out of order", operation="read", place=PACKS)
        if study and _study(study[0]) != _study(row):
            _check_claims(study, device)
            study.clear()
        study.append(row)
        if (count := count + 1) > MAX_PACKS:
            raise SeedRefused(f"more than {MAX_PACKS} packs", operation="read", place=PACKS)
        last = row.key
        tree.add(line[:-1])
        yield row
    raise SeedRefused("ends too early", operation="read", place=PACKS)


def _pack_row(value: dict[str, Any]) -> PackRow:
    try:
        number = value.get("volume", 1)
        pack = PackId(study_uid=parse_uid(value["study_uid"]), revision=value["revision"], volume=number)
        if type(pack.revision) is not int or not 1 <= pack.revision <= MAX_REVISION:
            raise ValueError
        of, holders = _holders(value, number)
        container = Container(value["container"])
        if container is Container.P10:
            raise ValueError
        return PackRow(
            pack=pack,
            container=container,
            size=_number(value["size"], least=1),
            crc64=int.from_bytes(_octets(value["crc64"], 8), "big"),
            sha256=_octets(value["sha256"], 32),
            blake3=_octets(value["blake3"], 32),
            instances=_number(value["instances"], least=1),
            index_size=_number(value["index_size"], least=1),
            index_sha256=_octets(value["index_sha256"], 32),
            of=of,
            holders=holders,
        )
    except (KeyError, ValueError, TypeError, InvalidUid):
        raise SeedRefused("a line does not describe a pack", operation="read", place=PACKS) from None


def _holders(value: dict[str, Any], number: object) -> tuple[int | None, tuple[VolumeHolder, ...]]:
    """Of how many, and who holds which: without a gap from the first on, this volume among them."""
    if "volumes" not in value:
        if number != 1 or "of" in value:
            raise ValueError("volumes missing")
        return 1, ()
    holders: list[VolumeHolder] = []
    after = 0
    for each in value["volumes"]:
        first, last = _number(each["first"], least=after + 1), _number(each["last"], least=1)
        if first != after + 1 or not first <= last <= MAX_VOLUME or _DEVICE.fullmatch(each["device"]) is None:
            raise ValueError("volumes do not follow each other")
        if each["serial"] and SERIAL.fullmatch(each["serial"]) is None:
            raise ValueError("not a serial number")
        holders.append(VolumeHolder(device=each["device"], serial=each["serial"], first=first, last=last))
        after = last
    if value["of"] not in (None, after) or not 1 <= _number(number, least=1) <= after:
        raise ValueError("another number of volumes")
    return value["of"], tuple(holders)


def _study(row: PackRow) -> tuple[Uid, int]:
    return row.pack.study_uid, row.pack.revision


def _check_claims(study: list[PackRow], device: str) -> None:
    """The lines of one revision of a study say the same of it, and name exactly the volumes that are there.

    Raises
    ------
    SeedRefused
        They contradict each other, or name volumes of this device that it does not list.
    """
    first = study[0]
    if any((row.of, row.holders) != (first.of, first.holders) for row in study):
        raise SeedRefused("lines of one study contradict each other", operation="read", place=PACKS)
    claimed = [
        number for holder in first.holders if holder.device == device for number in range(holder.first, holder.last + 1)
    ]
    if sorted(row.pack.volume for row in study) != (claimed or [1]):
        raise SeedRefused("names other volumes of a study than it lists", operation="read", place=PACKS)


def _number(value: object, *, least: int) -> int:
    if type(value) is not int or not least <= value < _MAX_SIZE:
        raise ValueError("not a count")
    return value


def _octets(value: object, count: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * count or _HEX.fullmatch(value) is None:
        raise ValueError("not a digest")
    return bytes.fromhex(value)
