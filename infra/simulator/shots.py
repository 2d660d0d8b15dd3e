"""Instances encoded beforehand, to be sent again and again as new ones: only UID and message number change."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from infra.simulator import command
from infra.simulator.archive import Instance
from infra.simulator.content import whole
from infra.simulator.wire import command_pdu, data_pdus, joined

HEAD = 8 << 10
"""Bytes of an encoded instance that belong to one association and hold every mention of its UID; the rest is shared."""
COUNTER_DIGITS, ASSOCIATION_DIGITS, NONCE_DIGITS = 8, 3, 6
"""Of the UIDs that are made up: 100 million instances of each of 1000 associations, and a random rest."""
UID_ROOT = "2.25."
"""For UIDs made from numbers (PS3.5 section B.2)."""
MESSAGE_ID_HEADER = bytes.fromhex("00001001 02000000")
"""(0000,0110), two bytes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the receiver must have made of one of the instances."""

    sop_uid: str
    size: int
    raw1: str
    """BLAKE3 of the dataset, a NUL and the transfer syntax UID, in hexadecimal."""


class Encoded:
    """One sample as PDUs: `head` is copied by each association, `tail` shared by all."""

    def __init__(self, sample: Instance, context_id: int, limit: int, split: int) -> None:
        """The first `split` bytes are the head."""
        pdus = joined(data_pdus(context_id, sample.content, limit))
        self.sample = sample
        self.size = sample.content.size
        self.head, self.tail = pdus[:split], memoryview(pdus)[split:]
        self.places = places(self.head, sample.sop_uid.encode())
        if not self.places or places(pdus[len(self.head) :], sample.sop_uid.encode()):
            raise ValueError("the sample's UID must stand at the beginning of its dataset and nowhere else")


class Shot:
    """One sample of one association, ready to go."""

    def __init__(self, encoded: Encoded, context_id: int) -> None:
        sample = encoded.sample
        values: dict[int, int | str] = {
            command.AFFECTED_SOP_CLASS: sample.sop_class,
            command.COMMAND_FIELD: command.C_STORE_RQ,
            command.MESSAGE_ID: 0,
            command.PRIORITY: 0,
            command.DATASET_TYPE: command.WITH_DATASET,
            command.AFFECTED_SOP_UID: sample.sop_uid,
        }
        self.sample, self.size, self.tail = sample, encoded.size, encoded.tail
        self.command = bytearray(command_pdu(context_id, command.encode(values)))
        self.head = bytearray(encoded.head)
        self._in_command = places(self.command, sample.sop_uid.encode())
        self._in_dataset = encoded.places
        self._message_id = self.command.index(MESSAGE_ID_HEADER) + len(MESSAGE_ID_HEADER)

    def number(self, uid: bytes, message_id: int) -> None:
        """It is instance `uid` from now on, in message `message_id`."""
        for buffer, starts in ((self.command, self._in_command), (self.head, self._in_dataset)):
            for start in starts:
                buffer[start : start + len(uid)] = uid
        self.command[self._message_id : self._message_id + 2] = message_id.to_bytes(2, "little")

    def proof(self, uid: bytes) -> Proof:
        """What a receiver must have made of it when it was instance `uid`."""
        dataset = whole(self.sample.content).replace(self.sample.sop_uid.encode(), uid)
        raw1 = blake3(dataset + b"\0" + self.sample.transfer_syntax.encode()).hexdigest()
        return Proof(sop_uid=uid.decode(), size=len(dataset), raw1=raw1)


def places(octets: bytes | bytearray, uid: bytes) -> tuple[int, ...]:
    """Where a UID stands, not counting longer ones that begin with it."""
    return tuple(found.start() for found in re.finditer(re.escape(uid) + rb"(?![0-9.])", octets))


def uids_of(association: int, length: int) -> Iterator[bytes]:
    """UIDs of one length that nobody else makes, in any run."""
    nonce = length - len(UID_ROOT) - ASSOCIATION_DIGITS - COUNTER_DIGITS
    if nonce < NONCE_DIGITS:
        raise ValueError(f"a UID of {length} characters has no room for numbers")
    root = UID_ROOT + str(1 + secrets.randbelow(9)) + "".join(str(secrets.randbelow(10)) for _ in range(nonce - 1))
    for number in range(10**COUNTER_DIGITS):
        yield f"{root}{association:0{ASSOCIATION_DIGITS}}{number:0{COUNTER_DIGITS}}".encode()
