"""A DICOMweb archive in a thread: STOW-RS, WADO-RS and the list of a study's instances, with faults on demand.

It believes what instances say of themselves and keeps each as a file, so that nothing large stays in memory.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import Self

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

PIECE = 1 << 18
IDENTITY = 64 << 10
"""Bytes of a part in which its identifiers stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One instance."""

    study: str
    series: str
    sop: str
    file: Path


@dataclass(slots=True)
class Faults:
    """What it does wrong; changed by tests while it runs."""

    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Answers (status and headers) to the next store requests, in place of storing anything."""
    refuse: dict[str, int] = field(default_factory=dict)
    """Failure Reason by SOP Instance UID: that instance is not stored."""
    refuse_times: int = 1 << 30
    """How often one of `refuse` is refused before it is taken."""
    unnamed: set[str] = field(default_factory=set)
    """Instances the report does not mention."""
    unnamed_are_stored: bool = True
    largest: int = 1 << 62
    """Bytes of the largest request that is not answered 413."""
    unreadable: set[str] = field(default_factory=set)
    """Instances for which a whole message is answered 400."""
    overwrites: bool = False
    """Whether an instance that is held already is replaced."""
    lose_answers: int = 0
    """So many store requests are carried out and then get no answer."""
    rewrite: Callable[[bytes], bytes] | None = None
    """What comes back in place of a stored file."""
    cut_retrieves: int = 0
    """So many retrieves of several instances break off inside the second one."""
    partial: bool = False
    """Retrieves of several instances leave the last out, and say so (206)."""


class WebArchive:
    """Listens on 127.0.0.1 from `start` to `stop`."""

    def __init__(self, folder: Path, *, authorization: str = "") -> None:
        """`authorization` is the header every request must carry; empty: none."""
        self.folder = folder
        self.authorization = authorization
        self.held: dict[str, Held] = {}
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        archive = self

        class Handler(_Handler):
            archived = archive

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/dicom-web"

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def count(self, method: str) -> int:
        """Requests of one method so far."""
        with self.lock:
            return sum(method == each for each, _ in self.requests)

    def take(self, study: str, file: Path) -> tuple[str, int | None]:
        """The instance in `file` is held, or was refused: its SOP Instance UID and the Failure Reason."""
        with file.open("rb") as opened:
            head = opened.read(IDENTITY)
        try:
            seen = dcmread(BytesIO(head), stop_before_pixels=True, force=False)
        except InvalidDicomError:
            return "", 0xC000
        held = Held(
            study=str(seen.StudyInstanceUID),
            series=str(seen.SeriesInstanceUID),
            sop=str(seen.SOPInstanceUID),
            file=file,
        )
        with self.lock:
            if held.study != study:
                return held.sop, 0xA900
            if held.sop in self.faults.refuse and self.faults.refuse_times > 0:
                self.faults.refuse_times -= 1
                return held.sop, self.faults.refuse[held.sop]
            if held.sop in self.faults.unnamed and not self.faults.unnamed_are_stored:
                return held.sop, None
            if held.sop not in self.held or self.faults.overwrites:
                self.held[held.sop] = held
        return held.sop, None


def name_of(file: Path) -> str:
    """The SOP Instance UID of an instance."""
    with file.open("rb") as opened:
        return str(dcmread(BytesIO(opened.read(IDENTITY)), stop_before_pixels=True).SOPInstanceUID)


