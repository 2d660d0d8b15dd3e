"""MLLP over TCP: a listener for a hospital's interface engine, and a line to one.

    accept -> [frame -> answer]* -> the peer closes, or stop

Engines keep a few connections open for days. A message is answered before the next one is read, so the order of a feed
is kept. Whoever connects may be hostile: addresses are checked, frames are bounded and have to be whole in time.
"""

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from actors.callers import Callers, doubled
from actors.listening import Listener, tcp_listening
from imaging.hl7.mllp import Frames, NoFrame, framed

CONNECTIONS = 16
"""At once; an engine has one for each feed."""
MESSAGE_LIMIT = 4 << 20
"""Octets of one message. A merge has some hundred; reports with documents inside are no business of this port."""
STALL = 30.0
"""Seconds for a frame to be whole, and for an answer to be taken."""
LOOK = 0.5
"""Seconds between two looks at the clock."""
LEAVING = timedelta(seconds=10)
"""For what is being answered when the listener stops."""
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
        self._tls = tls
        self._message_limit = message_limit
        self._stall = stall
        callers = Callers(allow)
        self._listener = Listener(
            self._serve,
            name="mllp",
            most=CONNECTIONS,
            admits=lambda connection, address: callers.admits(address),
            turned_away=self._turn_away,
        )
        self._lock = threading.Lock()
        self.turned_away: Counter[str] = Counter()
        """Connections that were refused or ended by us, by reason."""

    @property
    def port(self) -> int:
        """The port it listens on. Raises `ValueError` before `start`."""
        return self._listener.port

    def start(self) -> None:
        """Peers can connect. Raises `OSError` when the address cannot be had."""
        self._listener.start(tcp_listening(*self._address, backlog=CONNECTIONS))

    def stop(self) -> None:
        """Nobody can connect any more, and what was being answered is answered. Idempotent."""
        self._listener.close()
        self._listener.join(LEAVING)

    def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            connection.settimeout(self._stall)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._converse(connection)
        except NoFrame:
            self._turn_away("frame")
        except ssl.SSLError:
            self._turn_away("tls")
        except TimeoutError:
            self._turn_away("stall")
        except OSError:
            self._turn_away("broken")

    def _converse(self, connection: socket.socket) -> None:
        frames = Frames(self._message_limit)
        begun = time.monotonic()
        while not self._listener.stopped():
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

    def _turn_away(self, reason: str) -> None:
        with self._lock:
            self.turned_away[reason] += 1
            count = self.turned_away[reason]
        if doubled(count):
            log.warning("mllp_turned_away", reason=str(reason), count=count)


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
