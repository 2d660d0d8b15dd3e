"""Disks that may be filled, frozen, pulled out and made read-only: small real file systems in files. Root's work.

ext4 through a loop device; exFAT through FUSE, whose names differ by more than case. A disk is "pulled out" with the
kernel's own shutdown of a file system: whatever was not written to the medium is gone, and every write answers EIO
until the disk is mounted anew (EXT4_IOC_SHUTDOWN, fs/ext4/ext4.h of Linux 4.13 and later).
"""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Self

_SHUTDOWN = 0x8004587D
_NOTHING_FLUSHED = 2
_FREEZE, _THAW = 0xC0045877, 0xC0045878
"""FIFREEZE and FITHAW (linux/fs.h): writers wait, as on a disk that hangs."""
SECONDS = 120.0


class FileSystem(StrEnum):
    """What a disk is formatted with."""

    EXT4 = "ext4"
    EXFAT = "exfat"


_PROGRAMS = {FileSystem.EXT4: ("mkfs.ext4",), FileSystem.EXFAT: ("mkfs.exfat", "mount.exfat-fuse")}
_LOOP = Path("/dev/loop-control")
_DEVICES = {FileSystem.EXT4: (_LOOP,), FileSystem.EXFAT: (_LOOP, Path("/dev/fuse"))}


class NoDisk(Exception):
    """The machine does not give us such a disk; the message says what is missing."""


def missing(kind: FileSystem) -> str:
    """What this machine lacks for such a disk, as far as can be told without trying; empty: nothing."""
    if os.geteuid() != 0:
        return "only root mounts a file system"
    if absent := [str(path) for path in _DEVICES[kind] if not path.exists()]:
        return f"{' and '.join(absent)} not there"
    absent = [program for program in _PROGRAMS[kind] if shutil.which(program, path=_path()) is None]
    return f"{' and '.join(absent)} not installed" if absent else ""


class Disk:
    """One disk below `folder`; mounted at `mount` while the block runs."""

    def __init__(self, folder: Path, kind: FileSystem, size: int) -> None:
        """`size` in bytes; the file is sparse."""
        self.kind = kind
        self.mount = folder / "mount"
        self._image = folder / "image"
        self._mounted = False
        self._loop = ""
        """The block device that FUSE is given."""
        self.mount.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(size)

    def __enter__(self) -> Self:
        """Raises `NoDisk`."""
        if why := missing(self.kind):
            raise NoDisk(why)
        if self.kind is FileSystem.EXT4:
            # Few inodes and a small journal: of a sparse disk of 65 GiB, some MB are written.
            _do("mkfs.ext4", "-q", "-F", "-m", "0", "-N", "4096", "-J", "size=8", self._image)
        else:
            _do("mkfs.exfat", self._image)
        self.put_in()
        return self

    def __exit__(self, *_: object) -> None:
        if self._mounted:
            self.take_out()

    def put_in(self, *, read_only: bool = False) -> None:
        """The disk is mounted. Raises `NoDisk`."""
        mode = "ro" if read_only else "rw"
        if self.kind is FileSystem.EXT4:
            _do("mount", "-o", f"loop,errors=remount-ro,{mode}", self._image, self.mount)
        else:
            self._loop = _do("losetup", "--find", "--show", self._image).strip()
            try:
                _do("mount.exfat-fuse", "-o", mode, self._loop, self.mount)
            except NoDisk:
                self._let_go()
                raise
        self._mounted = True

    def take_out(self) -> None:
        """The disk is unmounted, its folder is empty."""
        _do("umount", self.mount)
        self._mounted = False
        self._let_go()

    def pull_out(self) -> None:
        """As if somebody had pulled the cable: what was not on the medium is lost, writes answer EIO."""
        self._tell(_SHUTDOWN, struct.pack("=I", _NOTHING_FLUSHED))

    def make_read_only(self) -> None:
        """As the kernel does with a disk that fails, whoever has files open there for writing."""
        loop = Path(_do("findmnt", "--noheadings", "--output", "SOURCE", self.mount).strip()).name
        Path(f"/sys/fs/ext4/{loop}/trigger_fs_error").write_text("tried", encoding="ascii")

    def hang(self) -> None:
        """Writers wait until `go_on`; where FUSE serves the disk, everybody does."""
        if self.kind is FileSystem.EXT4:
            self._tell(_FREEZE, struct.pack("=I", 0))
        else:
            os.kill(self._daemon(), signal.SIGSTOP)

    def go_on(self) -> None:
        if self.kind is FileSystem.EXT4:
            self._tell(_THAW, struct.pack("=I", 0))
        else:
            os.kill(self._daemon(), signal.SIGCONT)

    def _daemon(self) -> int:
        """The process that serves the disk; it has put itself into the background, so nobody told us of it."""
        mounted = os.fsencode(self.mount)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if mounted in path.read_bytes().split(b"\0"):
                    return int(path.parent.name)
        raise NoDisk("nobody serves it")

    def fill(self, left: int) -> Path:
        """Somebody else's file takes all but `left` bytes; where it is."""
        usage = os.statvfs(self.mount)
        path = self.mount / "ballast"
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, usage.f_bavail * usage.f_frsize - left)
        return path

    def _let_go(self) -> None:
        if self._loop:
            _do("losetup", "--detach", self._loop)
            self._loop = ""

    def _tell(self, request: int, argument: bytes) -> None:
        descriptor = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, request, argument)
        finally:
            os.close(descriptor)


def _do(*words: str | Path) -> str:
    command: Sequence[str] = [str(word) for word in words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, env=os.environ | {"PATH": _path()}
    )
    if done.returncode:
        raise NoDisk(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _path() -> str:
    # Debian keeps these programs where an ordinary user's PATH does not look.
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
