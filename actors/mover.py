"""A mover: one process that serves a receiver, pulls studies through it and writes the inline destination.

    lane ──claim──> Pull ──C-MOVE──> source ──C-STORE──> receiver ──> describe ──> router ──> intake ──> pack

The lanes, the receiver's association threads and the lease keeper share nothing but the router's table, the
byte budget and the ledger.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import assert_never

import structlog

from actors.arrivals import Arrivals
from actors.coercing import fingerprint_of, identity_note, in_use, shape_of
from actors.coercion_options import CoercionOptions
from actors.custody import written_note
from actors.dose_options import DoseOptions
from actors.dosing import Dosing, with_more
from actors.identity_options import IdentityOptions
from actors.leases import Lease
from actors.options import AnySource, MoverLimits
from actors.pacing import Attempt, Meter
from actors.packing import StudyPacker
from actors.problems import problem
from actors.pull import Pull
from actors.routing import Router
from actors.settling import Settling
from actors.setup import HoursWindow
from actors.source import Source, SourceUnreachable
from actors.verdict import EVIDENCE_UIDS, End, Verdict
from actors.worker import Tally, Turn
from imaging.roots import uid_set_root
from storage.errors import StorageError
from storage.ledger.facts import SharedSop
from storage.ledger.ledger import Ledger
from storage.ledger.records import Problem, PullClaim
from storage.packs.model import PackId
from storage.sinks.protocol import Sink


class Mover:
    """The duty of a mover process: pulls studies. The receiver itself is started by whoever builds the mover."""

    def __init__(
        self,
        *,
        name: str,
        receiver_ae: str,
        source_id: int,
        options: AnySource,
        limits: MoverLimits,
        hours: HoursWindow,
        only: Sequence[int] | None,
        coercion: CoercionOptions,
        dose: DoseOptions,
        identity: IdentityOptions | None,
        ledger: Ledger,
        sink: Sink,
        router: Router,
        arrivals: Arrivals,
        open_source: Callable[[], Source],
        study_ref: Callable[[str], str],
        tally: Tally,
        meter: Meter,
    ) -> None:
        self._name = name
        self._receiver_ae = receiver_ae
        self._source_id = source_id
        self._options = options
        self._limits = limits
        self._hours = hours
        self._only = only
        self._rules = coercion.rule_set()
        self._in_use = in_use(coercion)
        self._dose = dose
        self._identity = identity
        self._ledger = ledger
        self._sink = sink
        self._router = router
        self._arrivals = arrivals
        self._open_source = open_source
        self._study_ref = study_ref
        self._tally = tally
        self._meter = meter
        self._sources: dict[int, Source] = {}
        self._settling = Settling(ledger=ledger, limits=limits, tally=tally, study_ref=study_ref, kind="mover")
        self._log = structlog.get_logger("limosa.mover")

    def claim(self) -> PullClaim | None:
        if not self._hours.open_at(datetime.now(UTC)):
            return None
        return self._ledger.claims.pull(
            self._name, source_id=self._source_id, lease=self._limits.lease, only=self._only
        )

    def rest(self, lane: int) -> None:
        # A source that stands few associations refuses a busy lane for the sake of an idle one's.
        self._forget_source(lane)

    def close(self) -> None:
        for source in list(self._sources.values()):
            source.close()

    def work(self, lane: int, lease: Lease[PullClaim], stop: Callable[[], bool]) -> Turn:
        claim = lease.claim
        try:
            with self._meter.asking():
                return self._conclude(claim, self._pull(lane, claim, stop))
        except Exception as error:
            if not isinstance(error, StorageError):
                self._forget_source(lane)
            return self._settling.after(claim, error)
        finally:
            self._router.settled(claim.study_uid)

    def _pull(self, lane: int, claim: PullClaim, stop: Callable[[], bool]) -> Verdict:
        pack = PackId(study_uid=claim.study_uid, revision=claim.revision)
        fingerprint = fingerprint_of(self._rules, claim.plan)

        def packer() -> StudyPacker:
            uploads = self._ledger.uploads
            return StudyPacker(
                self._sink,
                pack,
                uploads.journal(claim, fingerprint),
                lambda: uploads.state(claim),
                container=uploads.container(claim),
                rules=fingerprint,
            )

        source = Attempt(self._source(lane))
        shape = shape_of(
            self._rules,
            self._options.name,
            claim.planned_at,
            self._arrivals.likenesses,
            plan=claim.plan,
            identity=self._identity,
        )
        dosing = None if self._dose.reports == "off" else Dosing(self._dose, shape, claim.planned_at)
        pull = Pull(
            study_uid=claim.study_uid,
            claimed_count=claim.instance_count,
            source=source,
            options=self._options,
            receiver_ae=self._receiver_ae,
            router=self._router,
            pack=packer,
            park=self._arrivals.park,
            stop=stop,
            attempt=claim.attempts,
            shape=shape if dosing is None else dosing.shape,
            additions=dosing,
        )
        try:
            verdict = pull.run()
        except SourceUnreachable as error:
            if not error.refused:
                self._meter.ended(failed=1)
            raise
        if verdict.end in (End.WRITTEN, End.EMPTY, End.AGAIN, End.EXCEPTION):
            self._meter.ended(failed=int(source.broke_off or verdict.end is End.AGAIN))
        return verdict if dosing is None else replace(verdict, noted=dosing.noted)

    def _source(self, lane: int) -> Source:
        source = self._sources.get(lane)
        if source is None:
            source = self._sources[lane] = self._open_source()
        return source

    def _forget_source(self, lane: int) -> None:
        source = self._sources.pop(lane, None)
        if source is not None:
            source.close()

    def _conclude(self, claim: PullClaim, verdict: Verdict) -> Turn:
        if verdict.end not in (End.BUSY, End.STOPPED):
            self._settling.served(claim)
        match verdict.end:
            case End.WRITTEN:
                return self._commit(claim, verdict)
            case End.EMPTY:
                self._ledger.commits.empty_confirmed(claim)
                return Turn.WORKED
            case End.AGAIN:
                return self._settling.again(claim, verdict.reason, verdict.evidence)
            case End.BUSY:
                self._ledger.control.source_busy(self._source_id, verdict.reason)
                return self._settling.busy(claim, verdict.reason)
            case End.HALTED:
                self._tally.halt(f"{verdict.reason}: {self._receiver_ae} is not registered at the source")
                self._ledger.exceptions.open(problem(verdict.reason, verdict.evidence))
                self._settling.give_back(claim, verdict.reason)
                return Turn.HALTED
            case End.STOPPED:
                return self._settling.give_back(claim, "STOPPED")
            case End.EXCEPTION:
                return self._settling.fail(claim, verdict.reason, verdict.evidence)
        assert_never(verdict.end)

    def _commit(self, claim: PullClaim, verdict: Verdict) -> Turn:
        if verdict.receipt is None:
            raise RuntimeError("a written study has a receipt")
        self._ledger.commits.written(
            claim,
            expected_root=uid_set_root(verdict.expected),
            receipt=verdict.receipt,
            note=with_more(
                written_note(verdict, self._receiver_ae, self._rules),
                {**verdict.noted, **identity_note(claim.plan, verdict.facts)},
            ),
            problems=lambda shared: warnings(verdict, shared),
            facts=verdict.facts,
            rules=self._in_use,
        )
        self._settling.answered(claim)
        self._tally.halt("")
        size = sum(facts.sto_size for facts in verdict.facts)
        self._tally.add(studies=1, instances=len(verdict.facts), size=size)
        self._log.info(
            "study_written",
            study=self._study_ref(claim.study_uid),
            instances=len(verdict.facts),
            bytes=size,
        )
        return Turn.WORKED


def warnings(verdict: Verdict, shared: Sequence[SharedSop]) -> list[Problem]:
    """What was odd about a study that is complete all the same."""
    found: list[Problem] = []
    if shared:
        uids = sorted({each.sop_uid for each in shared})
        found.append(problem("SOP_UID_SHARED", {"count": len(uids), "sop_uids": uids[:EVIDENCE_UIDS]}))
    if verdict.evidence:
        found.append(problem("COUNT_EXCEEDS_LIST", verdict.evidence))
    return found
