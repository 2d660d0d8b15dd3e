"""The simulated PACS itself: a listening socket and a thread for each association."""

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Self

from infra.simulator.archive import Archive
from infra.simulator.conversation import Conversation
from infra.simulator.faults import Faults
from infra.simulator.service import Service
from infra.simulator.stats import Stats

BACKLOG = 256
STOP_TIMEOUT = 10.0
"""Seconds a thread may take to notice that its socket is closed."""
CACHE_BUDGET = 256 << 20
"""Bytes of pre-encoded instances kept: a few hundred CT slices."""


class Simulator:
    """An archive that answers C-ECHO, C-FIND, C-MOVE and C-GET on 127.0.0.1, truthfully or as `faults` say.

    `port` 0 takes a free one; read `port` after construction. `faults` may be replaced and `destinations`
    registered at any time; a request already running keeps the faults it began with.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        ae_title: str = "SIMPACS",
        destinations: Mapping[str, tuple[str, int]] | None = None,
        faults: Faults | None = None,
        port: int = 0,
        cache_budget: int = CACHE_BUDGET,
    ) -> None:
        self._service = Service(
            archive=archive,
            ae_title=ae_title,
            destinations=destinations or {},
            faults=faults or Faults(),
            cache_budget=cache_budget,
        )
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, Conversation] = {}
        self._acceptor = threading.Thread(target=self._accept, name="simulator", daemon=True)

    @property
    def archive(self) -> Archive:
        return self._service.archive

    @property
    def ae_title(self) -> str:
        return self._service.ae_title

    @property
    def stats(self) -> Stats:
        return self._service.stats

    @property
    def destinations(self) -> dict[str, tuple[str, int]]:
        """Where an AE title listens; change it freely."""
        return self._service.destinations

    @property
    def faults(self) -> Faults:
        return self._service.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._service.faults = faults

    def forget(self) -> None:
        """Faults limited to the first n times begin anew."""
        self._service.forget()

    def start(self) -> Self:
        """It listens; connections succeed from here on."""
        self._listener.listen(BACKLOG)
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Every association is cut, every thread gone, the port free. May be called twice."""
        self._service.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._acceptor.is_alive():
            self._acceptor.join(STOP_TIMEOUT)
        with self._lock:
            left = dict(self._open)
        for conversation in left.values():
            conversation.close()
        for thread in left:
            thread.join(STOP_TIMEOUT)
        self._service.join(STOP_TIMEOUT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # `stop` closed the listener.
            conversation = Conversation(self._service, sock)
            thread = threading.Thread(target=self._converse, args=(conversation,), name="simulator-peer", daemon=True)
            with self._lock:
                self._open[thread] = conversation
            thread.start()

    def _converse(self, conversation: Conversation) -> None:
        try:
            conversation.run()
        finally:
            with self._lock:
                del self._open[threading.current_thread()]