class _Handler(BaseHTTPRequestHandler):
    archived: WebArchive
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        archive = self.archived
        path, _, query = self.path.partition("?")
        if not self._welcome("GET", path):
            return
        if path == "/dicom-web/studies":
            self._json(200, [])
            return
        if listed := re.fullmatch(r"/dicom-web/studies/([\d.]+)/instances", path):
            offset = re.search(r"offset=(\d+)", query)
            with archive.lock:
                found = sorted((each for each in archive.held.values() if each.study == listed[1]), key=lambda e: e.sop)
            start = int(offset[1]) if offset else 0
            page = [_record(each) for each in found[start : start + 1000]]
            self._json(200 if page else 204, page)
            return
        if several := re.fullmatch(r"/dicom-web/studies/([\d.]+)(?:/series/([\d.]+))?", path):
            with archive.lock:
                found = [each for each in archive.held.values() if several[2] in (None, each.series)]
            self._instances(sorted((each for each in found if each.study == several[1]), key=lambda each: each.sop))
            return
        one = re.fullmatch(r"/dicom-web/studies/([\d.]+)/series/([\d.]+)/instances/([\d.]+)", path)
        with archive.lock:
            held = archive.held.get(one[3]) if one else None
        if one is None or held is None or (held.study, held.series) != (one[1], one[2]):
            self._empty(404, {})
            return
        self._instances([held])

    def do_POST(self) -> None:
        archive = self.archived
        study = self.path.rpartition("/")[2]
        size = int(self.headers["Content-Length"])
        if not self._welcome("POST", self.path):
            return
        with archive.lock:
            instead = archive.faults.statuses.pop(0) if archive.faults.statuses else None
            if instead is None and size > archive.faults.largest:
                instead = (413, {})
        if instead is not None:
            self.close_connection = True  # with the body unread, as servers do that refuse early
            self._empty(*instead)
            return
        boundary = self.headers["Content-Type"].partition("boundary=")[2]
        files = list(self._parts(size, boundary.encode("ascii")))
        if archive.faults.unreadable and any(name_of(file) in archive.faults.unreadable for file in files):
            self._empty(400, {})
            return
        taken = [archive.take(study, file) for file in files]
        with archive.lock:
            lost = archive.faults.lose_answers > 0
            archive.faults.lose_answers -= lost
            unnamed = set(archive.faults.unnamed)
        if lost:
            self.close_connection = True
            return
        stored = [_reference(sop) for sop, reason in taken if reason is None and sop not in unnamed]
        failed = [_reference(sop, reason) for sop, reason in taken if reason is not None and sop not in unnamed]
        report = {
            tag: {"vr": "SQ", "Value": each} for tag, each in (("00081199", stored), ("00081198", failed)) if each
        }
        self._json((202 if stored else 409) if failed else 200, report)

    def _welcome(self, method: str, path: str) -> bool:
        with self.archived.lock:
            self.archived.requests.append((method, path))
        wanted = self.archived.authorization
        if wanted and self.headers["Authorization"] != wanted:
            self.close_connection = True
            self._empty(401, {})
            return False
        return True

    def _parts(self, size: int, boundary: bytes) -> Iterator[Path]:
        """The files of a message, written as they come."""
        mark, held, writing = b"--" + boundary, b"", None
        left = size
        while left or held:
            if left:
                piece = self.rfile.read(min(PIECE, left))
                if not piece:
                    return
                left -= len(piece)
                held += piece
            found = held.find(b"\r\n" + mark if writing else mark)
            if found < 0:
                keep = len(mark) + 2
                if writing and len(held) > keep:
                    writing.write(held[:-keep])
                    held = held[-keep:]
                if not left and not writing:
                    return
                continue
            if writing:
                writing.write(held[:found])
                writing.close()
                yield Path(writing.name)
                writing = None
                found += 2
            held = held[found + len(mark) :]
            while b"\r\n\r\n" not in held and left:
                piece = self.rfile.read(min(PIECE, left))
                left -= len(piece)
                held += piece
            if held.startswith(b"--"):
                return
            held = held.partition(b"\r\n\r\n")[2]
            writing = (self.archived.folder / token_hex(8)).open("wb")

    def _instances(self, every: list[Held]) -> None:
        faults = self.archived.faults
        if not every:
            self._empty(404, {})
            return
        several = len(every) > 1
        partial = several and faults.partial
        with self.archived.lock:
            cut = several and faults.cut_retrieves > 0
            faults.cut_retrieves -= cut
        sent = (every[:-1] if partial else every)[: 2 if cut else None]
        rewrite = faults.rewrite
        contents = [each.file if rewrite is None else rewrite(each.file.read_bytes()) for each in sent]
        sizes = [len(each) if isinstance(each, bytes) else each.stat().st_size for each in contents]
        boundary = token_hex(8)
        head = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        end = f"\r\n--{boundary}--\r\n".encode()
        self.send_response(206 if partial else 200)
        self.send_header("Content-Type", f'multipart/related; type="application/dicom"; boundary={boundary}')
        self.send_header("Content-Length", str(sum(sizes) + len(head) * len(contents) + len(end)))
        self.end_headers()
        for number, content in enumerate(contents):
            self.wfile.write(head)
            if cut and number:
                self.close_connection = True
                return
            if isinstance(content, bytes):
                self.wfile.write(content)
                continue
            with content.open("rb") as file:
                while piece := file.read(PIECE):
                    self.wfile.write(piece)
        self.wfile.write(end)

    def _json(self, status: int, value: object) -> None:
        body = b"" if status == 204 else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _empty(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _record(held: Held) -> dict[str, object]:
    named = (("0020000D", held.study), ("0020000E", held.series), ("00080018", held.sop))
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in named}


def _reference(sop: str, reason: int | None = None) -> dict[str, object]:
    item: dict[str, object] = {"00081155": {"vr": "UI", "Value": [sop]}}
    if reason is not None:
        item["00081197"] = {"vr": "US", "Value": [reason]}
    return item
