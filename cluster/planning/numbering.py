"""What becomes of a study's accession numbers: the one that the archive lists, and others that headers have."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from actors.identity_options import IdentityOptions
from cluster.planning.accession_options import AccessionOptions
from imaging.accession.rules import Accession, Origin, Renumbered, renumber
from imaging.identity.issuers import Assigner
from imaging.identity.people import Conflict
from imaging.identity.planned import accession_part
from storage.ledger.deciding_records import FurtherNumber, ListedStudy

_HINTS = 1_000
"""Kept answers: many studies name the same issuer."""


@dataclass(frozen=True, slots=True)
class Place:
    """What becomes of a study's accession number, before anything else is known of it."""

    site: str = ""
    outcome: Renumbered | None = None
    """None where the job has no rules for accession numbers."""
    number: str = ""
    """Which number that is about: the one that the archive lists, or the only one of headers where it lists none."""
    found: tuple[str, ...] = ()
    """What headers were found to have besides the one that is listed."""
    others: tuple[tuple[str, str, Renumbered], ...] = ()
    """Those of `found` that are another than `number`, with site and outcome."""

    @property
    def accession(self) -> Accession | None:
        return None if self.outcome is None else self.outcome.accession

    @property
    def further(self) -> list[FurtherNumber]:
        """For the proof over all studies."""
        return [
            FurtherNumber(written, site, one.accession.issuer, one.accession.value)
            for written, site, one in self.others
            if one.accession is not None
        ]


class Numbering:
    """The job's rules for accession numbers, applied study by study."""

    def __init__(self, identity: IdentityOptions, accession: AccessionOptions | None, source: str) -> None:
        self._issuers = identity.authorities()
        self._accession = accession
        self._rules = () if accession is None else accession.rule_set()
        self._source = source

    def renumbered(self, study: ListedStudy, found: tuple[str, ...] = ()) -> Place:
        """The study's site and what becomes of its number, and of those that its headers were `found` to have."""
        if self._accession is None:
            return Place()
        number = _number_of(study)
        found = tuple(one for one in found if one != number)
        if not number and len(found) == 1:
            number = found[0]
        site, outcome = self._outcome(study, number)
        others = tuple((one, *self._outcome(study, one)) for one in found if one != number)
        return Place(site, outcome, number, found, others)

    def _outcome(self, study: ListedStudy, number: str) -> tuple[str, Renumbered]:
        assert self._accession is not None  # asked before
        issuer = self._issuers.resolve(assigner_of(study.issuer or ""))
        site = self._accession.site_of("" if issuer is None else issuer.name, number)
        return site, renumber(number, Origin(source=self._source, site=site), self._rules)


def part_of(place: Place, outcome: Renumbered, evidence: dict[str, Any], classes: list[str]) -> dict[str, Any]:
    """What a decision says of the study's accession numbers; classes and evidence are added to those given."""
    numbers = [(place.number, outcome), *((written, one) for written, _, one in place.others)]
    content = accession_part(numbers)
    if place.found:
        content["further"] = list(place.found)
    if place.others:
        classes.append(Conflict.ACC_UNLISTED.value)
        evidence["accessions"] = [written for written, _ in numbers if written]
        classes += (one.conflict.value for _, _, one in place.others if one.conflict is not None)
        becomes = {row[0]: row[2] for row in content.get("accessions", ())}
        if any(becomes.get(new, new) != new for new in becomes.values()):
            # A header that was renumbered would look like one that is still to be.
            classes.append(Conflict.ACC_COLLISION_SITE.value)
            del content["accessions"], content["accession_rule"]
    return content


@lru_cache(_HINTS)
def assigner_of(issuer: str) -> Assigner:
    """Issuer of Patient ID as an archive has it: a namespace, or the whole of a hierarchic designator."""
    namespace, _, rest = issuer.partition("&")
    universal_id, _, universal_type = rest.partition("&")
    return Assigner(namespace=namespace, universal_id=universal_id, universal_type=universal_type)


def _number_of(study: ListedStudy) -> str:
    return (study.accession or "").strip(" \0")
