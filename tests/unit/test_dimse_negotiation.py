"""Association requests: read as others write them, answered so that everything stored is taken as it is stored."""

import logging
import struct
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import build_context, build_role
from pynetdicom import sop_class as classes
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    UserIdentityNegotiation,
)

from actors.dimse.associate import AssociateRequest, Proposal, Rejection, Role, accepted
from actors.dimse.items import (
    decode_accept,
    decode_rejection,
    decode_request,
    encode_accept,
    encode_rejection,
    encode_request,
)
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE, VERIFICATION, Refusal, accept, refuse, stores
from actors.dimse.violation import ProtocolViolation, Violation

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG = "1.2.840.10008.1.2.4.70"
HEADER = 6


def request(**changes: object) -> AssociateRequest:
    values: dict[str, object] = {
        "called_ae": "LIMOSA",
        "calling_ae": "PACS",
        "proposals": (Proposal(context=1, abstract_syntax=CT, transfer_syntaxes=(IMPLICIT_LE, EXPLICIT_LE)),),
    }
    return AssociateRequest(**{**values, **changes})  # type: ignore[arg-type]


def body(pdu: bytes) -> memoryview:
    assert struct.unpack_from(">I", pdu, 2)[0] == len(pdu) - HEADER
    return memoryview(pdu)[HEADER:]


def foreign_request() -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "PACS", "LIMOSA"
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 8
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 1
    identity.primary_field = b"someone"
    identity.positive_response_requested = True
    role = build_role(CT, scu_role=True, scp_role=True)
    primitive.user_information = [length, implementation, window, identity, role]
    first, second = build_context(CT, [IMPLICIT_LE, JPEG]), build_context(VERIFICATION, [IMPLICIT_LE])
    first.context_id, second.context_id = 1, 3
    primitive.presentation_context_definition_list = [first, second]
    return A_ASSOCIATE_RQ(primitive).encode()


def test_a_foreign_request_is_read() -> None:
    read = decode_request(body(foreign_request()))

    assert (read.called_ae, read.calling_ae, read.max_pdu, read.asynchronous) == ("LIMOSA", "PACS", 16384, True)
    assert read.roles == (Role(sop_class=CT, scu=1, scp=1),)
    assert read.proposals == (
        Proposal(context=1, abstract_syntax=CT, transfer_syntaxes=(IMPLICIT_LE, JPEG)),
        Proposal(context=3, abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT_LE,)),
    )


def test_our_answer_is_read_by_others() -> None:
    answer = A_ASSOCIATE_AC()

    answer.decode(encode_accept(accept(decode_request(body(foreign_request())))))

    primitive = answer.to_primitive()
    results = primitive.presentation_context_definition_results_list
    assert [(one.context_id, one.result, one.transfer_syntax[0]) for one in results] == [
        (1, 0, JPEG),
        (3, 0, IMPLICIT_LE),
    ]
    said = {type(item).__name__: item for item in primitive.user_information}
    assert said["MaximumLengthNotification"].maximum_length_received == 128 << 10
    window = said["AsynchronousOperationsWindowNegotiation"]
    assert (window.maximum_number_operations_invoked, window.maximum_number_operations_performed) == (1, 1)
    role = said["SCP_SCU_RoleSelectionNegotiation"]
    assert (role.scu_role, role.scp_role) == (True, False)
    assert "UserIdentityNegotiation" not in said


def test_our_request_is_read_by_others_and_asks_for_no_operations_window() -> None:
    foreign = A_ASSOCIATE_RQ()

    foreign.decode(encode_request(request()))

    primitive = foreign.to_primitive()
    assert [cx.abstract_syntax for cx in primitive.presentation_context_definition_list] == [CT]
    assert "AsynchronousOperationsWindowNegotiation" not in {type(i).__name__ for i in primitive.user_information}


def test_items_nobody_knows_are_passed_over() -> None:
    known = bytes(body(encode_request(request())))

    read = decode_request(memoryview(known + b"\x99\0\0\2ab"))

    assert read.proposals == request().proposals


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def raw_request(
    called: bytes = b"LIMOSA", calling: bytes = b"PACS", syntaxes: tuple[bytes, ...] = (b"1.2.3",), user: bytes = b""
) -> memoryview:
    """A request of one context, its first syntax the abstract one."""
    context = b"\1\0\0\0" + item(0x30, syntaxes[0]) + b"".join(item(0x40, one) for one in syntaxes[1:])
    fixed = struct.pack(">H2x16s16s32x", 1, called, calling)
    return memoryview(fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user))


