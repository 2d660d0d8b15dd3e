"""Identifiers and people as PID and MRG write them (CX, XPN; HL7 v2 sections 2.A.14 and 2.A.88)."""

from collections.abc import Iterator
from typing import NamedTuple

from imaging.hl7.segments import Field, Segment
from imaging.hl7.times import birth_date_of
from imaging.identity.issuers import Assigner, Issuers
from imaging.identity.people import Conflict, Identifier, Person

_SEXES = {"F": "F", "M": "M", "O": "O", "A": "O", "U": "", "N": ""}
"""HL7 table 0001 as DICOM has it: ambiguous is other; unknown and not applicable are empty."""
_NAME_CODES = ("", "L", "D", "A")
"""XPN-7 of a name that is in use; maiden names, aliases and those of newborns are others."""
_GROUPS = {"": 0, "A": 0, "I": 1, "P": 2}
"""XPN-8: alphabetic, ideographic, phonetic, in the order of a PN."""


class Numbered(NamedTuple):
    """One identifier with its type code (table 0203: MR, PI, SS, AN, ...)."""

    identifier: Identifier
    type: str


def numbers(segment: Segment, field: int, issuers: Issuers, sender: str) -> Iterator[Numbered | Conflict]:
    """The identifiers of a field of CX, in the order they stand there, each in its issuer's form."""
    for value in segment.repetitions(field):
        if value.null or not value.component(1).strip():
            continue
        found = issuers.identifier(value.component(1), _assigner(value, sender))
        yield found if isinstance(found, Conflict) else Numbered(found, value.component(5).strip().upper())


def person(pid: Segment) -> Person:
    """What PID-5, PID-7 and PID-8 say; an empty field says nothing, two quotation marks say that it is empty."""
    births, sexes = pid.repetitions(7), pid.repetitions(8)
    return Person(
        name=_name(pid.repetitions(5)),
        birth_date=("" if births[0].null else birth_date_of(births[0].component(1))) if births else None,
        sex=("" if sexes[0].null else _SEXES.get(sexes[0].component(1).strip().upper(), "")) if sexes else None,
    )


def _assigner(value: Field, sender: str) -> Assigner:
    return Assigner(
        namespace=value.subcomponent(4, 1),
        universal_id=value.subcomponent(4, 2),
        universal_type=value.subcomponent(4, 3),
        facility=value.subcomponent(6, 1),
        sender=sender,
    )


def _name(values: list[Field]) -> str | None:
    if not values:
        return None
    if values[0].null:
        return ""
    groups = ["", "", ""]
    for value in values:
        group = _GROUPS.get(value.component(8).strip().upper())
        if group is not None and not groups[group] and value.component(7).strip().upper() in _NAME_CODES:
            groups[group] = _pn(value)
    if not any(groups):
        groups[0] = _pn(values[0])
    return "=".join(groups).rstrip("=")


def _pn(value: Field) -> str:
    """Family, given, middle, prefix, suffix; HL7 has the last two the other way round."""
    parts = (value.component(number) for number in (1, 2, 3, 5, 4))
    return "^".join(_plain(part) for part in parts).rstrip("^")


def _plain(part: str) -> str:
    """Without what DICOM reads as delimiters or control characters in a PN."""
    return "".join(" " if one in "^=\\" or not one.isprintable() else one for one in part).strip()
