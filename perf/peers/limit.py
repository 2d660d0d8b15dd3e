"""The machine's limit: bytes from loopback through BLAKE3 into tmpfs, with nothing of DICOM between.

    python -m perf.peers.limit receive FOLDER BUFFER_BYTES
    python -m perf.peers.limit send PORT CONNECTIONS OBJECTS OBJECT_BYTES

The sender streams without waiting for answers, a file per object is written, and the digest of each is taken: the
same bytes, files and hashes as a receiver's, and nothing else. Both speak JSON lines.
"""

import json
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path

from blake3 import blake3

HELLO = 16
"""Bytes before the objects: their number and their size."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Sink:
    """Takes objects on any number of connections, each with a thread of its own."""

    def __init__(self, folder: Path, buffer: int) -> None:
        self._folder = folder
        self._buffer = buffer
        self._lock = threading.Lock()
        self._made = 0
        self._bytes = 0
        self._digests: set[str] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def stock(self) -> dict[str, object]:
        with self._lock:
            return {"instances": self._made, "bytes": self._bytes, "digests": sorted(self._digests)}

    def clear(self) -> None:
        for path in self._folder.iterdir():
            path.unlink()
        with self._lock:
            self._made = self._bytes = 0
            self._digests.clear()

    def _take(self, connection: socket.socket) -> None:
        buffer = bytearray(self._buffer)
        view = memoryview(buffer)
        with connection:
            while hello := connection.recv(HELLO, socket.MSG_WAITALL):
                objects, size = int.from_bytes(hello[:8], "big"), int.from_bytes(hello[8:], "big")
                for number in range(objects):
                    self._object(connection, view, size, f"{threading.get_ident()}-{number}")
                connection.sendall(b"done")

    def _object(self, connection: socket.socket, view: memoryview, size: int, name: str) -> None:
        digest, left = blake3(), size
        file = os.open(self._folder / name, _FLAGS, 0o600)
        try:
            while left:
                count = connection.recv_into(view[: min(left, len(view))], 0, socket.MSG_WAITALL)
                if not count:
                    raise EOFError
                digest.update(view[:count])
                os.write(file, view[:count])
                left -= count
        finally:
            os.close(file)
        with self._lock:
            self._made += 1
            self._bytes += size
            self._digests.add(digest.hexdigest())


def receive(folder: Path, buffer: int) -> None:
    sink = Sink(folder, buffer)
    threading.Thread(target=sink.serve, daemon=True).start()
    print(json.dumps({"port": sink.port}), flush=True)
    for line in sys.stdin:
        if line.strip() == "clear":
            sink.clear()
        print(json.dumps(sink.stock()), flush=True)


def send(port: int, connections: int, objects: int, size: int) -> None:
    """One round for each line read; says when it began and ended, and the digest of the object it sends."""
    content = os.urandom(size)
    share, rest = divmod(objects, connections)
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    print(json.dumps({"digest": blake3(content).hexdigest()}), flush=True)
    for _ in sys.stdin:
        shares = [share + (number < rest) for number in range(connections)]
        threads = [
            threading.Thread(target=_stream, args=(connection, content, count))
            for connection, count in zip(sockets, shares, strict=True)
        ]
        cpu, started = _cpu(), time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = {"started": started, "ended": time.monotonic(), "cpu_seconds": _cpu() - cpu, "instances": objects}
        print(json.dumps(told), flush=True)


def _stream(connection: socket.socket, content: bytes, count: int) -> None:
    connection.sendall(count.to_bytes(8, "big") + len(content).to_bytes(8, "big"))
    for _ in range(count):
        connection.sendall(content)
    connection.recv(4, socket.MSG_WAITALL)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["receive", folder, size]:
            receive(Path(folder), int(size))
        case ["send", *numbers]:
            send(*map(int, numbers))
