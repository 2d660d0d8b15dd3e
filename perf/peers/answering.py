"""A C-STORE receiver that only answers: what it reaches is what sender and loopback can do.

    python -m perf.peers.answering

Prints a JSON line with its port. Then answers lines: `held`, `clear`.
"""

import json
import socket
import struct
import sys
import threading

from infra.simulator import command, negotiation
from infra.simulator.wire import RELEASE_RESPONSE, RELEASE_RQ, command_pdu

BUFFER = 1 << 20
PDV_HEADER = struct.Struct(">BxLLBB")
"""PDU type and length, then the first presentation data value's length, context and flags; blasters send one each."""
COMMAND, LAST = 1, 2
SUCCESS = 0x0000


class Answering:
    """Counts instances; one thread per association."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instances = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._associate, args=(connection,), daemon=True).start()

    @property
    def count(self) -> int:
        with self._lock:
            return self._instances

    def take_count(self) -> int:
        with self._lock:
            count, self._instances = self._instances, 0
        return count

    def _associate(self, connection: socket.socket) -> None:
        with connection:
            head = connection.recv(6, socket.MSG_WAITALL)
            proposal = negotiation.read_request(
                head + connection.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)
            )
            answers = {number: (0, syntaxes[0]) for number, _, syntaxes in proposal.contexts}
            connection.sendall(negotiation.acceptance(proposal, answers))
            self._receive(connection)

    def _receive(self, connection: socket.socket) -> None:
        buffer = bytearray(BUFFER)
        view = memoryview(buffer)
        have = skip = 0
        due = False
        response = b""
        while count := connection.recv_into(view[have:]):
            have, position = have + count, 0
            while True:
                step = min(skip, have - position)
                position, skip = position + step, skip - step
                if skip:
                    break
                if due:
                    self._count()
                    connection.sendall(response)
                    due = False
                if have - position < PDV_HEADER.size:
                    if have - position and buffer[position] == RELEASE_RQ:
                        connection.sendall(RELEASE_RESPONSE)
                        return
                    break
                _, length, _, context_id, flags = PDV_HEADER.unpack_from(buffer, position)
                if flags & COMMAND:
                    end = position + 6 + length
                    if end > have:
                        break
                    response = _response(context_id, bytes(view[position + PDV_HEADER.size : end]))
                skip = 6 + length
                due = flags == LAST
            view[: have - position] = view[position:have]
            have -= position

    def _count(self) -> None:
        with self._lock:
            self._instances += 1


def _response(context_id: int, asked: bytes) -> bytes:
    return command_pdu(context_id, command.encode(command.response(command.decode(asked), SUCCESS)))


def main() -> None:
    receiver = Answering()
    threading.Thread(target=receiver.serve, daemon=True).start()
    print(json.dumps({"port": receiver.port}), flush=True)
    for line in sys.stdin:
        held = receiver.take_count() if line.strip() == "clear" else receiver.count
        print(json.dumps({"instances": held}), flush=True)


if __name__ == "__main__":
    main()
