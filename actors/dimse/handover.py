"""One instance from one mover process to another on the same node.

Processes that share an AE title and port by SO_REUSEPORT get associations from the kernel as it likes: an instance may
land in a process that does not hold the study's claim. It is streamed over a Unix socket to the one that does, into
that one's own landing, and the status comes back for the C-STORE response.

    offer:  magic  u32 length of header  header (JSON)  u64 length of file  file
    answer: magic  u16 status
"""

import contextlib
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from struct import Struct
from typing import Any

import structlog

from actors.dimse.inbound import OUT_OF_RESOURCES
from actors.dimse.incoming import Incoming, InstanceHandler, Peer
from actors.dimse.landing import LandingFactory
from actors.dimse.limits import Limits
from actors.listening import Listener
from imaging.octets import chunks
from storage.errors import StorageError

PATIENCE = timedelta(seconds=60)
"""For the other process to take or give the next bytes; its handler may wait for an upload's buffer meanwhile."""
IDLE_CONNECTIONS = 8
"""Connections a client keeps for the next instance: as many as associations deliver at once in practice."""
HEADER_CAP = 8 << 10
"""Bytes of the JSON header: five UIDs and titles, and whatever a sender wrote into its command set."""
TICK = 0.25
"""Seconds between looks at a stop while nothing comes."""

log = structlog.get_logger()

_MAGIC = b"LMH1"
_HEAD = Struct(">4sI")
_SIZE = Struct(">Q")
_ANSWER = Struct(">4sH")
_CREDENTIALS = Struct("3i")
_CHUNK = 1 << 20
_FOLDER_MODE = 0o700
_RAW1_SIZE = 32


class HandoverFailed(Exception):
    """The other process is not there, not ours, or broke off; the instance is still with the caller."""


class HandoverServer:
    """Listens at `path` from `start` to `stop`; the handler is called from the connections' threads."""

    def __init__(
        self, path: Path, landing: LandingFactory, handler: InstanceHandler, limits: Limits | None = None
    ) -> None:
        self._path = path
        self._landing = landing
        self._handler = handler
        self._limits = limits or Limits()
        # A sibling that is turned away keeps its instance.
        self._listener = Listener(
            self._serve,
            name="handover",
            most=self._limits.connections,
            admits=lambda connection, address: _same_user(connection),
        )

    def start(self) -> None:
        """Other processes of this user can connect. A socket a dead process left at `path` is replaced."""
        self._path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        self._path.parent.chmod(_FOLDER_MODE)
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(self._path))
        listening.listen()
        self._listener.start(listening)

    def stop(self) -> None:
        """Nobody can connect any more, and every connection has ended."""
        self._listener.close()
        self._path.unlink(missing_ok=True)
        self._listener.join(PATIENCE)

    def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            with connection:
                while self._take(connection):
                    pass
        except (HandoverFailed, OSError):
            pass  # the client sees its connection end and keeps the instance
        except Exception as fault:  # outermost frame: a fault of ours ends one connection, and prints no instance
            log.error("handover_fault", kind=type(fault).__name__)

    def _take(self, connection: socket.socket) -> bool:
        first = _receive(connection, _HEAD.size, self._limits.idle, self._listener.stopped)
        if first is None:
            return False
        magic, length = _HEAD.unpack(first)
        if magic != _MAGIC or length > HEADER_CAP:
            raise HandoverFailed("not a handover")
        described = _described(_exactly(connection, length))
        size = _SIZE.unpack(_exactly(connection, _SIZE.size))[0]
        if size > self._limits.dataset or described["dataset_offset"] > size:
            raise HandoverFailed("file size out of bounds")
        landing = None
        try:
            with contextlib.suppress(StorageError):
                landing = self._landing()
            status = OUT_OF_RESOURCES
            left, buffer = size, memoryview(bytearray(min(size, _CHUNK) or 1))
            while left:
                count = connection.recv_into(buffer[: min(left, len(buffer))])
                if not count:
                    raise HandoverFailed("cut short")
                left -= count
                if landing is not None:
                    try:
                        landing.write(buffer[:count])
                    except StorageError:
                        landing.release()
                        landing = None
            if landing is not None:
                status = self._handler(Incoming(part10=landing.octets(), **described))
        finally:
            if landing is not None:
                landing.release()
        connection.sendall(_ANSWER.pack(_MAGIC, status))
        return True


