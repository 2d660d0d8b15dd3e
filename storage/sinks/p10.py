"""Writes one study as loose Part-10 objects, the shape imaging services import.

Each object is whole or absent, so there is nothing to resume inside one: an instance met again after a crash
is compared and kept. The study counts once the index object exists, outside the instances' prefix. With `Batches`, no
more instances lie below one prefix than an import job takes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from blake3 import blake3

from imaging.facts import InstanceFacts
from imaging.octets import JoinedOctets, MemoryOctets, Octets, Span
from storage.errors import AlreadyThere, IntegrityError, Rejected, Retryable, StorageError
from storage.packs.batches import Batches, batch_named
from storage.packs.crc64 import combine_parts
from storage.packs.index import Index, InvalidIndex, parse_index, serialise_index
from storage.packs.model import Container, Member, PackId, Part, Receipt
from storage.packs.naming import index_key_beside, member_key
from storage.sinks.protocol import Journal, UploadState
from storage.sinks.s3_client import MAX_PUT, Bucket, octets_crc64, send_checked

LARGE_PART = 256 << 20
"""Bytes of a part of an instance that no single PUT holds: 10,000 of them are beyond what DICOM's lengths allow."""
GROUP = 64
"""Instances per journal commit: a crash costs at most so many comparisons, a commit costs one transaction."""


class P10Writer:
    """See `StudyWriter`; instances added by several threads are sent side by side."""

    def __init__(
        self,
        bucket: Bucket,
        pack: PackId,
        folder: str,
        journal: Journal,
        resume: UploadState | None,
        batches: Batches | None = None,
    ) -> None:
        """`batches` are new; absent: the study's instances lie under their series."""
        self._batches = batches
        self._bucket = bucket
        self._pack = pack
        self._folder = folder
        self._journal = journal
        self._lock = threading.Lock()
        self._members = {member.facts.sop_uid: member for member in (resume.members if resume else ())}
        self._coming: set[str] = set()
        self._uncommitted: list[Member] = []
        self._receipt: Receipt | None = None
        self._closed = False
        journal.begin(key=folder, container=Container.P10, device="")
        if batches is not None:
            # An attempt that a crash ended may have put more than it journaled.
            for key, size in bucket.sizes(folder):
                if named := batch_named(folder, key):
                    batches.found(named[1], named[0], size)

    @property
    def held(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._members)

    def add(self, facts: InstanceFacts, part10: Octets) -> None:
        if part10.size != facts.sto_size or facts.study_uid != self._pack.study_uid:
            raise ValueError("the facts are not those of these bytes or of this study")
        with self._lock:
            self._require_open()
            if facts.sop_uid in self._members or facts.sop_uid in self._coming:
                raise ValueError("the instance is in the study already")
            self._coming.add(facts.sop_uid)
        with self._closing_on_error():
            with self._lock:
                member = Member(facts=facts, offset=self._batch_of(facts), length=facts.sto_size, lead=0)
            self._put(member, part10)
            with self._lock:
                # Another thread's failure closed the writer meanwhile: the object is there, the journal silent.
                self._require_open()
                self._members[facts.sop_uid] = member
                self._uncommitted.append(member)
                if len(self._uncommitted) >= GROUP:
                    self._commit()

    def finish(self) -> Receipt:
        with self._lock:
            if self._receipt is not None:
                return self._receipt
            self._require_open()
            if not self._members:
                raise ValueError("a study holds at least one instance")
        with self._closing_on_error(), self._lock:
            self._commit()
            self._compare_keys()
            self._put_index()
            self._closed = True
            self._receipt = Receipt(
                key=self._folder,
                container=Container.P10,
                size=sum(member.length for member in self._members.values()),
                crc64=None,
            )
            return self._receipt

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def _batch_of(self, facts: InstanceFacts) -> int:
        try:
            return self._batches.place(facts.sop_uid, facts.sto_size) if self._batches else 0
        except ValueError as error:
            message = f"no import job takes it: {error}"
            raise Rejected(message, operation="put", place=self._bucket.place, sop_uids=(facts.sop_uid,)) from None

    def _put(self, member: Member, part10: Octets) -> None:
        key = member_key(self._folder, member)
        try:
            if part10.size > MAX_PUT:
                put_in_parts(self._bucket, key, part10)
            else:
                self._put_whole(key, part10)
        except AlreadyThere:
            digest = blake3()
            for piece in self._bucket.stream(key, 0, self._bucket.head(key).size):
                digest.update(piece)
            if digest.digest() != member.facts.sto1:
                raise

    def _put_whole(self, key: str, part10: Octets) -> None:
        checksum = octets_crc64(part10)
        send_checked(lambda: self._bucket.put(key, part10, checksum, create=True), part10, checksum, self._bucket.place)

    def _commit(self) -> None:
        if self._uncommitted:
            self._journal.commit_group((), tuple(self._uncommitted))
            self._uncommitted.clear()

    def _compare_keys(self) -> None:
        """Importers take every object under the prefix, so none may be missing and none may be foreign."""
        expected = {member_key(self._folder, member) for member in self._members.values()}
        present = set(self._bucket.keys(self._folder))
        if expected - present:
            raise IntegrityError(
                f"{len(expected - present)} instances vanished", operation="list", place=self._bucket.place
            )
        if present - expected:
            raise AlreadyThere(f"{len(present - expected)} foreign objects", operation="list", place=self._bucket.place)

    def _put_index(self) -> None:
        # By name, so that attempts that sent in another order agree.
        members = tuple(self._members[name] for name in sorted(self._members))
        index = Index(pack=self._pack, container=Container.P10, members=members)
        body = MemoryOctets(serialise_index(index))
        key = index_key_beside(self._pack, Container.P10, self._folder)
        checksum = octets_crc64(body)
        try:
            send_checked(lambda: self._bucket.put(key, body, checksum, create=True), body, checksum, self._bucket.place)
        except AlreadyThere:
            there = b"".join(self._bucket.stream(key, 0, self._bucket.head(key).size))
            try:
                held = parse_index(there, self._pack)
                same = held.holds(members) and [one.offset for one in held.members] == [one.offset for one in members]
            except InvalidIndex:
                same = False
            if not same:
                raise

    def _require_open(self) -> None:
        if self._closed:
            raise Retryable("the writer is closed", operation="write", place=self._bucket.place)

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._closed = True
            raise


def put_in_parts(bucket: Bucket, key: str, content: Octets) -> None:
    """The object exists with these bytes, by a multipart upload: a single PUT ends at `MAX_PUT`. Raises like `put`.

    Nothing of it is in the journal: an upload that a crash leaves is swept like any that the ledger does not know.
    """
    upload_id = bucket.open_upload(key)
    try:
        parts: list[Part] = []
        for start in range(0, content.size, LARGE_PART):
            piece = JoinedOctets((Span(content, start, min(start + LARGE_PART, content.size)),))
            parts.append(_put_part(bucket, key, upload_id, len(parts) + 1, start, piece))
        bucket.complete(key, upload_id, parts, combine_parts(parts))
    except BaseException:
        with suppress(StorageError):  # it is swept otherwise
            bucket.abort(key, upload_id)
        raise


def _put_part(bucket: Bucket, key: str, upload_id: str, number: int, start: int, piece: Octets) -> Part:
    checksum = octets_crc64(piece)
    etag = send_checked(lambda: bucket.put_part(key, upload_id, number, piece, checksum), piece, checksum, bucket.place)
    return Part(number=number, offset=start, size=piece.size, crc64=checksum, etag=etag)
