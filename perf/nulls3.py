"""An S3 endpoint that forgets what it is sent: how fast a writer is when storage is not the limit.

    python -m perf.nulls3                   prints {"port": ...} when it listens, ends on SIGTERM

It keeps of each object what a careful writer asks for afterwards (key, size, ETag, checksum as sent) and refuses what
S3 refuses about order: a second object where If-None-Match forbids it, a part that never came. It checks neither
signature nor checksum, and cannot give a body back. Bodies are dropped inside the kernel (MSG_TRUNC, tcp(7)), so that
its own share of the machine is the kernel's copy into the socket and little more. Loopback only.
"""

import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from html import unescape
from typing import Self
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

HEAD_LIMIT = 64 << 10
"""Bytes of a request's head: S3's own limit of 8 KB of metadata, and room."""
KEPT_LIMIT = 4 << 20
"""Bytes of a body that is read instead of dropped: the list of 10,000 parts is 2 MB."""
DROP = 8 << 20
"""Bytes asked for per system call."""
COUNTS = "/-/counts"
"""What arrived, as JSON; GET reads it, DELETE forgets all. No bucket can be called `-`."""
START_SECONDS = 20.0

_NOWHERE = bytearray(DROP)
"""recv_into wants a buffer as long as it is told to read; with MSG_TRUNC the kernel never writes to it."""
_PART = re.compile(rb"<Part>.*?</Part>", re.DOTALL)
_NUMBER = re.compile(rb"<PartNumber>\s*(\d+)\s*</PartNumber>")
_ETAG = re.compile(rb"<ETag>(.*?)</ETag>", re.DOTALL)
_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found", 412: "Precondition Failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is left of an object or of a part."""

    size: int
    etag: str
    checksums: Mapping[str, str]
    """x-amz-checksum-* headers as the writer sent them."""


@dataclass(slots=True)
class Upload:
    key: str
    parts: dict[int, Held] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    size: int
    """Bytes of content, without the framing of aws-chunked."""
    body: bytes
    """Empty where it was dropped."""

    @property
    def checksums(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.startswith("x-amz-checksum-")}

    @property
    def condition(self) -> bool:
        return self.headers.get("if-none-match") == "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    """Content-Length of a HEAD's answer."""


