"""The C-STORE side of a retrieve: one association to the destination, instances sent byte for byte as stored."""

import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from infra.simulator import command, negotiation
from infra.simulator.archive import Instance
from infra.simulator.content import Content
from infra.simulator.wire import (
    ASSOCIATE_AC,
    RELEASE_REQUEST,
    ConnectionEnded,
    Released,
    Wire,
    command_pdu,
    data_pdus,
    joined,
)

CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 600.0
"""Seconds a destination may take to answer one C-STORE: it may wait for its own disks."""
LITTLE = 16 << 20
"""Bytes up to which an instance is encoded as a whole; a longer one is streamed and never held."""
BATCH = 1 << 20
"""Bytes handed to the kernel at a time when an instance is streamed."""

Buffer = bytes | bytearray | memoryview
Pair = tuple[str, str]
"""SOP class and stored transfer syntax: what needs a presentation context of its own."""


class EncodedCache:
    """Instances as runs of PDUs, kept while the budget lasts, so that a small archive can saturate a receiver."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._size = 0

    def pdus(self, instance: Instance, context_id: int, limit: int) -> bytes | Content:
        """The instance's PDUs; its content instead when it is too long to be encoded as a whole."""
        key = (instance.sop_uid, context_id, limit)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        if instance.content.size > LITTLE:
            return instance.content
        encoded = joined(data_pdus(context_id, instance.content, limit))
        with self._lock:
            # First come, first kept: dropping the oldest would turn one pass over a large archive into none kept.
            if key not in self._kept and self._size + len(encoded) <= self._budget:
                self._kept[key] = encoded
                self._size += len(encoded)
        return encoded

    def forget(self) -> None:
        with self._lock:
            self._kept.clear()
            self._size = 0


class Refused(Exception):
    """The destination cannot be reached, or wants no association."""


class StoreAssociation:
    """An open association to a destination. `contexts` has the pairs it accepted."""

    def __init__(self, wire: Wire, contexts: dict[Pair, int], *, small_writes: bool, bandwidth: int | None) -> None:
        self._wire = wire
        self._small_writes = small_writes
        self._bandwidth = bandwidth
        self._due = time.monotonic()
        self.contexts = contexts

    @classmethod
    def open(
        cls,
        address: tuple[str, int],
        calling_ae: str,
        called_ae: str,
        pairs: Sequence[Pair],
        *,
        longest_pdu: int,
        small_writes: bool,
        bandwidth: int | None,
    ) -> "StoreAssociation":
        """Negotiated with one context for each of at most 128 pairs. Raises `Refused`."""
        try:
            sock = socket.create_connection(address, timeout=CONNECT_TIMEOUT)
        except OSError as problem:
            raise Refused("destination does not answer") from problem
        if not small_writes:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock, timeout=ANSWER_TIMEOUT)
        proposed = [(2 * index + 1, *pair) for index, pair in enumerate(pairs)]
        try:
            wire.send(negotiation.request(calling_ae, called_ae, proposed))
            kind, pdu = wire.read_pdu()
        except ConnectionEnded as problem:
            wire.close()
            raise Refused("destination hung up") from problem
        if kind != ASSOCIATE_AC:
            wire.close()
            raise Refused("destination rejected the association")
        accepted, limit = negotiation.read_acceptance(pdu)
        wire.send_limit = min(limit, longest_pdu)
        contexts = {(abstract, syntax): number for number, abstract, syntax in proposed if number in accepted}
        return cls(wire, contexts, small_writes=small_writes, bandwidth=bandwidth)

    def encoded(self, cache: EncodedCache, instance: Instance) -> bytes | Content:
        """The instance's dataset as this association sends it. Raises `KeyError` if its pair was not accepted."""
        pair = (instance.sop_class, instance.transfer_syntax)
        return cache.pdus(instance, self.contexts[pair], self._wire.send_limit)

    def store(
        self,
        pair: Pair,
        sop_uid: str,
        dataset: bytes | Content,
        message_id: int,
        originator: tuple[str, int] | None,
    ) -> int:
        """The destination's status for one C-STORE; `dataset` is ready PDUs or content to stream.

        Raises
        ------
        ConnectionEnded
            The destination aborted or fell silent.
        """
        context_id = self.contexts[pair]
        values: dict[int, int | str] = {
            command.AFFECTED_SOP_CLASS: pair[0],
            command.COMMAND_FIELD: command.C_STORE_RQ,
            command.MESSAGE_ID: message_id,
            command.PRIORITY: 0,
            command.DATASET_TYPE: command.WITH_DATASET,
            command.AFFECTED_SOP_UID: sop_uid,
        }
        if originator is not None:
            values[command.ORIGINATOR_AE], values[command.ORIGINATOR_ID] = originator
        head = command_pdu(context_id, command.encode(values))
        if isinstance(dataset, bytes):
            return self.exchange(message_id, head, dataset)
        self._stream(context_id, head, dataset)
        return self._answer(message_id)

    def exchange(self, message_id: int, told: Buffer, dataset: Buffer, rest: Buffer = b"") -> int:
        """The destination's status for one C-STORE whose PDUs are ready; `rest` continues `dataset`.

        Raises
        ------
        ConnectionEnded
            The destination aborted or fell silent.
        """
        self._pace(len(dataset) + len(rest))
        if self._small_writes:
            # dcmtk writes the header of a PDU and its body apart; with Nagle the second waits for an acknowledgement.
            for part in (told, dataset):
                self._wire.send(memoryview(part)[:12])
                self._wire.send(memoryview(part)[12:], rest if part is dataset else b"")
        else:
            self._wire.send(told, dataset, rest)
        return self._answer(message_id)

    @property
    def send_limit(self) -> int:
        """Bytes of the longest PDU that goes out."""
        return self._wire.send_limit

    def release(self) -> None:
        """The association is over, in good order if the destination plays along."""
        try:
            self._wire.send(RELEASE_REQUEST)
            self._wire.read_pdu()
        except ConnectionEnded:
            pass  # Gone is gone: nothing was outstanding.
        self._wire.close()

    def abort(self) -> None:
        self._wire.abort()

    def _answer(self, message_id: int) -> int:
        try:
            answer = self._wire.read_message()
        except Released as problem:
            raise ConnectionEnded("destination released the association it did not open") from problem
        if answer.command.number(command.RESPONDED_MESSAGE_ID) != message_id:
            raise ConnectionEnded("destination answered another message")
        return answer.command.number(command.STATUS, 0xC000)

    def _stream(self, context_id: int, head: bytes, dataset: Content) -> None:
        batch: list[bytes | memoryview] = [head]
        size = 0
        for header, piece in data_pdus(context_id, dataset, self._wire.send_limit):
            batch += (header, piece)
            size += len(piece)
            if size >= BATCH:
                self._pace(size)
                self._wire.send(*batch)
                batch, size = [], 0
        self._pace(size)
        self._wire.send(*batch)

    def _pace(self, octets: int) -> None:
        if self._bandwidth is None:
            return
        now = time.monotonic()
        self._due = max(self._due, now) + octets / self._bandwidth
        time.sleep(max(0.0, self._due - now))
