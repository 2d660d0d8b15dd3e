"""Whether a header that was read back says what the plan of its study demands.

Nothing here is shared with what wrote the header: the plan's JSON on one side, the values at the destination on the
other. So a fault in the rewriting itself, which its own digests would confirm, is seen.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from imaging.header import Header
from imaging.identity.tags import (
    ACCESSION,
    ACCESSION_ISSUER,
    BIRTH_DATE,
    ISSUER,
    NAME,
    PATIENT_ID,
    QUALIFIERS,
    REFERENCED_REQUEST,
    REQUEST_ATTRIBUTES,
    SEX,
)
from imaging.values import Values

_ORIGINALS, _MODIFIED = 0x04000561, 0x04000550
_LOCAL_ENTITY, _UNIVERSAL_ENTITY = 0x00400031, 0x00400032


def demands(decided: Mapping[str, Any]) -> bool:
    """Whether the decision in a revision's plan wants anything of a header."""
    return bool(decided.get("patient") or decided.get("accessions"))


def departures(header: Header, decided: Mapping[str, Any], *, kept: bool) -> tuple[str, ...]:
    """Keywords of what is not as decided (`imaging.identity.planned` has the shape); empty where all of it is.

    `kept`: the previous values must be in the dataset, because it was changed and nobody else has them.
    """
    values = Values.of(header)
    found = [*_patient(values, decided), *_accession(values, decided)]
    if kept and not any(item.items(_MODIFIED) for item in values.items(_ORIGINALS)):
        found.append("OriginalAttributesSequence")
    return tuple(found)


def _patient(values: Values, decided: Mapping[str, Any]) -> Iterator[str]:
    if "patient" not in decided:
        return
    issuer, number = decided["patient"]
    person = decided.get("person", {})
    wanted = (
        ("PatientID", PATIENT_ID, number),
        ("IssuerOfPatientID", ISSUER, issuer),
        ("PatientBirthDate", BIRTH_DATE, person.get("birth_date")),
        ("PatientSex", SEX, person.get("sex")),
    )
    for keyword, tag, value in wanted:
        if value and values.text(tag) != value.strip():
            yield keyword
    name = person.get("name", "")
    # One that the dataset's character set lacks leaves the like one that is there.
    if name and name.isascii() and _plain(values.text(NAME)) != _plain(name):
        yield "PatientName"
    if universal := decided.get("universal"):
        qualified = {item.text(_UNIVERSAL_ENTITY) for item in values.items(QUALIFIERS)}
        if universal[0] not in qualified:
            yield "IssuerOfPatientIDQualifiersSequence"


def _accession(values: Values, decided: Mapping[str, Any]) -> Iterator[str]:
    """No number that the plan replaces is left; one that was replaced names who gives it now."""
    rows = decided.get("accessions", ())
    replaced = {row[0] for row in rows} - {row[2] for row in rows}
    if values.text(ACCESSION) in replaced:
        yield "AccessionNumber"
    for keyword, tag in (
        ("RequestAttributesSequence", REQUEST_ATTRIBUTES),
        ("ReferencedRequestSequence", REFERENCED_REQUEST),
    ):
        if any(item.text(ACCESSION) in replaced for item in values.items(tag)):
            yield keyword
    issuers = {row[1] for row in rows if row[2] == values.text(ACCESSION)} - {""}
    if issuers and _was_replaced(values) and _issuer(values) not in issuers:
        yield "IssuerOfAccessionNumberSequence"


def _was_replaced(values: Values) -> bool:
    return any(
        before.element(ACCESSION) is not None for item in values.items(_ORIGINALS) for before in item.items(_MODIFIED)
    )


def _issuer(values: Values) -> str:
    items = values.items(ACCESSION_ISSUER)
    return items[0].text(_LOCAL_ENTITY) if items else ""


def _plain(name: str) -> str:
    """Without what means nothing at the end of a name."""
    return name.strip().rstrip("^= ")
