"""A pack on its way into a bucket: parts, their commits, and what may go wrong at the end.

    filling --flush--> in flight --settle--> done --at an instance's end--> committed --complete--> object

One buffer fills while another is in flight. A part that ends inside an instance is durable but not yet
committed: the journal only learns of it together with the part in which that instance ends, so a resumed
upload always goes on at an instance's first byte.
"""

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from imaging.octets import MemoryOctets
from storage.budget import BufferPool
from storage.packs.crc64 import crc64
from storage.packs.model import Member, Part
from storage.sinks.protocol import Journal
from storage.sinks.s3_client import Bucket, send_checked

STEP = 512 << 10
"""Bytes copied and summed at a time: what was read for the one is still in the processor's cache for the other. Each
sum lets go of the interpreter, which costs more than the sum where threads wait for it."""


class PartBuffer:
    """A part being filled; its checksum grows with it."""

    def __init__(self, pool: BufferPool, target: int, capacity: int) -> None:
        self.target = target
        self.filled = 0
        self.crc64 = 0
        self._pool = pool
        self._buffer = pool.take(capacity)

    @property
    def room(self) -> int:
        return len(self._buffer) - self.filled

    @property
    def full(self) -> bool:
        return self.filled >= self.target

    def fill(self, piece: bytes | memoryview) -> int:
        """As much of the piece as fits is in the buffer; how much."""
        taken = min(len(piece), self.room)
        view = memoryview(piece)[:taken]
        # Straight into the bytearray, a slice that is none itself would be copied twice.
        room = memoryview(self._buffer)
        for at in range(0, taken, STEP):
            step = view[at : at + STEP]
            self.crc64 = crc64(step, self.crc64)
            room[self.filled : self.filled + len(step)] = step
            self.filled += len(step)
        return taken

    def octets(self) -> MemoryOctets:
        return MemoryOctets(memoryview(self._buffer)[: self.filled])

    def release(self) -> None:
        self._pool.give(self._buffer)
        self._buffer = bytearray()


@dataclass(slots=True)
class _Flight:
    future: Future[Part]
    buffer: PartBuffer
    members: tuple[Member, ...]
    boundary: bool


class Upload:
    """One multipart upload under one claim; the writer's lock guards it."""

    def __init__(
        self, bucket: Bucket, executor: Executor, journal: Journal, key: str, upload_id: str, parts: Sequence[Part]
    ) -> None:
        self.key = key
        self.upload_id = upload_id
        self._bucket = bucket
        self._executor = executor
        self._journal = journal
        self._committed = list(parts)
        self._done: list[Part] = []
        self._ended: list[Member] = []
        self._flight: _Flight | None = None
        self._next = parts[-1].number + 1 if parts else 1
        self._offset = parts[-1].offset + parts[-1].size if parts else 0

    @property
    def parts(self) -> Sequence[Part]:
        """Parts the journal knows."""
        return self._committed

    @property
    def started(self) -> bool:
        return bool(self.upload_id)

    @property
    def next_number(self) -> int:
        """The number of the part that is sent next."""
        return self._next

    def send(self, buffer: PartBuffer, members: Sequence[Member], *, boundary: bool) -> None:
        """The buffer is on its way and belongs to the upload; the part before it is durable.

        `members` end in it; `boundary` says that its last byte is the last byte of one of them.
        """
        if not self.upload_id:
            self.upload_id = self._bucket.open_upload(self.key)
            self._journal.opened(self.upload_id)
        self.settle()
        number, offset = self._next, self._offset
        future = self._executor.submit(self._put, buffer, number, offset)
        self._flight = _Flight(future, buffer, tuple(members), boundary)
        self._next += 1
        self._offset += buffer.filled

    def settle(self) -> None:
        """No part is in flight, and what ends at an instance's end is in the journal."""
        flight = self._flight
        if flight is None:
            return
        try:
            part = flight.future.result()
        finally:
            self._flight = None
            flight.buffer.release()
        self._done.append(part)
        self._ended.extend(flight.members)
        if flight.boundary:
            self._journal.commit_group(tuple(self._done), tuple(self._ended))
            self._committed.extend(self._done)
            self._done.clear()
            self._ended.clear()

    def abandon(self) -> None:
        """No part is in flight; its outcome is of no interest: the next worker sends it again."""
        flight, self._flight = self._flight, None
        if flight is not None:
            if not flight.future.cancel():
                # Not result(): the error, if any, is not the reason why the writer closes.
                flight.future.exception()
            flight.buffer.release()

    def _put(self, buffer: PartBuffer, number: int, offset: int) -> Part:
        body, checksum = buffer.octets(), buffer.crc64
        etag = send_checked(
            lambda: self._bucket.put_part(self.key, self.upload_id, number, body, checksum),
            body,
            checksum,
            self._bucket.place,
        )
        return Part(number=number, offset=offset, size=body.size, crc64=checksum, etag=etag)
