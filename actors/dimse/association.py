"""One association as acceptor, from the request to the last byte.

opening --A-ASSOCIATE-RQ--> open --fragments--> Inbound --response--> open
              |               |
           rejected       release, or violation, silence, stop: A-ABORT
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from actors.dimse import pdata
from actors.dimse.associate import AssociateRequest, accepted
from actors.dimse.inbound import Inbound, Storage
from actors.dimse.incoming import Peer
from actors.dimse.items import decode_request, encode_accept, encode_rejection
from actors.dimse.limits import Limits
from actors.dimse.negotiation import REJECTIONS, Refusal, accept
from actors.dimse.violation import PeerGone, ProtocolViolation, Violation
from actors.dimse.wire import RELEASE_RP, Pdu, Wire, abort


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What an association needs from the receiver that accepted it."""

    storage: Storage
    limits: Limits
    admit: Callable[[AssociateRequest], Refusal | None]
    """Decides on an association; None took a slot."""
    stopped: Callable[[], bool]


class Association:
    """Runs in a thread of its own. `serve` closes the wire whatever happens."""

    def __init__(self, wire: Wire, address: str, service: Service) -> None:
        self._wire = wire
        self._address = address
        self._service = service
        self._idle = service.limits.idle.total_seconds()
        self._stall = service.limits.stall.total_seconds()
        self._inbound: Inbound | None = None
        self.admitted = False
        """It took one of the receiver's places."""

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
            last = self._serve()
        except ProtocolViolation as violation:
            last = abort(violation.reason)
            raise
        except PeerGone:
            last = abort(None) if self._service.stopped() else b""
            raise
        finally:
            if self._inbound is not None:
                self._inbound.release()
            self._wire.leave(last, self._service.limits.leaving)

    def _serve(self) -> bytes:
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
        peer = Peer(calling_ae=request.calling_ae, called_ae=request.called_ae, address=self._address)
        self._inbound = Inbound(accepted(answer.answers), peer, self._service.storage)
        self._wire.send(encode_accept(answer), self._stall)
        return self._converse(self._inbound)

    def _converse(self, inbound: Inbound) -> bytes:
        deadline = time.monotonic() + self._idle
        while True:
            if self._service.stopped() and inbound.between_messages:
                raise PeerGone
            kind, body = self._wire.read_pdu(deadline, self._stall)
            if kind is Pdu.P_DATA:
                for context, control, data in pdata.fragments(body):
                    answer = inbound.take(context, control, data)
                    if answer:
                        self._wire.send(answer, self._stall)
                if inbound.between_messages:
                    deadline = time.monotonic() + self._idle
                elif inbound.progressed():
                    deadline = time.monotonic() + self._stall
            elif kind is Pdu.RELEASE_RQ:
                if not inbound.between_messages:
                    raise ProtocolViolation(Violation.SEQUENCE)
                return RELEASE_RP
            elif kind is Pdu.ABORT:
                raise PeerGone
            else:
                raise ProtocolViolation(Violation.UNEXPECTED_PDU)
