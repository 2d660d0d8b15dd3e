"""The items of A-ASSOCIATE PDUs (PS3.8 section 9.3.2 and PS3.7 annex D.3), read and written.

Written here rather than taken from a library: items a receiver does not know shall be ignored (PS3.8 section 9.3.1),
and 128 contexts with 30 syntaxes each must not hold the interpreter for a tenth of a second while others receive.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct

from actors.dimse.limits import MAX_PDU
from actors.dimse.violation import ProtocolViolation, Violation
from actors.dimse.wire import HEADER, Pdu
from imaging.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

_ITEM = Struct(">BxH")
_FIXED = Struct(">H2x16s16s32x")
_CONTEXT = Struct(">BxBx")
_U16 = Struct(">H")
_U32 = Struct(">I")
_U16_PAIR = Struct(">HH")
_RJ = Struct(">xBBB")


class Item(IntEnum):
    """Item types."""

    APPLICATION_CONTEXT = 0x10
    CONTEXT_RQ = 0x20
    CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAX_LENGTH = 0x51
    IMPLEMENTATION_CLASS = 0x52
    ASYNCHRONOUS_OPERATIONS = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION = 0x55


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One proposed presentation context; UIDs are as sent, unchecked."""

    context: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """SCU and SCP role a requestor wants for one SOP class (PS3.7 annex D.3.3.4)."""

    sop_class: str
    scu: int
    scp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ."""

    called_ae: str
    calling_ae: str
    proposals: tuple[Proposal, ...]
    max_pdu: int = MAX_PDU
    """What the requestor takes; 0 is 'no limit'."""
    protocol_version: int = 1
    application_context: str = APPLICATION_CONTEXT
    asynchronous: bool = False
    """Whether an operations window was proposed."""
    roles: tuple[Role, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The acceptor's word on one presentation context (PS3.8 table 9-18)."""

    context: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateAccept:
    """An A-ASSOCIATE-AC."""

    called_ae: str
    calling_ae: str
    answers: tuple[Answer, ...]
    max_pdu: int = MAX_PDU
    asynchronous: bool = False
    roles: tuple[Role, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int
    source: int
    reason: int


@dataclass(slots=True)
class _UserInformation:
    max_pdu: int = 0
    asynchronous: bool = False
    roles: list[Role] = field(default_factory=list)


def _items(body: bytes) -> Iterator[tuple[int, bytes]]:
    position, size = 0, len(body)
    while position < size:
        if size - position < _ITEM.size:
            raise ProtocolViolation(Violation.ASSOCIATE)
        kind, length = _ITEM.unpack_from(body, position)
        position += _ITEM.size
        if position + length > size:
            raise ProtocolViolation(Violation.ASSOCIATE)
        yield kind, body[position : position + length]
        position += length


def _text(raw: bytes) -> str:
    return raw.decode("ascii", "replace").strip(" \0")


def _fixed(body: bytes) -> tuple[int, str, str]:
    if len(body) < _FIXED.size:
        raise ProtocolViolation(Violation.ASSOCIATE)
    version, called, calling = _FIXED.unpack_from(body)
    return version, _text(called), _text(calling)


def _context(body: bytes) -> tuple[int, int, bytes]:
    if len(body) < _CONTEXT.size:
        raise ProtocolViolation(Violation.ASSOCIATE)
    context, result = _CONTEXT.unpack_from(body)
    return context, result, body[_CONTEXT.size :]


def _user_information(body: bytes) -> _UserInformation:
    found = _UserInformation()
    for kind, value in _items(body):
        if kind == Item.MAX_LENGTH and len(value) == _U32.size:
            found.max_pdu = _U32.unpack(value)[0]
        elif kind == Item.ASYNCHRONOUS_OPERATIONS:
            found.asynchronous = True
        elif kind == Item.ROLE_SELECTION:
            found.roles.append(_role(value))
    return found


def _role(value: bytes) -> Role:
    if len(value) < _U16.size + 2:
        raise ProtocolViolation(Violation.ASSOCIATE)
    length = _U16.unpack_from(value)[0]
    if len(value) != _U16.size + length + 2:
        raise ProtocolViolation(Violation.ASSOCIATE)
    return Role(sop_class=_text(value[2 : 2 + length]), scu=value[-2], scp=value[-1])


def decode_request(view: memoryview) -> AssociateRequest:
    """The A-ASSOCIATE-RQ whose variable field is `view`; items and sub-items nobody knows are passed over.

    Raises
    ------
    ProtocolViolation
        ASSOCIATE: lengths that do not add up, context ids that are even or used twice.
    """
    body = bytes(view)
    version, called, calling = _fixed(body)
    proposals: dict[int, Proposal] = {}
    application, user = "", _UserInformation()
    for kind, value in _items(body[_FIXED.size :]):
        if kind == Item.APPLICATION_CONTEXT:
            application = _text(value)
        elif kind == Item.CONTEXT_RQ:
            proposal = _proposal(value)
            if proposal.context % 2 == 0 or proposal.context in proposals:
                raise ProtocolViolation(Violation.ASSOCIATE)
            proposals[proposal.context] = proposal
        elif kind == Item.USER_INFORMATION:
            user = _user_information(value)
    return AssociateRequest(
        called_ae=called,
        calling_ae=calling,
        proposals=tuple(proposals.values()),
        max_pdu=user.max_pdu,
        protocol_version=version,
        application_context=application,
        asynchronous=user.asynchronous,
        roles=tuple(user.roles),
    )


def _proposal(value: bytes) -> Proposal:
    context, _, rest = _context(value)
    abstract, transfer = "", list[str]()
    for kind, raw in _items(rest):
        if kind == Item.ABSTRACT_SYNTAX:
            abstract = _text(raw)
        elif kind == Item.TRANSFER_SYNTAX:
            transfer.append(_text(raw))
    return Proposal(context=context, abstract_syntax=abstract, transfer_syntaxes=tuple(transfer))


def decode_accept(view: memoryview) -> AssociateAccept:
    """The A-ASSOCIATE-AC whose variable field is `view`.

    Raises
    ------
    ProtocolViolation
        ASSOCIATE: lengths that do not add up.
    """
    body = bytes(view)
    _, called, calling = _fixed(body)
    answers: list[Answer] = []
    user = _UserInformation()
    for kind, value in _items(body[_FIXED.size :]):
        if kind == Item.CONTEXT_AC:
            context, result, rest = _context(value)
            # A refused context may carry no transfer syntax, or one without meaning (PS3.8 section 9.3.3.2).
            syntax = next((_text(raw) for sub, raw in _items(rest) if sub == Item.TRANSFER_SYNTAX), "")
            answers.append(Answer(context=context, result=result, transfer_syntax=syntax))
        elif kind == Item.USER_INFORMATION:
            user = _user_information(value)
    return AssociateAccept(
        called_ae=called,
        calling_ae=calling,
        answers=tuple(answers),
        max_pdu=user.max_pdu,
        asynchronous=user.asynchronous,
        roles=tuple(user.roles),
    )


def decode_rejection(view: memoryview) -> Rejection:
    """The A-ASSOCIATE-RJ whose variable field is `view`."""
    if len(view) != _RJ.size:
        raise ProtocolViolation(Violation.ASSOCIATE)
    result, source, reason = _RJ.unpack(view)
    return Rejection(result=result, source=source, reason=reason)


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _encode(
    pdu: Pdu, called: str, calling: str, contexts: Sequence[bytes], max_pdu: int, extra: bytes, context_item: int
) -> bytes:
    information = b"".join(
        (
            _item(Item.MAX_LENGTH, _U32.pack(max_pdu)),
            _item(Item.IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode()),
            extra,
            _item(Item.IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION_NAME.encode()),
        )
    )
    body = b"".join(
        (
            _FIXED.pack(1, called.encode("ascii", "replace").ljust(16), calling.encode("ascii", "replace").ljust(16)),
            _item(Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode()),
            *(_item(context_item, context) for context in contexts),
            _item(Item.USER_INFORMATION, information),
        )
    )
    return HEADER.pack(pdu, len(body)) + body


def _encode_roles(roles: Sequence[Role]) -> bytes:
    return b"".join(
        _item(
            Item.ROLE_SELECTION,
            _U16.pack(len(role.sop_class)) + role.sop_class.encode("ascii", "replace") + bytes((role.scu, role.scp)),
        )
        for role in roles
    )


def encode_request(request: AssociateRequest) -> bytes:
    """The A-ASSOCIATE-RQ PDU. An asynchronous operations window is never proposed: GE archives drop the connection."""
    contexts = [
        _CONTEXT.pack(proposal.context, 0)
        + _item(Item.ABSTRACT_SYNTAX, proposal.abstract_syntax.encode("ascii"))
        + b"".join(_item(Item.TRANSFER_SYNTAX, uid.encode("ascii")) for uid in proposal.transfer_syntaxes)
        for proposal in request.proposals
    ]
    extra = _encode_roles(request.roles)
    return _encode(
        Pdu.ASSOCIATE_RQ, request.called_ae, request.calling_ae, contexts, request.max_pdu, extra, Item.CONTEXT_RQ
    )


def encode_accept(accept: AssociateAccept) -> bytes:
    """The A-ASSOCIATE-AC PDU; an operations window is answered with one operation each way."""
    contexts = [
        _CONTEXT.pack(answer.context, answer.result)
        + _item(Item.TRANSFER_SYNTAX, answer.transfer_syntax.encode("ascii", "replace"))
        for answer in accept.answers
    ]
    window = _item(Item.ASYNCHRONOUS_OPERATIONS, _U16_PAIR.pack(1, 1)) if accept.asynchronous else b""
    extra = window + _encode_roles(accept.roles)
    return _encode(
        Pdu.ASSOCIATE_AC, accept.called_ae, accept.calling_ae, contexts, accept.max_pdu, extra, Item.CONTEXT_AC
    )


def encode_rejection(rejection: Rejection) -> bytes:
    """The A-ASSOCIATE-RJ PDU."""
    return HEADER.pack(Pdu.ASSOCIATE_RJ, 4) + _RJ.pack(rejection.result, rejection.source, rejection.reason)


def accepted(answers: Sequence[Answer]) -> Mapping[int, str]:
    """Transfer syntax by context id, of the contexts that were accepted."""
    return {answer.context: answer.transfer_syntax for answer in answers if answer.result == 0}
