"""Where the bytes of one arriving instance go while they arrive, and their RAW1 on the way."""

from collections.abc import Callable
from typing import Protocol

from actors.dimse.limits import PIECE, STEP
from imaging.digests import Raw1
from imaging.octets import Octets, chunks
from storage.errors import StorageError


class Landing(Protocol):
    """Takes one instance in order; `storage.spool.Landing` is one. Used by one thread."""

    @property
    def in_memory(self) -> bool:
        """What was written can be read again for nothing; once it cannot, it never can."""
        ...

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

    What lies in memory is digested from there in steps of `STEP`: each update lets go of the interpreter, and getting
    it back from busy threads costs as much as the digest of 64 KiB. What goes to a file is gathered to `PIECE` first,
    for senders with 16 KiB PDUs.
    """

    __slots__ = ("_digested", "_landing", "_raw1", "_staged", "_start", "failed", "size")

    def __init__(self, factory: LandingFactory, meta: bytes) -> None:
        self.size = 0
        """Dataset bytes so far."""
        self.failed = False
        """The landing had no room; nothing of the instance is kept."""
        self._start = len(meta)
        self._digested = 0
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
        landing = self._landing
        if landing is None:
            return
        if landing.in_memory:
            self._land(landing, view)
            if not landing.in_memory or self.size - self._digested >= STEP:
                self._digest(landing)
        elif self._staged or len(view) < PIECE:
            self._staged += view
            if len(self._staged) >= PIECE:
                self._flush(landing)
        else:
            self._pass_on(landing, view)

    def finish(self, last: memoryview) -> None:
        """The dataset ends with `last`."""
        self.write(last)
        landing = self._landing
        if landing is None:
            return
        if self._staged:
            self._flush(landing)
        self._digest(landing)

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

    def _flush(self, landing: Landing) -> None:
        staged, self._staged = self._staged, bytearray()
        self._pass_on(landing, memoryview(staged))

    def _pass_on(self, landing: Landing, view: memoryview) -> None:
        """The bytes are in the landing and in the digest."""
        if self._land(landing, view):
            self._raw1.update(view)
            self._digested += len(view)

    def _digest(self, landing: Landing) -> None:
        """The digest has everything that was landed."""
        if self.failed:
            return
        if self._digested < self.size:
            for piece in chunks(landing.octets(), self._start + self._digested, self._start + self.size):
                self._raw1.update(piece)
            self._digested = self.size

    def _land(self, landing: Landing, view: memoryview) -> bool:
        try:
            landing.write(view)
        except StorageError:
            self._fail()
        return not self.failed

    def _fail(self) -> None:
        self.failed = True
        self.release()
