"""Every folder of a device, nothing followed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from storage.durable import storage_error
from storage.seeds.profiles import Folder, Profile


def folders(root: Path, profile: Profile) -> Iterator[Folder]:
    """Each folder below `root`, the root first; links are told, not followed. Raises `Retryable` or `Rejected`."""
    todo = [""]
    while todo:
        path = todo.pop()
        try:
            found = _read(root, path, profile)
        except OSError as error:
            raise storage_error(error, "list", f"device {root.name}") from None
        todo.extend(f"{path}/{name}" if path else name for name in reversed(found.folders))
        yield found


def _read(root: Path, path: str, profile: Profile) -> Folder:
    files: list[tuple[str, int]] = []
    inner: list[str] = []
    others: list[str] = []
    shared: list[str] = []
    with os.scandir(root / path) as entries:
        for entry in entries:
            if not path and entry.name in profile.system_names:
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                files.append((entry.name, status.st_size))
                # exFAT through FUSE and some network shares answer 0.
                if status.st_nlink > 1:
                    shared.append(entry.name)
            elif stat.S_ISDIR(status.st_mode):
                inner.append(entry.name)
            else:
                others.append(entry.name)
    return Folder(
        path=path,
        files=tuple(sorted(files)),
        folders=tuple(sorted(inner)),
        others=tuple(sorted(others)),
        shared=tuple(sorted(shared)),
    )
