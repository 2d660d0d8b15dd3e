"""The machine's own price of what a mover cannot do without: digests, checksum, bytes through a socket.

    python -m perf.pieces.bare '{"how": "blake3", "lanes": 2, "files": ""}'

Each lane is a thread and works through `ROUNDS` objects of `OBJECT` bytes; no DICOM, no ledger, hardly any Python.
"""

import socket
import threading
from collections.abc import Callable
from typing import Any

from blake3 import blake3

from perf.pieces.task import Task, converse
from storage.packs.crc64 import crc64

OBJECT = 525_000
"""Bytes of a CT slice with its header."""
ROUNDS = 3000
"""Objects of each lane: some 1.5 GB."""


def digest(content: memoryview) -> None:
    for _ in range(ROUNDS):
        blake3(content).digest()


def checksum(content: memoryview) -> None:
    for _ in range(ROUNDS):
        crc64(content, 0)


def loopback(content: memoryview) -> None:
    """The objects from one thread to another through a TCP connection; both ends are counted."""
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    receiver, _ = listener.accept()
    with listener, sender, receiver:
        thread = threading.Thread(target=_send, args=(sender, content))
        thread.start()
        buffer = memoryview(bytearray(len(content)))
        for _ in range(ROUNDS):
            receiver.recv_into(buffer, 0, socket.MSG_WAITALL)
        thread.join()


def _send(sender: socket.socket, content: memoryview) -> None:
    for _ in range(ROUNDS):
        sender.sendall(content)


WORK: dict[str, Callable[[memoryview], None]] = {"blake3": digest, "crc64": checksum, "loopback": loopback}


def work(task: Task) -> dict[str, Any]:
    """Every lane at the same time, each over an object of its own."""
    lanes = [threading.Thread(target=WORK[task.how], args=(memoryview(bytearray(OBJECT)),)) for _ in range(task.lanes)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    return {"objects": ROUNDS * task.lanes}


if __name__ == "__main__":
    told = Task.told()
    converse(lambda: work(told))
