"""Studies against the RIS's list of orders: what matches, and the bucket of what does not."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from imaging.accession.rules import Accession
from imaging.identity.people import Conflict, Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One line of the list."""

    accession: Accession
    patient: Identifier | None
    """The surviving number; None where the list does not say."""
    study: str = ""
    """Study Instance UID, where the RIS assigned it."""
    procedure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """One study that should have an order."""

    study: str
    accession: Accession | None
    patient: Identifier | None


class Fit(StrEnum):
    """How a study and the list go together."""

    BOTH = "both"
    """Number and patient agree."""
    NUMBER = "number"
    """The number agrees and one side does not say whose it is."""
    STUDY_UID = "study-uid"
    """The list names the study and its patient agrees or is not said; the numbers differ."""
    OTHER_PATIENT = "other-patient"
    """The number's order is of somebody else."""
    NONE = "none"
    """The list has neither number nor study."""
    NO_NUMBER = "no-number"


_CONFLICTS = {
    Fit.OTHER_PATIENT: Conflict.ACC_COLLISION_PATIENT,
    Fit.NONE: Conflict.ACC_NO_ORDER,
    Fit.NO_NUMBER: Conflict.ACC_MISSING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """One study's place: with its order, or in the unmatched bucket."""

    study: Ordered
    fit: Fit
    order: Order | None

    @property
    def conflict(self) -> Conflict | None:
        """The class under which it is in the bucket; None where it is matched."""
        return _CONFLICTS.get(self.fit)


class Orders:
    """The list, by number and by study; one row per order in memory."""

    def __init__(self, orders: Iterable[Order]) -> None:
        self._numbers: dict[tuple[str, str], list[Order]] = {}
        self._studies: dict[str, Order] = {}
        for order in orders:
            self._numbers.setdefault((order.accession.issuer, order.accession.value), []).append(order)
            if order.study:
                self._studies.setdefault(order.study, order)

    def match(self, study: Ordered) -> Matched:
        """Where the study belongs. A number is believed with its issuer only."""
        named = self._studies.get(study.study)
        if study.accession is not None:
            found = self._numbers.get((study.accession.issuer, study.accession.value), [])
            own = [order for order in found if study.patient is not None and order.patient == study.patient]
            if own:
                return Matched(study=study, fit=Fit.BOTH, order=named if named in own else own[0])
            unsaid = [order for order in found if study.patient is None or order.patient is None]
            if unsaid:
                return Matched(study=study, fit=Fit.NUMBER, order=named if named in unsaid else unsaid[0])
            if found:
                return Matched(study=study, fit=Fit.OTHER_PATIENT, order=found[0])
        if named is not None and (named.patient is None or study.patient in (None, named.patient)):
            return Matched(study=study, fit=Fit.STUDY_UID, order=named)
        return Matched(study=study, fit=Fit.NONE if study.accession is not None else Fit.NO_NUMBER, order=None)


def matched(studies: Iterable[Ordered], orders: Orders, counts: Counter[Fit]) -> Iterator[Matched]:
    """Each study with its place; `counts` grows as they come, so the bucket's trend needs no second pass."""
    for study in studies:
        place = orders.match(study)
        counts[place.fit] += 1
        yield place
