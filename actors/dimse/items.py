"""The items of A-ASSOCIATE PDUs (PS3.8 section 9.3.2 and PS3.7 annex D.3), coded by pynetdicom's PDU classes.

Those classes stand behind a trust border. They fail on item types they do not know, which shall be ignored (PS3.8
section 9.3.1); they raise, and log the value, for what archives send and nobody here asks about, such as version names
of more than 16 characters; and 128 contexts with 30 syntaxes each keep them busy for 50 ms while others receive. So a
walk over the lengths comes first. It passes on the items that are used, with values that are taken without a word, and
each distinct syntax name is decoded once per process: those 128 contexts then take 5 ms, a single one 50 microseconds.
"""

import struct
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import TypeVar

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, PDU
from pynetdicom.pdu_items import (
    AbstractSyntaxSubItem,
    ApplicationContextItem,
    AsynchronousOperationsWindowSubItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PDUItem,
    PresentationContextItemAC,
    PresentationContextItemRQ,
    SCP_SCU_RoleSelectionSubItem,
    TransferSyntaxSubItem,
    UserInformationItem,
)

from actors.dimse.associate import Answer, AssociateAccept, AssociateRequest, Proposal, Rejection, Role
from actors.dimse.violation import ProtocolViolation, Violation
from actors.dimse.wire import HEADER, Pdu
from imaging.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from imaging.uid import MAX_LENGTH, InvalidUid, parse_uid

NAMES = 1024
"""Syntax names whose decoded items are kept: several archives' storage classes and every transfer syntax there is."""

_ITEM = Struct(">BxH")
_FIXED = Struct(">H2x16s16s32x")
_CONTEXT_SIZE = 4
_U16 = Struct(">H")
_RJ_SIZE = 4
_PADDING = 2
_TITLE = bytes(n if 0x20 <= n < 0x7F and n != 0x5C else 0x3F for n in range(256))
"""Makes a question mark of every byte that no AE title may hold (PS3.5 section 6.2)."""

_Syntax = TypeVar("_Syntax", bound=AbstractSyntaxSubItem | TransferSyntaxSubItem)


class Item(IntEnum):
    """The item types that are passed on."""

    APPLICATION_CONTEXT = 0x10
    CONTEXT_RQ = 0x20
    CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAX_LENGTH = 0x51
    ASYNCHRONOUS_OPERATIONS = 0x53
    ROLE_SELECTION = 0x54


_SYNTAXES: Mapping[int, type[AbstractSyntaxSubItem | TransferSyntaxSubItem]] = {
    Item.ABSTRACT_SYNTAX: AbstractSyntaxSubItem,
    Item.TRANSFER_SYNTAX: TransferSyntaxSubItem,
}
_FOUR_BYTES = (Item.MAX_LENGTH, Item.ASYNCHRONOUS_OPERATIONS)
_FOUR = 4
"""The only size these sub-items have; one of another size says nothing and is passed over."""


def decode_request(view: memoryview) -> AssociateRequest:
    """The A-ASSOCIATE-RQ whose variable field is `view`; what nobody knows or asks about is passed over.

    Names that are no UIDs are passed over as well, which leaves their context without a syntax to accept.

    Raises
    ------
    ProtocolViolation
        ASSOCIATE: lengths that do not add up, context ids that are even or used twice, roles other than 0 and 1.
    """
    pdu = A_ASSOCIATE_RQ()
    used: set[int] = set()
    for kind, value in _open(pdu, Pdu.ASSOCIATE_RQ, view):
        if kind == Item.CONTEXT_RQ:
            context = PresentationContextItemRQ()
            sub_items = _open_context(context, kind, value)
            if value[0] % 2 == 0 or value[0] in used:
                raise ProtocolViolation(Violation.ASSOCIATE)
            used.add(value[0])
            syntaxes = (_syntax(_SYNTAXES[sub], raw) for sub, raw in sub_items if sub in _SYNTAXES)
            context.abstract_transfer_syntax_sub_items = [syntax for syntax in syntaxes if syntax is not None]
            pdu.variable_items.append(context)
        elif kind == Item.USER_INFORMATION:
            pdu.variable_items.append(_user_information(value))
        elif kind == Item.APPLICATION_CONTEXT:
            pdu.variable_items += _application_context(value)
    user = pdu.user_information or UserInformationItem()
    return AssociateRequest(
        called_ae=pdu.called_ae_title,
        calling_ae=pdu.calling_ae_title,
        proposals=tuple(
            Proposal(
                context=context.context_id or 0,
                abstract_syntax=str(context.abstract_syntax or ""),
                transfer_syntaxes=tuple(map(str, context.transfer_syntax)),
            )
            for context in pdu.presentation_context
        ),
        max_pdu=user.maximum_length or 0,
        protocol_version=pdu.protocol_version,
        application_context=str(pdu.application_context_name or ""),
        asynchronous=user.async_ops_window is not None,
        roles=_roles(user),
    )


