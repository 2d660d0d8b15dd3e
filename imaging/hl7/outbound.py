"""Messages that tell another system what has become of a patient: A40 and A08 of version 2.5 (HL7 v2 chapter 3).

Written in UTF-8, which MSH-18 says; an empty value of a person is left out, since `""` would delete it at the receiver.
"""

from dataclasses import dataclass
from datetime import datetime

from imaging.identity.issuers import Authority
from imaging.identity.people import Person

CONTROL_ID_LIMIT = 20
"""Characters of MSH-10 in version 2.5."""

_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": " ", "\n": " "})
_GROUPS = ("A", "I", "P")
"""XPN-8 of the component groups of a PN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Who tells whom: MSH-3 to MSH-6."""

    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A patient's number and who gives it."""

    number: str
    authority: Authority


def merge_message(
    envelope: Envelope, control_id: str, at: datetime, *, survivor: Told, person: Person, old: Told
) -> bytes:
    """ADT^A40: whatever is under `old` is `survivor`'s."""
    head = _head(envelope, control_id, at, "A40", "ADT_A39")
    return _message(*head, _pid(survivor, person), f"MRG|{_cx(old)}")


def update_message(envelope: Envelope, control_id: str, at: datetime, *, patient: Told, person: Person) -> bytes:
    """ADT^A08: who `patient` is today. PV1 is needed and says that the class of visit is not known (table 0004)."""
    head = _head(envelope, control_id, at, "A08", "ADT_A01")
    return _message(*head, _pid(patient, person), "PV1||U")


def _head(envelope: Envelope, control_id: str, at: datetime, trigger: str, structure: str) -> tuple[str, str]:
    if len(control_id) > CONTROL_ID_LIMIT:
        raise ValueError(f"a control id has at most {CONTROL_ID_LIMIT} characters")
    time = at.strftime("%Y%m%d%H%M%S%z")
    names = (
        envelope.sending_application,
        envelope.sending_facility,
        envelope.receiving_application,
        envelope.receiving_facility,
    )
    told = "|".join(map(_escaped, names))
    msh = f"MSH|^~\\&|{told}|{time}||ADT^{trigger}^{structure}|{control_id}|P|2.5||||||UNICODE UTF-8"
    return msh, f"EVN|{trigger}|{time}"


def _pid(patient: Told, person: Person) -> str:
    return f"PID|||{_cx(patient)}||{_names(person.name or '')}||{person.birth_date or ''}|{person.sex or ''}"


def _cx(told: Told) -> str:
    authority = told.authority
    parts = [authority.name, authority.universal_id, authority.universal_type]
    while not parts[-1]:
        parts.pop()
    return f"{_escaped(told.number)}^^^{'&'.join(map(_escaped, parts))}^MR"


def _names(name: str) -> str:
    """XPN of a PN: prefix and suffix stand the other way round, and each component group is a repetition."""
    groups = name.split("=")
    written: list[str] = []
    for code, group in zip(_GROUPS, groups, strict=False):
        family, given, middle, prefix, suffix = (group.split("^") + [""] * 5)[:5]
        if group:
            parts = (family, given, middle, suffix, prefix, "", "L")
            text = "^".join(map(_escaped, parts))
            written.append(f"{text}^{code}" if len(groups) > 1 else text)
    return "~".join(written)


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _message(*segments: str) -> bytes:
    return "".join(f"{segment}\r" for segment in segments).encode("utf-8")
