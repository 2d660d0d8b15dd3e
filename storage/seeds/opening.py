"""Opens a sealed device at the far side: the seal first, then its lists, then nothing else on the device is believed.

the seal that travelled apart -> signed by its key -> the device's own copy is the same
  -> the lists have the digests and the root that the seal names -> no file beside them, no link, no pipe
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.durable import storage_error, write_all
from storage.errors import Rejected
from storage.seeds.errors import SeedRefused
from storage.seeds.lines import MAX_LINE
from storage.seeds.manifest import INSTANCES, PACKS, PackRow, read_packs
from storage.seeds.merkle import MerkleRoot
from storage.seeds.notes import MAX_NOTE, VerifyingKey
from storage.seeds.profiles import PROFILES, LayoutCheck
from storage.seeds.seal import SEAL, Seal, key_of, open_seal
from storage.seeds.tagging import TAG_FILES
from storage.seeds.tree import folders
from storage.sinks.device import PAYLOAD, Device, ReadOnlyDevice

STRANGERS_TOLD = 100
"""Files nobody sealed that are named in a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSeed:
    """A device whose seal and lists hold."""

    device: Device
    seal: Seal
    key: VerifyingKey
    """Whose signature the seal has."""
    note: str
    """The seal as it was signed."""
    lists: Path
    """A copy of the packs' manifest that nobody but us can change."""

    def rows(self) -> Iterator[PackRow]:
        """The packs of the device, in order of their keys."""
        with self.lists.open("rb") as file:
            yield from read_packs(file, self.seal.device, MerkleRoot())


def read_note(path: Path) -> str:
    """The text of a seal's file. Raises `SeedRefused` for what cannot be one, `Rejected` where it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_NOTE + 1)
    except OSError as error:
        raise Rejected(error.strerror or "failed", operation="read seal", place=path.name) from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise SeedRefused("not a seal", operation="read", place=path.name) from None


def open_seed(root: Path, note: str, trusted: VerifyingKey | None, scratch: Path) -> OpenedSeed:
    """The device at `root` is the one that was sealed with `note`, and its lists are those of the seal.

    `trusted` is whose seal it has to be; None: the key that the seal names, whose fingerprint a person then compares.
    The lists are copied into `scratch`, for the device could answer differently when it is asked again.

    Raises
    ------
    SeedRefused
        Anything does not hold; nothing was used.
    Rejected, Retryable
        It is no device, or cannot be read.
    """
    key = trusted or key_of(note)
    seal = open_seal(note, key)
    device = ReadOnlyDevice(root)
    if device.id != seal.device:
        raise SeedRefused("the seal is another device's", operation="open", place=device.place)
    own = b"".join(_read(device, SEAL, MAX_NOTE))
    if own != note.encode("utf-8"):
        raise SeedRefused("the seal on it is not the one that travelled apart", operation="open", place=device.place)
    lists = scratch / "packs.jsonl"
    _copy(device, PACKS, lists, (seal.packs + 2) * MAX_LINE, seal.packs_sha256)
    with lists.open("rb") as file:
        _check(seal, file)
    opened = OpenedSeed(device=device, seal=seal, key=key, note=note, lists=lists)
    _check_tree(opened)
    return opened


def check_instances_list(opened: OpenedSeed) -> None:
    """The instances' manifest is the one that was sealed. Raises `SeedRefused`."""
    digest = hashlib.sha256()
    for piece in _read(opened.device, INSTANCES, (opened.seal.instances + 2) * MAX_LINE):
        digest.update(piece)
    if digest.digest() != opened.seal.instances_sha256:
        raise SeedRefused("is not the one that was sealed", operation="check", place=INSTANCES)


def _check(seal: Seal, file: BinaryIO) -> None:
    tree = MerkleRoot()
    instances = octets = 0
    for row in read_packs(file, seal.device, tree):
        instances += row.instances
        octets += row.size
    if (tree.size, instances, octets, tree.root()) != (seal.packs, seal.instances, seal.pack_bytes, seal.root):
        raise SeedRefused("holds other packs than the seal", operation="check", place=PACKS)


def _check_tree(opened: OpenedSeed) -> None:
    """Nothing lies among the packs that was not sealed, and nothing anywhere that is no plain file or folder."""
    known = {key for row in opened.rows() for key in (row.key, row.index_key)}
    found: list[str] = []
    profile = PROFILES[opened.seal.profile]
    layout = LayoutCheck(profile)
    for folder in folders(opened.device.root, profile):
        found += [f"{each.path or 'the device'}: {each.what}" for each in layout.folder(folder)]
        inside = f"{folder.path}/" if folder.path else ""
        for name, _ in folder.files:
            path = inside + name
            if path not in known and path not in TAG_FILES:
                found.append(f"{path}: was not sealed")
        if len(found) > STRANGERS_TOLD:
            break
    if found:
        raise SeedRefused("; ".join(found[:STRANGERS_TOLD]), operation="check", place=opened.device.place)


def _copy(device: Device, key: str, to: Path, most: int, sha256: bytes) -> None:
    digest = hashlib.sha256()
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        for piece in _read(device, key, most):
            digest.update(piece)
            write_all(descriptor, piece)
    finally:
        os.close(descriptor)
    if digest.digest() != sha256:
        with suppress(OSError):
            to.unlink()
        raise SeedRefused("is not the one that was sealed", operation="check", place=key)


def _read(device: Device, key: str, most: int) -> Iterator[bytes]:
    """The file's bytes. Raises `SeedRefused` where it is absent or longer than it can be."""
    try:
        if device.size(key) > most:
            raise SeedRefused("is longer than it can be", operation="read", place=key)
        yield from device.stream(key, 0, most)
    except FileNotFoundError:
        raise SeedRefused("is not there", operation="read", place=key) from None
    except OSError as error:
        raise storage_error(error, "read", key) from error


def payload(key: str) -> str:
    """The key below the payload's folder: what it is called at the far side."""
    return key.removeprefix(f"{PAYLOAD}/")
