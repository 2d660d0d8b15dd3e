"""What killed processes left in the temporary folder, removed when nobody can be using it any more.

A Ray that is started inside ends with its driver, but a driver that is killed removes nothing: a session is a few MB of
logs and sockets, and a temporary folder in memory fills up with them.
"""

import errno
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

SETTLED = timedelta(hours=1)
"""A folder for sockets that was changed later may belong to a process between making the folder and its socket."""

_SESSION = re.compile(r"session_\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}_\d+_(\d+)")
"""As Ray names them: the time, and the process that started it."""


def sweep_sessions(home: Path) -> int:
    """Ray sessions below `home` are gone whose process is gone and whose sockets answer nobody; how many."""
    swept = 0
    for folder in _folders(home):
        named = _SESSION.fullmatch(folder.name)
        if named is None or _alive(int(named[1])) or any(_answers(path) for path in _sockets(folder / "sockets")):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        swept += 1
    return swept


def sweep_sockets(temporary: Path, *, before: float | None = None) -> int:
    """Folders for the sockets of siblings (`actors.siblings.socket_folder`) that nobody listens in are gone; how many.

    `before` is the time (seconds since the epoch) that a folder must not have been changed since; by default
    `SETTLED` ago.
    """
    limit = time.time() - SETTLED.total_seconds() if before is None else before
    name = re.compile(rf"limosa-{os.getuid()}-[0-9a-f]{{12}}")
    swept = 0
    for folder in _folders(temporary):
        if not name.fullmatch(folder.name) or folder.lstat().st_mtime > limit:
            continue
        sockets = list(_sockets(folder))
        if any(_answers(path) for path in sockets):
            continue
        for path in sockets:
            path.unlink(missing_ok=True)
        try:
            folder.rmdir()
        except OSError as error:
            # Something else lies there, or another driver was quicker.
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise
            continue
        swept += 1
    return swept


def _folders(place: Path) -> Iterator[Path]:
    """Folders of this user's own in `place`; links are not followed."""
    try:
        found = list(place.iterdir())
    except FileNotFoundError:
        return
    for path in found:
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid():
            yield path


def _sockets(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_socket())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _answers(path: Path) -> bool:
    """Whether a process listens there: also one that this one cannot see, as from within a container."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