def decode_accept(view: memoryview) -> AssociateAccept:
    """The A-ASSOCIATE-AC whose variable field is `view`; passes over what `decode_request` does.

    Raises
    ------
    ProtocolViolation
        ASSOCIATE: lengths that do not add up, roles other than 0 and 1.
    """
    pdu = A_ASSOCIATE_AC()
    for kind, value in _open(pdu, Pdu.ASSOCIATE_AC, view):
        if kind == Item.CONTEXT_AC:
            context = PresentationContextItemAC()
            sub_items = _open_context(context, kind, value)
            syntaxes = (_syntax(TransferSyntaxSubItem, raw) for sub, raw in sub_items if sub == Item.TRANSFER_SYNTAX)
            context.transfer_syntax_sub_item = [syntax for syntax in syntaxes if syntax is not None]
            pdu.variable_items.append(context)
        elif kind == Item.USER_INFORMATION:
            pdu.variable_items.append(_user_information(value))
    user = pdu.user_information or UserInformationItem()
    return AssociateAccept(
        called_ae=pdu.called_ae_title,
        calling_ae=pdu.calling_ae_title,
        answers=tuple(
            Answer(
                context=context.context_id or 0,
                result=context.result or 0,
                transfer_syntax=str(context.transfer_syntax or ""),
            )
            for context in pdu.presentation_context
        ),
        max_pdu=user.maximum_length or 0,
        asynchronous=user.async_ops_window is not None,
        roles=_roles(user),
    )


def decode_rejection(view: memoryview) -> Rejection:
    """The A-ASSOCIATE-RJ whose variable field is `view`."""
    if len(view) != _RJ_SIZE:
        raise ProtocolViolation(Violation.ASSOCIATE)
    pdu = A_ASSOCIATE_RJ()
    _decode(pdu, HEADER.pack(Pdu.ASSOCIATE_RJ, _RJ_SIZE) + view)
    return Rejection(result=pdu.result or 0, source=pdu.source or 0, reason=pdu.reason_diagnostic or 0)


def encode_request(request: AssociateRequest) -> bytes:
    """The A-ASSOCIATE-RQ PDU. An asynchronous operations window is never proposed: GE archives drop the connection."""
    pdu = A_ASSOCIATE_RQ()
    pdu.called_ae_title, pdu.calling_ae_title = request.called_ae, request.calling_ae
    pdu.variable_items.append(ApplicationContextItem())
    for proposal in request.proposals:
        context = PresentationContextItemRQ()
        context.presentation_context_id = proposal.context
        context.abstract_transfer_syntax_sub_items = [
            _known_syntax(AbstractSyntaxSubItem, proposal.abstract_syntax),
            *(_known_syntax(TransferSyntaxSubItem, uid) for uid in proposal.transfer_syntaxes),
        ]
        pdu.variable_items.append(context)
    pdu.variable_items.append(_our_information(request.max_pdu, request.roles))
    return pdu.encode()


def encode_accept(accept: AssociateAccept) -> bytes:
    """The A-ASSOCIATE-AC PDU; an operations window is answered with one operation each way."""
    pdu = A_ASSOCIATE_AC()
    pdu.reserved_aet, pdu.reserved_aec = accept.called_ae, accept.calling_ae
    pdu.variable_items.append(ApplicationContextItem())
    for answer in accept.answers:
        context = PresentationContextItemAC()
        context.presentation_context_id, context.result_reason = answer.context, answer.result
        context.transfer_syntax_sub_item = [_known_syntax(TransferSyntaxSubItem, answer.transfer_syntax)]
        pdu.variable_items.append(context)
    user = _our_information(accept.max_pdu, accept.roles)
    if accept.asynchronous:
        window = AsynchronousOperationsWindowSubItem()
        window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 1
        user.user_data.append(window)
    pdu.variable_items.append(user)
    return pdu.encode()


