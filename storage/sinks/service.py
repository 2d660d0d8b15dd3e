"""What all DICOM services have in common as destinations, however they are spoken to.

A service holds instances and nothing of ours: no index, no revisions, no unfinished uploads. It cannot be made to
forget, and what it does with an instance it has already is its own rule, which the job file declares.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from imaging.facts import InstanceFacts
from imaging.octets import MemoryOctets, Octets, chunks
from imaging.part10 import META_LIMIT
from imaging.uid import InvalidUid, Uid, parse_uid
from storage.errors import AlreadyThere, IntegrityError, Retryable
from storage.packs.index import Index
from storage.packs.model import Container, Member, PackId, Receipt
from storage.packs.naming import instance_key, pack_key
from storage.packs.reader import PackReader
from storage.sinks.existing import Existing
from storage.sinks.protocol import Journal, ObjectReader, UploadState
from storage.sinks.withdrawal import Withdrawal

GROUP = 64
"""Instances per journal commit: a crash costs at most so many comparisons, a commit costs one transaction."""
REENCODED = 8
"""A service may write file meta, lengths and group lengths its own way: what it gives back is longer by less than one
part in so many, and `META_LIMIT`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One instance on its way."""

    facts: InstanceFacts
    part10: Octets


class Sender(Protocol):
    """One writer's way into a service; used by one thread at a time."""

    @property
    def place(self) -> str:
        """The service's name in errors."""
        ...

    @property
    def batch_size(self) -> int:
        """Bytes gathered before they are sent; 0: each instance is sent as it comes."""
        ...

    @property
    def batch_count(self) -> int: ...

    def present(self, study_uid: Uid) -> frozenset[str]:
        """SOP Instance UIDs that the service lists of the study now."""
        ...

    def same(self, outgoing: Outgoing) -> bool | None:
        """Whether the service's instance of that UID is this one; None where it cannot be read back."""
        ...

    def send(self, batch: Sequence[Outgoing]) -> None:
        """The service has accepted every instance. Raises as `StudyWriter.add`, and `NotTaken`."""
        ...

    def close(self) -> None:
        """Connections are given back. Idempotent."""
        ...


class ServiceWriter:
    """See `StudyWriter`. A study that was begun resumes with what the journal names; what was sent and not yet
    journaled is found at the service and compared."""

    def __init__(
        self,
        sender: Sender,
        pack: PackId,
        journal: Journal,
        resume: UploadState | None,
        existing: Existing,
        withdrawal: Withdrawal | None,
    ) -> None:
        """`withdrawal` is there exactly where `existing` is WITHDRAWN."""
        self._sender = sender
        self._pack = pack
        self._journal = journal
        self._withdrawal = withdrawal
        self._lock = threading.Lock()
        self._members = {member.facts.sop_uid: member for member in (resume.members if resume else ())}
        self._batch: list[Outgoing] = []
        self._batched = 0
        self._uncommitted: list[Member] = []
        self._receipt: Receipt | None = None
        self._closed = False
        self._key = pack_key(pack, Container.P10)
        # Before the intent is there: until then nothing at the service can be this delivery's own.
        self._present = frozenset[str]() if existing is Existing.REPLACED else sender.present(pack.study_uid)
        journal.begin(key=self._key, container=Container.SERVICE, device="")

    @property
    def held(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._members) | {waiting.facts.sop_uid for waiting in self._batch}

    def add(self, facts: InstanceFacts, part10: Octets) -> None:
        if part10.size != facts.sto_size or facts.study_uid != self._pack.study_uid:
            raise ValueError("the facts are not those of these bytes or of this study")
        with self._lock:
            self._require_open()
            if facts.sop_uid in self._members or any(facts.sop_uid == each.facts.sop_uid for each in self._batch):
                raise ValueError("the instance is in the study already")
            with self._closing_on_error():
                self._take(Outgoing(facts=facts, part10=part10))

    def finish(self) -> Receipt:
        with self._lock:
            if self._receipt is not None:
                return self._receipt
            self._require_open()
            if not self._members and not self._batch:
                raise ValueError("a study holds at least one instance")
            with self._closing_on_error():
                self._flush()
                self._commit()
            self._shut()
            self._receipt = Receipt(
                key=self._key,
                container=Container.SERVICE,
                size=sum(member.length for member in self._members.values()),
                crc64=None,
            )
            return self._receipt

    def close(self) -> None:
        with self._lock:
            self._shut()

    def _take(self, outgoing: Outgoing) -> None:
        if outgoing.facts.sop_uid in self._present and self._is_there(outgoing):
            self._accepted([outgoing])
            return
        size = outgoing.part10.size
        if self._batched + size > self._sender.batch_size or len(self._batch) >= self._sender.batch_count:
            self._flush()
        if size > self._sender.batch_size:
            self._sender.send([outgoing])
            self._accepted([outgoing])
            return
        # The caller's buffer is its own again when this returns.
        copy = b"".join(chunks(outgoing.part10, 0, size))
        self._batch.append(Outgoing(facts=outgoing.facts, part10=MemoryOctets(copy)))
        self._batched += size

    def _is_there(self, outgoing: Outgoing) -> bool:
        """The service has the instance already; False: it has to be sent to know."""
        if self._withdrawal is not None:
            return self._withdrawal.make_way(outgoing.facts, outgoing.part10, self._journal.delivered)
        same = self._sender.same(outgoing)
        if same is None and self._pack.revision == 1:
            # Ours from before a crash, or it was there before us: only its answer and the proof will tell. Of a later
            # revision it may be an earlier one's instance, which no proof would tell apart, however often it is tried.
            return False
        if not same:
            raise AlreadyThere(
                "it holds another instance of that UID and would keep it", operation="store", place=self._sender.place
            )
        return True

    def _flush(self) -> None:
        if self._batch:
            self._sender.send(self._batch)
            self._accepted(self._batch)
            self._commit()
            self._batch, self._batched = [], 0

    def _accepted(self, batch: Sequence[Outgoing]) -> None:
        for each in batch:
            member = Member(facts=each.facts, offset=0, length=each.facts.sto_size, lead=0)
            self._members[each.facts.sop_uid] = member
            self._uncommitted.append(member)
        if len(self._uncommitted) >= GROUP:
            self._commit()

    def _commit(self) -> None:
        if self._uncommitted:
            self._journal.commit_group((), tuple(self._uncommitted))
            self._uncommitted.clear()

    def _require_open(self) -> None:
        if self._closed:
            raise Retryable("the writer is closed", operation="write", place=self._sender.place)

    def _shut(self) -> None:
        self._closed = True
        self._batch, self._batched = [], 0
        self._sender.close()

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._shut()
            raise


