"""C-FIND: rows as pending answers, a final status, and the ways real archives end early (PS3.4 section C.4.1)."""

from infra.simulator import attributes as at
from infra.simulator import command
from infra.simulator.content import HeldContent
from infra.simulator.faults import CapEnd, Faults
from infra.simulator.negotiation import IMPLICIT
from infra.simulator.query import Level, Mismatch, Query, answers
from infra.simulator.service import Service
from infra.simulator.wire import ConnectionEnded, Message, Released, Wire, command_pdu, data_pdus, joined

SUCCESS, PENDING, CANCELLED, OUT_OF_RESOURCES, MISMATCH, UNABLE = 0x0000, 0xFF00, 0xFE00, 0xA700, 0xA900, 0xC000
_CAP_STATUS = {CapEnd.SUCCESS: SUCCESS, CapEnd.REFUSED: OUT_OF_RESOURCES, CapEnd.CANCELLED: CANCELLED}
TOGETHER = 1 << 16
"""Bytes of answers collected before they are sent, when nothing asks for one at a time."""
JUNK = b"\x08\x00\x40\x11\xff\xff\xff\xffno sequence!"
"""A sequence of undefined length with no item in it: no decoder gets past its first element in either VR encoding."""


def serve_find(service: Service, wire: Wire, request: Message, transfer_syntax: str) -> None:
    """The query is answered to its final status. Raises `ConnectionEnded` when the association is lost over it."""
    faults = service.faults
    service.stats.add("finds")
    wire.send(*_ended(request, _answer_rows(service, faults, wire, request, transfer_syntax == IMPLICIT)))


def _ended(request: Message, status: int) -> list[bytes]:
    return [command_pdu(request.context_id, command.encode(command.response(request.command, status)))]


def _answer_rows(service: Service, faults: Faults, wire: Wire, request: Message, implicit: bool) -> int:
    if faults.find_fail_status is not None:
        return faults.find_fail_status
    try:
        query = Query.of(at.identifier_keys(request.dataset, implicit=implicit))
        if query.level is Level.IMAGE and faults.image_find_refused:
            return UNABLE
        rows = answers(service.archive, query, faults, service.ae_title)
        pending = command_pdu(
            request.context_id,
            command.encode(command.response(request.command, PENDING, command.WITH_DATASET)),
        )
        waiting = bytearray()
        count = 0
        for row in rows:
            if count == faults.find_cap:
                wire.send(waiting)
                return _CAP_STATUS[faults.find_cap_end]
            if count == faults.find_abort_after and _aborts_left(service, faults):
                wire.send(waiting)
                wire.abort()
                service.stats.add("aborts")
                raise ConnectionEnded("aborted the query as told")
            count += 1
            identifier = at.encode_identifier(row, implicit=implicit)
            if faults.undecodable_every and count % faults.undecodable_every == 0:
                identifier = JUNK
            waiting += pending
            waiting += joined(data_pdus(request.context_id, HeldContent(identifier), wire.send_limit))
            service.stats.add("find_answers")
            if len(waiting) < TOGETHER and not faults.find_latency:
                continue
            wire.send(waiting)
            waiting = bytearray()
            service.closing.wait(faults.find_latency)
            if _cancelled(service, faults, wire):
                return CANCELLED
        wire.send(waiting)
    except Mismatch:
        return MISMATCH
    return SUCCESS


def _aborts_left(service: Service, faults: Faults) -> bool:
    return faults.find_aborts is None or service.count("aborted find") <= faults.find_aborts


def _cancelled(service: Service, faults: Faults, wire: Wire) -> bool:
    if service.closing.is_set():
        raise ConnectionEnded("the simulator stops")
    if not wire.message_waits():
        return False
    try:
        message = wire.read_message()
    except Released as problem:
        raise ConnectionEnded("requester released during its query") from problem
    return message.command.field == command.C_CANCEL_RQ and not faults.cancel_ignored
