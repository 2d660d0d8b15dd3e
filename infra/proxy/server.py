"""The proxy's connections: each request is read, perhaps spoilt, passed on and counted."""

import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Self

from infra.proxy.faults import Fault, Kind, error_body
from infra.proxy.messages import Asked, Hangup, Store, Wire, head_bytes, read_head, read_request

LOOPBACK = "127.0.0.1"
_HOP = frozenset({"connection", "keep-alive", "expect", "proxy-connection"})
_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """One request, when its answer began or nothing was left to come."""

    asked: Asked
    received: int
    """Bytes of its body that the client sent, whatever became of them."""
    status: int
    """Of the answer the client got; 0 for none."""
    answered_by_store: bool
    struck: Kind | None


class _Reset(Exception):
    """The client's connection is to be reset now."""


@dataclass(slots=True)
class _Exchange:
    asked: Asked
    fault: Fault | None
    received: int = 0
    status: int = 0
    by_store: bool = False
    recorded: bool = False


class Proxy:
    """Listens on 127.0.0.1 from `start` to `stop`; safe to use from several threads."""

    def __init__(self, store_port: int, *, faults: Iterable[Fault] = (), store: Store | None = None) -> None:
        """`store_port` is the endpoint's on this machine; `store` rewrites what is let through."""
        self.store_port = store_port
        self.store = store
        self._lock = threading.Lock()
        self._faults = list(faults)
        self._passed: list[Passed] = []
        self._clients: set[socket.socket] = set()
        self._stopping = threading.Event()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def passed(self) -> list[Passed]:
        """Every request so far, in the order of their answers."""
        with self._lock:
            return list(self._passed)

    def plan(self, *faults: Fault) -> None:
        """These strike from now on, behind those that are planned."""
        with self._lock:
            self._faults += faults

    def forget(self) -> None:
        """No fault is planned and no request was seen."""
        with self._lock:
            self._faults.clear()
            self._passed.clear()

    @property
    def waiting(self) -> int:
        """Strikes that are planned and have not come."""
        with self._lock:
            return sum(fault.times for fault in self._faults)

    def received(self, operation: str, part: int = 0) -> int:
        """Bytes of body that came with an operation's requests; of one part where it is given."""
        return sum(
            each.received for each in self.passed if each.asked.operation == operation and part in (0, each.asked.part)
        )

    def start(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with self._lock:
                    self._clients.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, suppress(Hangup, OSError):
                wire = Wire(client)
                while not self._stopping.is_set():
                    self._exchange(wire)
        finally:
            with self._lock:
                self._clients.discard(client)

    def _exchange(self, wire: Wire) -> None:
        asked = read_request(wire)
        this = _Exchange(asked, self._fault_for(asked))
        try:
            if asked.headers.get("expect", "").lower() == "100-continue":
                wire.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if this.fault is not None and this.fault.kind is Kind.ANSWER:
                self._answer(wire, this, this.fault)
            else:
                self._pass_on(wire, this)
        except _Reset:
            self._record(this)
            _reset(wire.sock)
            raise Hangup from None
        finally:
            self._record(this)

    def _record(self, this: _Exchange) -> None:
        """The request is among `passed`: before its client hears how it ended, and looks there."""
        if this.recorded:
            return
        this.recorded = True
        passed = Passed(
            asked=this.asked,
            received=this.received,
            status=this.status,
            answered_by_store=this.by_store,
            struck=this.fault.kind if this.fault else None,
        )
        with self._lock:
            self._passed.append(passed)

    def _fault_for(self, asked: Asked) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.when(asked):
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                    return replace(fault)
        return None

    def _answer(self, wire: Wire, this: _Exchange, fault: Fault) -> None:
        for _, size in wire.body(this.asked.headers):
            this.received += size
        _call(fault)
        body = b"" if this.asked.method == "HEAD" else error_body(fault.code)
        headers = {"content-type": "application/xml", "date": formatdate(usegmt=True), **fault.headers}
        this.status = fault.status
        self._record(this)
        wire.sock.sendall(head_bytes(f"HTTP/1.1 {fault.status} Spoilt", headers | {"content-length": str(len(body))}))
        wire.sock.sendall(body)

    def _pass_on(self, wire: Wire, this: _Exchange) -> None:
        try:
            store = Wire(socket.create_connection((LOOPBACK, self.store_port)))
        except OSError:
            # An endpoint that is away refuses connections; one that was made can only be reset.
            raise _Reset from None
        with store.sock:
            try:
                self._forward(wire, store, this)
                if this.fault is not None and this.fault.kind is Kind.LOST:
                    read_head(store)
                    _call(this.fault)
                    raise _Reset
                self._bring_back(wire, store, this)
            except (Hangup, ConnectionError):
                # One of the two is gone, so the other goes, too.
                raise _Reset from None

    def _forward(self, wire: Wire, store: Wire, this: _Exchange) -> None:
        asked, held = this.asked, None
        if self.store is not None:
            if self.store.whole(asked):
                held = b"".join(piece for piece, _ in self._read(wire, this))
            asked, held = self.store.rewrite(asked, held)
        headers = {name: value for name, value in asked.headers.items() if name not in _HOP}
        headers |= {"connection": "close"} | ({"content-length": str(len(held))} if held is not None else {})
        store.sock.sendall(head_bytes(f"{asked.method} {asked.target} HTTP/1.1", headers))
        damaged = self.store is not None and self.store.damage(this.asked)
        for piece, size in [(held, len(held))] if held is not None else self._read(wire, this):
            if damaged and size:
                piece, damaged = _flipped(piece), False
            store.sock.sendall(piece)

    def _read(self, wire: Wire, this: _Exchange) -> Iterator[tuple[bytes, int]]:
        """The request's body as it comes, up to where a fault strikes."""
        fault = this.fault if this.fault and this.fault.kind in (Kind.RESET, Kind.STALL) else None
        for piece, size in wire.body(this.asked.headers):
            this.received += size
            yield piece, size
            if fault is not None and this.received >= fault.after:
                self._strike(wire, this, fault)
        if fault is not None:
            self._strike(wire, this, fault)

    def _strike(self, wire: Wire, this: _Exchange, fault: Fault) -> None:
        _call(fault)
        if fault.kind in (Kind.STALL, Kind.HANG):
            self._record(this)
            # A client that gave up cannot be told from one that waits: its end stands behind what is not read.
            self._stopping.wait()
        raise _Reset

    def _bring_back(self, wire: Wire, store: Wire, this: _Exchange) -> None:
        first, headers = read_head(store)
        this.status, this.by_store = int(first.split(" ")[1]), True
        self._record(this)
        kept = {name: value for name, value in headers.items() if name not in _HOP}
        bodiless = this.asked.method == "HEAD" or this.status in _BODILESS
        until_closed = not bodiless and not {"content-length", "transfer-encoding"} & headers.keys()
        wire.sock.sendall(head_bytes(first, kept | ({"connection": "close"} if until_closed else {})))
        if bodiless:
            return
        fault = this.fault if this.fault and this.fault.kind in (Kind.CUT, Kind.HANG) else None
        sent = 0
        for piece, size in store.body(headers, until_closed=until_closed):
            if fault is not None and sent + size > fault.after:
                wire.sock.sendall(piece[: fault.after - sent])
                self._strike(wire, this, fault)
            wire.sock.sendall(piece)
            sent += size
        if until_closed:
            raise Hangup


def _call(fault: Fault) -> None:
    if fault.then is not None:
        fault.then()


def _flipped(piece: bytes) -> bytes:
    middle = len(piece) // 2
    return piece[:middle] + bytes([piece[middle] ^ 1]) + piece[middle + 1 :]


def _reset(sock: socket.socket) -> None:
    """The peer gets a reset in place of an orderly end."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
