"""The demo's folder: taken only when it is new, empty or a demo's own, and emptied before it is used."""

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import Identity, end
from infra.embedded.seaweedfs import EmbeddedS3

MARKER = ".limosa-demo"
MARK = "This folder belongs to `limosa demo`, which empties it whenever it runs.\n"

ARCHIVE_END_SECONDS = 10.0
"""An archive that a killed demo left behind ends at once when it is asked; a stuck one is killed after this long."""


class FolderRefused(Exception):
    """The folder is not the demo's to empty, or cannot be written; the message says which."""


class FolderInUse(Exception):
    """Another demo runs in the folder."""


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where everything of one demo lies."""

    root: Path

    @property
    def job_file(self) -> Path:
        return self.root / "demo.toml"

    @property
    def device(self) -> Path:
        """The folder that stands for a seeding device."""
        return self.root / "device"

    @property
    def faults(self) -> Path:
        """What the archive does wrong on purpose."""
        return self.root / "archive-faults.toml"

    @property
    def archive_script(self) -> Path:
        """Starts the same archive again, for commands that ask it."""
        return self.root / "archive.sh"

    @property
    def archive_log(self) -> Path:
        return self.root / "archive.log"

    @property
    def archive_pid(self) -> Path:
        """Who the archive's process is, as long as it runs."""
        return self.root / "archive.pid"

    @property
    def state(self) -> Path:
        """The job's state folder, which is where it is for any job file of that name."""
        return self.root / "demo.limosa"


@contextmanager
def own_folder(path: Path) -> Iterator[DemoFolder]:
    """The folder is empty and nobody else's for as long as the block lasts; what an earlier demo left is gone.

    Raises
    ------
    FolderRefused
        It holds something and carries no marker, or cannot be written.
    FolderInUse
        Another demo runs in it.
    """
    root = path.resolve()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _marked(root):
            folder = DemoFolder(root)
            _empty(folder)
            yield folder
    except (FileExistsError, NotADirectoryError):
        raise FolderRefused(f"{root} is not a folder") from None
    except PermissionError as error:
        raise FolderRefused(f"{error.filename or root} belongs to somebody else; choose another --dir") from None


@contextmanager
def _marked(root: Path) -> Iterator[None]:
    marker = root / MARKER
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    if any(root.iterdir()):
        try:
            descriptor = os.open(marker, flags)
        except (FileNotFoundError, OSError):
            raise FolderRefused(f"{root} holds files that no demo made, and was left as it is") from None
    else:
        descriptor = os.open(marker, flags | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, MARK.encode("ascii"))
    try:
        if os.pread(descriptor, len(MARK) + 1, 0) != MARK.encode("ascii"):
            raise FolderRefused(f"{root} holds files that no demo made, and was left as it is")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(f"another demo runs in {root}") from None
        yield
    finally:
        os.close(descriptor)


def _empty(folder: DemoFolder) -> None:
    left = Identity.read(folder.archive_pid)
    if left is not None:
        end(left, signals=(signal.SIGTERM, signal.SIGKILL), seconds=ARCHIVE_END_SECONDS, name="the demo's archive")
    services = folder.state / "services"
    # Their files may lie elsewhere (see infra.embedded.home), so they are removed by their own kind.
    EmbeddedPostgres(services / "postgres").remove()
    EmbeddedS3(services / "s3").remove()
    for entry in folder.root.iterdir():
        if entry.name == MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