def test_what_nobody_asks_about_cannot_spoil_a_request() -> None:
    user = b"".join(
        (
            item(0x51, struct.pack(">I", 5000)),
            item(0x51, b"ab"),
            item(0x52, b"9" * 200),
            item(0x53, b""),
            item(0x55, "A PACS of 1998, R\xe9vision B".encode("latin-1")),
            item(0x56, b"\xff\xff"),
            item(0x58, b"\2\1\xff\xffpassword"),
            item(0x99, b"unknown"),
        )
    )

    read = decode_request(raw_request(user=user))

    assert (read.max_pdu, read.asynchronous, read.roles) == (5000, False, ())


@pytest.mark.parametrize(
    ("title", "seen"),
    [
        (b"LIMOSA", "LIMOSA"),
        (b" LIMOSA \0\0", "LIMOSA"),
        (b"LI\\MOSA\x07", "LI?MOSA?"),
        (b"RADIOLOGI\xcb", "RADIOLOGI?"),
        (b" " * 16, "?"),
        (bytes(16), "?"),
    ],
)
def test_titles_are_printable_whatever_was_sent(title: bytes, seen: str, caplog: pytest.LogCaptureFixture) -> None:
    read = decode_request(raw_request(called=title, calling=title))

    assert (read.called_ae, read.calling_ae) == (seen, seen)
    assert body(encode_accept(accept(read)))[4:36] == seen.encode().ljust(16) * 2
    assert caplog.records == []


@pytest.mark.parametrize("name", [b"", b"../../etc", b"1..2", b"9" * 65, b"1" * 60_000, b"1.2\xff"])
def test_names_that_are_no_uids_leave_nothing_to_accept(name: bytes, caplog: pytest.LogCaptureFixture) -> None:
    abstract = accept(decode_request(raw_request(syntaxes=(name, IMPLICIT_LE.encode()))))
    transfer = accept(decode_request(raw_request(syntaxes=(CT.encode(), name))))
    both = accept(decode_request(raw_request(syntaxes=(CT.encode(), name, IMPLICIT_LE.encode()))))

    assert [one.answers[0].result for one in (abstract, transfer, both)] == [3, 4, 0]
    assert accepted(both.answers) == {1: IMPLICIT_LE}
    assert caplog.records == []


@pytest.mark.parametrize("padding", [b"", b"\0", b" "])
def test_padded_names_and_leading_zeros_are_taken_without_a_word(padding: bytes) -> None:
    logging.getLogger("pynetdicom").setLevel(logging.ERROR)  # as every process of ours has it

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = decode_request(raw_request(syntaxes=(b"1.2.03.4" + padding, JPEG.encode() + padding)))

    assert read.proposals == (Proposal(context=1, abstract_syntax="1.2.03.4", transfer_syntaxes=(JPEG,)),)
    assert accepted(accept(read).answers) == {1: JPEG}


@pytest.mark.parametrize(
    "role",
    [b"", b"\0", b"\0\x05" + b"1.2.3", b"\0\x04" + b"1.2.3\1\1", b"\0\0\1", b"\0\x05" + b"1.2.3\2\1"],
    ids=["empty", "cut", "no roles", "wrong length", "one role", "role 2"],
)
def test_roles_that_do_not_add_up_are_violations(role: bytes) -> None:
    with pytest.raises(ProtocolViolation) as violation:
        decode_request(raw_request(user=item(0x54, role)))

    assert violation.value.reason is Violation.ASSOCIATE
    assert violation.value.__cause__ is None


def test_a_role_of_no_class_is_passed_over() -> None:
    user = item(0x54, b"\0\x04..\\x\1\1") + item(0x54, b"\0\x061.2.3\0\1\0")

    assert decode_request(raw_request(user=user)).roles == (Role(sop_class="1.2.3", scu=1, scp=0),)


def test_a_context_accepted_in_a_syntax_without_a_name_cannot_be_used() -> None:
    first, second = b"\1\0\0\0" + item(0x40, b"../x"), b"\3\0\0\0" + item(0x40, IMPLICIT_LE.encode())
    refused = b"\5\0\3\0"
    fixed = struct.pack(">H2x16s16s32x", 1, b"A", b"\xff\xff")

    read = decode_accept(memoryview(fixed + b"".join(item(0x21, one) for one in (first, second, refused))))

    assert [(one.context, one.result) for one in read.answers] == [(1, 0), (3, 0), (5, 3)]
    assert accepted(read.answers) == {3: IMPLICIT_LE}


