"""A connected socket as a stream of whole PDUs (PS3.8 section 9.3), in and out.

Received bytes lie in one reused buffer; a PDU is handed out as a view of it and is valid until the next is asked for.
"""

import contextlib
import select
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from enum import IntEnum
from struct import Struct, pack

from actors.dimse.limits import ASSOCIATE_CAP, MAX_PDU, RECEIVE_BUFFER
from actors.dimse.violation import PeerGone, ProtocolViolation, Violation

TICK = 0.25
"""Seconds one system call waits at most; deadlines and stop requests are looked at in between."""

_TIMEVAL = pack("@ll", int(TICK), int(TICK % 1 * 1e6))
"""struct timeval."""

HEADER = Struct(">BxI")
HEADER_SIZE = 6
DISCARD_CAP = 8 << 20
"""Bytes thrown away while waiting for a peer to read our last PDU and close."""


class Pdu(IntEnum):
    """PDU types (PS3.8 section 9.3.1)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


_CAPS = {
    Pdu.ASSOCIATE_RQ: ASSOCIATE_CAP,
    Pdu.ASSOCIATE_AC: ASSOCIATE_CAP,
    Pdu.ASSOCIATE_RJ: 4,
    Pdu.P_DATA: MAX_PDU,
    Pdu.RELEASE_RQ: 4,
    Pdu.RELEASE_RP: 4,
    Pdu.ABORT: 4,
}
_PDUS = {int(kind): (kind, cap) for kind, cap in _CAPS.items()}

RELEASE_RQ = HEADER.pack(Pdu.RELEASE_RQ, 4) + bytes(4)
RELEASE_RP = HEADER.pack(Pdu.RELEASE_RP, 4) + bytes(4)
_ABORT_REASONS = {Violation.UNKNOWN_PDU: 1, Violation.UNEXPECTED_PDU: 2, Violation.SEQUENCE: 2, Violation.SILENT: 0}
_INVALID_PARAMETER = 6


def abort(reason: Violation | None) -> bytes:
    """An A-ABORT PDU (PS3.8 table 9-26): from the service user without a reason, else from the provider."""
    code = 0 if reason is None else _ABORT_REASONS.get(reason, _INVALID_PARAMETER)
    return HEADER.pack(Pdu.ABORT, 4) + bytes((0, 0, 0 if reason is None else 2, code))


def never() -> bool:
    """No stop is wanted."""
    return False


def read_out(connection: socket.socket, into: memoryview, patience: float) -> None:
    """No more is sent, and what still comes was thrown away, until the peer closed or a bound was reached.

    Closing over unread bytes would make the kernel reset the connection and destroy our last words on their way.
    Raises `OSError` for the network.
    """
    deadline = time.monotonic() + patience
    discarded = 0
    connection.shutdown(socket.SHUT_WR)
    while discarded < DISCARD_CAP and (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        count = connection.recv_into(into)
        if not count:
            break
        discarded += count


def _tick(connection: socket.socket) -> None:
    """A call on the connection waits `TICK` at most.

    The kernel keeps the time of a plain socket: Python's own time-outs ask `poll` before each call, and every system
    call that lets go of the interpreter has to get it back from busy threads. OpenSSL needs Python's.
    """
    if type(connection) is not socket.socket:
        connection.settimeout(TICK)
        return
    connection.settimeout(None)
    for waiting in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, waiting, _TIMEVAL)


class Wire:
    """One TCP or TLS connection. Reading and writing belong to one thread; `shut` may come from any."""

    def __init__(self, connection: socket.socket, stopped: Callable[[], bool] = never) -> None:
        self._socket = connection
        self._stopped = stopped
        self._buffer = bytearray(RECEIVE_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        _tick(connection)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._quick_ack = sys.platform == "linux" and connection.family != socket.AF_UNIX

    def read_pdu(self, deadline: float, stall: float) -> tuple[Pdu, memoryview]:
        """The type and variable field of the next PDU.

        It must begin before `deadline` (monotonic seconds) and be whole `stall` seconds after its first byte.

        Raises
        ------
        ProtocolViolation
            UNKNOWN_PDU, PDU_TOO_LONG, TRUNCATED, SILENT.
        PeerGone
            The connection ended between two PDUs, or a stop was asked for.
        """
        partial = False
        while True:
            start = self._start
            have = self._end - start
            need = HEADER_SIZE
            if have >= HEADER_SIZE:
                kind, length = HEADER.unpack_from(self._buffer, start)
                known = _PDUS.get(kind)
                if known is None:
                    raise ProtocolViolation(Violation.UNKNOWN_PDU)
                if length > known[1]:
                    raise ProtocolViolation(Violation.PDU_TOO_LONG)
                need += length
                if have >= need:
                    self._start = stop = start + need
                    return known[0], self._view[start + HEADER_SIZE : stop]
            if have and not partial:
                partial = True
                deadline = min(deadline, time.monotonic() + stall)
            self._fill(need, deadline)

    def _fill(self, need: int, deadline: float) -> None:
        if time.monotonic() >= deadline:
            # Asked here too, for a peer that drips a byte now and then never lets a receive time out.
            raise ProtocolViolation(Violation.SILENT)
        start, end = self._start, self._end
        if start == end:
            self._start = self._end = start = end = 0
        elif start + need > RECEIVE_BUFFER:
            self._view[: end - start] = self._view[start:end]
            self._start, self._end = 0, end - start
            start, end = 0, self._end
        count = self._receive(self._view[end:], deadline)
        if not count:
            if start == end:
                raise PeerGone
            raise ProtocolViolation(Violation.TRUNCATED)
        self._end = end + count

    def _receive(self, into: memoryview, deadline: float) -> int:
        while True:
            if self._quick_ack:
                # PACS built on dcmtk leave Nagle on and send an instance in small pieces: each waits 40 ms for an
                # acknowledgement the kernel delays. The kernel forgets the option, so it is set before every wait;
                # not after a receive, where our response would carry the acknowledgement anyway.
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            try:
                return self._socket.recv_into(into)
            except (TimeoutError, BlockingIOError):
                if self._stopped():
                    raise PeerGone from None
                if time.monotonic() >= deadline:
                    raise ProtocolViolation(Violation.SILENT) from None
            except OSError as error:
                raise PeerGone from error

    def send(self, data: bytes | bytearray | memoryview, patience: float) -> None:
        """`data` is with the kernel, in one system call where it fits.

        Raises
        ------
        PeerGone
            The connection ended, or the peer took nothing for `patience` seconds.
        """
        view = memoryview(data)
        deadline = time.monotonic() + patience
        while view:
            try:
                sent = self._socket.send(view)
            except (TimeoutError, BlockingIOError):
                if self._stopped() or time.monotonic() >= deadline:
                    raise PeerGone from None
                continue
            except OSError as error:
                raise PeerGone from error
            view = view[sent:]
            deadline = time.monotonic() + patience if view else deadline

    @property
    def ahead(self) -> bool:
        """More was read than was asked for."""
        return self._start != self._end

    @property
    def silent(self) -> bool:
        """Nothing waits to be read, the end of the stream included."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not self.ahead and not poll.poll(0)

    def shut(self) -> None:
        """The connection is cut; a thread that waits in it finds its end."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def leave(self, last: bytes, patience: timedelta) -> None:
        """`last`, if any, was sent if the peer still takes it, and the socket is closed. The network raises nothing."""
        seconds = patience.total_seconds()
        try:
            if not last:
                return
            self._socket.settimeout(seconds)
            self._socket.sendall(last)
            read_out(self._socket, self._view, seconds)
        except OSError:
            pass  # gone already: nothing is left to be polite to
        finally:
            self.close()

    def close(self) -> None:
        """The socket is closed and the buffer is free."""
        self._socket.close()
        self._view = memoryview(b"")
        self._buffer = bytearray()
