"""One claimed study on its way from the source to the inline destination.

    expected set -> writer (resumed) -> ladder of retrieves -> complete? -> finish -> one commit

Every way out is a `Verdict`; the lane turns it into one statement on the claim's row. Nothing here decides
by a C-MOVE status that a study is complete: only the sets do.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from actors.intake import Arrival, Counts, Intake, Parked
from actors.ladder import accounted_for, first_rung, targets
from actors.options import DimseSource
from actors.packing import PackOpener
from actors.routing import Router
from actors.source import InstanceList, InstanceRef, MoveEnd, MoveOutcome, MoveTarget, Source
from imaging.facts import InstanceFacts
from imaging.octets import Octets
from imaging.uid import Uid
from storage.packs.model import Receipt

NO_WAIT = timedelta(0)
STRAGGLER_GLANCE = timedelta(milliseconds=200)
"""Between two retrieves of one rung: long enough for what is on the wire, short enough for 1,000 of them. The
whole quiet period is only waited for at the end of a rung."""

EVIDENCE_UIDS = 50
"""UIDs listed in an exception's evidence; the counts beside them are complete."""


class End(StrEnum):
    """How one attempt ended, by what has to happen next."""

    WRITTEN = "written"
    EMPTY = "empty"
    """The source confirms that the study has no instances."""
    AGAIN = "again"
    """Counts as an attempt; the study is tried again later."""
    BUSY = "busy"
    """The source asks for fewer of us: no attempt is counted, everybody slows down."""
    HALTED = "halted"
    """Our AE title is unknown to the source: nothing works until a person registers it."""
    STOPPED = "stopped"
    """The claim was lost or the worker is draining."""
    EXCEPTION = "exception"
    """A person has to look; trying again would bring the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The instances a study must have, and how well that is known."""

    refs: tuple[InstanceRef, ...] | None
    """None where the source cannot list instances."""
    grade: str
    """`image_list`, or `double_retrieve` where two retrieves had to agree instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one attempt came to; `reason` is an exception class or a retry's cause."""

    end: End
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    facts: tuple[InstanceFacts, ...] = ()
    receipt: Receipt | None = None
    grade: str = ""
    counts: Counts = field(default_factory=Counts)


