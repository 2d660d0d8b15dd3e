"""One association as requestor, one operation at a time: open, ask, hear, release.

A peer that was given the SCU role for storage classes (PS3.7 annex D.3.3.4) may send instances while it is asked.

Answers are matched by message id, so a late one can never be taken for the next question's: after any anomaly the
association is aborted and a new one opened, which costs milliseconds.
"""

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from actors.dimse import pdata
from actors.dimse.associate import AssociateRequest, Proposal, Role, accepted
from actors.dimse.command import (
    HAS_DATASET,
    NO_DATASET,
    RESPONSE,
    Command,
    Tag,
    Verb,
    encode_command,
    encode_response,
    parse_command,
)
from actors.dimse.connecting import OPENING, Endpoint, connect, tls_refused
from actors.dimse.inbound import Inbound, Storage
from actors.dimse.incoming import Peer
from actors.dimse.items import decode_accept, decode_rejection, encode_request
from actors.dimse.limits import COMMAND_CAP, MAX_PDU
from actors.dimse.violation import PeerGone, ProtocolViolation, Violation
from actors.dimse.wire import RELEASE_RP, RELEASE_RQ, Pdu, Wire, abort, never
from actors.source import SourceUnreachable

LEAVING = timedelta(seconds=2)
"""For the answer to A-RELEASE-RQ and for reading our A-ABORT."""
IDENTIFIER_CAP = 8 << 20
"""Bytes of one answer's dataset: 65,535 failed UIDs of 64 characters, the most a C-MOVE can name, are 4 MiB."""
LEAST_PDU = 4 << 10
"""Smallest maximum a peer may set that we follow; smaller ones would make every PDU mostly header."""

