"""Presentation data values: taken apart, put together, and what does not add up."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dimse.pdata import COMMAND, LAST, encode_fragment, encode_message, fragments
from actors.dimse.violation import ProtocolViolation, Violation

HEADER = 6


def pdus(stream: bytes) -> list[bytes]:
    found = []
    while stream:
        kind, length = struct.unpack_from(">BxI", stream)
        assert kind == 4
        found.append(stream[HEADER : HEADER + length])
        stream = stream[HEADER + length :]
    return found


@given(
    command=st.binary(min_size=1, max_size=300),
    pieces=st.none() | st.lists(st.binary(max_size=200), max_size=6),
    room=st.integers(7, 120),
)
def test_a_message_comes_apart_as_it_was_put_together(command: bytes, pieces: list[bytes] | None, room: int) -> None:
    stream = b"".join(encode_message(3, command, pieces, room))

    values = [one for pdu in pdus(stream) for one in fragments(memoryview(pdu))]
    told = b"".join(bytes(data) for _, control, data in values if control & COMMAND)
    dataset = b"".join(bytes(data) for _, control, data in values if not control & COMMAND)
    assert all(len(pdu) <= room for pdu in pdus(stream))
    assert {context for context, _, _ in values} == {3}
    assert told == command
    assert dataset == b"".join(pieces or [])
    assert sum(control == COMMAND | LAST for _, control, _ in values) == 1
    assert sum(control == LAST for _, control, _ in values) == (0 if pieces is None else 1)
    assert values[-1][1] & LAST


@given(st.binary(max_size=200))
def test_noise_comes_apart_or_is_a_violation(noise: bytes) -> None:
    try:
        values = list(fragments(memoryview(noise)))
    except ProtocolViolation as violation:
        assert violation.reason in (Violation.EMPTY_PDU, Violation.PDV_LENGTH)
    else:
        assert sum(6 + len(data) for _, _, data in values) == len(noise)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Violation.EMPTY_PDU),
        (b"\0\0\0", Violation.PDV_LENGTH),
        (struct.pack(">IBB", 1, 1, 3), Violation.PDV_LENGTH),
        (struct.pack(">IBB", 0, 1, 3), Violation.PDV_LENGTH),
        (struct.pack(">IBB", 3, 1, 3), Violation.PDV_LENGTH),
        (struct.pack(">IBB", 0xFFFFFFFF, 1, 3), Violation.PDV_LENGTH),
        (encode_fragment(1, 3, b"abc")[HEADER:] + b"\0", Violation.PDV_LENGTH),
    ],
    ids=["empty", "cut header", "length one", "length zero", "one beyond", "far beyond", "rest"],
)
def test_lengths_that_do_not_add_up_are_violations(body: bytes, reason: Violation) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        list(fragments(memoryview(body)))

    assert caught.value.reason is reason
