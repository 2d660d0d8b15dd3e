"""One association a peer opened: negotiation, then one request after another until it is released."""

import socket

from infra.simulator import command, negotiation
from infra.simulator.find import serve_find
from infra.simulator.get import Get
from infra.simulator.move import Move
from infra.simulator.negotiation import IMPLICIT, Proposal
from infra.simulator.service import Service
from infra.simulator.wire import (
    ASSOCIATE_RQ,
    RELEASE_RESPONSE,
    ConnectionEnded,
    Message,
    Released,
    Wire,
    command_pdu,
)

IDLE_TIMEOUT = 3600.0
"""Seconds a peer may be silent: tests end long before, and a mover may hold its association through a long study."""
EXPLICIT = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
FIND_MODELS = ("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.1.1")
MOVE_MODELS = ("1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.1.2")
GET_MODELS = ("1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.1.3")
"""Study Root first; Patient Root is served by the same rules, for peers that know no other."""
ABSTRACT_SYNTAXES = frozenset((VERIFICATION, *FIND_MODELS, *MOVE_MODELS, *GET_MODELS))
UNRECOGNISED_OPERATION = 0x0211


class Conversation:
    """The acceptor's side of one association; `run` on a thread of its own, `close` from any."""

    def __init__(self, service: Service, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._service = service
        self._wire = Wire(sock, timeout=IDLE_TIMEOUT)
        self._contexts: dict[int, tuple[str, str]] = {}
        self._caller = ""
        self._sent_to_it: frozenset[str] = frozenset()

    def run(self) -> None:
        """The association is over and its socket closed."""
        running = self._service.stats.enter("associations")
        try:
            if self._negotiated(running):
                while True:
                    self._serve(self._wire.read_message())
        except Released:
            self._say_goodbye()
        except ConnectionEnded:
            self._service.stats.add("connections_lost")
        finally:
            self._wire.abort()
            self._service.stats.leave("associations")

    def close(self) -> None:
        self._wire.close()

    def _say_goodbye(self) -> None:
        try:
            self._wire.send(RELEASE_RESPONSE)
        except ConnectionEnded:
            return
        self._wire.close()

    def _negotiated(self, running: int) -> bool:
        kind, pdu = self._wire.read_pdu()
        if kind != ASSOCIATE_RQ:
            raise ConnectionEnded("PDU before an association")
        try:
            proposal = negotiation.read_request(pdu)
        except Exception as problem:  # pynetdicom raises many kinds for hostile bytes, and names none of them
            raise ConnectionEnded("no A-ASSOCIATE-RQ") from problem
        refusal = self._refusal(proposal, running)
        if refusal is not None:
            self._service.stats.add("rejected")
            self._wire.send(negotiation.rejection(refusal))
            self._wire.close()
            return False
        self._caller = proposal.calling_ae
        self._wire.send_limit = proposal.max_pdu
        self._sent_to_it = proposal.sent_to_it
        answers = {number: self._answer_to(abstract, syntaxes) for number, abstract, syntaxes in proposal.contexts}
        abstracts = {number: abstract for number, abstract, _ in proposal.contexts}
        self._contexts = {
            number: (abstracts[number], syntax)
            for number, (result, syntax) in answers.items()
            if result == negotiation.ACCEPTED
        }
        self._wire.send(negotiation.acceptance(proposal, answers))
        return True

    def _refusal(self, proposal: Proposal, running: int) -> tuple[int, int, int] | None:
        faults = self._service.faults
        if faults.association_limit is not None and running > faults.association_limit:
            return negotiation.LOCAL_LIMIT
        if faults.known_callers is not None and proposal.calling_ae not in faults.known_callers:
            return negotiation.CALLING_AE_UNKNOWN
        if faults.check_called_ae and proposal.called_ae != self._service.ae_title:
            return negotiation.CALLED_AE_UNKNOWN
        return None

    def _serve(self, message: Message) -> None:
        if message.context_id not in self._contexts:
            raise ConnectionEnded("message in a context that was not accepted")
        abstract, syntax = self._contexts[message.context_id]
        match message.command.field:
            case command.C_ECHO_RQ:
                self._service.stats.add("echoes")
                self._answer(message, 0x0000)
            case command.C_FIND_RQ if abstract in FIND_MODELS:
                serve_find(self._service, self._wire, message, syntax)
            case command.C_MOVE_RQ if abstract in MOVE_MODELS:
                Move(self._service, self._wire, message, syntax, self._caller).run()
            case command.C_GET_RQ if abstract in GET_MODELS:
                taken = {pair: number for number, pair in self._contexts.items() if pair[0] in self._sent_to_it}
                Get(self._service, self._wire, message, syntax, self._caller, taken).run()
            case command.C_CANCEL_RQ:
                # It crossed our final answer on the wire.
                self._service.stats.add("late_cancels")
            case _:
                self._answer(message, UNRECOGNISED_OPERATION)

    def _answer_to(self, abstract: str, syntaxes: tuple[str, ...]) -> tuple[int, str]:
        if abstract in self._sent_to_it and syntaxes:
            # What it has is sent as it is, so of several syntaxes one is as good as another.
            return negotiation.ACCEPTED, syntaxes[0]
        if abstract in GET_MODELS and self._service.faults.get_refused:
            return negotiation.ABSTRACT_SYNTAX_REFUSED, IMPLICIT
        return _answer(abstract, syntaxes)

    def _answer(self, message: Message, status: int) -> None:
        octets = command.encode(command.response(message.command, status))
        self._wire.send(command_pdu(message.context_id, octets))


def _answer(abstract: str, syntaxes: tuple[str, ...]) -> tuple[int, str]:
    if abstract not in ABSTRACT_SYNTAXES:
        return negotiation.ABSTRACT_SYNTAX_REFUSED, IMPLICIT
    for known in (EXPLICIT, IMPLICIT):
        if known in syntaxes:
            return negotiation.ACCEPTED, known
    return negotiation.TRANSFER_SYNTAXES_REFUSED, IMPLICIT
