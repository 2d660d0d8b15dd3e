"""A mover: one process that serves a receiver, pulls studies through it and writes the inline destination.

    lane ──claim──> Pull ──C-MOVE──> source ──C-STORE──> receiver ──> describe ──> router ──> intake ──> pack

The lanes, the receiver's association threads and the lease keeper share nothing but the router's table, the
byte budget and the ledger.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

import structlog

from actors.arrivals import Arrivals
from actors.custody import written_note
from actors.faults import fault_site
from actors.leases import Lease
from actors.options import DimseSource, MoverLimits
from actors.packing import StudyPacker
from actors.problems import problem
from actors.pull import EVIDENCE_UIDS, End, Pull, Verdict
from actors.routing import Router
from actors.setup import HoursWindow
from actors.source import Source, SourceUnreachable
from actors.worker import Tally, Turn
from imaging.roots import uid_set_root
from storage.errors import AlreadyThere, IntegrityError, LostClaim, Rejected, StorageError, UploadLost
from storage.ledger.ledger import Ledger
from storage.ledger.records import PullClaim
from storage.packs.model import PackId
from storage.sinks.protocol import Sink

NO_DELAY = timedelta(0)
LONGEST_DELAY = timedelta(hours=1)
"""Cap of the doubling pause between attempts: an archive that is mended in the morning is used by nine."""


def retry_delay(attempt: int, first: timedelta) -> timedelta:
    """The pause before the next attempt: doubles from `first`, up to `LONGEST_DELAY`."""
    return min(first * (1 << min(attempt - 1, 16)), LONGEST_DELAY)


class Mover:
    """The duty of a mover process: pulls studies. The receiver itself is started by whoever builds the mover."""

    def __init__(
        self,
        *,
        name: str,
        receiver_ae: str,
        source_id: int,
        options: DimseSource,
        limits: MoverLimits,
        hours: HoursWindow,
        only: Sequence[int] | None,
        ledger: Ledger,
        sink: Sink,
        router: Router,
        arrivals: Arrivals,
        open_source: Callable[[], Source],
        study_ref: Callable[[str], str],
        tally: Tally,
    ) -> None:
        self._name = name
        self._receiver_ae = receiver_ae
        self._source_id = source_id
        self._options = options
        self._limits = limits
        self._hours = hours
        self._only = only
        self._ledger = ledger
        self._sink = sink
        self._router = router
        self._arrivals = arrivals
        self._open_source = open_source
        self._study_ref = study_ref
        self._tally = tally
        self._sources: dict[int, Source] = {}
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
            verdict = self._pull(lane, claim, stop)
        except SourceUnreachable as error:
            self._forget_source(lane)
            return self._source_away(claim, refused=error.refused)
        except UploadLost as error:
            # The journal was reset; the study starts over from the source at once.
            return self._again(claim, type(error).__name__, NO_DELAY)
        except (AlreadyThere, IntegrityError, Rejected) as error:
            return self._fail(claim, destination_trouble(error), {"code": error.code})
        except LostClaim:
            raise
        except StorageError as error:
            return self._again(claim, type(error).__name__, retry_delay(claim.attempts, self._limits.retry_delay))
        except Exception as error:
            # A fault of ours in one study: the study gets another attempt, the operator gets the place.
            self._log.error("pull_failed", study=self._study_ref(claim.study_uid), error=fault_site(error))
            self._forget_source(lane)
            return self._again(claim, "INTERNAL_FAULT", self._limits.retry_delay, {"site": fault_site(error)})
        return self._conclude(claim, verdict)

    def _pull(self, lane: int, claim: PullClaim, stop: Callable[[], bool]) -> Verdict:
        pack = PackId(study_uid=claim.study_uid, revision=claim.revision)

        def packer() -> StudyPacker:
            uploads = self._ledger.uploads
            return StudyPacker(
                self._sink,
                pack,
                uploads.journal(claim),
                lambda: uploads.state(claim),
                container=uploads.container(claim),
            )

        return Pull(
            study_uid=claim.study_uid,
            claimed_count=claim.instance_count,
            source=self._source(lane),
            options=self._options,
            receiver_ae=self._receiver_ae,
            router=self._router,
            pack=packer,
            park=self._arrivals.park,
            stop=stop,
            attempt=claim.attempts,
        ).run()

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
        match verdict.end:
            case End.WRITTEN:
                return self._commit(claim, verdict)
            case End.EMPTY:
                self._ledger.commits.empty_confirmed(claim)
                return Turn.WORKED
            case End.AGAIN:
                delay = retry_delay(claim.attempts, self._limits.retry_delay)
                return self._again(claim, verdict.reason, delay, verdict.evidence)
            case End.BUSY:
                self._ledger.control.source_busy(self._source_id, verdict.reason)
                self._ledger.claims.release(claim, delay=self._limits.retry_delay, reason=verdict.reason, spent=False)
                return Turn.WORKED
            case End.HALTED:
                self._tally.halt(f"{verdict.reason}: {self._receiver_ae} is not registered at the source")
                self._ledger.exceptions.open(problem(verdict.reason, verdict.evidence))
                self._ledger.claims.release(claim, delay=NO_DELAY, reason=verdict.reason, spent=False)
                return Turn.HALTED
            case End.STOPPED:
                self._ledger.claims.release(claim, delay=NO_DELAY, reason="STOPPED", spent=False)
                return Turn.WORKED
            case End.EXCEPTION:
                return self._fail(claim, verdict.reason, verdict.evidence)
        assert_never(verdict.end)

    def _commit(self, claim: PullClaim, verdict: Verdict) -> Turn:
        if verdict.receipt is None:
            raise RuntimeError("a written study has a receipt")
        shared = self._ledger.commits.written(
            claim,
            expected_root=uid_set_root(verdict.expected),
            receipt=verdict.receipt,
            note=written_note(verdict, self._receiver_ae),
            facts=verdict.facts,
        )
        if shared:
            uids = sorted({each.sop_uid for each in shared})
            self._note(claim, "SOP_UID_SHARED", {"count": len(uids), "sop_uids": uids[:EVIDENCE_UIDS]})
        if verdict.counts.differing:
            self._note(claim, "DUPLICATE_DIFFERS", {"count": verdict.counts.differing})
        if verdict.evidence:
            self._note(claim, "COUNT_EXCEEDS_LIST", verdict.evidence)
        self._ledger.control.source_ok(self._source_id)
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

    def _note(self, claim: PullClaim, kind: str, evidence: dict[str, Any]) -> None:
        self._ledger.exceptions.open(problem(kind, evidence), study_key=claim.study_key)

    def _source_away(self, claim: PullClaim, *, refused: bool) -> Turn:
        """Nobody's fault but the source's: no attempt is spent; a refusal means it wants fewer of us."""
        if refused:
            self._ledger.control.source_busy(self._source_id, "SOURCE_REFUSED")
        reason = "SOURCE_REFUSED" if refused else "SOURCE_UNREACHABLE"
        self._ledger.claims.release(claim, delay=NO_DELAY, reason=reason, spent=False)
        return Turn.HALTED

    def _again(self, claim: PullClaim, reason: str, delay: timedelta, evidence: dict[str, Any] | None = None) -> Turn:
        self._tally.add(failures=1)
        if claim.attempts >= self._limits.attempts:
            return self._fail(claim, reason, {**(evidence or {}), "attempts": claim.attempts})
        self._ledger.claims.release(claim, delay=delay, reason=reason, spent=True)
        return Turn.WORKED

    def _fail(self, claim: PullClaim, reason: str, evidence: dict[str, Any]) -> Turn:
        self._ledger.commits.fail(claim, problem(reason, evidence))
        self._log.warning("study_exception", study=self._study_ref(claim.study_uid), kind=reason)
        return Turn.WORKED


def destination_trouble(error: StorageError) -> str:
    """The exception class of a destination that refused for good."""
    if isinstance(error, AlreadyThere):
        return "PACK_CONFLICT"
    return "DESTINATION_INTEGRITY" if isinstance(error, IntegrityError) else "DESTINATION_REJECTED"
