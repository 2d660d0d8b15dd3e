"""Storage Commitment Push Model (PS3.4 annex J): asking an archive to answer for instances, and hearing its answer.

The answer comes on the association of the request or on a new one that the archive opens, soon, late or never; only
the Transaction UID says what it answers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from struct import Struct

from actors.dimse.command import Command, Tag, Verb
from actors.dimse.connecting import Endpoint
from actors.dimse.conversation import Conversation
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE
from actors.dimse.violation import PeerGone, ProtocolViolation
from imaging.elements import Element, Encoding, Walker, scan
from imaging.errors import MalformedDataset
from imaging.octets import MemoryOctets
from imaging.syntaxes import encoding_of
from imaging.uid import InvalidUid, Uid, parse_uid

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known instance that every request and report names."""

SUCCESS = 0x0000
INVALID_ARGUMENT = 0x0115
PROCESSING_FAILURE = 0x0110
UNRECOGNIZED_OPERATION = 0x0211

_REQUEST = 1
"""Action type of N-ACTION."""
_TRANSACTION_UID = 0x00081195
_REFERENCED = 0x00081199
_FAILED = 0x00081198
_SOP_CLASS = 0x00081150
_SOP_INSTANCE = 0x00081155
_FAILURE_REASON = 0x00081197

_IMPLICIT = Struct("<HHL")
_EXPLICIT = Struct("<HH2sH")
_EXPLICIT_LONG = Struct("<HH2s2xL")
_US = Struct("<H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One instance that is asked for."""

    sop_class: str
    sop_uid: Uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an archive answers."""

    transaction_uid: Uid
    committed: tuple[Uid, ...]
    failed: Mapping[str, int]
    """Failure Reason by SOP Instance UID; 0 where it named none."""


ReportHandler = Callable[[Report], bool]
"""Keeps a report durably; False: nobody asked for it."""


class NotAsked(Exception):
    """The archive did not take the request; `status` is None where it said nothing, and then it may have."""

    def __init__(self, status: int | None) -> None:
        super().__init__("no answer" if status is None else f"status {status:04X}")
        self.status = status


def request(
    endpoint: Endpoint,
    transaction_uid: Uid,
    references: Iterable[Reference],
    *,
    patience: timedelta,
    linger: timedelta,
    handle: ReportHandler,
) -> None:
    """The archive has taken the request; a report that came on the same association within `linger` was handled.

    Raises
    ------
    SourceUnreachable
        No association, or it does not offer Storage Commitment.
    NotAsked
        See there.
    """
    conversation = Conversation(endpoint, [(PUSH_MODEL, (EXPLICIT_LE, IMPLICIT_LE))])
    context = conversation.context(PUSH_MODEL)
    assert context is not None  # it was the only one proposed
    dataset = encode_request(transaction_uid, references, context.transfer_syntax)
    values: dict[int, int | bytes] = {
        Tag.REQUESTED_SOP_INSTANCE: PUSH_INSTANCE.encode("ascii"),
        Tag.ACTION_TYPE: _REQUEST,
    }
    try:
        status = None
        for response in conversation.ask(context, Verb.N_ACTION, values, [dataset], patience):
            status = response.status
    except (PeerGone, ProtocolViolation):
        conversation.abort()
        raise NotAsked(None) from None
    if status != SUCCESS:
        conversation.release()
        raise NotAsked(status)
    try:
        conversation.listen(
            context, linger, lambda command, octets: answer(command, octets, context.transfer_syntax, handle)
        )
    except (PeerGone, ProtocolViolation):
        conversation.abort()  # the request stands; its report has another way
    else:
        conversation.release()


def answer(command: Command, dataset: bytes, transfer_syntax: str, handle: ReportHandler) -> int:
    """The status of an N-EVENT-REPORT, after its report was kept."""
    if command.field != Verb.N_EVENT_REPORT:
        return UNRECOGNIZED_OPERATION
    try:
        report = parse_report(dataset, transfer_syntax)
    except MalformedDataset:
        return PROCESSING_FAILURE
    return SUCCESS if handle(report) else INVALID_ARGUMENT


def encode_request(transaction_uid: Uid, references: Iterable[Reference], transfer_syntax: str) -> bytes:
    """The dataset of an N-ACTION."""
    encoding = encoding_of(transfer_syntax)
    items: list[bytes] = []
    for each in references:
        content = _uid(_SOP_CLASS, each.sop_class, encoding) + _uid(_SOP_INSTANCE, each.sop_uid, encoding)
        items.append(_IMPLICIT.pack(0xFFFE, 0xE000, len(content)) + content)
    sequence = b"".join(items)
    group, element = _REFERENCED >> 16, _REFERENCED & 0xFFFF
    if encoding is Encoding.IMPLICIT_LE:
        header = _IMPLICIT.pack(group, element, len(sequence))
    else:
        header = _EXPLICIT_LONG.pack(group, element, b"SQ", len(sequence))
    return _uid(_TRANSACTION_UID, transaction_uid, encoding) + header + sequence


def parse_report(dataset: bytes, transfer_syntax: str) -> Report:
    """The dataset of an N-EVENT-REPORT. An instance named as both is taken as failed.

    Raises
    ------
    MalformedDataset
        It cannot be split into elements, or has no valid Transaction UID.
    """
    scanned = scan(MemoryOctets(dataset), 0, encoding_of(transfer_syntax))
    walker, encoding = scanned.walker, scanned.encoding
    elements = {element.tag: element for element in scanned.elements}
    transaction_uid = _uid_of(dataset, elements.get(_TRANSACTION_UID))
    if transaction_uid is None:
        raise MalformedDataset("no valid Transaction UID", 0)
    failed: dict[str, int] = {}
    for item in _items(walker, elements.get(_FAILED), encoding):
        sop_uid = _uid_of(dataset, item.get(_SOP_INSTANCE))
        reason = item.get(_FAILURE_REASON)
        if sop_uid is not None:
            value = dataset[reason.value : reason.end] if reason is not None else b""
            failed[sop_uid] = _US.unpack(value)[0] if len(value) == _US.size else 0
    named = (_uid_of(dataset, item.get(_SOP_INSTANCE)) for item in _items(walker, elements.get(_REFERENCED), encoding))
    committed = tuple(sop_uid for sop_uid in named if sop_uid is not None and sop_uid not in failed)
    return Report(transaction_uid=transaction_uid, committed=committed, failed=failed)


def _items(walker: Walker, sequence: Element | None, encoding: Encoding) -> Sequence[Mapping[int, Element]]:
    if sequence is None:
        return ()
    return [{element.tag: element for element in item} for item in walker.items(sequence, encoding, 1)]


def _uid_of(dataset: bytes, element: Element | None) -> Uid | None:
    if element is None:
        return None
    try:
        return parse_uid(dataset[element.value : element.end])
    except InvalidUid:
        return None


def _uid(tag: int, value: str, encoding: Encoding) -> bytes:
    encoded = value.encode("ascii")
    encoded += bytes(len(encoded) % 2)
    group, element = tag >> 16, tag & 0xFFFF
    if encoding is Encoding.IMPLICIT_LE:
        return _IMPLICIT.pack(group, element, len(encoded)) + encoded
    return _EXPLICIT.pack(group, element, b"UI", len(encoded)) + encoded
