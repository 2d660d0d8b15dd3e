"""One study decided by itself: whose it is, and what is odd about it."""

import json
from collections import Counter
from datetime import date
from functools import lru_cache
from typing import Any

from blake3 import blake3

from actors.identity_options import IdentityOptions
from cluster.planning.classes import NAME_CHANGED, SEVERAL_PATIENTS, UID_INVALID
from cluster.planning.numbering import Place, assigner_of, part_of
from imaging.accession.orders import Fit, Ordered, Orders
from imaging.identity.changes import Target
from imaging.identity.decision import RULE, Decision, StudyIdentity, decide
from imaging.identity.graph import Graph, Resolution
from imaging.identity.people import NOBODY, Conflict, Identifier, Person
from imaging.identity.planned import identity_part, told_of
from storage.ledger.deciding_records import DecidedStudy, ListedStudy

_JUDGED = frozenset([Conflict.DEMOGRAPHIC_CONFLICT, Conflict.DEMOGRAPHIC_REVIEW, SEVERAL_PATIENTS])
"""What a person decides by looking at whom the archive lists the study under."""
_HINTS = 1_000
"""Kept answers of functions that are asked the same again and again."""


class StudyRules:
    """All that is needed to decide a study; the order in which studies come makes no difference."""

    def __init__(
        self,
        *,
        graph: Graph,
        identity: IdentityOptions,
    ) -> None:
        self._graph = graph
        self._issuers = identity.authorities()
        self._thresholds = identity.thresholds()
        self._keeps_unknown = identity.unknown == "keep"
        self.fits: Counter[str] = Counter()
        """How studies and orders go together."""

    def decided(
        self, study: ListedStudy, place: Place, orders: Orders | None, several: tuple[tuple[str, str | None], ...]
    ) -> DecidedStudy:
        """What the rules say of it; `several`: every number and issuer that the archive ever listed it under.

        `orders` are those that the study can have; None where there is no list.
        """
        classes: list[str] = []
        evidence: dict[str, Any] = {}
        decision = self._identity(study)
        resolution = decision.resolution
        target = self._target(decision)
        content: dict[str, Any] = {}
        if target is not None and resolution is not None:
            content = identity_part(target, resolution)
        if several:
            told, numbers = self._of_several(study, several)
            if told:
                classes.append(SEVERAL_PATIENTS)
                evidence["patients"] = told
                # Whose it is nobody knows, so nothing is proposed: each header keeps its own.
                content, target = {"among": told}, None
            elif content:
                content["numbers"] = sorted({*map(tuple, content["numbers"]), *numbers})
        if decision.conflict is not None:
            classes.append(decision.conflict.value)
            # Which of the two names or forms the job file lacks, nobody can tell without both as the archive has them.
            evidence["patient"] = [study.patient_id, study.issuer]
        if decision.noted:
            classes.append(NAME_CHANGED)
        if resolution is not None:
            evidence |= _path(resolution)
        if decision.likeness is not None and (decision.conflict is not None or decision.noted):
            evidence["likeness"] = _likeness(decision)
        if _JUDGED.intersection(classes):
            # Whoever lets it pass has compared these people; of another name in the list nobody has said anything.
            content["judged"] = _judged(study, evidence.get("patients", []))
        if target is not None and decision.conflict is Conflict.DEMOGRAPHIC_CONFLICT:
            # Where it is let pass, headers that name this person are let pass, and no third one.
            listed = Person(name=study.patient_name, birth_date=study.birth_date, sex=study.sex)
            content["listed"] = told_of(listed)
        if any(part[:1] == "0" and len(part) > 1 for part in study.study_uid.split(".")):
            classes.append(UID_INVALID)
        survivor = target.patient if target is not None else None
        outcome, accession = place.outcome, place.accession
        if outcome is not None:
            if outcome.conflict is not None:
                classes.append(outcome.conflict.value)
                if place.number:
                    evidence["accession"] = study.accession or place.number
            content |= part_of(place, outcome, evidence, classes)
            if orders is not None and outcome.conflict in (None, Conflict.ACC_MISSING):
                self._match(
                    Ordered(study=study.study_uid, accession=accession, patient=survivor), orders, evidence, classes
                )
        return DecidedStudy(
            study_key=study.study_key,
            study_uid=study.study_uid,
            classes=sorted(set(classes)),
            content=content,
            evidence=evidence,
            survivor_issuer=None if survivor is None else survivor.issuer,
            survivor_number=None if survivor is None else survivor.value,
            written=study.accession or place.number,
            site=place.site,
            accession_issuer=None if accession is None else accession.issuer,
            accession=None if accession is None else accession.value,
            alike=_alike(study, survivor),
            further=place.further,
        )

    def _identity(self, study: ListedStudy) -> Decision:
        told = StudyIdentity(
            patient_id=study.patient_id or "",
            assigner=assigner_of(study.issuer or ""),
            person=Person(name=study.patient_name, birth_date=study.birth_date, sex=study.sex),
            studied=_day(study.study_date or ""),
        )
        decision = decide(told, self._graph, self._issuers, self._thresholds)
        asked = decision.resolution
        if self._keeps_unknown and decision.conflict is Conflict.PID_NOT_IN_MPI and asked and not asked.path:
            # Nobody ever spoke of this number, so nobody said that it is another's.
            return Decision(target=self._as(asked.asked, NOBODY), resolution=asked)
        return decision

    def _as(self, patient: Identifier, person: Person) -> Target:
        return Target(
            rule=f"{RULE}/{self._thresholds.version}",
            patient=patient,
            authority=self._issuers.authority(patient.issuer),
            person=person,
        )

    def _target(self, decision: Decision) -> Target | None:
        """What is decided, or what a person may accept: the survivor is certain, the likeness is not."""
        found = decision.resolution
        if decision.target is not None or found is None or found.survivor is None:
            return decision.target
        return self._as(found.survivor, found.person)

    def _of_several(
        self, study: ListedStudy, several: tuple[tuple[str, str | None], ...]
    ) -> tuple[list[list[str | None]], set[Identifier]]:
        """The patients that it is listed under, none where all of them are one by now; and their numbers."""
        survivors: set[Identifier | None] = set()
        numbers: set[Identifier] = set()
        for patient_id, issuer in (*several, (study.patient_id or "", study.issuer)):
            number = self._issuers.identifier(patient_id or "", assigner_of(issuer or ""))
            if isinstance(number, Conflict):
                survivors.add(None)
                continue
            numbers.add(number)
            found = self._graph.resolve(number, _day(study.study_date or ""))
            survivors.add(found.survivor or (number if self._keeps_unknown else None))
        if len(survivors) == 1 and None not in survivors:
            return [], numbers
        every = dict.fromkeys((*several, (study.patient_id or "", study.issuer)))
        return [[patient_id, issuer] for patient_id, issuer in every], numbers

    def _match(self, study: Ordered, orders: Orders, evidence: dict[str, Any], classes: list[str]) -> None:
        """Classes and evidence are added to those given."""
        found = orders.match(study)
        self.fits[found.fit.value] += 1
        if found.conflict is not None:
            classes.append(found.conflict.value)
            if study.accession is not None:
                evidence["accession"] = study.accession.value
        if found.fit is not Fit.BOTH:
            evidence["order"] = found.fit.value


