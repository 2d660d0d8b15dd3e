"""What the receiver says to an association request: everything that stores is taken, as it is stored."""

from collections.abc import Collection, Sequence
from enum import StrEnum

from actors.dimse.associate import (
    APPLICATION_CONTEXT,
    Answer,
    AssociateAccept,
    AssociateRequest,
    Proposal,
    Rejection,
    Role,
)

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"

_OTHER_SERVICES = (
    "1.2.840.10008.1.20.",  # storage commitment
    "1.2.840.10008.1.40",  # event logging
    "1.2.840.10008.1.42",
    "1.2.840.10008.3.1.2.",  # patient, study and procedure step management
    "1.2.840.10008.5.1.4.1.2.",  # query / retrieve
    "1.2.840.10008.5.1.4.20.",
    "1.2.840.10008.5.1.4.31",  # worklist
    "1.2.840.10008.5.1.4.32.",
    "1.2.840.10008.5.1.4.33",
    "1.2.840.10008.5.1.4.34.6.",  # unified procedure step
    "1.2.840.10008.5.1.4.37.",
    "1.2.840.10008.5.1.4.41",
    "1.2.840.10008.5.1.4.42",
)
_OTHER_CLASSES = frozenset(
    (
        *(f"1.2.840.10008.5.1.4.1.1.200.{n}" for n in (4, 5, 6)),
        *(f"1.2.840.10008.5.1.4.1.1.201.{n}" for n in (2, 3, 4, 5, 6)),
        *(f"1.2.840.10008.5.1.4.34.{n}" for n in (8, 9)),
        *(f"1.2.840.10008.5.1.4.{family}.{n}" for family in (38, 39, 43, 44, 45) for n in (2, 3, 4)),
    )
)
_PRINT = "1.2.840.10008.5.1.1."
_PRINT_STORAGE = frozenset(f"{_PRINT}{n}" for n in (27, 29, 30))
"""Retired storage classes inside the print branch: stored print, hardcopy grey and hardcopy colour images."""

_ACCEPTED = 0
_ABSTRACT_SYNTAX_UNSUPPORTED = 3
_TRANSFER_SYNTAX_UNSUPPORTED = 4


class Refusal(StrEnum):
    """Why an association was rejected; the values are counters."""

    CALLED_AE = "called_ae"
    CALLING_AE = "calling_ae"
    ADDRESS = "address"
    FULL = "full"
    PROTOCOL_VERSION = "protocol_version"
    APPLICATION_CONTEXT = "application_context"


REJECTIONS = {
    Refusal.CALLED_AE: Rejection(result=1, source=1, reason=7),
    Refusal.CALLING_AE: Rejection(result=1, source=1, reason=3),
    Refusal.ADDRESS: Rejection(result=1, source=1, reason=3),
    Refusal.FULL: Rejection(result=2, source=3, reason=2),
    Refusal.PROTOCOL_VERSION: Rejection(result=1, source=2, reason=2),
    Refusal.APPLICATION_CONTEXT: Rejection(result=1, source=1, reason=2),
}


def stores(abstract_syntax: str) -> bool:
    """Whether a SOP class is taken as a storage class: every one that is not known to be something else.

    Archives hold retired and private classes (GE 1.2.840.113619.5.2, Agfa, Philips) that no list names.
    """
    if abstract_syntax.startswith(_PRINT):
        return abstract_syntax in _PRINT_STORAGE
    return (
        bool(abstract_syntax)
        and abstract_syntax != VERIFICATION
        and abstract_syntax not in _OTHER_CLASSES
        and not abstract_syntax.startswith(_OTHER_SERVICES)
    )


def refuse(request: AssociateRequest, ae_title: str, callers: Collection[str]) -> Refusal | None:
    """Why the association must be rejected, None when it may come in. No callers named: any may call."""
    if not request.protocol_version & 1:
        return Refusal.PROTOCOL_VERSION
    if request.application_context != APPLICATION_CONTEXT:
        return Refusal.APPLICATION_CONTEXT
    if request.called_ae != ae_title:
        return Refusal.CALLED_AE
    if callers and request.calling_ae not in callers:
        return Refusal.CALLING_AE
    return None


def accept(request: AssociateRequest) -> AssociateAccept:
    """The answer to an association that is let in: role, window and one transfer syntax per context."""
    return AssociateAccept(
        called_ae=request.called_ae,
        calling_ae=request.calling_ae,
        answers=tuple(_answer(proposal) for proposal in request.proposals),
        asynchronous=request.asynchronous,
        # The requestor may be SCU; we never send instances back, so it cannot be SCP (PS3.7 annex D.3.3.4).
        roles=tuple(Role(sop_class=role.sop_class, scu=role.scu, scp=0) for role in request.roles),
    )


def _answer(proposal: Proposal) -> Answer:
    known = proposal.abstract_syntax == VERIFICATION or stores(proposal.abstract_syntax)
    syntaxes = [uid for uid in proposal.transfer_syntaxes if uid]
    if not known or not syntaxes:
        result = _TRANSFER_SYNTAX_UNSUPPORTED if known else _ABSTRACT_SYNTAX_UNSUPPORTED
        return Answer(context=proposal.context, result=result, transfer_syntax=IMPLICIT_LE)
    return Answer(context=proposal.context, result=_ACCEPTED, transfer_syntax=_chosen(syntaxes))


def _chosen(offered: Sequence[str]) -> str:
    """What comes first is how the sender has it. Implicit VR loses the VRs of private elements for good, so it is the
    last resort; but who offers it first has the pixels raw, and must not be asked to compress them."""
    if offered[0] == IMPLICIT_LE and EXPLICIT_LE in offered:
        return EXPLICIT_LE
    return next((uid for uid in offered if uid != IMPLICIT_LE), IMPLICIT_LE)
