"""Ports that are crowded, or on a machine out of threads, turn a peer away and let the next one in."""

import queue
import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from actors.callers import Callers
from actors.dimse.handover import HandoverServer
from actors.dimse.receiver import Receiver
from actors.listening import Listener, Turned, tcp_listening
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


def test_no_more_connections_are_served_than_may_be_open():
    inside, leave = threading.Semaphore(0), threading.Event()
    reasons: list[Turned] = []

    def serve(connection: socket.socket, address: str) -> None:
        inside.release()
        leave.wait(PATIENCE)

    listener = Listener(serve, name="few", most=1, turned_away=reasons.append)
    listener.start(tcp_listening("127.0.0.1", 0, backlog=4))
    with socket.create_connection(("127.0.0.1", listener.port)):
        assert inside.acquire(timeout=PATIENCE)
        assert closed_at_once(socket.create_connection(("127.0.0.1", listener.port)))
        assert not listener.join(timedelta(0))
        leave.set()
        listener.close()

    assert listener.join(timedelta(seconds=PATIENCE))
    assert reasons == [Turned.CONNECTIONS]
    listener.close()


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 on this machine")
def test_an_address_of_version_six_hears_version_four_too():
    addresses: queue.Queue[str] = queue.Queue()
    listener = Listener(lambda connection, address: addresses.put(address), name="both", most=4)
    listener.start(tcp_listening("::", 0, backlog=4))
    with socket.create_connection(("127.0.0.1", listener.port)):
        heard = addresses.get(timeout=PATIENCE)
    listener.close()

    assert Callers(["127.0.0.0/8"]).admits(heard)
    assert not Callers(["10.0.0.0/8"]).admits(heard)


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