class Shelf:
    """Names and sizes of all that was stored; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.forget()

    def forget(self) -> None:
        with self._lock:
            self._objects: dict[str, Held] = {}
            self._uploads: dict[str, Upload] = {}
            self._received = 0

    def answer(self, request: Request) -> Answer:
        if request.path == COUNTS:
            return self._counts(request)
        with self._lock:
            self._received += request.size
            if request.path.count("/") == 1 or (request.path.endswith("/") and request.path.count("/") == 2):
                return self._of_bucket(request)
            if "uploadId" in request.query:
                return self._of_upload(request, request.query["uploadId"][0])
            return self._of_object(request)

    def _counts(self, request: Request) -> Answer:
        if request.method == "DELETE":
            self.forget()
        with self._lock:
            told = {
                "objects": {key: held.size for key, held in self._objects.items()},
                "uploads": len(self._uploads),
                "received": self._received,
            }
        return Answer(body=json.dumps(told).encode())

    def _of_bucket(self, request: Request) -> Answer:
        if request.method != "GET":
            return Answer()
        prefix = request.path.strip("/") + "/" + request.query.get("prefix", [""])[0]
        inside = len(request.path.strip("/")) + 1
        if "uploads" in request.query:
            return _xml("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
        rows = (
            f"<Contents><Key>{escape(key[inside:])}</Key><Size>{held.size}</Size></Contents>"
            for key, held in sorted(self._objects.items())
            if key.startswith(prefix)
        )
        return _xml("ListBucketResult", "<IsTruncated>false</IsTruncated>" + "".join(rows))

    def _of_object(self, request: Request) -> Answer:
        key = request.path[1:]
        held = self._objects.get(key)
        if request.method == "POST" and "uploads" in request.query:
            name = f"{next(self._numbers):032x}"
            self._uploads[name] = Upload(key)
            return _xml("InitiateMultipartUploadResult", f"<UploadId>{name}</UploadId>")
        if request.method == "PUT":
            if held is not None and request.condition:
                return _error(412, "PreconditionFailed")
            held = self._objects[key] = self._held(request.size, request.checksums)
            return Answer(headers={"ETag": held.etag, **held.checksums})
        if request.method == "DELETE":
            self._objects.pop(key, None)
            return Answer(status=204)
        if held is None:
            return _error(404, "NoSuchKey")
        if request.method == "HEAD":
            return Answer(headers={"ETag": held.etag, **held.checksums}, length=held.size)
        return _error(400, "BodiesAreForgotten")

    def _of_upload(self, request: Request, name: str) -> Answer:
        upload = self._uploads.get(name)
        if upload is None or upload.key != request.path[1:]:
            return _error(404, "NoSuchUpload")
        if request.method == "PUT":
            held = self._held(request.size, request.checksums)
            upload.parts[int(request.query["partNumber"][0])] = held
            return Answer(headers={"ETag": held.etag, **held.checksums})
        if request.method == "DELETE":
            del self._uploads[name]
            return Answer(status=204)
        return self._complete(request, name, upload)

    def _complete(self, request: Request, name: str, upload: Upload) -> Answer:
        if request.condition and upload.key in self._objects:
            return _error(412, "PreconditionFailed")
        size = 0
        for listed in _PART.findall(request.body):
            number, etag = _NUMBER.search(listed), _ETAG.search(listed)
            held = upload.parts.get(int(number[1])) if number else None
            # Quoted or not, and escaped in as many ways as there are SDKs.
            if held is None or etag is None or unescape(etag[1].decode()).strip('"') != held.etag.strip('"'):
                return _error(400, "InvalidPart")
            size += held.size
        del self._uploads[name]
        held = self._objects[upload.key] = self._held(size, request.checksums)
        return _xml("CompleteMultipartUploadResult", f"<ETag>{escape(held.etag)}</ETag>")

    def _held(self, size: int, checksums: Mapping[str, str]) -> Held:
        return Held(size=size, etag=f'"{next(self._numbers):032x}"', checksums=checksums)


def _xml(name: str, inner: str, status: int = 200) -> Answer:
    return Answer(status=status, body=f'<?xml version="1.0"?><{name}>{inner}</{name}>'.encode())


def _error(status: int, code: str) -> Answer:
    return _xml("Error", f"<Code>{code}</Code><Message>{code}</Message>", status)


class Hangup(Exception):
    """The client closed the connection, or sent what is no request."""


class Connection:
    """One keep-alive connection, served by one thread."""

    def __init__(self, sock: socket.socket, shelf: Shelf) -> None:
        self._sock = sock
        self._shelf = shelf
        self._ahead = b""

    def serve(self) -> None:
        """Requests are answered until the client hangs up."""
        with self._sock, suppress(Hangup, OSError):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                request = self._request()
                self._send(self._shelf.answer(request), request.method)

    def _request(self) -> Request:
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        words = first.split(" ")
        if len(words) != 3:
            raise Hangup
        path, _, query = words[1].partition("?")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        kept = words[0] == "POST"
        if headers.get("transfer-encoding", "").lower() == "chunked":
            size, body = self._chunks()
        else:
            size = int(headers.get("content-length", 0))
            body = self._keep(size) if kept else self._drop(size)
        return Request(
            method=words[0],
            path=unquote(path),
            query=parse_qs(query, keep_blank_values=True),
            headers=headers,
            size=int(headers.get("x-amz-decoded-content-length", size)),
            body=body,
        )

    def _chunks(self) -> tuple[int, bytes]:
        total = 0
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            self._drop(size)
            self._until(b"\r\n")
            total += size
        while self._until(b"\r\n"):
            pass
        return total, b""

    def _until(self, mark: bytes) -> bytes:
        while (end := self._ahead.find(mark)) < 0:
            piece = self._sock.recv(HEAD_LIMIT)
            if not piece or len(self._ahead) > HEAD_LIMIT:
                raise Hangup
            self._ahead += piece
        found, self._ahead = self._ahead[:end], self._ahead[end + len(mark) :]
        return found

    def _keep(self, size: int) -> bytes:
        if size > KEPT_LIMIT:
            raise Hangup
        while len(self._ahead) < size:
            piece = self._sock.recv(HEAD_LIMIT)
            if not piece:
                raise Hangup
            self._ahead += piece
        body, self._ahead = self._ahead[:size], self._ahead[size:]
        return body

    def _drop(self, size: int) -> bytes:
        size -= len(taken := self._ahead[:size])
        self._ahead = self._ahead[len(taken) :]
        while size:
            got = self._sock.recv_into(_NOWHERE, min(size, DROP), socket.MSG_TRUNC | socket.MSG_WAITALL)
            if not got:
                raise Hangup
            size -= got
        return b""

    def _send(self, answer: Answer, method: str) -> None:
        length = answer.length if answer.length is not None else len(answer.body)
        lines = [f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}", f"Content-Length: {length}"]
        lines += [f"Date: {formatdate(usegmt=True)}", *(f"{name}: {value}" for name, value in answer.headers.items())]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._sock.sendall(head if method == "HEAD" else head + answer.body)


class NullS3:
    """The endpoint on threads of this process."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self._shelf = Shelf()
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Connections are served until the listener is closed."""
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=Connection(sock, self._shelf).serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class NullS3Process:
    """The endpoint in a process of its own, so that its cost is counted apart."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        command = [sys.executable, "-P", "-m", "perf.nulls3"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = json.loads(self._process.stdout.readline())["port"]
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def objects(self) -> dict[str, int]:
        """Size by bucket and key of every object that is finished."""
        return self._ask("GET")["objects"]

    def forget(self) -> None:
        """Nothing is held any more."""
        self._ask("DELETE")

    def _ask(self, method: str) -> dict[str, dict[str, int]]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as sock:
            sock.sendall(f"{method} {COUNTS} HTTP/1.1\r\n\r\n".encode())
            sock.shutdown(socket.SHUT_WR)
            told = b"".join(iter(lambda: sock.recv(1 << 20), b""))
        return json.loads(told.partition(b"\r\n\r\n")[2])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    server = NullS3()
    signal.signal(signal.SIGTERM, lambda *_: server.close())
    sys.stdout.write(json.dumps({"port": server.port}) + "\n")
    sys.stdout.flush()
    server.serve()


if __name__ == "__main__":
    main()