class LedgerIndexed(PackReader):
    """One study at a service. Like any pack, an instance comes out only if every byte is that of STO1."""

    def __init__(self, objects: ObjectReader, pack: PackId, key: str, facts: Sequence[InstanceFacts]) -> None:
        """`facts` are the ledger's instances of the study."""
        super().__init__(objects, pack, Container.P10, key)
        self._service = objects
        self._folder = key
        members = tuple(Member(facts=one, offset=0, length=one.sto_size, lead=0) for one in facts)
        self._ledger = Index(pack=pack, container=Container.P10, members=members)

    def index(self) -> Index:
        return self._ledger


class ServiceReader(LedgerIndexed):
    """What comes out is what the service gives, within bounds: it writes file meta as it likes, so the caller compares
    what instances say and not how they are written."""

    def open(self, member: Member) -> Iterator[bytes]:
        facts = member.facts
        most = facts.sto_size + facts.sto_size // REENCODED + META_LIMIT
        left = most
        for piece in self._service.stream(instance_key(self._folder, facts.series_uid, facts.sop_uid), 0, most + 1):
            left -= len(piece)
            if left < 0:
                raise IntegrityError("an instance does not end", operation="read", place="service")
            yield piece


def addressed(key: str) -> tuple[Uid, Uid, Uid]:
    """Study, series and instance that `instance_key` made the key from. Raises `FileNotFoundError` for other keys."""
    folder, _, name = key.rpartition("/")
    parts = folder.split("/")
    try:
        if len(parts) < 3 or not name.endswith(".dcm"):
            raise FileNotFoundError("no instance has that key")
        return parse_uid(parts[-3]), parse_uid(parts[-1]), parse_uid(name.removesuffix(".dcm"))
    except InvalidUid:
        raise FileNotFoundError("no instance has that key") from None


def window(pieces: Iterator[bytes], start: int, length: int) -> Iterator[bytes]:
    """Bytes [start, start + length) of a stream that can only be had from its beginning."""
    at = 0
    for piece in pieces:
        if at >= start + length:
            return
        if cut := piece[max(0, start - at) : start + length - at]:
            yield cut
        at += len(piece)