class HandoverClient:
    """Offers instances to the process that listens at `path`. Thread-safe."""

    def __init__(self, path: Path, patience: timedelta = PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()

    def offer(self, incoming: Incoming) -> int:
        """The C-STORE status of the other process's handler.

        Raises
        ------
        HandoverFailed
            It has not answered; whether it took the instance is unknown, and offering it again is harmless.
        """
        connection = self._take()
        try:
            connection.sendall(_announcement(incoming))
            for piece in chunks(incoming.part10, 0, incoming.part10.size):
                connection.sendall(piece)
            magic, status = _ANSWER.unpack(_exactly(connection, _ANSWER.size))
        except OSError as error:
            connection.close()
            raise HandoverFailed(f"the other process broke off ({type(error).__name__})") from error
        except BaseException:
            connection.close()
            raise
        if magic != _MAGIC:
            connection.close()
            raise HandoverFailed("not a handover answer")
        self._give(connection)
        return status

    def close(self) -> None:
        """Kept connections are closed."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> socket.socket:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None and not _ended(kept):
            return kept
        if kept is not None:
            kept.close()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._patience.total_seconds())
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise HandoverFailed(f"nobody listens ({type(error).__name__})") from error
        return connection

    def _give(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


def _announcement(incoming: Incoming) -> bytes:
    header = json.dumps(
        {
            "calling_ae": incoming.peer.calling_ae,
            "called_ae": incoming.peer.called_ae,
            "address": incoming.peer.address,
            "sop_class": incoming.sop_class,
            "sop_uid": incoming.sop_uid,
            "transfer_syntax": incoming.transfer_syntax,
            "move_originator_ae": incoming.move_originator_ae,
            "move_originator_id": incoming.move_originator_id,
            "dataset_offset": incoming.dataset_offset,
            "raw1": incoming.raw1.hex(),
        }
    ).encode()
    if len(header) > HEADER_CAP:
        raise HandoverFailed("the command set's values are absurdly long")
    return _HEAD.pack(_MAGIC, len(header)) + header + _SIZE.pack(incoming.part10.size)


def _described(header: bytes) -> dict[str, Any]:
    """The fields of `Incoming` other than its bytes, each of the type it must have."""
    try:
        told = json.loads(header)
        originator, number = told["move_originator_ae"], told["move_originator_id"]
        fields = {
            "sop_class": told["sop_class"],
            "sop_uid": told["sop_uid"],
            "transfer_syntax": told["transfer_syntax"],
        }
        titles = {"calling_ae": told["calling_ae"], "called_ae": told["called_ae"], "address": told["address"]}
        raw1, offset = bytes.fromhex(told["raw1"]), told["dataset_offset"]
    except (ValueError, KeyError, TypeError) as error:
        raise HandoverFailed("header cannot be read") from error
    sound = (
        all(isinstance(text, str) for text in (*fields.values(), *titles.values()))
        and isinstance(originator, str | None)
        and isinstance(number, int | None)
        and isinstance(offset, int)
        and offset >= 0
        and len(raw1) == _RAW1_SIZE
    )
    if not sound:
        raise HandoverFailed("header fields have wrong types")
    return {
        **fields,
        "peer": Peer(**titles),
        "move_originator_ae": originator,
        "move_originator_id": number,
        "dataset_offset": offset,
        "raw1": raw1,
    }


def _receive(connection: socket.socket, size: int, idle: timedelta, stopped: Callable[[], bool]) -> bytes | None:
    """`size` bytes, or None when the peer closed, was idle too long, or a stop came before the first of them."""
    connection.settimeout(TICK)
    deadline = time.monotonic() + idle.total_seconds()
    while True:
        try:
            start = connection.recv(size)
        except TimeoutError:
            if stopped() or time.monotonic() >= deadline:
                return None
            continue
        connection.settimeout(PATIENCE.total_seconds())
        return start + _exactly(connection, size - len(start)) if start else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        piece = connection.recv(size - len(parts))
        if not piece:
            raise HandoverFailed("cut short")
        parts += piece
    return bytes(parts)


def _ended(connection: socket.socket) -> bool:
    """Whether the peer closed a connection on which nothing may be waiting."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _same_user(connection: socket.socket) -> bool:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(raw)[1] == os.getuid()