def encode_rejection(rejection: Rejection) -> bytes:
    """The A-ASSOCIATE-RJ PDU."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = rejection.result, rejection.source, rejection.reason
    return pdu.encode()


def _open(pdu: A_ASSOCIATE_RQ | A_ASSOCIATE_AC, kind: Pdu, view: memoryview) -> Iterator[tuple[int, bytes]]:
    """`pdu` has its fixed fields; the items that follow them are returned."""
    body = bytes(view)
    if len(body) < _FIXED.size:
        raise ProtocolViolation(Violation.ASSOCIATE)
    version, called, calling = _FIXED.unpack_from(body)
    _decode(pdu, HEADER.pack(kind, _FIXED.size) + _FIXED.pack(version, _title(called), _title(calling)))
    return _items(body[_FIXED.size :])


def _title(raw: bytes) -> bytes:
    return (raw.strip(b" \0").translate(_TITLE) or b"?").ljust(len(raw))


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


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _decode(coded: PDU | PDUItem, octets: bytes) -> None:
    try:
        coded.decode(octets)
    except (AssertionError, LookupError, TypeError, ValueError, struct.error):
        # Without its cause, which quotes the value.
        raise ProtocolViolation(Violation.ASSOCIATE) from None


def _open_context(
    context: PresentationContextItemRQ | PresentationContextItemAC, kind: int, value: bytes
) -> Iterator[tuple[int, bytes]]:
    """`context` has its id and result; the sub-items that follow them are returned."""
    if len(value) < _CONTEXT_SIZE:
        raise ProtocolViolation(Violation.ASSOCIATE)
    _decode(context, _item(kind, value[:_CONTEXT_SIZE]))
    return _items(value[_CONTEXT_SIZE:])


def _known_syntax(item: type[_Syntax], uid: str) -> _Syntax:
    syntax = _syntax(item, uid.encode("ascii", "replace"))
    if syntax is None:
        raise InvalidUid("a syntax to be written is no UID")
    return syntax


def _syntax(item: type[_Syntax], raw: bytes) -> _Syntax | None:
    """The sub-item of one abstract or transfer syntax, None where its name is no UID."""
    return _decode_syntax(item, raw) if len(raw) <= MAX_LENGTH + _PADDING else None


@lru_cache(maxsize=NAMES)
def _decode_syntax(item: Callable[[], _Syntax], raw: bytes) -> _Syntax | None:
    try:
        uid = parse_uid(raw)
    except InvalidUid:
        return None
    syntax = item()
    with warnings.catch_warnings():
        # pydicom warns, with the value, of components with leading zeros; they are harmless as names.
        warnings.simplefilter("ignore")
        _decode(syntax, _item(syntax.item_type, uid.encode("ascii")))
    return syntax


def _application_context(raw: bytes) -> Iterator[ApplicationContextItem]:
    try:
        uid = parse_uid(raw)
    except InvalidUid:
        return
    item = ApplicationContextItem()
    _decode(item, _item(Item.APPLICATION_CONTEXT, uid.encode("ascii")))
    yield item


def _user_information(value: bytes) -> UserInformationItem:
    user = UserInformationItem()
    _decode(user, _item(Item.USER_INFORMATION, b"".join(_asked_about(value))))
    return user


def _asked_about(information: bytes) -> Iterator[bytes]:
    for kind, value in _items(information):
        if kind in _FOUR_BYTES and len(value) == _FOUR:
            yield _item(kind, value)
        elif kind == Item.ROLE_SELECTION:
            yield _role(value)


def _role(value: bytes) -> bytes:
    """The sub-item with its UID unpadded; nothing where the class is no UID."""
    if len(value) < _U16.size or len(value) != _U16.size + _U16.unpack_from(value)[0] + 2:
        raise ProtocolViolation(Violation.ASSOCIATE)
    try:
        uid = parse_uid(value[_U16.size : -2])
    except InvalidUid:
        return b""
    return _item(Item.ROLE_SELECTION, _U16.pack(len(uid)) + uid.encode("ascii") + value[-2:])


def _roles(user: UserInformationItem) -> tuple[Role, ...]:
    return tuple(
        Role(sop_class=str(role.sop_class_uid or ""), scu=role.scu_role or 0, scp=role.scp_role or 0)
        for role in user.user_data
        if isinstance(role, SCP_SCU_RoleSelectionSubItem)
    )


def _our_information(max_pdu: int, roles: Sequence[Role]) -> UserInformationItem:
    length = MaximumLengthSubItem()
    length.maximum_length_received = max_pdu
    implementation = ImplementationClassUIDSubItem()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameSubItem()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    user = UserInformationItem()
    user.user_data = [length, implementation, version]
    for role in roles:
        selection = SCP_SCU_RoleSelectionSubItem()
        selection.sop_class_uid = role.sop_class
        selection.scu_role, selection.scp_role = role.scu, role.scp
        user.user_data.append(selection)
    return user
