"""C-MOVE: sub-operations to a registered destination, pending answers, a final status (PS3.4 section C.4.2)."""

from collections.abc import Callable, Iterator, Sequence

from infra.simulator import attributes as at
from infra.simulator import command
from infra.simulator.archive import Instance
from infra.simulator.content import HeldContent
from infra.simulator.faults import Faults, Originator
from infra.simulator.negotiation import IMPLICIT, MAX_CONTEXTS
from infra.simulator.query import Mismatch, Query
from infra.simulator.retrieve import Parcel, parcels, select
from infra.simulator.service import Service
from infra.simulator.stats import MoveRecord
from infra.simulator.store import Pair, Refused, StoreAssociation
from infra.simulator.wire import ConnectionEnded, Message, Released, Wire, command_pdu, data_pdus, joined

SUCCESS, PENDING, CANCELLED, SOME_FAILED = 0x0000, 0xFF00, 0xFE00, 0xB000
SUB_OPERATIONS_FAILED, DESTINATION_UNKNOWN, MISMATCH, UNABLE = 0xA702, 0xA801, 0xA900, 0xC000
FAILED_UIDS = 0x00080058
COUNT_LIMIT = 0xFFFF
"""Sub-operation counters are US; a longer retrieve shows the limit."""


class _Ended(Exception):
    """The retrieve is over before its last sub-operation."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04X}")
        self.status = status


class Move:
    """One C-MOVE request being served on its association's thread."""

    counted = "moves"
    """What it is called in the statistics."""

    def __init__(self, service: Service, wire: Wire, request: Message, transfer_syntax: str, caller: str) -> None:
        self._service = service
        self._faults: Faults = service.faults
        self._wire = wire
        self._request = request
        self._implicit = transfer_syntax == IMPLICIT
        self._caller = caller
        self._destination = request.command.text(command.MOVE_DESTINATION)
        self._asked: tuple[Instance, ...] = ()
        self._level = ""
        self._completed = self._warning = self._sent = 0
        self._failed: list[str] = []
        self._answered: int | None = None

    def run(self) -> None:
        """The retrieve is served and recorded. Raises `ConnectionEnded` when the association is lost over it."""
        running = self._service.stats.enter(self.counted)
        try:
            if self._faults.busy_above is not None and running > self._faults.busy_above:
                self._answer(self._faults.busy_status)
            else:
                self._serve()
        finally:
            self._service.stats.leave(self.counted)
            self._service.stats.moved(self._record())

    def _serve(self) -> None:
        address = self._service.destinations.get(self._destination)
        if self._faults.refuse_destinations or address is None:
            self._answer(DESTINATION_UNKNOWN)
            return
        self._serve_to(address)

    def _serve_to(self, address: tuple[str, int]) -> None:
        try:
            query = Query.of(at.identifier_keys(self._request.dataset, implicit=self._implicit))
            self._level = query.level
            self._asked = select(self._service.archive, query)
        except Mismatch:
            self._answer(MISMATCH)
            return
        if not self._asked:
            self._answer(self._faults.unknown_study_status)
            return
        retrieve = self._service.count(f"retrieve {self._asked[0].study_uid}")
        try:
            self._send_all(address, parcels(self._service.archive, self._asked, self._faults, retrieve))
        except _Ended as end:
            self._answer_final(end.status)

    def _send_all(self, address: tuple[str, int], planned: list[Parcel]) -> None:
        late = planned.pop() if self._faults.late_push is not None and planned else None
        # What is lost, or comes late, this archive believes to have sent.
        self._completed = len(self._asked) - sum(parcel.counted for parcel in planned)
        batches = [[parcel for parcel in planned if parcel.pair in pairs] for pairs in _pairs_by_association(planned)]
        for batch in batches:
            try:
                association = self._open(address, list(dict.fromkeys(parcel.pair for parcel in batch)))
            except Refused:
                self._failed += [parcel.sop_uid for parcel in batch if parcel.counted]
                continue
            held = batch.pop() if self._faults.final_before_last is not None and batch is batches[-1] else None
            try:
                self._send_batch(association, batch)
            except (ConnectionEnded, _Ended):
                association.release()
                raise
            if held is None:
                association.release()
                continue
            self._completed += held.counted
            self._answer_final(self._outcome())
            self._push_later(self._faults.final_before_last, held, lambda kept=association: kept)
        if late is not None:
            self._push_later(self._faults.late_push, late, lambda: self._open(address, [late.pair]))
        if self._faults.silent_move:
            self._wire.read_message()
        if self._answered is None:
            raise _Ended(self._outcome())

    def _send_batch(self, association: StoreAssociation, batch: Sequence[Parcel]) -> None:
        for index, parcel in enumerate(batch):
            self._heed_the_requester()
            self._abort_if_told(association)
            if self._faults.store_latency:
                self._service.closing.wait(self._faults.store_latency)
            if parcel.pair not in association.contexts:
                if self._faults.first_refusal_fatal:
                    self._completed, self._failed = 0, []
                    raise _Ended(UNABLE)
                self._note(parcel, None)
                continue
            try:
                self._note(parcel, self._store(association, parcel))
            except ConnectionEnded:
                association.abort()
                self._failed += [unsent.sop_uid for unsent in batch[index:] if unsent.counted]
                return

    def _store(self, association: StoreAssociation, parcel: Parcel) -> int:
        content = parcel.content
        ready = association.encoded(self._service.cache, parcel.stored) if parcel.stored else content
        originator = {
            Originator.REQUESTER: (self._caller, self._request.command.number(command.MESSAGE_ID)),
            Originator.OWN: (self._service.ae_title, self._request.command.number(command.MESSAGE_ID)),
            Originator.ABSENT: None,
        }[self._faults.originator]
        self._sent += 1
        status = association.store(parcel.pair, parcel.sop_uid, ready, self._sent % 0xFFFF + 1, originator)
        self._service.stats.stored(status, len(ready) if isinstance(ready, bytes) else ready.size)
        return status

    def _note(self, parcel: Parcel, status: int | None) -> None:
        if not parcel.counted or self._answered is not None:
            return
        if status == SUCCESS:
            self._completed += 1
        elif status is not None and status >> 12 == 0xB:
            self._warning += 1
        else:
            self._failed.append(parcel.sop_uid)
        every = self._faults.pending_every
        if every and self._done % every == 0:
            self._answer(PENDING, self._counts() | {command.REMAINING: self._remaining})

    def _abort_if_told(self, association: StoreAssociation) -> None:
        faults, sent = self._faults, self._sent
        for limit in (faults.abort_move_after, faults.abort_store_after):
            if limit is None or sent != limit or not self._aborts_left():
                continue
            self._service.stats.add("aborts")
            association.abort()
            if limit == faults.abort_move_after:
                self._wire.abort()
                raise ConnectionEnded("aborted the retrieve as told")

    def _aborts_left(self) -> bool:
        return self._faults.aborts is None or self._service.count("aborted move") <= self._faults.aborts

    def _heed_the_requester(self) -> None:
        if self._service.closing.is_set():
            raise ConnectionEnded("the simulator stops")
        if self._answered is not None or not self._wire.message_waits():
            return
        try:
            message = self._wire.read_message()
        except Released as problem:
            raise ConnectionEnded("requester released during its retrieve") from problem
        if message.command.field == command.C_CANCEL_RQ and not self._faults.cancel_ignored:
            raise _Ended(CANCELLED)

    def _open(self, address: tuple[str, int], pairs: Sequence[Pair]) -> StoreAssociation:
        self._service.stats.add("store_associations")
        return StoreAssociation.open(
            address,
            self._service.ae_title,
            self._destination,
            pairs,
            longest_pdu=self._faults.store_pdu,
            small_writes=self._faults.small_writes,
            bandwidth=self._faults.bandwidth,
        )

    def _push_later(self, seconds: float | None, parcel: Parcel, get: Callable[[], StoreAssociation]) -> None:
        def push() -> None:
            self._service.closing.wait(seconds)
            try:
                association = get()
            except Refused:
                return  # Nobody listens any more; the requester can tell that something is missing.
            try:
                if parcel.pair in association.contexts and not self._service.closing.is_set():
                    self._store(association, parcel)
                    self._service.stats.add("late_pushes")
                association.release()
            except ConnectionEnded:
                association.abort()

        self._service.aside(push)

    @property
    def _done(self) -> int:
        return self._completed + self._warning + len(self._failed)

    @property
    def _remaining(self) -> int:
        return min(COUNT_LIMIT, max(0, len(self._asked) - self._done))

    def _counts(self) -> dict[int, int | str]:
        return {
            command.COMPLETED: min(COUNT_LIMIT, self._completed),
            command.FAILED: min(COUNT_LIMIT, len(self._failed)),
            command.WARNING: min(COUNT_LIMIT, self._warning),
        }

    def _outcome(self) -> int:
        if not self._failed:
            return SOME_FAILED if self._warning else SUCCESS
        return SOME_FAILED if self._completed or self._warning else SUB_OPERATIONS_FAILED

    def _answer_final(self, status: int) -> None:
        counts = self._counts()
        if status == CANCELLED:
            counts[command.REMAINING] = self._remaining
        if status == UNABLE or not self._failed:
            self._answer(status, counts)
            return
        uids = "\\".join(self._failed).encode()
        self._answer(status, counts, at.encode_identifier({FAILED_UIDS: uids}, implicit=self._implicit))

    def _answer(self, status: int, counts: dict[int, int | str] | None = None, identifier: bytes = b"") -> None:
        kind = command.WITH_DATASET if identifier else command.NO_DATASET
        octets = command.encode(command.response(self._request.command, status, kind) | (counts or {}))
        buffers = [command_pdu(self._request.context_id, octets)]
        if identifier:
            pdus = data_pdus(self._request.context_id, HeldContent(identifier), self._wire.send_limit)
            buffers.append(joined(pdus))
        if status != PENDING:
            self._answered = status
        self._wire.send(*buffers)

    def _record(self) -> MoveRecord:
        studies = {instance.study_uid for instance in self._asked}
        return MoveRecord(
            caller=self._caller,
            destination=self._destination,
            level=self._level,
            study_uid=self._asked[0].study_uid if len(studies) == 1 else "",
            message_id=self._request.command.number(command.MESSAGE_ID),
            asked=len(self._asked),
            sent=self._sent,
            status=self._answered,
        )


def _pairs_by_association(planned: Sequence[Parcel]) -> Iterator[list[Pair]]:
    """The pairs to negotiate, as many at a time as an association can hold."""
    pairs = list(dict.fromkeys(parcel.pair for parcel in planned))
    for start in range(0, len(pairs), MAX_CONTEXTS):
        yield pairs[start : start + MAX_CONTEXTS]
