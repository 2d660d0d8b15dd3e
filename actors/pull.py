"""One claimed study on its way from the source to the inline destination.

    expected set -> writer (resumed) -> ladder of retrieves -> complete? -> finish -> one commit
    (no list)                        -> two whole retrieves -> agreed?   ->

Every way out is a `Verdict`; the lane turns it into one statement on the claim's row. Nothing here decides
by a C-MOVE status that a study is complete: only the sets do.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from actors.agreement import Round, disagreement
from actors.dosing import Additions, NothingAdded
from actors.intake import Arrival, Intake, Parked, Shape, as_it_came
from actors.ladder import accounted_for, announced, announces_more, first_rung, targets
from actors.options import AnySource
from actors.packing import PackOpener, StudyPacker
from actors.routing import Router
from actors.source import InstanceList, InstanceRef, MoveEnd, MoveOutcome, MoveTarget, Source
from actors.verdict import EVIDENCE_UIDS, LIST_INCOMPLETE, UNLISTED, End, Expected, Verdict, surplus_evidence
from imaging.facts import InstanceFacts
from imaging.octets import Octets
from imaging.uid import Uid

NO_WAIT = timedelta(0)
STRAGGLER_GLANCE = timedelta(milliseconds=200)
"""Between two retrieves of one rung: long enough for what is on the wire, short enough for 1,000 of them. The
whole quiet period is only waited for at the end of a rung."""


class Pull:
    """One attempt at one study. `stop` is asked wherever something may take long."""

    def __init__(
        self,
        *,
        study_uid: Uid,
        claimed_count: int | None,
        source: Source,
        options: AnySource,
        receiver_ae: str,
        router: Router,
        pack: PackOpener,
        park: Callable[[InstanceFacts, Octets], Parked],
        stop: Callable[[], bool],
        attempt: int = 1,
        shape: Shape = as_it_came,
        additions: Additions | None = None,
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
        self._attempt = attempt
        self._shape = shape
        self._additions = additions or NothingAdded()
        self._announced: dict[str, Any] = {}
        """What the source said of instances beyond its list that never came; empty if nothing."""

    def run(self) -> Verdict:
        """The study is durable at the inline destination, or the verdict says why not.

        Raises
        ------
        SourceUnreachable, StorageError
            From source and writer; what the journal holds stays resumable.
        """
        if not self._options.profile.image_level:
            return self._pull(UNLISTED)
        listed = self._source.list_instances(self._study_uid)
        if not listed.complete or listed.undecodable:
            # Some archives refuse IMAGE-level queries, or cut them: another attempt does without the list.
            return LIST_INCOMPLETE if self._attempt == 1 else self._pull(UNLISTED)
        if not listed.instances:
            return self._confirm_empty()
        return self._pull(Expected(refs=listed.instances, grade="image_list"))

    def _pull(self, expected: Expected) -> Verdict:
        packer = self._open_pack()
        intake = Intake(self._study_uid, expected.refs, packer, packer.resumed, self._park, self._shape)
        verdict: Verdict | None = None
        try:
            with self._router.serving(intake):
                if expected.refs is None:
                    shortfall = self._retrieve_twice(intake)
                else:
                    shortfall = self._fulfil(intake, expected.refs)
            if intake.failure is not None:
                raise intake.failure
            verdict = shortfall or self._unsettled(intake) or self._finish(intake, packer, expected)
            return verdict
        finally:
            packer.close()
            if not self._resumable(intake, expected, verdict):
                packer.start_over(verdict.reason if verdict else "ATTEMPT_BROKE_OFF")
            if verdict is None or verdict.end is not End.EXCEPTION:
                intake.discard_surplus()

    def _open_pack(self) -> StudyPacker:
        packer = self._pack()
        if packer.resumed and self._additions.must_see(packer.resumed):
            packer.start_over("HAS_TO_BE_SEEN")
            packer = self._pack()
        return packer

    def _resumable(self, intake: Intake, expected: Expected, verdict: Verdict | None) -> bool:
        """Whether the next attempt may take up the pack, and so only ask for what the list says is missing."""
        if verdict is not None and verdict.end is End.WRITTEN:
            return True
        if intake.surplus or self._announced:
            # Only a whole retrieve brings what the source does not list: the next attempt has to see it, too.
            return False
        # What is in the pack is not known to belong there.
        doubtful = expected.refs is None or intake.unlisted
        return not (doubtful and verdict is not None and verdict.end is End.AGAIN)

    def _finish(self, intake: Intake, packer: StudyPacker, expected: Expected) -> Verdict:
        held = intake.held
        made = self._additions.made(held)
        for facts, part10 in made:
            packer.add(facts, part10)
        added = tuple(facts for facts, _ in made)
        listed = intake.expected if expected.refs is not None else frozenset(f.sop_uid for f in held.values())
        return Verdict(
            end=End.WRITTEN,
            evidence=self._counted_more(len(held)) | self._announced,
            facts=(*held.values(), *added),
            # What we add is expected because we add it; a source that has it already sent it, and the sets differ.
            expected=listed | {facts.sop_uid for facts in added},
            receipt=packer.finish(),
            grade=expected.grade,
            counts=intake.counts,
        )

    def _counted_more(self, listed: int) -> dict[str, Any]:
        """The source's own count where it exceeds what it lists: rejected objects, or a list that was cut."""
        claimed = self._claimed_count or 0
        return {"claimed": claimed, "listed": listed} if claimed > listed else {}

    def _unsettled(self, intake: Intake) -> Verdict | None:
        """Instances came between the last look and the end, or the source took some off its list."""
        if not intake.surplus and not intake.unlisted:
            return None
        return Verdict(
            end=End.AGAIN,
            reason="EXPECTED_SET_UNKNOWN",
            evidence={"surplus": len(intake.surplus), "unlisted": len(intake.unlisted)},
        )

    def _fulfil(self, intake: Intake, refs: tuple[InstanceRef, ...]) -> Verdict | None:
        shortfall = self._ask_whole(intake, refs) if self._counted_more(len(refs)) else None
        return shortfall or self._climb(intake, refs) or self._settle_surplus(intake)

    def _ask_whole(self, intake: Intake, refs: tuple[InstanceRef, ...]) -> Verdict | None:
        """The source counts more instances than it lists. Only a whole retrieve brings what a list that was
        cut leaves out, so it is never spared here, resumed or not, and must end well."""
        target = MoveTarget(study_uid=self._study_uid)
        before = intake.arrivals
        outcome, _ = self._retrieve(intake, target, len(refs))
        if (verdict := self._blocked(intake, outcome)) is not None:
            return verdict
        intake.wait_quiet(self._options.quiet, self._options.quiet_limit, self._stop)
        asked = Round(seen=frozenset(), arrivals=intake.arrivals - before, outcome=outcome)
        if asked.whole or intake.rejected:
            return None
        evidence = {
            **self._counted_more(len(refs)),
            "status": outcome.status,
            "failed": outcome.failed,
            "announced": announced(outcome),
            "received": asked.arrivals,
        }
        return Verdict(end=End.AGAIN, reason="EXPECTED_SET_UNKNOWN", evidence=evidence)

    def _climb(self, intake: Intake, refs: tuple[InstanceRef, ...]) -> Verdict | None:
        """Nothing is missing (None), or why it cannot be had now."""
        at_first = len(intake.held)
        rung = first_rung(refs, intake.held)
        while intake.missing:
            settled = intake.held.keys() | intake.rejected
            pending = targets(self._study_uid, refs, settled, rung)
            for target in pending:
                outcome, accounted = self._retrieve(intake, target, asked_of(target, refs))
                if intake.missing and (verdict := self._blocked(intake, outcome)) is not None:
                    return verdict
                if not accounted and target is pending[-1]:
                    self._wait(intake, self._options.quiet)
                if not intake.missing - intake.rejected:
                    break
            if intake.failure is not None:
                raise intake.failure
            if self._stop():
                return Verdict(end=End.STOPPED)
            # Where other UIDs come than are listed, asking for less at a time only brings more of them.
            if rung.last or not pending or (intake.surplus and len(intake.held) == at_first):
                break
            rung = rung.next()
        return self._explain_missing(intake) if intake.missing else None

    def _retrieve(self, intake: Intake, target: MoveTarget, asked: int) -> tuple[MoveOutcome, bool]:
        before = intake.arrivals
        outcome = self._source.retrieve(target, self._receiver_ae, lambda: self._stop() or intake.failure is not None)
        accounted = accounted_for(outcome, asked, intake.arrivals - before)
        self._wait(intake, NO_WAIT if accounted else min(self._options.quiet, STRAGGLER_GLANCE))
        if announces_more(outcome, asked, intake.arrivals - before):
            intake.wait_quiet(self._options.quiet, self._options.quiet_limit, self._stop)
            if announces_more(outcome, asked, intake.arrivals - before):
                intake.spoil()
                self._remember_announced(outcome, asked, intake)
        return outcome, accounted

    def _remember_announced(self, outcome: MoveOutcome, asked: int, intake: Intake) -> None:
        unlisted = sorted(set(outcome.failed_sop_uids) - intake.expected)
        self._announced = {"asked": asked, "announced": announced(outcome), "failed": outcome.failed}
        if unlisted:
            self._announced["failed_uids"] = unlisted[:EVIDENCE_UIDS]

    def _wait(self, intake: Intake, quiet: timedelta) -> None:
        intake.wait_settled(quiet, self._options.quiet_limit, self._stop)

    def _blocked(self, intake: Intake, outcome: MoveOutcome) -> Verdict | None:
        """Whether this outcome ends the attempt, as long as it has not brought everything."""
        if intake.failure is not None:
            raise intake.failure
        if self._stop():
            return Verdict(end=End.STOPPED)
        if outcome.end is MoveEnd.BUSY:
            return Verdict(end=End.BUSY, reason="SOURCE_BUSY")
        if outcome.end is MoveEnd.UNKNOWN_DESTINATION:
            return Verdict(end=End.HALTED, reason="RECEIVER_UNKNOWN", evidence={"ae_title": self._receiver_ae})
        return None

    def _explain_missing(self, intake: Intake) -> Verdict:
        missing, surplus, rejected = intake.missing, intake.surplus, intake.rejected
        evidence: dict[str, Any] = {
            "expected": len(intake.expected),
            "received": len(intake.held),
            "missing": len(missing),
            "missing_uids": sorted(missing)[:EVIDENCE_UIDS],
            **surplus_evidence(surplus),
        }
        if surplus:
            again = self._source.list_instances(self._study_uid)
            if not again.complete:
                return LIST_INCOMPLETE
            if {ref.sop_uid for ref in again.instances} != intake.expected:
                # The study changed between list and retrieve, as in a merge at the source.
                return Verdict(end=End.AGAIN, reason="EXPECTED_SET_UNKNOWN", evidence=evidence)
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
            return LIST_INCOMPLETE
        intake.expect(again.instances)
        listed = intake.expected
        for sop_uid, parked in intake.surplus.items():
            if sop_uid in listed and intake.adopt(parked) is Arrival.FAILED and intake.failure is not None:
                raise intake.failure
        if intake.missing and (shortfall := self._climb(intake, again.instances)) is not None:
            return shortfall
        left = intake.surplus
        if not left:
            return None
        evidence = {"expected": len(listed), "received": len(intake.held), **surplus_evidence(left)}
        return Verdict(end=End.EXCEPTION, reason="SURPLUS_INSTANCES", evidence=evidence, counts=intake.counts)

    def _retrieve_twice(self, intake: Intake) -> Verdict | None:
        """Without a list, two whole retrieves must end well and bring the same set (and the claimed count, if any)."""
        rounds: list[Round] = []
        for _ in range(2):
            intake.seen_since_last_asked()
            before = intake.arrivals
            outcome = self._ask_for_all(intake)
            if (verdict := self._blocked(intake, outcome)) is not None:
                return verdict
            seen = frozenset(intake.seen_since_last_asked())
            rounds.append(Round(seen=seen, arrivals=intake.arrivals - before, outcome=outcome))
        first, second = rounds
        claimed, rejected = self._claimed_count, frozenset(intake.rejected)
        reason = disagreement(first, second, claimed=claimed, held=frozenset(intake.held), rejected=rejected)
        if reason is None:
            return None
        if reason == "NOTHING_RECEIVED" and claimed == 0 and first.whole and second.whole:
            return Verdict(end=End.EMPTY)
        evidence = {
            "first": len(first.seen),
            "second": len(second.seen),
            "claimed": claimed,
            "rejected": len(rejected),
            "statuses": [first.outcome.status, second.outcome.status],
        }
        return Verdict(end=End.AGAIN, reason=reason, evidence=evidence)

    def _ask_for_all(self, intake: Intake) -> MoveOutcome:
        outcome = self._source.retrieve(
            MoveTarget(study_uid=self._study_uid),
            self._receiver_ae,
            lambda: self._stop() or intake.failure is not None,
        )
        intake.wait_quiet(self._options.quiet, self._options.quiet_limit, self._stop)
        return outcome

    def _confirm_empty(self) -> Verdict:
        """An empty list is believed when it is given twice, nothing else was claimed, and a retrieve that ends
        well brings nothing; studies without images do exist (created by an order, never filled)."""
        if self._claimed_count:
            return Verdict(
                end=End.AGAIN, reason="NO_INSTANCES_LISTED", evidence={"claimed": self._claimed_count, "listed": 0}
            )
        packer = self._pack()
        intake = Intake(self._study_uid, (), packer, (), self._park)
        try:
            with self._router.serving(intake):
                outcome = self._ask_for_all(intake)
            if (verdict := self._blocked(intake, outcome)) is not None:
                return verdict
        finally:
            packer.close()
            intake.discard_surplus()
        again: InstanceList = self._source.list_instances(self._study_uid)
        if not again.complete or again.undecodable:
            return LIST_INCOMPLETE
        nothing = Round(seen=frozenset(), arrivals=0, outcome=outcome)
        if intake.arrivals or again.instances or not nothing.whole:
            evidence = {
                "listed": len(again.instances),
                "received": intake.arrivals,
                "announced": announced(outcome),
                "status": outcome.status,
            }
            return Verdict(end=End.AGAIN, reason="EXPECTED_SET_UNKNOWN", evidence=evidence)
        return Verdict(end=End.EMPTY)


def asked_of(target: MoveTarget, refs: tuple[InstanceRef, ...]) -> int:
    """How many instances a retrieve should bring, by the expected set."""
    if target.sop_uids:
        return len(target.sop_uids)
    if target.series_uid is not None:
        return sum(ref.series_uid == target.series_uid for ref in refs)
    return len(refs)
