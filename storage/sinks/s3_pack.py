"""Writes one study as one object: a single PUT where it fits in a part, a resumable multipart upload otherwise."""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets, Octets
from storage.budget import BufferPool
from storage.errors import AlreadyThere, IntegrityError, Rejected, Retryable, UploadLost
from storage.packs.crc64 import combine_parts, crc64
from storage.packs.format import PackEncoder
from storage.packs.index import InvalidIndex
from storage.packs.model import Container, Member, PackId, Part, Receipt
from storage.packs.naming import index_key_beside
from storage.packs.reader import PackReader
from storage.sinks.protocol import Journal, ObjectReader, UploadState
from storage.sinks.s3_client import Bucket, Stored, octets_crc64, send_checked
from storage.sinks.s3_errors import Conflict, WrongChecksum
from storage.sinks.s3_parts import PartPlan, early_enough
from storage.sinks.s3_upload import PartBuffer, Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What the writers of one sink share."""

    bucket: Bucket
    objects: ObjectReader
    executor: Executor
    pool: BufferPool
    parts: PartPlan
    largest_object: int


class S3PackWriter:
    """See `StudyWriter`."""

    def __init__(
        self, lane: Lane, pack: PackId, container: Container, key: str, journal: Journal, resume: UploadState | None
    ) -> None:
        self._lane = lane
        self._pack = pack
        self._container = container
        self._key = key
        self._journal = journal
        self._most = min(lane.largest_object, lane.parts.most)
        self._lock = threading.RLock()
        members = resume.members if resume else ()
        parts = resume.parts if resume else ()
        self._encoder = PackEncoder(pack, container, members)
        self._upload = Upload(lane.bucket, lane.executor, journal, key, resume.upload_id if resume else "", parts)
        durable = parts[-1].offset + parts[-1].size if parts else 0
        # Parts behind the last instance hold the index: an earlier attempt stopped between it and the end.
        self._sealed = durable > self._encoder.offset
        self._met = False
        """Whether an object has the key although the upload was never opened: nothing is sent any more, and the end
        compares."""
        self._held = {member.facts.sop_uid for member in members}
        self._ended: list[Member] = []
        self._buffer: PartBuffer | None = None
        self._receipt: Receipt | None = None
        self._closed = False
        journal.begin(key=key, container=container, device="")

    @property
    def held(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._held)

    def add(self, facts: InstanceFacts, part10: Octets) -> None:
        with self._lock:
            self._require_open()
            if facts.sop_uid in self._held:
                raise ValueError("the instance is in the pack already")
            if part10.size != facts.sto_size or facts.study_uid != self._pack.study_uid:
                raise ValueError("the facts are not those of these bytes or of this study")
            with self._closing_on_error():
                if self._sealed:
                    self._abort_and_start_over("instances came after the index")
                if self._encoder.offset + part10.size > self._most:
                    raise Rejected(f"a study of more than {self._most} bytes", place=self._lane.bucket.place)
                self._end_part_before(part10.size)
                for piece in self._encoder.add(facts, part10):
                    self._append(piece)
                self._ended.append(self._encoder.members[-1])
                self._held.add(facts.sop_uid)
                if self._buffer is not None and self._buffer.full:
                    self._flush(boundary=True)

    def finish(self) -> Receipt:
        with self._lock:
            if self._receipt is None:
                self._require_open()
                if not self._encoder.members:
                    raise ValueError("a pack holds at least one instance")
                with self._closing_on_error():
                    self._receipt = self._finish()
                    self._put_sidecar()
                self.close()
            return self._receipt

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._upload.abandon()
            if self._buffer is not None:
                self._buffer.release()
                self._buffer = None

    def _finish(self) -> Receipt:
        if self._sealed:
            return self._complete() if self._upload.started else self._adopt_or_start_over()
        for piece in self._encoder.finish():
            self._append(piece)
        if self._met:
            return self._adopt_or_start_over()
        if not self._upload.started:
            return self._put_whole()
        self._flush(boundary=True)
        with self._starting_over_when_lost():
            self._upload.settle()
        return self._complete()

    def _put_whole(self) -> Receipt:
        buffer = self._buffer
        if buffer is None:
            raise ValueError("nothing to put")
        body, checksum = buffer.octets(), buffer.crc64
        try:
            stored = send_checked(
                lambda: self._lane.bucket.put(self._key, body, checksum, create=True),
                body,
                checksum,
                self._lane.bucket.place,
            )
        except AlreadyThere:
            return self._adopt_refused()
        part = Part(number=1, offset=0, size=body.size, crc64=checksum, etag=stored.etag)
        self._journal.commit_group((part,), tuple(self._ended))
        return self._receive(body.size, checksum, stored.etag, stored.version_id)

    def _complete(self) -> Receipt:
        checksum = combine_parts(self._upload.parts)
        try:
            stored = self._complete_checked(checksum)
        except UploadLost:
            return self._adopt_or_start_over()
        except AlreadyThere:
            receipt = self._adopt_refused()
            self._abort()
            return receipt
        except Conflict:
            # S3 spoils an upload whose completion met another write: its parts must be sent again.
            self._abort_and_start_over("completion met another write")
        return self._receive(stored.size, checksum, stored.etag, stored.version_id)

    def _complete_checked(self, checksum: int) -> Stored:
        upload, bucket = self._upload, self._lane.bucket
        try:
            return bucket.complete(self._key, upload.upload_id, upload.parts, checksum)
        except WrongChecksum:
            # Every part was checked when it was sent, so ask once more with a fresh combination.
            checksum = combine_parts(upload.parts)
        try:
            return bucket.complete(self._key, upload.upload_id, upload.parts, checksum)
        except WrongChecksum as error:
            raise IntegrityError(
                "parts do not add up at the endpoint", operation="complete upload", place=bucket.place
            ) from error

    def _adopt_or_start_over(self) -> Receipt:
        try:
            return self._adopt()
        except FileNotFoundError:
            self._start_over("upload vanished")

    def _adopt_refused(self) -> Receipt:
        try:
            return self._adopt()
        except FileNotFoundError:
            raise Retryable(
                "refuses the key for an object that is not there", operation="adopt", place=self._lane.bucket.place
            ) from None

    def _adopt(self) -> Receipt:
        """The object under our key holds our instances, and the journal says where.

        Raises
        ------
        AlreadyThere
            It holds something else.
        FileNotFoundError
            There is no object.
        """
        bucket = self._lane.bucket
        try:
            index = PackReader(self._lane.objects, self._pack, self._container, self._key).index()
        except InvalidIndex as error:
            raise AlreadyThere("an object without our index has the key", place=bucket.place) from error
        members = tuple(self._encoder.members)
        if not index.holds(members):
            raise AlreadyThere("the object holds other instances", operation="adopt", place=bucket.place)
        stored = bucket.head(self._key)
        checksum = stored.crc64 if stored.crc64 is not None else self._crc_of_object(stored.size)
        known = self._upload.parts
        if index.members != members or not known or combine_parts(known) != checksum:
            # The same instances in another order: the journal takes over how the object has them.
            self._journal.reset("adopts the object that is there")
            self._journal.begin(key=self._key, container=self._container, device="")
            whole = Part(number=1, offset=0, size=stored.size, crc64=checksum, etag=stored.etag)
            self._journal.commit_group((whole,), index.members)
            self._encoder = PackEncoder(self._pack, self._container, index.members)
        return self._receive(stored.size, checksum, stored.etag, stored.version_id)

    def _crc_of_object(self, size: int) -> int:
        checksum = 0
        for piece in self._lane.bucket.stream(self._key, 0, size):
            checksum = crc64(piece, checksum)
        return checksum

    def _put_sidecar(self) -> None:
        body = MemoryOctets(self._encoder.index())
        key = index_key_beside(self._pack, self._container, self._key)
        checksum = octets_crc64(body)
        # Equal packs have equal indexes, so writing it again after a crash changes nothing.
        send_checked(
            lambda: self._lane.bucket.put(key, body, checksum, create=False), body, checksum, self._lane.bucket.place
        )

    def _receive(self, size: int, checksum: int, etag: str, version_id: str) -> Receipt:
        return Receipt(
            key=self._key, container=self._container, size=size, crc64=checksum, etag=etag, version_id=version_id
        )

    def _end_part_before(self, size: int) -> None:
        """An instance that does not fit starts a part of its own, if this one is large enough to end here."""
        buffer = self._buffer
        if buffer is not None and size > buffer.room and early_enough(buffer.filled, buffer.target):
            self._flush(boundary=True)

    def _append(self, piece: bytes | memoryview) -> None:
        view = memoryview(piece)
        while view:
            if self._buffer is None:
                number, plan = self._upload.next_number, self._lane.parts
                self._buffer = PartBuffer(self._lane.pool, plan.target(number), plan.capacity(number))
            elif not self._buffer.room:
                self._flush(boundary=False)
                continue
            view = view[self._buffer.fill(view) :]

    def _flush(self, *, boundary: bool) -> None:
        buffer = self._buffer
        if buffer is None:
            return
        self._buffer = None
        ended, self._ended = self._ended, []
        if self._met:
            buffer.release()
            return
        with self._starting_over_when_lost():
            try:
                self._upload.send(buffer, ended, boundary=boundary)
            except AlreadyThere:
                buffer.release()
                self._met = True
            except BaseException:
                buffer.release()
                raise

    @contextmanager
    def _starting_over_when_lost(self) -> Iterator[None]:
        try:
            yield
        except UploadLost:
            self._journal.reset("upload vanished")
            raise

    def _abort(self) -> None:
        if self._upload.started:
            with suppress(UploadLost):
                self._lane.bucket.abort(self._key, self._upload.upload_id)

    def _abort_and_start_over(self, reason: str) -> NoReturn:
        # The journal first: it refuses a worker that lost its claim, whose successor goes on with this upload.
        self._journal.reset(reason)
        self._abort()
        raise UploadLost(reason, operation="resume upload", place=self._lane.bucket.place)

    def _start_over(self, reason: str) -> NoReturn:
        self._journal.reset(reason)
        raise UploadLost(reason, operation="resume upload", place=self._lane.bucket.place)

    def _require_open(self) -> None:
        if self._closed:
            raise Retryable("the writer is closed", operation="write", place=self._lane.bucket.place)

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # Whatever it was, half an instance may be in the buffer: nothing more may be added.
            self.close()
            raise
