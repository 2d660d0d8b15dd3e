"""What each kind of device accepts, and whether a tree of files obeys it. Pure.

Appliances rename, skip or merge what they do not like, and say so only in a log after the import; so their limits
are held to before the device leaves. Limits are the makers' own, made stricter where their pages disagree.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class ProfileName(StrEnum):
    """The kinds of devices."""

    PLAIN = "plain"
    SNOWBALL = "snowball"
    DATABOX = "databox"
    TRANSFER_APPLIANCE = "transfer-appliance"


_GIB, _TIB = 1 << 30, 1 << 40
_LARGEST = 19 * _TIB // 4
"""4.75 TiB: an Azure block blob; the others stop at 5 TB or 5 TiB."""
_ENTRIES = 100_000
"""Snowball and Transfer Appliance stop at 500,000; every file system is slow well before."""
_PATH, _COMPONENT, _DEPTH = 512, 128, 8
"""S3, Blob and GCS names end at 1,024 bytes, Data Box's at 880, and the far side puts a prefix before ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The limits of one kind of device. Sizes in bytes."""

    name: ProfileName
    files: int
    """On one device."""
    largest_file: int = _LARGEST
    folder_entries: int = _ENTRIES
    path: int = _PATH
    component: int = _COMPONENT
    depth: int = _DEPTH
    reserve: int
    """Left free at least: manifests, tag files, the seal; appliances add records of their own."""
    system_names: frozenset[str] = frozenset()
    """What a file system keeps in its root by itself; nobody ships it, so it is not looked at."""
    container_root: bool = False
    """The folder that is loaded is a container of the cloud store, and has to have a name for one."""


PROFILES: dict[ProfileName, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name=ProfileName.PLAIN,
            files=40_000_000,
            reserve=0,
            system_names=frozenset(
                {"lost+found", "System Volume Information", "$RECYCLE.BIN", ".Trash-1000", ".fseventsd"}
            ),
        ),
        Profile(name=ProfileName.SNOWBALL, files=40_000_000, reserve=64 * _GIB),
        Profile(name=ProfileName.DATABOX, files=500_000_000, reserve=64 * _GIB, container_root=True),
        Profile(name=ProfileName.TRANSFER_APPLIANCE, files=500_000_000, reserve=64 * _GIB),
    )
}

_NAME = re.compile(r"[a-z0-9_-](?:[a-z0-9._-]*[a-z0-9_-])?", re.ASCII)
"""Lower case only: Data Box keeps names apart by case only on paper. No dot at an end: Windows drops it."""
_DOS = frozenset({"con", "prn", "aux", "nul", "clock$", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10))})
_CONTAINER = re.compile(r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that a device would not take as it is."""

    path: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One folder of a device: its path from the root, and what lies in it."""

    path: str
    files: tuple[tuple[str, int], ...]
    """Name and size of every regular file."""
    folders: tuple[str, ...]
    others: tuple[str, ...] = ()
    """Links, pipes, sockets, device files."""
    shared: tuple[str, ...] = ()
    """Those of `files` that have a second name: a copy would hold them twice."""


class LayoutCheck:
    """Holds a device's folders against its profile; give it every folder once."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.files = 0
        self.bytes = 0

    def folder(self, folder: Folder) -> Iterator[Violation]:
        """What is wrong in this folder."""
        profile = self._profile
        names = [*(name for name, _ in folder.files), *folder.folders, *folder.others]
        if len(names) > profile.folder_entries:
            yield Violation(path=folder.path, what=f"{len(names)} entries, {profile.folder_entries} allowed")
        yield from _alike(folder.path, names)
        for name in folder.others:
            yield Violation(path=_join(folder.path, name), what="neither a file nor a folder")
        for name in folder.shared:
            yield Violation(path=_join(folder.path, name), what="has a second name")
        for name in names:
            yield from self._name(_join(folder.path, name), name)
        for name, size in folder.files:
            if size > profile.largest_file:
                yield Violation(path=_join(folder.path, name), what=f"{size} bytes, {profile.largest_file} allowed")
            self.bytes += size
        self.files += len(folder.files)

    def end(self) -> Iterator[Violation]:
        """What is wrong with the whole."""
        if self.files > self._profile.files:
            yield Violation(path="", what=f"{self.files} files, {self._profile.files} allowed")

    def _name(self, path: str, name: str) -> Iterator[Violation]:
        profile = self._profile
        if not name.isascii() or _NAME.fullmatch(name) is None or name.split(".")[0] in _DOS:
            yield Violation(path=path, what="a name that not every device takes")
        if len(name.encode("utf-8", "surrogateescape")) > profile.component:
            yield Violation(path=path, what=f"a name longer than {profile.component} bytes")
        if len(path.encode("utf-8", "surrogateescape")) > profile.path:
            yield Violation(path=path, what=f"a path longer than {profile.path} bytes")
        if path.count("/") + 1 > profile.depth:
            yield Violation(path=path, what=f"deeper than {profile.depth} levels")


def root_name_problem(profile: Profile, name: str) -> str:
    """Why a device cannot be loaded in a folder of this name; empty when it can."""
    if not profile.container_root or _CONTAINER.fullmatch(name) is not None:
        return ""
    return (
        "on a Data Box the folder becomes a container: 3 to 63 lower-case letters, digits and single hyphens; "
        "anything else is renamed to DataBox-<GUID>"
    )


def _alike(path: str, names: Sequence[str]) -> Iterator[Violation]:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            yield Violation(path=_join(path, name), what="differs from another name by case only")


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
