"""One association as acceptor: C-STORE and C-ECHO, from the request to the last byte.

opening --A-ASSOCIATE-RQ--> idle --command--> [dataset] --last fragment--> handler, response --> idle
              |                |                   |
           rejected         release        violation, silence, stop: A-ABORT
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from actors.dimse import pdata
from actors.dimse.associate import AssociateRequest, accepted
from actors.dimse.command import RESPONSE, Command, Tag, Verb, encode_response, parse_command
from actors.dimse.incoming import TEXT_CAP, Incoming, InstanceHandler, Peer
from actors.dimse.items import decode_request, encode_accept, encode_rejection
from actors.dimse.landing import LandingFactory, Reception
from actors.dimse.limits import COMMAND_CAP, PROGRESS, Limits
from actors.dimse.negotiation import REJECTIONS, Refusal, accept
from actors.dimse.violation import PeerGone, ProtocolViolation, Violation
from actors.dimse.wire import RELEASE_RP, Pdu, Wire, abort
from imaging.part10 import encode_meta
from imaging.uid import InvalidUid, Uid, parse_uid

SUCCESS = 0x0000
UNRECOGNIZED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What an association needs from the receiver that accepted it."""

    landing: LandingFactory
    handler: InstanceHandler
    limits: Limits
    admit: Callable[[AssociateRequest], Refusal | None]
    """Decides on an association; None took a slot."""
    stored: Callable[[int, int], None]
    """Told after each instance: dataset bytes and status."""
    stopped: Callable[[], bool]


