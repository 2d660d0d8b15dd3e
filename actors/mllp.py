"""MLLP over TCP: a listener for a hospital's interface engine, and a line to one.

    accept -> [frame -> answer]* -> the peer closes, or stop

One thread accepts, one serves each connection: engines keep a few open for days. A message is answered before the next
one is read, so the order of a feed is kept. Whoever connects may be hostile: addresses are checked, frames are bounded
and have to be whole in time.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from actors.callers import Callers, doubled
from imaging.hl7.mllp import Frames, NoFrame, framed

CONNECTIONS = 16
"""At once; an engine has one for each feed."""
MESSAGE_LIMIT = 4 << 20
"""Octets of one message. A merge has some hundred; reports with documents inside are no business of this port."""
STALL = 30.0
"""Seconds for a frame to be whole, and for an answer to be taken."""
LOOK = 0.5
"""Seconds between two looks at the clock."""
LEAVING = 10.0
"""Seconds for what is being answered when the listener stops."""
PIECE = 64 << 10

AnswerTo = Callable[[bytes], bytes]
"""The acknowledgement of a message, which is durable by then. Must not raise."""

log = structlog.get_logger("limosa.mllp")


class MllpListener:
    """Listens from `start` to `stop`; `answer` is called from the connections' threads."""

    def __init__(
        self,
        host: str,
        port: int,
        answer: AnswerTo,
        *,
        allow: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        message_limit: int = MESSAGE_LIMIT,
        stall: float = STALL,
    ) -> None:
        """`allow` are addresses or networks that may connect; empty: any. Raises `ValueError` for what is neither."""
        self._address = (host, port)
        self._answer = answer
        self._callers = Callers(allow)
        self._tls = tls
        self._message_limit = message_limit
        self._stall = stall
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self.turned_away: Counter[str] = Counter()
        """Connections that were refused or ended by us, by reason."""

    @property
    def port(self) -> int:
        """The port it listens on. Raises `ValueError` before `start`."""
        if self._listener is None:
            raise ValueError("not started")
        return self._listener.getsockname()[1]

    def start(self) -> None:
        """Peers can connect. Raises `OSError` when the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        self._listener = socket.create_server(self._address, family=family, backlog=CONNECTIONS)
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), name="mllp", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Nobody can connect any more, and what was being answered is answered. Idempotent."""
        self._stopping.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept; close alone does not
            self._listener.close()
        if self._acceptor is not None:
            self._acceptor.join()
        with self._lock:
            threads = list(self._open)
        for thread in threads:
            thread.join(LEAVING)

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = listener.accept()
            except OSError:
                self._stopping.wait(0.1)  # out of descriptors, or about to stop
                continue
            if not self._callers.admits(address[0]):
                self._turn_away(connection, "address")
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), name="mllp-peer", daemon=True)
            with self._lock:
                crowded = len(self._open) >= CONNECTIONS
                if not crowded:
                    self._open[thread] = connection
            if crowded:
                self._turn_away(connection, "crowd")
                continue
            try:
                thread.start()
            except RuntimeError:
                with self._lock:
                    del self._open[thread]
                self._turn_away(connection, "threads")

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(self._stall)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._converse(connection)
        except NoFrame:
            self._turn_away(connection, "frame")
        except ssl.SSLError:
            self._turn_away(connection, "tls")
        except TimeoutError:
            self._turn_away(connection, "stall")
        except OSError:
            self._turn_away(connection, "broken")
        finally:
            with self._lock:
                del self._open[threading.current_thread()]

    def _converse(self, connection: socket.socket) -> None:
        frames = Frames(self._message_limit)
        begun = time.monotonic()
        while not self._stopping.is_set():
            connection.settimeout(LOOK)
            try:
                piece = connection.recv(PIECE)
            except TimeoutError:
                if frames.within and time.monotonic() - begun > self._stall:
                    raise
                continue
            if not piece:
                return
            if not frames.within:
                begun = time.monotonic()
            connection.settimeout(self._stall)
            for message in frames.feed(piece):
                connection.sendall(framed(self._answer(message)))
                begun = time.monotonic()
            if frames.within and time.monotonic() - begun > self._stall:
                raise TimeoutError

    def _turn_away(self, connection: socket.socket, reason: str) -> None:
        connection.close()
        with self._lock:
            self.turned_away[reason] += 1
            count = self.turned_away[reason]
        if doubled(count):
            log.warning("mllp_turned_away", reason=reason, count=count)


class NotAnswered(Exception):
    """No acknowledgement came: the peer may have the message or not, so it is sent again as it is."""


class MllpLine:
    """One connection to a receiver of messages; made anew after any failure. For one thread."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, timeout: float) -> None:
        self._address = (host, port)
        self._tls = tls
        self._timeout = timeout
        self._connection: socket.socket | None = None

    def send(self, message: bytes) -> bytes:
        """The acknowledgement of `message`. Raises `NotAnswered`."""
        try:
            return self._exchange(message)
        except (OSError, NoFrame) as error:
            self.close()
            raise NotAnswered(type(error).__name__) from error

    def close(self) -> None:
        """The connection is closed. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, message: bytes) -> bytes:
        connection = self._connection or self._connect()
        connection.sendall(framed(message))
        frames = Frames(PIECE)
        deadline = time.monotonic() + self._timeout
        while True:
            connection.settimeout(max(LOOK, deadline - time.monotonic()))
            piece = connection.recv(PIECE)
            if not piece:
                raise ConnectionResetError
            for answer in frames.feed(piece):
                return answer
            if time.monotonic() > deadline:
                raise TimeoutError

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=self._timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_hostname=self._address[0])
        self._connection = connection
        return connection
