"""Acknowledgements in original mode (HL7 v2 section 2.9.2): written for what was heard, read for what was sent."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from imaging.hl7.segments import Separators, separators_of


class Answer(StrEnum):
    """MSA-1 (table 0008)."""

    ACCEPTED = "AA"
    ERROR = "AE"
    """Something in the message cannot be used; sending it again as it is changes nothing."""
    REJECTED = "AR"
    """It is no message, or cannot be kept now."""


ECHO_LIMIT = 200
"""Octets of a field that are sent back; MSH-10 may have 199."""

_VERSION, _PROCESSING = b"2.5", b"P"
_USUAL = Separators("|", "^", "~", "\\", "&")
_CHARSET = 18


def acknowledgement(message: bytes, answer: Answer, *, control_id: str, at: datetime, why: str = "") -> bytes:
    """The answer to `message`, in its separators and character set.

    Parameters
    ----------
    control_id
        Of the acknowledgement itself; ASCII.
    why
        A sentence of ours for MSA-3, in ASCII; never anything that the message says.
    """
    line = message.lstrip(b"\r\n \t").replace(b"\n", b"\r").partition(b"\r")[0]
    found = separators_of(line) if line.startswith(b"MSH") else None
    separators = found or _USUAL
    bar = separators.field.encode("ascii")
    # Of MSH, the octets of field n stand at n - 1: MSH-1 is the separator itself.
    fields = line.split(bar) if found else []
    sender, place, receiver, receiving = (_echoed(fields, number) for number in (3, 4, 5, 6))
    caret = separators.component.encode("ascii")
    kind = caret.join([b"ACK", *_echoed(fields, 9).split(caret)[1:2]])
    head = [
        b"MSH", fields[1] if found else b"^~\\&", receiver, receiving, sender, place,
        at.strftime("%Y%m%d%H%M%S%z").encode("ascii"), b"", kind,
        control_id.encode("ascii"), _echoed(fields, 11) or _PROCESSING, _echoed(fields, 12) or _VERSION,
    ]  # fmt: skip
    if charset := _echoed(fields, _CHARSET):
        head += [b""] * (_CHARSET - 1 - len(head)) + [charset]
    told = [b"MSA", answer.value.encode("ascii"), _echoed(fields, 10)]
    if why:
        told.append(why.encode("ascii"))
    return bar.join(head) + b"\r" + bar.join(told) + b"\r"


def _echoed(fields: Sequence[bytes], number: int) -> bytes:
    """What stands in MSH there, if it is short enough to be such a field and holds nothing that frames."""
    value = fields[number - 1] if number <= len(fields) else b""
    return value if len(value) <= ECHO_LIMIT and not any(octet < 0x20 for octet in value) else b""


def answer_of(acknowledgement: bytes, control_id: str) -> Answer | None:
    """What an acknowledgement says of the message with this MSH-10; None where it says nothing of it.

    In enhanced mode CA, CE and CR are what the transport says; they count as their counterparts do.
    """
    lines = [line for line in acknowledgement.replace(b"\n", b"\r").split(b"\r") if line]
    separators = separators_of(lines[0]) if lines and lines[0].startswith(b"MSH") else None
    if separators is None:
        return None
    for line in lines[1:]:
        fields = line.split(separators.field.encode("ascii"))
        if fields[0] == b"MSA" and len(fields) > 2 and fields[2].strip() == control_id.encode("ascii"):
            code = fields[1].strip().decode("ascii", "replace")
            return {"CA": Answer.ACCEPTED, "CE": Answer.ERROR, "CR": Answer.REJECTED}.get(code) or _known(code)
    return None


def _known(code: str) -> Answer | None:
    return next((answer for answer in Answer if answer.value == code), None)