class Pull:
    """One attempt at one study. `stop` is asked wherever something may take long."""

    def __init__(
        self,
        *,
        study_uid: Uid,
        claimed_count: int | None,
        source: Source,
        options: DimseSource,
        receiver_ae: str,
        router: Router,
        pack: PackOpener,
        park: Callable[[InstanceFacts, Octets], Parked],
        stop: Callable[[], bool],
    ) -> None:
        self._study_uid = study_uid
        self._claimed_count = claimed_count
        self._source = source
        self._options = options
        self._receiver_ae = receiver_ae
        self._router = router
        self._pack = pack
        self._park = park
        self._stop = stop

    def run(self) -> Verdict:
        """The study is durable at the inline destination, or the verdict says why not.

        Raises
        ------
        SourceUnreachable, StorageError
            From source and writer; what the journal holds stays resumable.
        """
        if not self._options.profile.image_level:
            return self._pull(Expected(refs=None, grade="double_retrieve"))
        listed = self._source.list_instances(self._study_uid)
        if not listed.complete:
            return Verdict(end=End.AGAIN, reason="INSTANCE_LIST_INCOMPLETE")
        if not listed.instances:
            return self._confirm_empty()
        return self._pull(Expected(refs=listed.instances, grade="image_list"))

    def _pull(self, expected: Expected) -> Verdict:
        packer = self._pack()
        intake = Intake(self._study_uid, expected.refs, packer, packer.resumed, self._park)
        try:
            with self._router.serving(intake):
                if expected.refs is None:
                    shortfall = self._retrieve_twice(intake)
                else:
                    shortfall = self._climb(intake, expected.refs) or self._settle_surplus(intake)
            if shortfall is not None:
                return shortfall
            if intake.failure is not None:
                raise intake.failure
            receipt = packer.finish()
            return Verdict(
                end=End.WRITTEN,
                facts=tuple(intake.held.values()),
                receipt=receipt,
                grade=expected.grade,
                counts=intake.counts,
            )
        finally:
            packer.close()

    def _climb(self, intake: Intake, refs: tuple[InstanceRef, ...]) -> Verdict | None:
        """Nothing is missing (None), or why it cannot be had now."""
        rung = first_rung(refs, intake.held)
        while intake.missing:
            settled = intake.held.keys() | intake.rejected
            pending = targets(self._study_uid, refs, settled, rung)
            for target in pending:
                outcome, accounted = self._retrieve(intake, target, asked_of(target, refs))
                if (verdict := self._blocked(intake, outcome)) is not None:
                    return verdict
                if not accounted and target is pending[-1]:
                    self._wait(intake, self._options.quiet)
                if not intake.missing - intake.rejected:
                    break
            if intake.failure is not None:
                raise intake.failure
            if self._stop():
                return Verdict(end=End.STOPPED)
            if rung.last or not pending:
                break
            rung = rung.next()
        return self._explain_missing(intake) if intake.missing else None

    def _retrieve(self, intake: Intake, target: MoveTarget, asked: int) -> tuple[MoveOutcome, bool]:
        before = intake.arrivals
        outcome = self._source.retrieve(target, self._receiver_ae, lambda: self._stop() or intake.failure is not None)
        accounted = accounted_for(outcome, asked, intake.arrivals - before)
        self._wait(intake, NO_WAIT if accounted else min(self._options.quiet, STRAGGLER_GLANCE))
        return outcome, accounted

    def _wait(self, intake: Intake, quiet: timedelta) -> None:
        intake.wait_settled(quiet, self._options.quiet_limit, self._stop)

    def _blocked(self, intake: Intake, outcome: MoveOutcome) -> Verdict | None:
        """Whether this outcome ends the attempt whatever is still missing."""
        if intake.failure is not None:
            raise intake.failure
        if self._stop():
            return Verdict(end=End.STOPPED)
        if not intake.missing and not intake.surplus:
            return None
        if outcome.end is MoveEnd.BUSY:
            return Verdict(end=End.BUSY, reason="SOURCE_BUSY")
        if outcome.end is MoveEnd.UNKNOWN_DESTINATION:
            return Verdict(end=End.HALTED, reason="RECEIVER_UNKNOWN", evidence={"ae_title": self._receiver_ae})
        return None

    def _explain_missing(self, intake: Intake) -> Verdict:
        missing, surplus, rejected = intake.missing, intake.surplus, intake.rejected
        evidence: dict[str, Any] = {
            "expected": len(intake.held) + len(missing),
            "received": len(intake.held),
            "missing": len(missing),
            "missing_uids": sorted(missing)[:EVIDENCE_UIDS],
            "surplus": len(surplus),
            "surplus_uids": sorted(surplus)[:EVIDENCE_UIDS],
        }
        if surplus:
            return Verdict(end=End.EXCEPTION, reason="SOURCE_UID_UNSTABLE", evidence=evidence, counts=intake.counts)
        if missing <= rejected:
            return Verdict(end=End.EXCEPTION, reason="MALFORMED_INSTANCES", evidence=evidence, counts=intake.counts)
        return Verdict(end=End.AGAIN, reason="INCOMPLETE_STUDY", evidence=evidence, counts=intake.counts)

    def _settle_surplus(self, intake: Intake) -> Verdict | None:
        """Instances beyond the list: the source is asked again, and what it lists now belongs to the study."""
        if not intake.surplus:
            return None
        again = self._source.list_instances(self._study_uid)
        if not again.complete:
            return Verdict(end=End.AGAIN, reason="INSTANCE_LIST_INCOMPLETE")
        intake.expect(again.instances)
        listed = {ref.sop_uid for ref in again.instances}
        for sop_uid, parked in intake.surplus.items():
            if sop_uid in listed and intake.adopt(parked) is Arrival.FAILED and intake.failure is not None:
                raise intake.failure
        if intake.missing and (shortfall := self._climb(intake, again.instances)) is not None:
            return shortfall
        left = intake.surplus
        if not left:
            return None
        evidence = {"expected": len(listed), "surplus": len(left), "surplus_uids": sorted(left)[:EVIDENCE_UIDS]}
        return Verdict(end=End.EXCEPTION, reason="SURPLUS_INSTANCES", evidence=evidence, counts=intake.counts)

    def _retrieve_twice(self, intake: Intake) -> Verdict | None:
        """Without a list, two whole retrieves must bring the same set (and the claimed count, if any)."""
        rounds: list[set[str]] = []
        for _ in range(2):
            intake.seen_since_last_asked()
            outcome = self._source.retrieve(
                MoveTarget(study_uid=self._study_uid),
                self._receiver_ae,
                lambda: self._stop() or intake.failure is not None,
            )
            intake.wait_quiet(self._options.quiet, self._options.quiet_limit, self._stop)
            if (verdict := self._blocked(intake, outcome)) is not None:
                return verdict
            rounds.append(intake.seen_since_last_asked())
        first, second = rounds
        claimed = self._claimed_count
        evidence = {"first": len(first), "second": len(second), "claimed": claimed}
        if not first and not second:
            return Verdict(end=End.AGAIN, reason="NOTHING_RECEIVED", evidence=evidence)
        if first != second or (claimed is not None and claimed != len(first)):
            return Verdict(end=End.AGAIN, reason="EXPECTED_SET_UNKNOWN", evidence=evidence)
        if intake.held.keys() != first:
            return Verdict(end=End.EXCEPTION, reason="MALFORMED_INSTANCES", evidence=evidence)
        return None

    def _confirm_empty(self) -> Verdict:
        """An empty list is believed when it is given twice, nothing else was claimed, and a retrieve brings
        nothing; studies without images do exist (created by an order, never filled)."""
        if self._claimed_count:
            return Verdict(
                end=End.AGAIN, reason="NO_INSTANCES_LISTED", evidence={"claimed": self._claimed_count, "listed": 0}
            )
        packer = self._pack()
        intake = Intake(self._study_uid, (), packer, (), self._park)
        try:
            with self._router.serving(intake):
                outcome = self._source.retrieve(MoveTarget(study_uid=self._study_uid), self._receiver_ae, self._stop)
                intake.wait_quiet(self._options.quiet, self._options.quiet_limit, self._stop)
            if (verdict := self._blocked(intake, outcome)) is not None:
                return verdict
        finally:
            packer.close()
        again: InstanceList = self._source.list_instances(self._study_uid)
        if intake.arrivals or again.instances:
            evidence = {"listed": len(again.instances), "received": intake.arrivals}
            return Verdict(end=End.AGAIN, reason="EXPECTED_SET_UNKNOWN", evidence=evidence)
        if not again.complete or outcome.end is MoveEnd.LOST:
            return Verdict(end=End.AGAIN, reason="INSTANCE_LIST_INCOMPLETE")
        return Verdict(end=End.EMPTY)


def asked_of(target: MoveTarget, refs: tuple[InstanceRef, ...]) -> int:
    """How many instances a retrieve should bring, by the expected set."""
    if target.sop_uids:
        return len(target.sop_uids)
    if target.series_uid is not None:
        return sum(ref.series_uid == target.series_uid for ref in refs)
    return len(refs)
