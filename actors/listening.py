"""A listening socket and its threads: one accepts, one serves each connection.

    accept -> may connect? -> room left? -> a thread: serve(connection, address) -> closed

Whoever connects may be hostile: what is not served is closed at once, and nothing a peer does ends the acceptor.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

ACCEPT_PAUSE = 0.1
"""Seconds before accepting again when the process is out of descriptors or threads: without it the loop would spin."""

ServeTo = Callable[[socket.socket, str], None]
"""Serves one connection of a peer, whose address is told (empty for a Unix socket), in a thread of its own."""


class Turned(StrEnum):
    """Why a connection was not served."""

    ADDRESS = "address"
    CONNECTIONS = "connections"
    """As many as may be are open."""
    THREADS = "threads"
    """The machine has no thread left for us."""
    ACCEPT = "accept"
    """The process has no descriptor left."""


def tcp_listening(host: str, port: int, *, backlog: int, shared: bool = False) -> socket.socket:
    """A TCP socket that listens. `shared`: other processes of this user may listen there, and the kernel spreads
    connections over them (SO_REUSEPORT). Raises `OSError` when the address cannot be had."""
    six = ":" in host
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if six else socket.AF_INET,
        backlog=backlog,
        reuse_port=shared,
        dualstack_ipv6=six and socket.has_dualstack_ipv6(),
    )


class Listener:
    """Serves the connections to one socket from `start` to `close`."""

    def __init__(
        self,
        serve: ServeTo,
        *,
        name: str,
        most: int,
        admits: Callable[[socket.socket, str], bool] = lambda connection, address: True,
        turned_away: Callable[[Turned], None] = lambda reason: None,
    ) -> None:
        """`name` is the threads'; `most` is how many connections are open at once."""
        self._serve = serve
        self._name = name
        self._most = most
        self._admits = admits
        self._turned_away = turned_away
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._serving: set[threading.Thread] = set()
        self._socket: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on. Raises `ValueError` before `start`."""
        if self._socket is None:
            raise ValueError("not started")
        return self._socket.getsockname()[1]

    def stopped(self) -> bool:
        """Whether `close` was called: who serves looks at it between two messages."""
        return self._stopping.is_set()

    def start(self, listening: socket.socket) -> None:
        """Peers can connect to `listening`, which is the listener's from now on."""
        self._socket = listening
        self._acceptor = threading.Thread(
            target=self._accept, args=(listening,), name=f"{self._name}-acceptor", daemon=True
        )
        self._acceptor.start()

    def close(self) -> None:
        """Nobody can connect any more; who is served goes on. Idempotent."""
        self._stopping.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept; close alone does not
        if self._acceptor is not None:
            self._acceptor.join()
        if self._socket is not None:
            self._socket.close()

    def join(self, patience: timedelta) -> bool:
        """Whether every connection has ended within `patience`."""
        deadline = time.monotonic() + patience.total_seconds()
        with self._lock:
            threads = tuple(self._serving)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _accept(self, listening: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = listening.accept()
            except OSError:
                if not self._stopping.is_set():
                    self._turned_away(Turned.ACCEPT)
                    self._stopping.wait(ACCEPT_PAUSE)
                continue
            refused = self._begin(connection, address[0] if isinstance(address, tuple) else "")
            if refused is not None:
                connection.close()
                self._turned_away(refused)
            if refused is Turned.THREADS:
                self._stopping.wait(ACCEPT_PAUSE)

    def _begin(self, connection: socket.socket, address: str) -> Turned | None:
        if not self._admits(connection, address):
            return Turned.ADDRESS
        thread = threading.Thread(target=self._run, args=(connection, address), name=self._name, daemon=True)
        with self._lock:
            if len(self._serving) >= self._most:
                return Turned.CONNECTIONS
            self._serving.add(thread)
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._serving.remove(thread)
            return Turned.THREADS
        return None

    def _run(self, connection: socket.socket, address: str) -> None:
        try:
            self._serve(connection, address)
        finally:
            connection.close()
            with self._lock:
                self._serving.remove(threading.current_thread())
