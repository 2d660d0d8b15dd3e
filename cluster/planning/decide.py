"""The plan: every study of the archive decided, compared with all others, and with what was decided before.

    events ──> graph ─┐
    studies ──────────┴> one by one ──> all together (accession numbers, copies) ──> verdicts ──> applied

Memory grows with the patients' numbers that the hospital's events name, not with the archive and the list of orders:
studies and their orders pass in pages, and what is compared across pages is sorted by the ledger.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from actors.identity_options import IdentityOptions
from cluster.planning.accession_options import AccessionOptions
from cluster.planning.classes import classes_for
from cluster.planning.numbering import Numbering, Place
from cluster.planning.study import StudyRules
from imaging.accession.injective import Numbered, collisions
from imaging.accession.orders import Order, Orders
from imaging.accession.rules import Accession, Origin
from imaging.identity.graph import Graph, build
from imaging.identity.people import Identifier
from storage.ledger.deciding import Deciding
from storage.ledger.deciding_records import ListedStudy, PlanApplied, PlannedChange, PlanTally
from storage.ledger.identity import ORDERS, HospitalFile
from storage.ledger.ledger import Ledger


class PlanRefused(Exception):
    """No plan can be made before a person does something; the sentence says what."""


@dataclass(slots=True, kw_only=True)
class PlanReport:
    """What a plan says, and what applying it did."""

    tally: PlanTally
    events: int
    orders: int
    fits: dict[str, int]
    """How studies and orders go together; empty without orders."""
    rules: str
    """Fingerprint of everything that decides, but for the hospital's files."""
    changes: tuple[PlannedChange, ...] = ()
    """Studies whose decision is new or another one, as many as were asked for."""
    notices: dict[str, int] = field(default_factory=dict[str, int])
    """Events that changed nothing, by kind."""
    applied: PlanApplied | None = None
    """None where the plan was only looked at."""


class Planner:
    """Plans for one source of a job."""

    def __init__(
        self,
        ledger: Ledger,
        source_id: int,
        source: str,
        *,
        identity: IdentityOptions,
        accession: AccessionOptions | None,
        time_zone: str,
        progress: Callable[[int], None] = lambda studies: None,
    ) -> None:
        """`progress` is called with the number of studies decided so far."""
        self._ledger = ledger
        self._source_id = source_id
        self._source = source
        self._identity = identity
        self._accession = accession
        self._reading = identity.reading(time_zone)
        self._progress = progress
        self._rules: dict[str, Any] = {
            "identity": identity.model_dump(mode="json"),
            "accession": None if accession is None else accession.model_dump(mode="json"),
            "time_zone": time_zone,
        }
        self.fingerprint = blake3(json.dumps(self._rules, sort_keys=True).encode("ascii")).hexdigest()[:32]

    def preview(self, listed: int = 0) -> PlanReport:
        """The plan as it would be, with up to `listed` of its studies; nothing is changed. Raises `PlanRefused`."""
        with self._session(applies=False) as session:
            return self._decide(session, listed)

    def apply(self, listed: int = 0) -> PlanReport:
        """The plan holds: studies that are held have their exceptions, studies whose decision changed wait for a
        revision. Raises `PlanRefused`."""
        with self._session(applies=True) as session:
            report = self._decide(session, listed)
            report.applied = session.apply(self.fingerprint, self._rules)
            return report

    def _session(self, *, applies: bool) -> Any:
        return self._ledger.decisions.plan(self._source_id, classes_for(self._accession), applies=applies)

    def _decide(self, session: Deciding, listed: int) -> PlanReport:
        files = self._ledger.identity.files()
        stale = self._ledger.identity.unread(self._reading)
        if stale:
            raise PlanRefused(
                f"files were read under other issuers or another time zone: {len(stale)}, the first is {stale[0]}; "
                "give them to `limosa identity import` (orders: `limosa accession import`) again"
            )
        count = _Counted()
        graph = build(count.of(self._ledger.identity.events(self._reading)), self._identity.thresholds(), in_turn=True)
        ordered = self._has_orders(files)
        numbering = Numbering(self._identity, self._accession, self._source)
        rules = StudyRules(graph=graph, identity=self._identity)
        several = session.several_patients()
        found = session.found_accessions() if self._accession is not None else {}
        done = 0
        for page in session.studies():
            places = [numbering.renumbered(study, found.get(study.study_key, ())) for study in page]
            orders = self._orders(page, places, graph) if ordered else None
            session.put(
                rules.decided(study, place, orders, several.get(study.study_key, ()))
                for study, place in zip(page, places, strict=True)
            )
            done += len(page)
            self._progress(done)
        if self._accession is not None:
            self._compare(session)
        return PlanReport(
            tally=session.settle(),
            changes=session.changes(listed) if listed else (),
            events=count.seen,
            orders=sum(file.events for file in files if file.kind == ORDERS) if ordered else 0,
            fits=dict(sorted(rules.fits.items())),
            rules=self.fingerprint,
            notices={str(notice): number for notice, number in sorted(graph.notices.items())},
        )

    def _has_orders(self, files: Iterable[HospitalFile]) -> bool:
        """Whether studies are to be compared with a list of orders."""
        if self._accession is None:
            return False
        known = any(file.kind == ORDERS for file in files)
        if not known and self._accession.orders == "required":
            raise PlanRefused("accession.orders is required and none are imported; see `limosa accession import`")
        return known

    def _orders(self, page: Sequence[ListedStudy], places: Iterable[Place], graph: Graph) -> Orders:
        """The orders that these studies can have, under today's patients."""
        numbers = {place.accession.value for place in places if place.accession is not None}
        studies = {study.study_uid for study in page}
        found = self._ledger.identity.orders(self._reading, numbers=numbers, studies=studies)
        return Orders(_todays(order, graph) for order in found)

    def _compare(self, session: Deciding) -> None:
        def shared() -> Iterator[Numbered]:
            for row in session.shared_numbers():
                patient = (
                    None if row.survivor_number is None else Identifier(row.survivor_issuer or "", row.survivor_number)
                )
                yield Numbered(
                    study=row.study_uid,
                    written=row.written,
                    origin=Origin(source=self._source, site=row.site),
                    patient=patient,
                    accession=Accession(issuer=row.accession_issuer, value=row.accession),
                )

        # All of them first: marking studies while they are read would change what is read.
        found = [(one.conflict, one.accession, one.studies, one.by_rule) for one in collisions(shared())]
        for conflict, accession, studies, by_rule in found:
            evidence = {"collision": {"studies": studies, "by_rule": by_rule, "number": accession.value}}
            session.collide(conflict.value, accession.issuer, accession.value, evidence)


class _Counted:
    """Counts what passes."""

    def __init__(self) -> None:
        self.seen = 0

    def of(self, events: Iterator[Any]) -> Iterator[Any]:
        for event in events:
            self.seen += 1
            yield event


def _todays(order: Order, graph: Graph) -> Order:
    if order.patient is None:
        return order
    survivor = graph.resolve(order.patient, None).survivor
    if survivor is None:
        return order
    return Order(accession=order.accession, patient=survivor, study=order.study, procedure=order.procedure)