@lru_cache(_HINTS)
def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) if len(text) == 8 else None
    except ValueError:
        return None


def _judged(study: ListedStudy, patients: list[list[str | None]]) -> str:
    """Whom the archive lists the study under, as a digest: it goes into reports of what was decided."""
    told = json.dumps([study.patient_name, study.birth_date, study.sex, sorted(patients, key=str)])
    return blake3(told.encode("ascii")).hexdigest()[:32]


def _alike(study: ListedStudy, survivor: Identifier | None) -> str | None:
    """Two studies that agree in all of this are one study twice, or nearly so."""
    known = (study.accession, study.study_date, study.study_time, study.instance_count)
    if survivor is None or not all(known):
        return None
    return "\n".join((*survivor, *(str(one) for one in known), "\\".join(sorted(study.modalities or ()))))


def _path(found: Resolution) -> dict[str, Any]:
    """What led to the answer, for people."""
    told: dict[str, Any] = {}
    if found.path:
        told["path"] = [
            {
                "kind": step.kind,
                "said_by": step.origin.source.value,
                "label": step.origin.label,
                "at": step.origin.at.isoformat() if step.origin.at else None,
                "old": list(step.old),
                "new": list(step.new),
            }
            for step in found.path[:20]
        ]
    if found.candidates:
        told["candidates"] = [list(one) for one in found.candidates[:20]]
    return told


def _likeness(decision: Decision) -> dict[str, Any]:
    """How alike the two people are, in thousandths; none of it tells a name."""
    like = decision.likeness
    assert like is not None  # asked before
    return {
        "name": None if like.name is None else round(like.name * 1000),
        "birth_date": None if like.birth_date is None else round(like.birth_date * 1000),
        "sex_differs": like.sex_differs,
        "twins": like.twins,
    }
