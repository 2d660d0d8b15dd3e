"""A study's decision as plain JSON: what ledger and movers hold of it, and what is made of it again.

    {"asked": [issuer, number], "numbers": [[issuer, number], ...], "patient": [issuer, number],
     "universal": [id, type], "person": {"name", "birth_date", "sex"}, "rule": "identity/1",
     "accessions": [[written, issuer, value, universal id, type], ...], "accession_rule": "south/1",
     "further": [number, ...] that headers were found to have and the archive does not list for the study,
     "listed_accession": the number that it lists, empty for none; only where the job looks at accession numbers,
     "judged": digest of whom the archive lists the study under, where a person has to compare people,
     "listed": {"name", "birth_date", "sex"} of somebody else than the number's owner,
     "among": [[number, issuer], ...] of several patients that the archive lists the study under}

Every part may be absent: then the header stays as it is there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from imaging.accession.rules import Accession, Renumbered
from imaging.identity.changes import Target
from imaging.identity.graph import Resolution
from imaging.identity.issuers import Authority
from imaging.identity.people import NOBODY, Identifier, Person


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedIdentity:
    """What one revision's files shall say, and which numbers their headers may bring."""

    target: Target
    asked: Identifier | None
    """The number that the archive lists the study under."""
    numbers: frozenset[Identifier]
    """All that led to the survivor, itself included: an instance with another one is another patient's."""
    listed: Person
    """Whom the archive lists the study under, where that is somebody else than its number's owner; else nobody."""
    numbered: frozenset[str] | None
    """The accession numbers that a plan knows of, before and after it; None where nobody looks at them."""
    among: frozenset[str]
    """The numbers that the archive lists the study under, where that are several patients; then nothing is proposed."""


def told_of(person: Person) -> dict[str, str]:
    """What is said of somebody."""
    told = (("name", person.name), ("birth_date", person.birth_date), ("sex", person.sex))
    return {name: value for name, value in told if value}


def identity_part(target: Target, resolution: Resolution) -> dict[str, Any]:
    """The patient's part of a decision."""
    assert target.patient is not None  # a target of identity has its patient
    numbers = {
        resolution.asked,
        target.patient,
        *(number for step in resolution.path for number in (step.old, step.new)),
    }
    found: dict[str, Any] = {
        "asked": list(resolution.asked),
        "numbers": [list(one) for one in sorted(numbers)],
        "patient": list(target.patient),
        "person": told_of(target.person),
        "rule": target.rule,
    }
    if target.authority is not None and target.authority.universal_id:
        found["universal"] = [target.authority.universal_id, target.authority.universal_type]
    return found


def accession_part(numbers: Iterable[tuple[str, Renumbered]]) -> dict[str, Any]:
    """The accession's part of a decision: what headers say, without outer spaces, and what the rules make of each."""
    rows: list[list[str]] = []
    rules: dict[str, None] = {}
    for written, outcome in numbers:
        new = outcome.accession
        if new is not None and outcome.rule:
            rows.append([written, new.issuer, new.value, new.universal_id, new.universal_type])
            rules[outcome.rule] = None
    return {"accessions": rows, "accession_rule": " ".join(rules)} if rows else {}


def planned_identity(content: Mapping[str, Any]) -> PlannedIdentity:
    """The reverse of both."""
    patient = Identifier(*content["patient"]) if "patient" in content else None
    universal_id, universal_type = content.get("universal", ("", ""))
    person, listed = content.get("person", {}), content.get("listed", {})
    target = Target(
        rule=content.get("rule", ""),
        patient=patient,
        authority=None
        if patient is None
        else Authority(name=patient.issuer, universal_id=universal_id, universal_type=universal_type),
        person=Person(**person) if person else NOBODY,
        accessions=tuple(
            (written, Accession(issuer=issuer, value=value, universal_id=one, universal_type=other))
            for written, issuer, value, one, other in content.get("accessions", ())
        ),
        accession_rule=content.get("accession_rule", ""),
    )
    asked = Identifier(*content["asked"]) if "asked" in content else None
    return PlannedIdentity(
        target=target,
        asked=asked,
        numbers=frozenset(Identifier(*one) for one in content.get("numbers", ())),
        listed=Person(**listed) if listed else NOBODY,
        numbered=_numbered(content),
        among=frozenset(number.strip() for number, _ in content.get("among", ()) if number),
    )


def _numbered(content: Mapping[str, Any]) -> frozenset[str] | None:
    if "listed_accession" not in content:
        return None
    rows = content.get("accessions", ())
    known = (content["listed_accession"], *content.get("further", ()))
    return frozenset(one.strip(" \0") for one in (*known, *(row[0] for row in rows), *(row[2] for row in rows)))