def test_requests_and_answers_survive_the_way_there_and_back() -> None:
    asked = request(roles=(Role(sop_class=CT, scu=1, scp=0),))

    assert decode_request(body(encode_request(asked))) == asked
    answer = accept(asked)
    assert decode_accept(body(encode_accept(answer))) == answer


def test_a_rejection_is_read_by_others_and_by_us() -> None:
    rejection = Rejection(result=2, source=3, reason=2)
    foreign = A_ASSOCIATE_RJ()

    foreign.decode(encode_rejection(rejection))

    assert (foreign.result, foreign.source, foreign.reason_diagnostic) == (2, 3, 2)
    assert decode_rejection(body(encode_rejection(rejection))) == rejection


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((IMPLICIT_LE,), IMPLICIT_LE),
        ((IMPLICIT_LE, EXPLICIT_LE), EXPLICIT_LE),
        ((IMPLICIT_LE, JPEG, EXPLICIT_LE), EXPLICIT_LE),
        ((JPEG, EXPLICIT_LE, IMPLICIT_LE), JPEG),
        ((EXPLICIT_LE, JPEG, IMPLICIT_LE), EXPLICIT_LE),
        ((IMPLICIT_LE, JPEG), JPEG),
        (("1.2.840.113619.5.2",), "1.2.840.113619.5.2"),
        (("1.2.3.4.5", IMPLICIT_LE), "1.2.3.4.5"),
    ],
)
def test_implicit_vr_is_the_last_resort(offered: tuple[str, ...], chosen: str) -> None:
    proposal = Proposal(context=5, abstract_syntax=CT, transfer_syntaxes=offered)

    assert accepted(accept(request(proposals=(proposal,))).answers) == {5: chosen}


def test_every_storage_class_is_taken_and_no_other_service_is() -> None:
    groups = {
        name: set(group.values())
        for name, group in vars(classes).items()
        if name.endswith("_CLASSES") and name != "_SERVICE_CLASSES"
    }
    storage = groups.pop("_STORAGE_CLASSES") | groups.pop("_NON_PATIENT_OBJECT_CLASSES")
    storage |= groups.pop("_MEDIA_STORAGE_CLASSES")
    retired = {"1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.1.27", "1.2.840.10008.5.1.1.29"}
    private = {"1.2.840.113619.4.26", "1.3.46.670589.11.0.0.12.1", "1.2.3"}
    others = set().union(*groups.values())

    assert {uid for uid in storage | retired | private if not stores(uid)} == set()
    assert {uid for uid in others if stores(uid)} == set()
    assert not stores("")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({}, None),
        ({"called_ae": "OTHER"}, Refusal.CALLED_AE),
        ({"calling_ae": "STRANGER"}, Refusal.CALLING_AE),
        ({"protocol_version": 2}, Refusal.PROTOCOL_VERSION),
        ({"protocol_version": 3}, None),
        ({"application_context": "1.2.3"}, Refusal.APPLICATION_CONTEXT),
    ],
)
def test_only_who_may_call_comes_in(changes: dict[str, object], refusal: Refusal | None) -> None:
    assert refuse(request(**changes), "LIMOSA", ("PACS",)) is refusal


@pytest.mark.parametrize("context", [0, 2])
def test_even_context_ids_are_violations(context: int) -> None:
    asked = request(proposals=(Proposal(context=context, abstract_syntax=CT, transfer_syntaxes=(IMPLICIT_LE,)),))

    with pytest.raises(ProtocolViolation):
        decode_request(body(encode_request(asked)))


def test_a_context_id_used_twice_is_a_violation() -> None:
    asked = request(proposals=request().proposals * 2)

    with pytest.raises(ProtocolViolation):
        decode_request(body(encode_request(asked)))


@given(st.integers(68, 4096), st.binary(min_size=1, max_size=6))
def test_a_damaged_request_is_read_or_a_violation_and_nothing_else(at: int, damage: bytes) -> None:
    octets = bytearray(body(encode_request(request(roles=(Role(sop_class=CT, scu=1, scp=1),)))))
    at = 68 + (at - 68) % (len(octets) - 68)
    octets[at : at + len(damage)] = damage

    try:
        read = decode_request(memoryview(octets))
    except ProtocolViolation as violation:
        assert violation.reason is Violation.ASSOCIATE
    else:
        assert all(proposal.context % 2 for proposal in read.proposals)


@given(st.binary(max_size=120))
def test_noise_is_no_request_and_no_answer(noise: bytes) -> None:
    for decode in (decode_request, decode_accept):
        try:
            decode(memoryview(noise))
        except ProtocolViolation as violation:
            assert violation.reason is Violation.ASSOCIATE
        else:
            assert len(noise) >= 68
