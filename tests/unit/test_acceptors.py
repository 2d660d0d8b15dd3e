"""A machine that is out of threads turns a peer away, and lets the next one in."""

import socket
import threading
from pathlib import Path

import pytest

from actors.dimse.handover import HandoverServer
from actors.dimse.receiver import Receiver
from actors.options import Receiver as ReceiverOptions

PATIENCE = 10.0


@pytest.fixture
def threads(monkeypatch):
    """Names of threads that may not start, one start each; and an event that says when such a one was started."""
    refused: list[str] = []
    served = threading.Event()
    start = threading.Thread.start

    def scarce(self):
        if self.name in refused:
            refused.remove(self.name)
            raise RuntimeError("can't start new thread")
        start(self)
        if self.name in ("dimse", "handover"):
            served.set()

    monkeypatch.setattr(threading.Thread, "start", scarce)
    return refused, served


def closed_at_once(connection: socket.socket) -> bool:
    connection.settimeout(PATIENCE)
    with connection:
        return connection.recv(1) == b""


def test_the_receiver_lives_on_without_a_thread_for_a_peer(threads, unused_port):
    refused, served = threads
    receiver = Receiver(ReceiverOptions(ae_title="MIG01", port=unused_port), lambda: None, lambda incoming: 0)
    receiver.start()
    refused.append("dimse")

    assert closed_at_once(socket.create_connection(("127.0.0.1", unused_port)))

    with socket.create_connection(("127.0.0.1", unused_port)):
        assert served.wait(PATIENCE)
    assert receiver.stats.rejected["threads"] == 1
    assert receiver.stop()


def test_a_handover_lives_on_without_a_thread_for_a_sibling(threads, tmp_path):
    refused, served = threads
    path = Path(tmp_path / "s")
    server = HandoverServer(path, lambda: None, lambda incoming: 0)
    server.start()
    served.clear()
    refused.append("handover")

    assert closed_at_once(connected(path))

    with connected(path):
        assert served.wait(PATIENCE)
    server.stop()


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
