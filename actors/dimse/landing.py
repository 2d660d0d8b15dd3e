"""Where the bytes of one arriving instance go while they arrive, and their RAW1 on the way."""

from collections.abc import Callable
from typing import Protocol

from actors.dimse.limits import PIECE
from imaging.digests import Raw1
from imaging.octets import Octets
from storage.errors import StorageError


class Landing(Protocol):
    """Takes one instance in order; `storage.spool.Landing` is one. Used by one thread."""

    def write(self, view: bytes | bytearray | memoryview, /) -> None:
        """The bytes are held. Raises `StorageError` when there is no room."""
        ...

    def octets(self) -> Octets:
        """Everything written so far."""
        ...

    def release(self) -> None:
        """Memory and file are given back. Idempotent."""
        ...


LandingFactory = Callable[[], Landing]


class Reception:
    """One instance being received. Once the landing fails, the rest is taken and thrown away.

    Pieces reach digest and landing at `PIECE` bytes or more: senders with 16 KiB PDUs would otherwise cost four times
    the digest's time.
    """

    __slots__ = ("_landing", "_raw1", "_staged", "failed", "size")

    def __init__(self, factory: LandingFactory, meta: bytes) -> None:
        self.size = 0
        """Dataset bytes so far."""
        self.failed = False
        """The landing had no room; nothing of the instance is kept."""
        self._staged = bytearray()
        self._raw1 = Raw1()
        self._landing: Landing | None = None
        try:
            self._landing = factory()
            self._landing.write(meta)
        except StorageError:
            self._fail()

    def write(self, view: memoryview) -> None:
        """The next bytes of the dataset are taken."""
        self.size += len(view)
        if self._staged or len(view) < PIECE:
            self._staged += view
            if len(self._staged) >= PIECE:
                self._flush()
        else:
            self._land(view)

    def finish(self, last: memoryview) -> None:
        """The dataset ends with `last`."""
        self.size += len(last)
        if self._staged:
            self._staged += last
            self._flush()
        elif last:
            self._land(last)

    def octets(self) -> Octets:
        """The Part-10 file; only after `finish` without failure."""
        if self._landing is None:
            raise ValueError("nothing landed")
        return self._landing.octets()

    def raw1(self, transfer_syntax: str) -> bytes:
        """RAW1 of the dataset; only after `finish`."""
        return self._raw1.digest(transfer_syntax)

    def release(self) -> None:
        """Memory and file are given back. Idempotent."""
        if self._landing is not None:
            self._landing.release()
            self._landing = None

    def _flush(self) -> None:
        self._land(memoryview(self._staged))
        self._staged = bytearray()

    def _land(self, view: memoryview) -> None:
        if self._landing is None:
            return
        try:
            self._landing.write(view)
        except StorageError:
            self._fail()
            return
        self._raw1.update(view)

    def _fail(self) -> None:
        self.failed = True
        self.release()
