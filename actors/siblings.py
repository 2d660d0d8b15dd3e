"""The other processes that serve the same AE title on this node.

With SO_REUSEPORT the kernel spreads the source's associations over them, so an instance may land in one that
does not hold its study's claim. The ledger says who does; the bytes go there over a Unix socket.
"""

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from actors.dimse.handover import HandoverClient, HandoverFailed
from actors.dimse.incoming import Incoming
from imaging.octets import MemoryOctets
from imaging.uid import Uid

MEMORY = 5.0
"""Seconds an answer of the ledger is believed: a study of 1,000 instances must not ask 1,000 times, and a wrong
answer costs no more than a second try."""


def socket_folder(job_folder: Path) -> Path:
    """A short folder of this user's own for the job's sockets: their paths must stay under 108 bytes."""
    tag = hashlib.sha256(str(job_folder.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"limosa-{os.getuid()}-{tag}"


def rejection(incoming: Incoming) -> Incoming:
    """The same instance without its bytes: how a process tells another that it came and cannot be understood. A real
    one is never empty, since its file meta is made by the receiver."""
    return replace(incoming, part10=MemoryOctets(b""), dataset_offset=0)


def is_rejection(incoming: Incoming) -> bool:
    return not incoming.part10.size


class NoSiblings:
    """The process is the only one of its AE title."""

    def offer(self, study_uid: Uid, incoming: Incoming) -> int | None:
        return None

    def rejected(self, incoming: Incoming) -> None:
        pass

    def close(self) -> None:
        pass


class Siblings:
    """Offers instances to whichever sibling holds the study's claim. Thread-safe."""

    def __init__(self, own_name: str, names: frozenset[str], folder: Path, holder: Callable[[Uid], str | None]) -> None:
        """`holder` names the worker that pulls a study now, by the ledger."""
        self._names = names - {own_name}
        self._folder = folder
        self._holder = holder
        self._lock = threading.Lock()
        self._clients: dict[str, HandoverClient] = {}
        self._known: dict[Uid, tuple[str, float]] = {}

    def offer(self, study_uid: Uid, incoming: Incoming) -> int | None:
        name = self._who(study_uid)
        if name is None:
            return None
        try:
            return self._client(name).offer(incoming)
        except HandoverFailed:
            with self._lock:
                self._known.pop(study_uid, None)
            return None

    def rejected(self, incoming: Incoming) -> None:
        mark = rejection(incoming)
        for name in sorted(self._names):
            # One that is not there pulls nothing either.
            with suppress(HandoverFailed):
                self._client(name).offer(mark)

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()

    def _who(self, study_uid: Uid) -> str | None:
        now = time.monotonic()
        with self._lock:
            known = self._known.get(study_uid)
            if known is not None and now - known[1] < MEMORY:
                return known[0]
            self._known = {uid: entry for uid, entry in self._known.items() if now - entry[1] < MEMORY}
        name = self._holder(study_uid)
        if name not in self._names:
            return None  # not remembered: the study may be claimed in the next moment
        with self._lock:
            self._known[study_uid] = (name, now)
        return name

    def _client(self, name: str) -> HandoverClient:
        with self._lock:
            if name not in self._clients:
                self._clients[name] = HandoverClient(self._folder / f"{name}.sock")
            return self._clients[name]
