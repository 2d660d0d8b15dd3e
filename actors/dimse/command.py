"""Command sets (PS3.7 section 9.3 and annex E): Implicit VR Little Endian, group 0000, one short list of elements.

Read strictly as far as lengths go and leniently otherwise: archives send commands without a group length or with UIDs
of odd length, and a migration must take what they send. Values stay raw; only numbers that steer the conversation are
decoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from actors.dimse.limits import COMMAND_CAP
from actors.dimse.violation import ProtocolViolation, Violation

_ELEMENT = Struct("<HHI")
_US = Struct("<H")
_UL_ELEMENT = Struct("<HHII")
_US_ELEMENT = Struct("<HHIH")
_ANSWER = Struct("<HHIHHHIHHHIHHHIH")
"""Four US elements."""

NO_DATASET = 0x0101
HAS_DATASET = 0x0001
"""Any value but `NO_DATASET` says so (PS3.7 section E.1)."""
RESPONSE = 0x8000


class Tag(IntEnum):
    """Element numbers of group 0000 that are read or written here."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS = 0x0002
    REQUESTED_SOP_CLASS = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATASET_TYPE = 0x0800
    STATUS = 0x0900
    AFFECTED_SOP_INSTANCE = 0x1000
    REQUESTED_SOP_INSTANCE = 0x1001
    EVENT_TYPE = 0x1002
    ACTION_TYPE = 0x1008
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_ID = 0x1031


class Verb(IntEnum):
    """Command field of the requests (PS3.7 table E.1-1); the response adds `RESPONSE`."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_ACTION = 0x0130
    C_CANCEL = 0x0FFF


@dataclass(frozen=True, slots=True)
class Command:
    """One command set. `field` and `has_dataset` are checked; everything in `values` is as received."""

    field: int
    has_dataset: bool
    values: Mapping[int, bytes]

    def number(self, tag: int) -> int | None:
        """The US value of `tag`, None where it is absent or not two bytes long."""
        raw = self.values.get(tag)
        return _US.unpack(raw)[0] if raw is not None and len(raw) == _US.size else None

    def text(self, tag: int) -> str:
        """The value of `tag` without padding; bytes outside ASCII become U+FFFD. Unchecked."""
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \0")


def parse_command(octets: bytes | bytearray | memoryview) -> Command:
    """The command set in `octets`.

    Raises
    ------
    ProtocolViolation
        COMMAND: an element outside group 0000, beyond the end, repeated, or Command Field / Data Set Type missing.
        COMMAND_TOO_LONG.
    """
    size = len(octets)
    if size > COMMAND_CAP:
        raise ProtocolViolation(Violation.COMMAND_TOO_LONG)
    raw, head, next_head = bytes(octets), _ELEMENT.size, _ELEMENT.unpack_from
    values: dict[int, bytes] = {}
    position = 0
    while position < size:
        if size - position < head:
            raise ProtocolViolation(Violation.COMMAND)
        group, element, length = next_head(raw, position)
        position += head
        stop = position + length
        if group or stop > size or element in values:
            raise ProtocolViolation(Violation.COMMAND)
        values[element] = raw[position:stop]
        position = stop
    field = values.get(Tag.COMMAND_FIELD)
    dataset_type = values.get(Tag.DATASET_TYPE)
    if field is None or len(field) != _US.size or dataset_type is None or len(dataset_type) != _US.size:
        raise ProtocolViolation(Violation.COMMAND)
    return Command(_US.unpack(field)[0], _US.unpack(dataset_type)[0] != NO_DATASET, values)


def encode_command(field: int, values: Mapping[int, int | bytes], *, dataset_type: int = NO_DATASET) -> bytes:
    """A command set with its group length, elements in ascending order, text padded to even length.

    UIDs are padded with NUL and AE titles with a space (PS3.5 section 6.2); integers are written as US.
    """
    every: dict[int, int | bytes] = {**values, Tag.COMMAND_FIELD: field, Tag.DATASET_TYPE: dataset_type}
    parts: list[bytes] = []
    for tag in sorted(every):
        value = every[tag]
        if isinstance(value, int):
            parts.append(_US_ELEMENT.pack(0, tag, 2, value))
            continue
        if len(value) % 2:
            value += b" " if tag in (Tag.MOVE_DESTINATION, Tag.MOVE_ORIGINATOR) else b"\0"
        parts.append(_ELEMENT.pack(0, tag, len(value)) + value)
    body = b"".join(parts)
    return _UL_ELEMENT.pack(0, Tag.GROUP_LENGTH, 4, len(body)) + body


def encode_response(request: Command, status: int) -> bytes:
    """The response without dataset to `request`: its message id, SOP class and instance come back as they came."""
    values = request.values
    named = values.get(Tag.AFFECTED_SOP_CLASS, values.get(Tag.REQUESTED_SOP_CLASS))
    instance = values.get(Tag.AFFECTED_SOP_INSTANCE, values.get(Tag.REQUESTED_SOP_INSTANCE))
    # Written in one go: a receiver of small objects does this ten thousand times a second.
    numbers = _ANSWER.pack(
        *(0, Tag.COMMAND_FIELD, 2, request.field | RESPONSE),
        *(0, Tag.RESPONDED_TO, 2, request.number(Tag.MESSAGE_ID) or 0),
        *(0, Tag.DATASET_TYPE, 2, NO_DATASET),
        *(0, Tag.STATUS, 2, status),
    )
    body = _echoed(Tag.AFFECTED_SOP_CLASS, named) + numbers + _echoed(Tag.AFFECTED_SOP_INSTANCE, instance)
    return _UL_ELEMENT.pack(0, Tag.GROUP_LENGTH, 4, len(body)) + body


def _echoed(tag: int, value: bytes | None) -> bytes:
    if value is None:
        return b""
    if len(value) % 2:
        value += b"\0"
    return _ELEMENT.pack(0, tag, len(value)) + value
