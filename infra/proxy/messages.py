"""HTTP/1.1 messages as a proxy sees them (RFC 9112): heads that are parsed, bodies that pass in pieces."""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs, unquote

HEAD_LIMIT = 64 << 10
PIECE = 64 << 10


class Hangup(Exception):
    """The peer closed the connection, or sent what is no HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request without its body."""

    method: str
    target: str
    """Path and query as they came."""
    headers: Mapping[str, str]
    """By their lower-case names."""
    query: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        raw = parse_qs(self.target.partition("?")[2], keep_blank_values=True)
        object.__setattr__(self, "query", {name: values[0] for name, values in raw.items()})

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def part(self) -> int:
        """The number of the part it sends; 0 where it sends none."""
        return int(self.query.get("partNumber", "0"))

    @property
    def operation(self) -> str:
        """What S3 calls it, in our words; the method where it is none of the calls we make."""
        return operation_of(self.method, self.path, self.query)


class Store(Protocol):
    """What rewrites requests on their way to the endpoint."""

    def rewrite(self, asked: Asked, body: bytes | None) -> tuple[Asked, bytes | None]:
        """The request as the endpoint gets it. `body` is only there where `whole` asked for it."""
        ...

    def whole(self, asked: Asked) -> bool:
        """Whether the body is to be held whole; it then has to be small."""
        ...

    def damage(self, asked: Asked) -> bool:
        """Whether one byte of this body changes on the way."""
        ...


def operation_of(method: str, path: str, query: Mapping[str, str]) -> str:
    """The S3 call that a path-style request makes."""
    if path.strip("/").count("/") == 0:
        named = {("GET", True): "list uploads", ("GET", False): "list", ("HEAD", False): "head bucket"}
        return named.get((method, "uploads" in query), method)
    if "uploads" in query and method == "POST":
        return "create upload"
    if "uploadId" in query:
        return {"PUT": "upload part", "POST": "complete upload", "DELETE": "abort upload"}.get(method, method)
    return {"PUT": "put", "GET": "get", "HEAD": "head", "DELETE": "delete"}.get(method, method)


class Wire:
    """One side of a connection, read through a buffer."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._ahead = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def until(self, mark: bytes) -> bytes:
        """Everything up to the mark, which is taken, too."""
        while (end := self._ahead.find(mark)) < 0:
            piece = self.sock.recv(PIECE)
            if not piece or len(self._ahead) > HEAD_LIMIT:
                raise Hangup
            self._ahead += piece
        found, self._ahead = self._ahead[:end], self._ahead[end + len(mark) :]
        return found

    def take(self, size: int) -> Iterator[bytes]:
        """So many bytes in pieces."""
        while size:
            piece = self._ahead[:size] or self.sock.recv(min(size, PIECE))
            if not piece:
                raise Hangup
            self._ahead = self._ahead[len(piece) :]
            size -= len(piece)
            yield piece

    def rest(self) -> Iterator[bytes]:
        """Everything until the peer closes."""
        if self._ahead:
            piece, self._ahead = self._ahead, b""
            yield piece
        while piece := self.sock.recv(PIECE):
            yield piece

    def body(self, headers: Mapping[str, str], *, until_closed: bool = False) -> Iterator[tuple[bytes, int]]:
        """The body as it stands on the wire, in pieces, and how much content each is."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif "content-length" in headers:
            for piece in self.take(int(headers["content-length"])):
                yield piece, len(piece)
        elif until_closed:
            for piece in self.rest():
                yield piece, len(piece)

    def _chunks(self) -> Iterator[tuple[bytes, int]]:
        while True:
            line = self.until(b"\r\n")
            yield line + b"\r\n", 0
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            for piece in self.take(size):
                yield piece, len(piece)
            yield self.until(b"\r\n") + b"\r\n", 0
        while trailer := self.until(b"\r\n"):
            yield trailer + b"\r\n", 0
        yield b"\r\n", 0


def read_head(wire: Wire) -> tuple[str, dict[str, str]]:
    """First line and headers of the next message. Raises `Hangup`."""
    first, *lines = wire.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
    return first, {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def read_request(wire: Wire) -> Asked:
    """The next request's head. Raises `Hangup`."""
    first, headers = read_head(wire)
    words = first.split(" ")
    if len(words) != 3:
        raise Hangup
    return Asked(method=words[0], target=words[1], headers=headers)


def head_bytes(first: str, headers: Mapping[str, str]) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("latin-1")
