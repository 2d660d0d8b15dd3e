"""Writes what stands beside the packs of a device and makes it final: manifests, bag, instructions, and the seal last.

A seal that was interrupted leaves files without a seal; sealing again replaces them. Nothing is replaced once the
seal is there.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import zstandard

from storage.durable import storage_error, write_all
from storage.errors import Rejected
from storage.seeds import bag
from storage.seeds.lines import MAX_LINE
from storage.seeds.manifest import (
    INSTANCES,
    PACKS,
    InstanceRow,
    PackRow,
    end_line,
    instances_head,
    packs_head,
)
from storage.seeds.merkle import MerkleRoot
from storage.seeds.notes import SigningKey
from storage.seeds.profiles import ProfileName
from storage.seeds.seal import SEAL, Seal
from storage.sinks.device import LABEL, Device

README = "limosa/readme.txt"
SCRIPT = "limosa/verify_seed.py"
TAG_FILES = frozenset(
    {LABEL, README, SCRIPT, PACKS, INSTANCES, SEAL, bag.BAGIT, bag.INFO, bag.MANIFEST, bag.TAGMANIFEST}
)
"""Everything that a sealed device holds beside its payload."""

_LEVEL = 3
"""zstd level of the instances' manifest: hexadecimal digests halve at any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealFacts:
    """What a seal says beside what was counted."""

    job: str
    destination: str
    serial: str
    profile: ProfileName
    at: datetime


class TagFile:
    """One file being written, and its SHA-256."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.sha256 = hashlib.sha256()

    def write(self, piece: bytes) -> int:
        write_all(self._descriptor, piece)
        self.sha256.update(piece)
        return len(piece)


def put_instructions(device: Device) -> None:
    """The device carries what the person needs who plugs it in: a page to read and a program to check it with."""
    here = Path(__file__).parent
    for key, source in ((README, here / "readme.txt"), (SCRIPT, here / "verify_seed.py")):
        with _tag(device, key) as file:
            file.write(source.read_bytes())


def seal_device(
    device: Device, packs: Iterable[tuple[PackRow, Sequence[InstanceRow]]], facts: SealFacts, key: SigningKey
) -> tuple[Seal, str]:
    """The device is sealed: it holds exactly these packs, in order of their keys, each read back just now.

    Raises
    ------
    Rejected
        It is sealed already, or cannot be written.
    Retryable
        It is full or away; without a seal it is as it was.
    """
    if device.sealed:
        raise Rejected("is sealed already", operation="seal", place=device.place)
    put_instructions(device)
    tree = MerkleRoot()
    count = instances = octets = files = payload = 0
    with (
        _tag(device, PACKS) as by_pack,
        _tag(device, INSTANCES) as by_instance,
        _tag(device, bag.MANIFEST) as manifest,
    ):
        folded = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(by_instance, closefd=False)  # pyright: ignore[reportArgumentType]
        by_pack.write(packs_head(device.id))
        folded.write(instances_head(device.id))
        for row, members in packs:
            line = row.line()
            if len(line) > MAX_LINE:
                raise Rejected("a study lies on too many devices to name them", operation="seal", place=device.place)
            tree.add(line[:-1])
            by_pack.write(line)
            for member in members:
                folded.write(member.line())
            manifest.write(bag.manifest_line(row.key, row.sha256))
            manifest.write(bag.manifest_line(row.index_key, row.index_sha256))
            count, instances, octets = count + 1, instances + row.instances, octets + row.size
            files, payload = files + 2, payload + row.size + row.index_size
        by_pack.write(end_line(count))
        folded.write(end_line(instances))
        folded.close()
    seal = Seal(
        device=device.id,
        serial=facts.serial,
        job=facts.job,
        destination=facts.destination,
        profile=facts.profile,
        sealed=facts.at,
        packs=count,
        instances=instances,
        pack_bytes=octets,
        root=tree.root(),
        packs_sha256=by_pack.sha256.digest(),
        instances_sha256=by_instance.sha256.digest(),
    )
    with _tag(device, bag.BAGIT) as declaration:
        declaration.write(bag.DECLARATION)
    with _tag(device, bag.INFO) as info:
        info.write(
            bag.info(
                device=device.id,
                serial=facts.serial,
                job=facts.job,
                day=facts.at.date(),
                octets=payload,
                files=files,
            )
        )
    known = {PACKS: by_pack, INSTANCES: by_instance, bag.MANIFEST: manifest, bag.BAGIT: declaration, bag.INFO: info}
    with _tag(device, bag.TAGMANIFEST) as tags:
        for path, file in sorted(known.items()):
            tags.write(bag.manifest_line(path, file.sha256.digest()))
    note = seal.signed(key)
    with _failing(device):
        device.write_new(SEAL, note.encode("utf-8"))
    return seal, note


@contextmanager
def _tag(device: Device, key: str) -> Iterator[TagFile]:
    """A new, durable file in place of one that an interrupted sealing left."""
    with _failing(device):
        device.remove(key)
        descriptor = device.create(key)
        try:
            yield TagFile(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _failing(device: Device) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, "seal", device.place) from error
