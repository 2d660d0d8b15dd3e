"""Turns fuzzed bytes into DIMSE traffic that is mostly well formed: blind mutation rarely survives nested lengths."""

import struct

from actors.dimse.command import Tag, encode_command
from actors.dimse.pdata import encode_fragment

FIELDS = (0x0001, 0x8001, 0x0020, 0x8020, 0x0021, 0x8021, 0x0030, 0x8030, 0x0FFF, 0x0140)
STATUSES = (0x0000, 0xFF00, 0xFF01, 0xA700, 0xA702, 0xA801, 0xB000, 0xC000, 0xFE00)
CLASS = b"1.2.840.10008.5.1.4.1.1.2"
INSTANCE = b"1.2.3.4"


class Bytes:
    """Takes numbers and runs of bytes off the front; zeros behind the end."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._octets)

    def number(self) -> int:
        at, self._at = self._at, self._at + 1
        return self._octets[at] if at < len(self._octets) else 0

    def run(self, size: int) -> bytes:
        at, self._at = self._at, self._at + size
        return self._octets[at : at + size]

    def rest(self) -> bytes:
        return self.run(len(self._octets) - self._at)


def traffic(octets: bytes) -> bytes:
    """A stream of PDUs as `octets` tells; any bytes tell one."""
    told, stream = Bytes(octets), bytearray()
    while told:
        match told.number() % 8:
            case 0 | 1:
                context, control = told.number() % 8, told.number()
                stream += encode_fragment(context, control & 3, told.run(told.number()))
            case 2 | 3:
                stream += encode_fragment(1, 3, command(told))
            case 4:
                whole = command(told)
                cut = told.number()
                stream += encode_fragment(1, 1, whole[:cut]) + encode_fragment(1, 3, whole[cut:])
            case 5:
                size = told.number() * 64
                stream += encode_fragment(1, 0 if told.number() & 1 else 2, bytes(size))
            case 6:
                stream += struct.pack(">BxI", told.number() % 9, 4) + bytes(4)
            case _:
                stream += told.run(told.number())
    return bytes(stream)


def command(told: Bytes) -> bytes:
    """A command set; requests and responses, with a dataset announced or not."""
    field = FIELDS[told.number() % len(FIELDS)]
    shape = told.number()
    values: dict[int, int | bytes] = {
        Tag.AFFECTED_SOP_CLASS: CLASS,
        Tag.MESSAGE_ID: told.number(),
        Tag.RESPONDED_TO: 1 + (shape >> 6 == 3),
        Tag.STATUS: STATUSES[told.number() % len(STATUSES)],
    }
    if shape & 2:
        values[Tag.AFFECTED_SOP_INSTANCE] = INSTANCE
    if shape & 4:
        values[Tag.MOVE_ORIGINATOR] = told.run(16)
    if shape & 8:
        values |= {Tag.COMPLETED: told.number(), Tag.FAILED: told.number(), Tag.REMAINING: told.number()}
    if shape & 16:
        del values[Tag.MESSAGE_ID]
    if shape & 32:
        del values[Tag.STATUS]
    return encode_command(field, values, dataset_type=1 if shape & 1 else 0x0101)
