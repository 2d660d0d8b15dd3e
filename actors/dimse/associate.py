"""What two peers say to each other before they talk (PS3.8 sections 7.1 and 9.3.2 to 9.3.4), as records.

What came from a peer is checked as far as its form goes: every name is a UID or empty, every title is printable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.dimse.limits import MAX_PDU

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One proposed presentation context: UIDs only; the abstract syntax is empty where none was sent."""

    context: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """SCU and SCP role a requestor wants for one SOP class, each 0 or 1 (PS3.7 annex D.3.3.4)."""

    sop_class: str
    scu: int
    scp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ. In titles, `?` stands for bytes that no AE title may hold, and for a title of spaces."""

    called_ae: str
    calling_ae: str
    proposals: tuple[Proposal, ...]
    max_pdu: int = MAX_PDU
    """What the requestor takes; 0 is 'no limit'."""
    protocol_version: int = 1
    application_context: str = APPLICATION_CONTEXT
    asynchronous: bool = False
    """Whether an operations window was proposed."""
    roles: tuple[Role, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The acceptor's word on one presentation context (PS3.8 table 9-18)."""

    context: int
    result: int
    transfer_syntax: str
    """Empty where none was sent; without meaning unless the context was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateAccept:
    """An A-ASSOCIATE-AC."""

    called_ae: str
    calling_ae: str
    answers: tuple[Answer, ...]
    max_pdu: int = MAX_PDU
    asynchronous: bool = False
    roles: tuple[Role, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int
    source: int
    reason: int


def accepted(answers: Sequence[Answer]) -> Mapping[int, str]:
    """Transfer syntax by context id, of the contexts that were accepted in a syntax that can be named."""
    return {
        answer.context: answer.transfer_syntax for answer in answers if answer.result == 0 and answer.transfer_syntax
    }
