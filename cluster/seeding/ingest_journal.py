"""What an ingest remembers of itself, in a file of its own: it may be killed at any line and called again.

Lines are only added. One that a crash has torn is the last, and is not believed.
"""

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.durable import write_all
from storage.errors import Rejected
from storage.packs.model import Part


@dataclass(slots=True)
class UploadSoFar:
    """An upload that was begun: its id, and the parts that the endpoint has."""

    upload_id: str
    parts: list[Part] = field(default_factory=list)


class IngestJournal:
    """Thread-safe; one process at a time."""

    def __init__(self, path: Path, seal: str, to: str) -> None:
        """What an earlier call did with this seal and this target is known. Raises `Rejected` for another's file."""
        self.checked: dict[str, dict[str, Any]] = {}
        """By key of the pack: what its examination came to."""
        self.done: set[str] = set()
        """Keys that are in the bucket."""
        self.uploads: dict[str, UploadSoFar] = {}
        self._lock = threading.Lock()
        head = {"limosa-ingest": 1, "seal": seal, "to": to}
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with path.open("rb") as file:
            lines = file.readlines()
        whole = [line for line in lines if line.endswith(b"\n")]
        os.ftruncate(self._descriptor, sum(map(len, whole)))
        os.lseek(self._descriptor, 0, os.SEEK_END)
        if not whole:
            self._add(head)
        elif json.loads(whole[0]) != head:
            os.close(self._descriptor)
            raise Rejected("belongs to another seal or target; name another --state", operation="open", place=path.name)
        for line in whole[1:]:
            self._take(json.loads(line))

    def close(self) -> None:
        os.close(self._descriptor)

    def check(self, key: str, finding: dict[str, Any]) -> None:
        """The pack was examined."""
        self._add({"checked": key, **finding})

    def opened(self, key: str, upload_id: str) -> None:
        """The upload is begun; what was known of an earlier one is forgotten."""
        self._add({"opened": key, "upload_id": upload_id})

    def sent(self, key: str, part: Part) -> None:
        """The endpoint has the part."""
        self._add(
            {
                "sent": key,
                "number": part.number,
                "offset": part.offset,
                "size": part.size,
                "crc64": part.crc64,
                "etag": part.etag,
            }
        )

    def stored(self, key: str) -> None:
        """The object is in the bucket, and was looked at there."""
        self._add({"done": key})

    def _add(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
        with self._lock:
            write_all(self._descriptor, line)
            os.fsync(self._descriptor)
            self._take(value)

    def _take(self, value: dict[str, Any]) -> None:
        if (key := value.get("checked")) is not None:
            self.checked[key] = value
        elif (key := value.get("opened")) is not None:
            self.uploads[key] = UploadSoFar(value["upload_id"])
        elif (key := value.get("sent")) is not None:
            part = Part(
                number=value["number"],
                offset=value["offset"],
                size=value["size"],
                crc64=value["crc64"],
                etag=value["etag"],
            )
            self.uploads[key].parts.append(part)
        elif (key := value.get("done")) is not None:
            self.done.add(key)
            self.uploads.pop(key, None)
