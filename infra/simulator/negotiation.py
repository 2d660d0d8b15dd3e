"""Association negotiation (PS3.8 section 9.3.2-9.3.4) through pynetdicom's PDU classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from infra.simulator.wire import MAX_PDU

APPLICATION_CONTEXT = UID("1.2.840.10008.3.1.1.1")
IMPLEMENTATION = UID("2.25.260101")
IMPLICIT = "1.2.840.10008.1.2"
MAX_CONTEXTS = 128
"""Presentation context IDs are the odd numbers 1 to 255 (PS3.8 section 9.3.2.2)."""

ACCEPTED, ABSTRACT_SYNTAX_REFUSED, TRANSFER_SYNTAXES_REFUSED = 0, 3, 4
LOCAL_LIMIT = (2, 3, 2)
"""Rejected transient, by the presentation provider: local limit exceeded (PS3.8 table 9-21)."""
CALLED_AE_UNKNOWN = (1, 1, 7)
CALLING_AE_UNKNOWN = (1, 1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An association request as the peer sent it."""

    calling_ae: str
    called_ae: str
    contexts: tuple[tuple[int, str, tuple[str, ...]], ...]
    """Context ID, abstract syntax, transfer syntaxes in the peer's order."""
    max_pdu: int
    sent_to_it: frozenset[str] = frozenset()
    """Abstract syntaxes for which the peer wants the SCP role: it takes instances on this association."""


def read_request(pdu: bytes) -> Proposal:
    """What the peer proposes. Raises whatever pynetdicom raises for bytes that are no A-ASSOCIATE-RQ."""
    request = A_ASSOCIATE_RQ()
    request.decode(pdu)
    user = request.user_information
    return Proposal(
        calling_ae=request.calling_ae_title.strip(),
        called_ae=request.called_ae_title.strip(),
        contexts=tuple(
            (item.presentation_context_id or 0, str(item.abstract_syntax), tuple(map(str, item.transfer_syntax)))
            for item in request.presentation_context
        ),
        max_pdu=_limit(user.maximum_length if user else None),
        sent_to_it=frozenset(str(uid) for uid, role in (user.role_selection if user else {}).items() if role.scp_role),
    )


def acceptance(proposal: Proposal, answers: Mapping[int, tuple[int, str]]) -> bytes:
    """An A-ASSOCIATE-AC with a result and a transfer syntax for every proposed context ID."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title = proposal.calling_ae
    primitive.called_ae_title = proposal.called_ae
    primitive.result, primitive.result_source = 0, 1
    contexts: list[PresentationContext] = []
    for context_id, (result, syntax) in answers.items():
        context = PresentationContext()
        context.context_id = context_id
        context.transfer_syntax = [UID(syntax)]
        context.result = result
        contexts.append(context)
    primitive.presentation_context_definition_results_list = contexts
    primitive.user_information = [*_user_information(), *map(_role, sorted(proposal.sent_to_it))]
    return A_ASSOCIATE_AC(primitive).encode()


def rejection(reason: tuple[int, int, int]) -> bytes:
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = reason
    return pdu.encode()


def request(calling_ae: str, called_ae: str, contexts: Sequence[tuple[int, str, str]]) -> bytes:
    """An A-ASSOCIATE-RQ proposing (context ID, abstract syntax, transfer syntax) each."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title = calling_ae
    primitive.called_ae_title = called_ae
    proposed: list[PresentationContext] = []
    for context_id, abstract, syntax in contexts:
        context = PresentationContext()
        context.context_id = context_id
        context.abstract_syntax = UID(abstract)
        context.transfer_syntax = [UID(syntax)]
        proposed.append(context)
    primitive.presentation_context_definition_list = proposed
    primitive.user_information = _user_information()
    return A_ASSOCIATE_RQ(primitive).encode()


def read_acceptance(pdu: bytes) -> tuple[frozenset[int], int]:
    """The accepted context IDs, and the longest PDU the peer takes."""
    answer = A_ASSOCIATE_AC()
    answer.decode(pdu)
    accepted = frozenset(
        item.presentation_context_id or 0 for item in answer.presentation_context if item.result_reason == ACCEPTED
    )
    user = answer.user_information
    return accepted, _limit(user.maximum_length if user else None)


def _user_information() -> list[object]:
    length = MaximumLengthNotification()
    length.maximum_length_received = MAX_PDU
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION
    return [length, implementation]


def _role(sop_class: str) -> SCP_SCU_RoleSelectionNegotiation:
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = UID(sop_class), False, True
    return role


def _limit(announced: int | None) -> int:
    # Zero means "no maximum" (PS3.8 annex D.1.1); a tiny one would cut a command set in two.
    return MAX_PDU if not announced else max(1024, min(announced, MAX_PDU))
