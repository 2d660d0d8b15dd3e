"""The values a pack is described by; formats are in DESIGN.md."""

from dataclasses import dataclass
from enum import StrEnum

from imaging.facts import InstanceFacts
from imaging.uid import Uid


class Container(StrEnum):
    """How the instances of one study lie at a destination."""

    TAR = "tar"
    """One tar; for pixels that are compressed already."""
    TAR_ZST = "tar.zst"
    """One tar, each member its own zstd frame; for raw pixels."""
    P10 = "p10"
    """Loose Part-10 objects plus an index object."""
    SERVICE = "service"
    """Instances in a DICOM service, found by their UIDs; it holds no index of ours, so the ledger is the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackId:
    """Which version of which study: the name of a pack."""

    study_uid: Uid
    revision: int
    volume: int = 1
    """A study that no file or no device takes whole is several packs, its volumes, counted from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Where one instance lies in its pack.

    [offset, offset + length) is what a range request fetches: a tar header, the Part-10 bytes and their
    padding (one zstd frame in TAR_ZST). After decompression the Part-10 file is the `facts.sto_size` bytes behind
    the first `lead` bytes. In P10 it is a bare object and `offset` is the number of its batch, 0 for none.
    """

    facts: InstanceFacts
    offset: int
    length: int
    lead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One finished part of an upload: bytes [offset, offset + size) of the pack, durable at the endpoint."""

    number: int
    offset: int
    size: int
    crc64: int
    """CRC-64/NVME of the part's bytes."""
    etag: str
    """The endpoint's name for the part; empty on a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a destination gave back when the pack was durable."""

    key: str
    container: Container
    size: int
    """Bytes at the destination (of all objects for P10)."""
    crc64: int | None
    """CRC-64/NVME of the whole object; None for P10, where each object has its own."""
    etag: str = ""
    version_id: str = ""
    device: str = ""
    """The seed device's id; empty elsewhere, and where several volumes may lie on several devices."""
    volumes: tuple["Receipt", ...] = ()
    """Of a study in several volumes: each one's, in order. Size is then that of all, the CRC-64 that of all behind each
    other, the key that of the first."""


class Ended(StrEnum):
    """Why a volume of a study ended where it did."""

    FILE = "file"
    """The file had reached the largest size that the device takes; the next one lies on the same device."""
    DEVICE = "device"
    """The device had no room for the next instance, and no device holds the study whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A finished pack of a study that goes on in another."""

    receipt: Receipt
    members: tuple[Member, ...]
    ended: Ended
    sealed: bool = False
    """Its device is: it is final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPack:
    """A finished pack as a destination lists it, known by its name alone."""

    pack: PackId
    container: Container
    device: str = ""