class Association:
    """Runs in a thread of its own. `serve` closes the wire whatever happens."""

    def __init__(self, wire: Wire, address: str, service: Service) -> None:
        self._wire = wire
        self._address = address
        self._service = service
        self._idle = service.limits.idle.total_seconds()
        self._stall = service.limits.stall.total_seconds()
        self._peer = Peer(calling_ae="", called_ae="", address=address)
        self._contexts: Mapping[int, str] = {}
        self.admitted = False
        """It took one of the receiver's places."""
        self._reset()

    def serve(self) -> None:
        """The association is over and the wire closed.

        Raises
        ------
        ProtocolViolation
            It was aborted by us; the reason is in the exception.
        PeerGone
            It ended without a release: closed or aborted by the peer, or a stop was asked for.
        """
        last = abort(None)
        try:
            last = self._open() or self._converse()
        except ProtocolViolation as violation:
            last = abort(violation.reason)
            raise
        except PeerGone:
            last = abort(None) if self._service.stopped() else b""
            raise
        finally:
            if self._reception is not None:
                self._reception.release()
            self._wire.leave(last, self._service.limits.leaving)

    def _open(self) -> bytes:
        deadline = time.monotonic() + self._service.limits.opening.total_seconds()
        kind, body = self._wire.read_pdu(deadline, self._stall)
        if kind is not Pdu.ASSOCIATE_RQ:
            raise ProtocolViolation(Violation.UNEXPECTED_PDU)
        request = decode_request(body)
        refusal = self._service.admit(request)
        if refusal is not None:
            return encode_rejection(REJECTIONS[refusal])
        self.admitted = True
        answer = accept(request)
        self._contexts = accepted(answer.answers)
        self._peer = Peer(calling_ae=request.calling_ae, called_ae=request.called_ae, address=self._address)
        self._wire.send(encode_accept(answer), self._stall)
        return b""

    def _converse(self) -> bytes:
        deadline = time.monotonic() + self._idle
        while True:
            if self._service.stopped() and self._between_messages:
                raise PeerGone
            kind, body = self._wire.read_pdu(deadline, self._stall)
            if kind is Pdu.P_DATA:
                for context, control, data in pdata.fragments(body):
                    if control & pdata.COMMAND:
                        self._take_command(context, control, data)
                    else:
                        self._take_dataset(context, control, data)
                if self._between_messages:
                    deadline = time.monotonic() + self._idle
                elif self._progressed:
                    self._progressed = False
                    deadline = time.monotonic() + self._stall
            elif kind is Pdu.RELEASE_RQ:
                if not self._between_messages:
                    raise ProtocolViolation(Violation.SEQUENCE)
                return RELEASE_RP
            elif kind is Pdu.ABORT:
                raise PeerGone
            else:
                raise ProtocolViolation(Violation.UNEXPECTED_PDU)

    def _reset(self) -> None:
        self._context = 0
        """Of the message in progress; 0 between messages (PS3.8: ids are odd)."""
        self._command_octets = bytearray()
        self._command: Command | None = None
        self._reception: Reception | None = None
        self._discarded = 0
        self._marked = 0
        self._progressed = False

    @property
    def _between_messages(self) -> bool:
        return not self._context

    def _take_command(self, context: int, control: int, data: memoryview) -> None:
        if self._context:
            if context != self._context:
                raise ProtocolViolation(Violation.CONTEXT)
            if self._command is not None:
                raise ProtocolViolation(Violation.SEQUENCE)
        elif context not in self._contexts:
            raise ProtocolViolation(Violation.CONTEXT)
        else:
            self._context = context
            self._progressed = True
        if len(self._command_octets) + len(data) > COMMAND_CAP:
            raise ProtocolViolation(Violation.COMMAND_TOO_LONG)
        if not control & pdata.LAST:
            self._command_octets += data
            return
        command = parse_command(self._command_octets + data if self._command_octets else data)
        if command.field & RESPONSE:
            raise ProtocolViolation(Violation.MESSAGE_ID)
        if command.field == Verb.C_CANCEL:
            self._reset()  # by now there is nothing left to cancel: every operation was answered
            return
        if command.number(Tag.MESSAGE_ID) is None:
            raise ProtocolViolation(Violation.COMMAND)
        self._command = command
        if command.field == Verb.C_STORE:
            if command.has_dataset:
                self._reception = self._begin(command)
            else:
                self._stored(command, 0, CANNOT_UNDERSTAND)
        elif not command.has_dataset:
            self._answer(command, SUCCESS if command.field == Verb.C_ECHO else UNRECOGNIZED_OPERATION)

    def _begin(self, command: Command) -> Reception:
        # Names that are none do not keep the dataset out: refused data must be there to be looked at.
        meta = encode_meta(
            _uid(command, Tag.AFFECTED_SOP_CLASS),
            _uid(command, Tag.AFFECTED_SOP_INSTANCE),
            self._contexts[self._context],
        )
        self._dataset_offset = len(meta)
        return Reception(self._service.landing, meta)

    def _take_dataset(self, context: int, control: int, data: memoryview) -> None:
        command = self._command
        if command is None:
            raise ProtocolViolation(Violation.SEQUENCE)
        if context != self._context:
            raise ProtocolViolation(Violation.CONTEXT)
        reception = self._reception
        size = len(data) + (reception.size if reception is not None else self._discarded)
        if size > self._service.limits.dataset:
            raise ProtocolViolation(Violation.DATASET_TOO_LONG)
        if not control & pdata.LAST:
            if size - self._marked >= PROGRESS:
                self._marked = size
                self._progressed = True
            if reception is not None:
                reception.write(data)
            else:
                self._discarded = size
            return
        if reception is None:
            self._answer(command, UNRECOGNIZED_OPERATION)
        else:
            try:
                reception.finish(data)
                self._stored(command, size, self._handle(command, reception))
            finally:
                reception.release()

    def _handle(self, command: Command, reception: Reception) -> int:
        if reception.failed:
            return OUT_OF_RESOURCES
        transfer_syntax = self._contexts[self._context]
        return self._service.handler(
            Incoming(
                peer=self._peer,
                sop_class=command.text(Tag.AFFECTED_SOP_CLASS)[:TEXT_CAP],
                sop_uid=command.text(Tag.AFFECTED_SOP_INSTANCE)[:TEXT_CAP],
                transfer_syntax=transfer_syntax,
                move_originator_ae=command.text(Tag.MOVE_ORIGINATOR)[:TEXT_CAP] or None,
                move_originator_id=command.number(Tag.MOVE_ORIGINATOR_ID),
                part10=reception.octets(),
                dataset_offset=self._dataset_offset,
                raw1=reception.raw1(transfer_syntax),
            )
        )

    def _stored(self, command: Command, size: int, status: int) -> None:
        self._service.stored(size, status)
        self._answer(command, status)

    def _answer(self, command: Command, status: int) -> None:
        response = encode_response(command, status)
        context = self._context
        self._reset()
        self._wire.send(pdata.encode_fragment(context, pdata.COMMAND | pdata.LAST, response), self._stall)


def _uid(command: Command, tag: Tag) -> Uid | None:
    try:
        return parse_uid(command.text(tag))
    except InvalidUid:
        return None
