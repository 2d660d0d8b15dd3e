"""Listens for Storage Commitment reports on associations that archives open themselves (PS3.4 section J.3.3)."""

import socket
import ssl
import time
from collections.abc import Mapping
from datetime import timedelta

import structlog

from actors.callers import doubled
from actors.dimse import pdata
from actors.dimse.associate import Answer, AssociateAccept, AssociateRequest, Role
from actors.dimse.command import RESPONSE, Command, Verb, encode_response, parse_command
from actors.dimse.commitment import PUSH_MODEL, SUCCESS, ReportHandler, answer
from actors.dimse.conversation import IDENTIFIER_CAP
from actors.dimse.items import decode_request, encode_accept, encode_rejection
from actors.dimse.limits import COMMAND_CAP
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE, REJECTIONS, VERIFICATION, Refusal, refuse
from actors.dimse.violation import PeerGone, ProtocolViolation, Violation
from actors.dimse.wire import RELEASE_RP, Pdu, Wire, abort
from actors.listening import Listener, Turned, tcp_listening
from storage.errors import Retryable

ASSOCIATIONS = 16
"""At once; an archive sends its reports one after the other."""
OPENING = 30.0
"""Seconds for TLS and the association request: the ARTIM timer of PS3.8 section 9.1.5."""
IDLE = 60.0
"""Seconds between two reports of one association."""
STALL = 30.0
"""Seconds for one PDU to be whole."""
LEAVING = timedelta(seconds=2)

_ACCEPTED = 0
_ABSTRACT_SYNTAX_UNSUPPORTED = 3
_TRANSFER_SYNTAX_UNSUPPORTED = 4
_TAKEN = (EXPLICIT_LE, IMPLICIT_LE)

log = structlog.get_logger()


class ReportListener:
    """Listens from `start` to `stop`; the handler is called from the associations' threads."""

    def __init__(
        self, host: str, port: int, ae_title: str, handle: ReportHandler, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._address = (host, port)
        self._ae_title = ae_title
        self._handle = handle
        self._tls = tls
        self._listener = Listener(self._serve, name="report", most=ASSOCIATIONS, turned_away=self._tell)
        self._refused = 0

    @property
    def port(self) -> int:
        """The port it listens on. Raises `ValueError` before `start`."""
        return self._listener.port

    def start(self) -> None:
        """Archives can connect. Raises `OSError` when the address cannot be had."""
        # Every validator of the node listens: a report is the ledger's, whoever hears it.
        self._listener.start(tcp_listening(*self._address, backlog=ASSOCIATIONS, shared=True))

    def stop(self) -> None:
        """Nobody can connect any more, and every association is over."""
        self._listener.close()
        self._listener.join(2 * LEAVING)

    def _tell(self, reason: Turned) -> None:
        self._refused += 1
        if doubled(self._refused):
            log.warning("commitment_association_refused", reason=reason.value, count=self._refused)

    def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            Reporting(self._wire(connection), self._ae_title, self._handle).serve()
        except (PeerGone, ProtocolViolation, OSError) as error:
            log.warning("commitment_association_broken", error=type(error).__name__)
        except Retryable as error:
            # The report is not kept, and the archive was told nothing: it sends it again, or is asked again.
            log.warning("commitment_not_kept", code=error.code)

    def _wire(self, connection: socket.socket) -> Wire:
        if self._tls is not None:
            connection.settimeout(OPENING)
            connection = self._tls.wrap_socket(connection, server_side=True)
        return Wire(connection, self._listener.stopped)


class Reporting:
    """One association of an archive that reports."""

    def __init__(self, wire: Wire, ae_title: str, handle: ReportHandler) -> None:
        self._wire = wire
        self._ae_title = ae_title
        self._handle = handle
        self._contexts: Mapping[int, str] = {}

    def serve(self) -> None:
        """The association is over. Raises `PeerGone`, `ProtocolViolation` and what the handler raises."""
        last = abort(None)
        try:
            last = self._open() or self._converse()
        finally:
            self._wire.leave(last, LEAVING)

    def _open(self) -> bytes:
        kind, body = self._wire.read_pdu(time.monotonic() + OPENING, STALL)
        if kind is not Pdu.ASSOCIATE_RQ:
            raise ProtocolViolation(Violation.UNEXPECTED_PDU)
        asked = decode_request(body)
        refusal: Refusal | None = refuse(asked, self._ae_title, ())
        if refusal is not None:
            return encode_rejection(REJECTIONS[refusal])
        accept = accepting(asked)
        self._contexts = {each.context: each.transfer_syntax for each in accept.answers if each.result == _ACCEPTED}
        self._wire.send(encode_accept(accept), STALL)
        return b""

    def _converse(self) -> bytes:
        octets, command, cap = bytearray(), None, COMMAND_CAP
        while True:
            kind, body = self._wire.read_pdu(time.monotonic() + IDLE, STALL)
            if kind is Pdu.RELEASE_RQ:
                return RELEASE_RP
            if kind is Pdu.ABORT:
                raise PeerGone
            if kind is not Pdu.P_DATA:
                raise ProtocolViolation(Violation.UNEXPECTED_PDU)
            for context, control, data in pdata.fragments(body):
                if context not in self._contexts:
                    raise ProtocolViolation(Violation.CONTEXT)
                if bool(control & pdata.COMMAND) != (command is None):
                    raise ProtocolViolation(Violation.SEQUENCE)
                if len(octets) + len(data) > cap:
                    raise ProtocolViolation(Violation.DATASET_TOO_LONG)
                octets += data
                if not control & pdata.LAST:
                    continue
                if command is None:
                    command, cap = parse_command(octets), IDENTIFIER_CAP
                    if command.field & RESPONSE:
                        raise ProtocolViolation(Violation.UNEXPECTED_PDU)
                    octets = bytearray()
                    if command.has_dataset:
                        continue
                self._answer(context, command, bytes(octets))
                octets, command, cap = bytearray(), None, COMMAND_CAP

    def _answer(self, context: int, command: Command, dataset: bytes) -> None:
        if command.field == Verb.C_ECHO:
            status = SUCCESS
        else:
            status = answer(command, dataset, self._contexts[context], self._handle)
        response = encode_response(command, status)
        self._wire.send(pdata.encode_fragment(context, pdata.COMMAND | pdata.LAST, response), STALL)


def accepting(asked: AssociateRequest) -> AssociateAccept:
    """Reports and echoes are taken; the archive that reports is the SCP, whoever called (PS3.7 annex D.3.3.4)."""
    return AssociateAccept(
        called_ae=asked.called_ae,
        calling_ae=asked.calling_ae,
        answers=tuple(
            _answered(each.context, each.abstract_syntax, each.transfer_syntaxes) for each in asked.proposals
        ),
        roles=tuple(
            Role(sop_class=role.sop_class, scu=role.scu, scp=role.scp)
            for role in asked.roles
            if role.sop_class == PUSH_MODEL
        ),
    )


def _answered(context: int, service: str, syntaxes: tuple[str, ...]) -> Answer:
    if service not in (PUSH_MODEL, VERIFICATION):
        return Answer(context=context, result=_ABSTRACT_SYNTAX_UNSUPPORTED, transfer_syntax=IMPLICIT_LE)
    chosen = next((syntax for syntax in _TAKEN if syntax in syntaxes), None)
    if chosen is None:
        return Answer(context=context, result=_TRANSFER_SYNTAX_UNSUPPORTED, transfer_syntax=IMPLICIT_LE)
    return Answer(context=context, result=_ACCEPTED, transfer_syntax=chosen)
