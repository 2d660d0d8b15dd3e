"""One association's bytes: PDUs in and out (PS3.8 section 9.3), messages assembled from their fragments."""

import contextlib
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infra.simulator import command
from infra.simulator.content import Content

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

MAX_PDU = 131072
"""Bytes per P-DATA-TF that we accept and, where the peer lets us, send: larger ones gain nothing on loopback."""
MAX_MESSAGE = 1 << 20
"""Bytes of a command set or identifier we take: a peer of the simulator asks, it does not send images."""
_PDU_HEADER = struct.Struct(">BxL")
_PDV_HEADER = struct.Struct(">LBB")
_DATA_HEADER = struct.Struct(">BxLLBB")


class ConnectionEnded(Exception):
    """The peer aborted, closed, fell silent or broke the protocol."""


@dataclass(frozen=True, slots=True)
class Message:
    """One complete DIMSE message."""

    context_id: int
    command: command.Command
    dataset: bytes


class Released(Exception):
    """The peer asked to release the association."""


class Wire:
    """A connected socket that speaks PDUs. Used by one thread; `close` may come from any."""

    def __init__(self, sock: socket.socket, *, timeout: float) -> None:
        self._sock = sock
        self._sock.settimeout(timeout)
        self._ahead = bytearray()
        self._fragments: list[tuple[int, int, bytes]] = []
        self.send_limit = 16384

    def read_pdu(self) -> tuple[int, bytes]:
        """The next PDU's type and its whole encoding."""
        head = self._exactly(6)
        kind, length = _PDU_HEADER.unpack(head)
        if length > MAX_MESSAGE:
            raise ConnectionEnded("PDU longer than any we agreed to")
        return kind, head + self._exactly(length)

    def read_message(self) -> Message:
        """The next DIMSE message. Raises `Released` or `ConnectionEnded`."""
        context_id, octets = self._assemble(1)
        try:
            asked = command.decode(octets)
        except command.Malformed as problem:
            raise ConnectionEnded(str(problem)) from problem
        dataset = self._assemble(0)[1] if asked.has_dataset else b""
        return Message(context_id, asked, dataset)

    def message_waits(self) -> bool:
        """True when the peer has said something we have not read."""
        return bool(self._fragments or self._ahead) or bool(select.select([self._sock], [], [], 0)[0])

    def send(self, *buffers: bytes | bytearray | memoryview) -> None:
        """All bytes are handed to the kernel, in as few calls as it allows."""
        try:
            views = [memoryview(buffer) for buffer in buffers if len(buffer)]
            while views:
                sent = self._sock.sendmsg(views[:64])
                while views and sent >= len(views[0]):
                    sent -= len(views.pop(0))
                if sent:
                    views[0] = views[0][sent:]
        except OSError as problem:
            raise ConnectionEnded("peer does not read") from problem

    def abort(self) -> None:
        """An A-ABORT was sent if anybody listens, and the socket is closed."""
        with contextlib.suppress(ConnectionEnded):
            self.send(_PDU_HEADER.pack(ABORT, 4) + b"\0\0\0\0")
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _assemble(self, wanted: int) -> tuple[int, bytes]:
        parts: list[bytes] = []
        size = 0
        while True:
            if not self._fragments:
                self._fragments.extend(self._next_fragments())
                continue
            context_id, flags, piece = self._fragments.pop(0)
            if flags & 1 != wanted:
                raise ConnectionEnded("command and dataset fragments out of turn")
            parts.append(piece)
            size += len(piece)
            if size > MAX_MESSAGE:
                raise ConnectionEnded("message larger than the simulator takes")
            if flags & 2:
                return context_id, b"".join(parts)

    def _next_fragments(self) -> Iterator[tuple[int, int, bytes]]:
        kind, pdu = self.read_pdu()
        if kind == RELEASE_RQ:
            raise Released
        if kind != P_DATA:
            raise ConnectionEnded("peer aborted" if kind == ABORT else "PDU out of turn")
        position = 6
        while position + 6 <= len(pdu):
            length, context_id, flags = _PDV_HEADER.unpack_from(pdu, position)
            end = position + 4 + length
            if length < 2 or end > len(pdu):
                raise ConnectionEnded("fragment longer than its PDU")
            yield context_id, flags, pdu[position + 6 : end]
            position = end

    def _exactly(self, length: int) -> bytes:
        while len(self._ahead) < length:
            try:
                got = self._sock.recv(MAX_PDU)
            except OSError as problem:
                raise ConnectionEnded("peer is silent or gone") from problem
            if not got:
                raise ConnectionEnded("peer closed the connection")
            self._ahead += got
        octets = bytes(self._ahead[:length])
        del self._ahead[:length]
        return octets


def command_pdu(context_id: int, octets: bytes) -> bytes:
    """A command set in one P-DATA-TF; command sets fit any PDU length."""
    return _DATA_HEADER.pack(P_DATA, len(octets) + 6, len(octets) + 2, context_id, 3) + octets


def data_pdus(context_id: int, content: Content, limit: int) -> Iterator[tuple[bytes, memoryview]]:
    """The dataset as P-DATA-TF headers and pieces; `limit` is the peer's maximum PDU length."""
    step = (limit - 6) & ~1
    held = memoryview(b"")
    for piece in content.chunks(step):
        if held:
            yield _data_header(context_id, len(held), 0), held
        held = piece
    yield _data_header(context_id, len(held), 2), held


def _data_header(context_id: int, length: int, flags: int) -> bytes:
    return _DATA_HEADER.pack(P_DATA, length + 6, length + 2, context_id, flags)


def joined(pdus: Iterable[tuple[bytes, memoryview]]) -> bytes:
    """The PDUs as one run of bytes, ready to be sent at once."""
    return b"".join(part for pdu in pdus for part in pdu)


RELEASE_REQUEST = _PDU_HEADER.pack(RELEASE_RQ, 4) + b"\0\0\0\0"
RELEASE_RESPONSE = _PDU_HEADER.pack(RELEASE_RP, 4) + b"\0\0\0\0"
