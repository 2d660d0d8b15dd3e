"""Starting, watching and ending one server process, across the lives of several drivers.

A server started here outlives its driver: chaos tests kill the driver and expect Postgres to be there afterwards. What
remains of it is an `Identity` in a file, so a later process can find, adopt and stop it. A bare process id is not
enough for that: the kernel reuses ids, so the time of birth is compared too.
"""

import fcntl
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# Below Linux's ephemeral range (32768 and up): otherwise an outgoing connection could take a server's port while the
# server restarts. Registered services are rare up here.
PORTS = range(20_000, 32_000)
PORT_ATTEMPTS = 200
POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 4_000
# A killed process goes as soon as the kernel has freed its memory.
KILL_SECONDS = 10.0
LOOPBACK = "127.0.0.1"


class ServerError(Exception):
    """A server did not start, or did not stop, in the time it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the kernel says of a process now."""

    dead: bool
    born: int

    @classmethod
    def of(cls, pid: int) -> "_Seen | None":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # proc(5): the second field is the program's name in parentheses and may hold spaces and parentheses itself.
        fields = stat[stat.rindex(")") + 2 :].split()
        state, threads, born = fields[0], int(fields[17]), int(fields[19])
        # The first thread may be a zombie while others still hold the process's sockets open.
        return cls(dead=state in "ZX" and threads <= 1, born=born)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One process and no later one with the same number; `born` is in clock ticks since the machine's boot."""

    pid: int
    born: int

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """The living process of that number, or None."""
        seen = _Seen.of(pid)
        return None if seen is None or seen.dead else cls(pid=pid, born=seen.born)

    @classmethod
    def read(cls, file: Path) -> "Identity | None":
        """What `write` stored, or None when nothing usable is stored; a torn file counts as nothing."""
        try:
            pid, born = file.read_text(encoding="ascii").split()
            return cls(pid=int(pid), born=int(born))
        except (FileNotFoundError, ValueError):
            return None

    def write(self, file: Path) -> None:
        """The identity is in the file, whole or not at all."""
        replace_text(file, f"{self.pid} {self.born}\n")

    @property
    def alive(self) -> bool:
        """True as long as this very process runs."""
        seen = _Seen.of(self.pid)
        if seen is None or seen.born != self.born:
            return False
        if seen.dead:
            # Ours to reap when we started it; otherwise somebody else does.
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        return not seen.dead

    def send(self, number: signal.Signals) -> None:
        """The process has the signal; nothing happens when it is gone already."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """The condition holds. Raises ServerError naming `what` when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_SECONDS)


def launch(command: list[str], *, account: int | None, folder: Path, log: Path, extra: dict[str, str]) -> Identity:
    """The command runs in a session of its own, in `folder`, writing to `log`, and ends only when told to.

    Its environment is made of `extra` and the bare necessities: nothing of ours (cloud credentials, proxies, library
    paths) reaches it. `account` is the user id to run as, None for our own.
    """
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)} | extra
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
            user=account,
            group=account,
            extra_groups=None if account is None else [],
            umask=0o077,
        )
    identity = Identity.of(process.pid)
    # The child is meant to be left alone: without this, Popen warns about it when it is collected.
    process.returncode = 0
    if identity is None:
        raise ServerError(f"{Path(command[0]).name} ended at once\n{log_tail(log)}")
    return identity


def wait_ready(identity: Identity, ready: Callable[[], bool], *, seconds: float, name: str, log: Path) -> None:
    """The server answers. Raises ServerError with the end of its log when it dies or stays silent, and ends it then."""
    try:
        wait_until(lambda: ready() or not identity.alive, seconds=seconds, what=f"{name} answering")
        if identity.alive:
            return
        failure = ServerError(f"{name} ended while starting")
    except ServerError as error:
        failure = error
        end(identity, signals=(signal.SIGKILL,), seconds=KILL_SECONDS, name=name)
    raise ServerError(f"{failure}\n{log_tail(log)}")


def end(identity: Identity, *, signals: tuple[signal.Signals, ...], seconds: float, name: str) -> None:
    """The process is gone: each signal in turn is given `seconds` to work."""
    for number in signals:
        identity.send(number)
        with suppress(ServerError):
            wait_until(lambda: not identity.alive, seconds=seconds, what=name)
            return
    raise ServerError(f"{name} (process {identity.pid}) does not end")


def running(folder: Path) -> Identity | None:
    """The server that a driver, this one or an earlier one, started in `folder` and that still runs."""
    identity = Identity.read(folder / "pid")
    return identity if identity and identity.alive else None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else starts or stops the server in `folder`: of two processes the second waits and finds it running."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_aside(log: Path) -> None:
    """The log is free for a new start; the one before is kept, ending in `.previous`."""
    with suppress(FileNotFoundError):
        log.rename(log.with_name(f"{log.name}.previous"))


def children(pid: int) -> list[Identity]:
    """The direct children of a process, as far as they still live."""
    try:
        numbers = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [identity for number in numbers if (identity := Identity.of(int(number)))]


def working_in(folder: Path) -> list[Identity]:
    """Every process of ours whose current directory is `folder`: what a killed server leaves behind."""
    found: list[Identity] = []
    for entry in Path("/proc").iterdir():
        # Other users' processes and those just ended cannot be read; neither is ours.
        with suppress(OSError):
            if entry.name.isdecimal() and (entry / "cwd").readlink() == folder:
                identity = Identity.of(int(entry.name))
                found.extend([identity] if identity else [])
    return found


def port_free(port: int) -> bool:
    """True when a server can listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: a connection lingering in TIME_WAIT does not make the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose_ports(count: int, *, among: range = PORTS, offset: int = 0) -> list[int]:
    """Distinct loopback ports that are free now, and so is the one `offset` above each.

    A rival may still take one before the server does.
    """
    chosen: list[int] = []
    for _ in range(PORT_ATTEMPTS):
        port = random.choice(among)  # noqa: S311 - no secret, only unlikely to meet another test run's choice
        if port not in chosen and port_free(port) and port_free(port + offset):
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise ServerError(f"no {count} free ports on {LOOPBACK}")


def replace_text(file: Path, text: str) -> None:
    """The file holds exactly this text and only its owner may read it; a crash leaves the old or the new."""
    fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    fresh.replace(file)


def log_tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        return stream.read().decode("utf-8", errors="replace").strip()