_REJECTED_FOR_GOOD = 1
_MANY_ANSWERS = (Verb.C_FIND, Verb.C_MOVE, Verb.C_GET)
"""Where "pending" is an answer: anywhere else it would only keep us waiting."""
_REASONS = {
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""By source and reason (PS3.8 table 9-21)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """An accepted presentation context."""

    id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response: its command set, and the dataset as received."""

    command: Command
    status: int
    dataset: bytes


class Conversation:
    """An open association. Not thread-safe."""

    def __init__(
        self,
        endpoint: Endpoint,
        offers: Sequence[tuple[str, Sequence[str]]],
        *,
        sent_to_us: Sequence[str] = (),
        storage: Storage | None = None,
    ) -> None:
        """The association is open. `offers`: abstract syntax and transfer syntaxes, one context each, at most 128.
        `sent_to_us`: which of the abstract syntaxes the peer may send instances of, which `storage` then takes.

        Raises
        ------
        SourceUnreachable
            No connection, no answer, a rejection, or none of the contexts accepted.
        """
        self._stop: Callable[[], bool] = never
        self._message_id = 0
        self._inbound: Inbound | None = None
        self._wire = Wire(connect(endpoint), lambda: self._stop())
        try:
            self._contexts = self._negotiate(endpoint, offers, sent_to_us)
        except (PeerGone, ProtocolViolation) as error:
            self.abort()
            place = f"{endpoint.host}:{endpoint.port}"
            if isinstance(error.__cause__, ssl.SSLError):
                raise tls_refused(place, error.__cause__) from error
            raise SourceUnreachable(f"{place} gave no answer to the association") from error
        except SourceUnreachable:
            self.abort()
            raise
        self.touched = time.monotonic()
        """When the last operation ended, in monotonic seconds."""
        if storage is not None:
            peer = Peer(calling_ae=endpoint.called_ae, called_ae=endpoint.calling_ae, address=endpoint.host)
            theirs = {c.id: c.transfer_syntax for c in self._contexts.values() if c.abstract_syntax in sent_to_us}
            self._inbound = Inbound(theirs, peer, storage)

    def _negotiate(
        self, endpoint: Endpoint, offers: Sequence[tuple[str, Sequence[str]]], sent_to_us: Sequence[str]
    ) -> Mapping[int, Context]:
        proposals = tuple(
            Proposal(context=2 * n + 1, abstract_syntax=abstract, transfer_syntaxes=tuple(syntaxes))
            for n, (abstract, syntaxes) in enumerate(offers)
        )
        request = AssociateRequest(
            called_ae=endpoint.called_ae,
            calling_ae=endpoint.calling_ae,
            proposals=proposals,
            max_pdu=MAX_PDU,
            roles=tuple(Role(sop_class=each, scu=0, scp=1) for each in sent_to_us),
        )
        patience = OPENING.total_seconds()
        self._wire.send(encode_request(request), patience)
        kind, body = self._wire.read_pdu(time.monotonic() + patience, patience)
        place = f"{endpoint.called_ae} at {endpoint.host}:{endpoint.port}"
        if kind is Pdu.ASSOCIATE_RJ:
            no = decode_rejection(body)
            permanent = no.result == _REJECTED_FOR_GOOD
            why = _REASONS.get((no.source, no.reason), f"source {no.source}, reason {no.reason}")
            raise SourceUnreachable(
                f"{place} rejected the association {'for good' if permanent else 'for now'}: {why}",
                refused=True,
                permanent=permanent,
            )
        if kind is not Pdu.ASSOCIATE_AC:
            raise ProtocolViolation(Violation.UNEXPECTED_PDU)
        answer = decode_accept(body)
        most = answer.max_pdu or MAX_PDU
        self._peer_max_pdu = min(MAX_PDU, max(LEAST_PDU, most))
        asked = {proposal.context: proposal.abstract_syntax for proposal in proposals}
        contexts = {
            id: Context(id=id, abstract_syntax=asked[id], transfer_syntax=syntax)
            for id, syntax in accepted(answer.answers).items()
            if id in asked
        }
        if not contexts:
            raise SourceUnreachable(f"{place} accepted none of the services asked for", refused=True, permanent=True)
        return contexts

    @property
    def usable(self) -> bool:
        """Nothing came since the last operation: bytes here mean the peer closed, aborted, or lost count."""
        return self._wire.silent

    @property
    def more_read(self) -> bool:
        """Bytes behind the last response were read with it."""
        return self._wire.ahead

    def context(self, abstract_syntax: str, transfer_syntax: str | None = None) -> Context | None:
        """The accepted context of a service, None where there is none."""
        for context in self._contexts.values():
            if context.abstract_syntax == abstract_syntax and transfer_syntax in (None, context.transfer_syntax):
                return context
        return None

    def ask(
        self,
        context: Context,
        verb: Verb,
        values: Mapping[int, int | bytes],
        dataset: Iterable[bytes | memoryview] | None,
        patience: timedelta,
        stop: Callable[[], bool] = never,
    ) -> Iterator[Response]:
        """Sends a request and yields its responses, the last one included; the caller takes them all.

        `patience` bounds the wait for each response. A caller that leaves the iterator early, or that gets one of the
        errors below, must `abort`.

        Raises
        ------
        PeerGone
            The connection ended, or `stop` said so.
        ProtocolViolation
            SILENT after `patience`, MESSAGE_ID for an answer to another question, and the rest.
        """
        self._stop = stop
        self._message_id = self._message_id % 0xFFFF + 1
        seconds = patience.total_seconds()
        named = Tag.REQUESTED_SOP_CLASS if verb is Verb.N_ACTION else Tag.AFFECTED_SOP_CLASS
        every = {**values, Tag.MESSAGE_ID: self._message_id, named: context.abstract_syntax.encode()}
        command = encode_command(verb, every, dataset_type=NO_DATASET if dataset is None else HAS_DATASET)
        for pdu in pdata.encode_message(context.id, command, dataset, self._peer_max_pdu):
            self._wire.send(pdu, seconds)
        while True:
            if stop():
                raise PeerGone
            response = _response(*self._hear(context, seconds))
            if response.command.field != verb | RESPONSE:
                raise ProtocolViolation(Violation.UNEXPECTED_PDU)
            if response.command.number(Tag.RESPONDED_TO) != self._message_id:
                raise ProtocolViolation(Violation.MESSAGE_ID)
            if response.status & 0xFF00 == 0xFF00:
                if verb not in _MANY_ANSWERS:
                    raise ProtocolViolation(Violation.SEQUENCE)
                yield response
                continue
            self._stop = never
            self.touched = time.monotonic()
            yield response
            return

    def listen(self, context: Context, patience: timedelta, handle: Callable[[Command, bytes], int]) -> bool:
        """A request of the peer's came within `patience` and has the status of `handle` for an answer; False: none.

        After False the association is only good for a release. Raises as `ask`.
        """
        seconds = patience.total_seconds()
        try:
            command, dataset = self._hear(context, seconds)
        except ProtocolViolation as violation:
            if violation.reason is Violation.SILENT:
                return False
            raise
        if command.field & RESPONSE:
            raise ProtocolViolation(Violation.UNEXPECTED_PDU)
        answer = encode_response(command, handle(command, dataset))
        for pdu in pdata.encode_message(context.id, answer, None, self._peer_max_pdu):
            self._wire.send(pdu, seconds)
        return True

    def _hear(self, context: Context, seconds: float) -> tuple[Command, bytes]:
        octets, command = bytearray(), None
        cap = COMMAND_CAP
        deadline = time.monotonic() + seconds
        while True:
            kind, body = self._wire.read_pdu(deadline, seconds)
            if kind is Pdu.ABORT:
                raise PeerGone
            if kind is Pdu.RELEASE_RQ:
                self._wire.send(RELEASE_RP, LEAVING.total_seconds())
                raise PeerGone
            if kind is not Pdu.P_DATA:
                raise ProtocolViolation(Violation.UNEXPECTED_PDU)
            for id, control, data in pdata.fragments(body):
                if id != context.id:
                    if octets or command is not None:
                        raise ProtocolViolation(Violation.CONTEXT)
                    deadline = self._let_in(id, control, data, deadline, seconds)
                    continue
                if self._inbound is not None and not self._inbound.between_messages:
                    raise ProtocolViolation(Violation.SEQUENCE)
                if bool(control & pdata.COMMAND) != (command is None):
                    raise ProtocolViolation(Violation.SEQUENCE)
                if len(octets) + len(data) > cap:
                    raise ProtocolViolation(Violation.DATASET_TOO_LONG)
                octets += data
                if not control & pdata.LAST:
                    continue
                if command is not None:
                    return command, bytes(octets)
                command = parse_command(octets)
                if not command.has_dataset:
                    return command, b""
                octets, cap = bytearray(), IDENTIFIER_CAP

    def _let_in(self, id: int, control: int, data: memoryview, deadline: float, seconds: float) -> float:
        """A fragment of an instance that the peer sends was taken; by when the next PDU has to come."""
        if self._inbound is None:
            raise ProtocolViolation(Violation.CONTEXT)
        answer = self._inbound.take(id, control, data)
        if answer:
            self._wire.send(answer, seconds)
            if self._stop():
                raise PeerGone
        return time.monotonic() + seconds if answer or self._inbound.progressed() else deadline

    def release(self) -> None:
        """The association is released, or aborted if the peer does not answer."""
        try:
            seconds = LEAVING.total_seconds()
            self._wire.send(RELEASE_RQ, seconds)
            kind, _ = self._wire.read_pdu(time.monotonic() + seconds, seconds)
        except (PeerGone, ProtocolViolation):
            self.abort()
            return
        if kind is Pdu.RELEASE_RP:
            self._wire.close()
        else:
            self.abort()

    def abort(self) -> None:
        """The association is aborted and closed."""
        if self._inbound is not None:
            self._inbound.release()
        self._wire.leave(abort(None), LEAVING)


def _response(command: Command, dataset: bytes) -> Response:
    status = command.number(Tag.STATUS)
    if status is None:
        raise ProtocolViolation(Violation.COMMAND)
    return Response(command=command, status=status, dataset=dataset)
