"""A second opinion: what lies at a destination against what the archive truly holds, byte by byte.

Nothing here uses the ledger, the packs' own index or Limosa's validator. A pack is read as what it is, a tar that
may be compressed, and a Part-10 file by its first element alone.
"""

import io
import struct
import tarfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import zstandard

from infra.simulator.archive import Manifest
from storage.packs.model import Container
from storage.packs.naming import pack_key
from storage.sinks.device import PAYLOAD
from storage.sinks.protocol import Sink

PREAMBLE = 128
GROUP_LENGTH = struct.Struct("<4sHH2sHL")
"""Prefix, then (0002,0000) with its VR, length and value: the length of what follows it (PS3.10 section 7.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One destination beside the archive."""

    destination: str
    compared: int
    """Instances that both have."""
    different: int
    """Of those, the ones whose dataset bytes differ."""
    absent: int
    """Instances of the archive that the destination should hold and does not."""
    surplus: int
    """Instances at the destination that the archive does not hold, or that lie there twice."""

    @property
    def equal(self) -> bool:
        return not (self.different or self.absent or self.surplus)


def compare(sink: Sink, manifest: Manifest, without: frozenset[str]) -> Comparison:
    """Every instance of the archive held against the destination; studies in `without` should not be there."""
    due = {
        (instance.study_uid, instance.sop_uid): instance
        for instance in manifest.instances
        if instance.study_uid not in without
    }
    seen: set[tuple[str, str]] = set()
    different = surplus = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # made datasets hold values that are too long on purpose
        for study_uid, sop_uid, dataset in _held(sink):
            instance = due.get((study_uid, sop_uid))
            if instance is None or (study_uid, sop_uid) in seen:
                surplus += 1
                continue
            seen.add((study_uid, sop_uid))
            different += dataset != instance.dataset()
    return Comparison(
        destination=sink.name,
        compared=len(seen),
        different=different,
        absent=len(due) - len(seen),
        surplus=surplus,
    )


def _held(sink: Sink) -> Iterator[tuple[str, str, bytes]]:
    """Study UID, SOP Instance UID and dataset of every instance in every pack."""
    for held in sink.packs():
        key = pack_key(held.pack, held.container, PAYLOAD if held.device else "")
        size = sink.size(key, device=held.device)
        stream = _Stream(sink.stream(key, 0, size, device=held.device))
        plain = io.BufferedReader(stream)
        if held.container is Container.TAR_ZST:
            plain = zstandard.ZstdDecompressor().stream_reader(plain, read_across_frames=True)
        with tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                file = tar.extractfile(member)
                if file is not None and name.suffix == ".dcm":
                    yield held.pack.study_uid, name.stem, dataset_of(file.read())


def dataset_of(part10: bytes) -> bytes:
    """What follows the file meta information. Raises ValueError for anything that has none."""
    prefix, group, element, vr, _, length = GROUP_LENGTH.unpack_from(part10, PREAMBLE)
    if (prefix, group, element, vr) != (b"DICM", 0x0002, 0x0000, b"UL"):
        raise ValueError("no Part-10 file")
    return part10[PREAMBLE + GROUP_LENGTH.size + length :]


class _Stream(io.RawIOBase):
    """Pieces as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
