"""The command set parser: what it takes from sloppy archives and what it refuses."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dimse.command import RESPONSE, Command, Tag, Verb, encode_command, encode_response, parse_command
from actors.dimse.limits import COMMAND_CAP
from actors.dimse.violation import ProtocolViolation, Violation

CT = b"1.2.840.10008.5.1.4.1.1.2"


def element(tag: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, tag, len(value)) + value


def us(tag: int, value: int) -> bytes:
    return element(tag, struct.pack("<H", value))


STEER = us(Tag.COMMAND_FIELD, Verb.C_STORE) + us(Tag.MESSAGE_ID, 5) + us(Tag.DATASET_TYPE, 1)


def test_what_is_encoded_is_read_back() -> None:
    octets = encode_command(
        Verb.C_STORE, {Tag.MESSAGE_ID: 7, Tag.AFFECTED_SOP_CLASS: CT, Tag.MOVE_ORIGINATOR: b"ABC"}, dataset_type=1
    )

    command = parse_command(octets)

    assert (command.field, command.has_dataset, command.number(Tag.MESSAGE_ID)) == (Verb.C_STORE, True, 7)
    assert command.text(Tag.AFFECTED_SOP_CLASS) == CT.decode()
    assert command.text(Tag.MOVE_ORIGINATOR) == "ABC"
    assert struct.unpack_from("<HHII", octets) == (0, 0, 4, len(octets) - 12)
    assert len(octets) % 2 == 0


def test_pydicom_reads_what_is_encoded() -> None:
    from io import BytesIO

    from pydicom.filereader import read_dataset

    dataset = read_dataset(
        BytesIO(encode_command(Verb.C_MOVE, {Tag.MESSAGE_ID: 9, Tag.MOVE_DESTINATION: b"LIMOSA1", Tag.PRIORITY: 0})),
        is_implicit_VR=True,
        is_little_endian=True,
    )

    assert dataset.MoveDestination == "LIMOSA1"
    assert dataset.MessageID == 9
    assert dataset.CommandField == Verb.C_MOVE
    assert dataset.CommandDataSetType == 0x0101


@pytest.mark.parametrize(
    "octets",
    [
        STEER,
        STEER + element(Tag.AFFECTED_SOP_CLASS, CT),
        element(Tag.GROUP_LENGTH, b"\xff\xff\xff\xff") + STEER,
    ],
    ids=["no group length", "odd length and order", "absurd group length"],
)
def test_harmless_sloppiness_is_taken(octets: bytes) -> None:
    command = parse_command(octets)

    assert command.number(Tag.MESSAGE_ID) == 5


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", Violation.COMMAND),
        (b"\0\0\0", Violation.COMMAND),
        (STEER[:-1], Violation.COMMAND),
        (STEER + struct.pack("<HHI", 0, 0x1000, 0xFFFFFFFF), Violation.COMMAND),
        (STEER + struct.pack("<HHI", 0, 0x1000, 5) + b"1.2", Violation.COMMAND),
        (STEER + element(0x0010, b"PATIENT ", group=0x0010), Violation.COMMAND),
        (STEER + us(Tag.MESSAGE_ID, 6), Violation.COMMAND),
        (us(Tag.COMMAND_FIELD, 1), Violation.COMMAND),
        (us(Tag.DATASET_TYPE, 1), Violation.COMMAND),
        (element(Tag.COMMAND_FIELD, b"\1") + us(Tag.DATASET_TYPE, 1), Violation.COMMAND),
        (STEER + element(Tag.AFFECTED_SOP_INSTANCE, b"1" * COMMAND_CAP), Violation.COMMAND_TOO_LONG),
    ],
    ids=[
        "empty",
        "cut header",
        "cut value",
        "undefined length",
        "length beyond the end",
        "another group",
        "repeated element",
        "no data set type",
        "no command field",
        "one byte number",
        "too long",
    ],
)
def test_what_cannot_be_a_command_set_is_a_violation(octets: bytes, reason: Violation) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_command(octets)

    assert caught.value.reason is reason


@given(st.binary(max_size=400))
def test_noise_is_a_command_set_or_a_violation_and_nothing_else(noise: bytes) -> None:
    try:
        command = parse_command(noise)
    except ProtocolViolation as violation:
        assert violation.reason is Violation.COMMAND
    else:
        assert sum(8 + len(value) for value in command.values.values()) == len(noise)


@given(st.integers(0, 1 << 12), st.integers(0, 255))
def test_a_flipped_byte_never_breaks_the_parser(at: int, value: int) -> None:
    octets = bytearray(encode_command(1, {Tag.MESSAGE_ID: 7, Tag.AFFECTED_SOP_CLASS: CT}, dataset_type=1))
    octets[at % len(octets)] = value

    try:
        command = parse_command(octets)
    except ProtocolViolation:
        return

    assert 0 <= command.field <= 0xFFFF


def test_a_response_returns_identity_as_it_came() -> None:
    request = parse_command(STEER + element(Tag.AFFECTED_SOP_CLASS, CT + b"\0") + element(0x1000, b"../../etc"))

    response = parse_command(encode_response(request, 0xC000))

    assert response.field == Verb.C_STORE | RESPONSE
    assert response.number(Tag.RESPONDED_TO) == 5
    assert response.number(Tag.STATUS) == 0xC000
    assert not response.has_dataset
    assert response.text(Tag.AFFECTED_SOP_INSTANCE) == "../../etc"


def test_bytes_outside_ascii_do_not_pass_as_text() -> None:
    command = Command(1, False, {Tag.AFFECTED_SOP_INSTANCE: b"1.2\xff"})

    assert command.text(Tag.AFFECTED_SOP_INSTANCE) == "1.2\N{REPLACEMENT CHARACTER}"
