"""DIMSE command sets: always Implicit VR Little Endian (PS3.7 section 6.3), a handful of short elements."""

import struct
from collections.abc import Mapping

GROUP_LENGTH = 0x00000000
AFFECTED_SOP_CLASS = 0x00000002
REQUESTED_SOP_CLASS = 0x00000003
COMMAND_FIELD = 0x00000100
MESSAGE_ID = 0x00000110
RESPONDED_MESSAGE_ID = 0x00000120
MOVE_DESTINATION = 0x00000600
PRIORITY = 0x00000700
DATASET_TYPE = 0x00000800
STATUS = 0x00000900
ERROR_COMMENT = 0x00000902
AFFECTED_SOP_UID = 0x00001000
REMAINING = 0x00001020
COMPLETED = 0x00001021
FAILED = 0x00001022
WARNING = 0x00001023
ORIGINATOR_AE = 0x00001030
ORIGINATOR_ID = 0x00001031

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_GET_RQ = 0x0010
C_FIND_RQ = 0x0020
C_MOVE_RQ = 0x0021
C_ECHO_RQ = 0x0030
C_CANCEL_RQ = 0x0FFF
RESPONSE = 0x8000

NO_DATASET = 0x0101
WITH_DATASET = 0x0001

_HEADER = struct.Struct("<HHL")


class Malformed(ValueError):
    """The peer's bytes are no command set."""


class Command:
    """A command set by tag; values as bytes, padding kept."""

    __slots__ = ("elements",)

    def __init__(self, elements: Mapping[int, bytes]) -> None:
        self.elements = elements

    def number(self, tag: int, default: int = 0) -> int:
        value = self.elements.get(tag, b"")
        return int.from_bytes(value[:2], "little") if len(value) >= 2 else default

    def text(self, tag: int) -> str:
        return self.elements.get(tag, b"").decode("latin-1").strip("\0 ")

    @property
    def field(self) -> int:
        return self.number(COMMAND_FIELD)

    @property
    def has_dataset(self) -> bool:
        return self.number(DATASET_TYPE, NO_DATASET) != NO_DATASET


def decode(octets: bytes) -> Command:
    """The command set in `octets`. Raises `Malformed`."""
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(octets):
        if position + 8 > len(octets):
            raise Malformed("command set ends inside an element header")
        group, element, length = _HEADER.unpack_from(octets, position)
        position += 8
        if group or position + length > len(octets):
            raise Malformed("element outside group 0000 or beyond the command set")
        elements[element] = octets[position : position + length]
        position += length
    return Command(elements)


def encode(values: Mapping[int, int | str]) -> bytes:
    """A command set with its group length: numbers as US, text padded (UIDs with NUL, the rest with spaces)."""
    body = bytearray()
    for tag in sorted(values):
        value = values[tag]
        if isinstance(value, int):
            octets = struct.pack("<H", value)
        else:
            octets = value.encode("latin-1")
            if len(octets) % 2:
                octets += b"\0" if tag in (AFFECTED_SOP_CLASS, AFFECTED_SOP_UID, REQUESTED_SOP_CLASS) else b" "
        body += _HEADER.pack(0, tag, len(octets)) + octets
    return _HEADER.pack(0, GROUP_LENGTH, 4) + struct.pack("<L", len(body)) + bytes(body)


def response(request: Command, status: int, dataset_type: int = NO_DATASET) -> dict[int, int | str]:
    """The elements every response carries (PS3.7 section 9.3)."""
    return {
        AFFECTED_SOP_CLASS: request.text(AFFECTED_SOP_CLASS) or request.text(REQUESTED_SOP_CLASS),
        COMMAND_FIELD: request.field | RESPONSE,
        RESPONDED_MESSAGE_ID: request.number(MESSAGE_ID),
        DATASET_TYPE: dataset_type,
        STATUS: status,
    }
