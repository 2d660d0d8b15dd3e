"""How a claim ends when its work did not: one place that decides what an error costs the study.

an attempt          the study's own trouble: after the last attempt it is an exception
nothing, rest       the endpoint is away: an outage of a night must not use up the attempts of an archive
nothing, at once    the destination moved on (next device), or the worker is stopping
an exception        trying again would bring the same
"""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from actors.faults import fault_site
from actors.options import MoverLimits
from actors.patience import Patience
from actors.problems import problem
from actors.source import SourceUnending, SourceUnreachable
from actors.verdict import EVIDENCE_UIDS
from actors.worker import Stopped, Tally, Turn
from imaging.coercion.errors import NotCoercible
from imaging.identity.arrival import MixedPatient, UnlistedAccession
from storage.errors import (
    AlreadyThere,
    DeviceFull,
    IntegrityError,
    LostClaim,
    Rejected,
    Retryable,
    SinkFull,
    StorageError,
    UploadLost,
    VolumeSealed,
)
from storage.ledger.commits import ValidationCounts
from storage.ledger.ledger import Ledger
from storage.ledger.records import Claim, DestinationState, Json

NO_DELAY = timedelta(0)
REFUSES_US = frozenset(
    {
        "401", "403", "AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
        "ASSOCIATION_REFUSED", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired", "NoSuchBucket",
    }
)  # fmt: skip
"""Codes of S3, HTTP and DIMSE that speak of our key, our clock, our title or the bucket and never of one object."""
OURS = frozenset({"ledger", "spool", "quarantine"})
"""Places of errors that say nothing about a destination."""
SERVED_LATELY = timedelta(minutes=1)
"""A source that gave another worker a study this recently knows us: some archives reject "permanently" under load."""
LONGEST_DELAY = timedelta(hours=1)
"""Cap of the doubling pause between attempts: an archive that is mended in the morning is used by nine."""


def retry_delay(attempt: int, first: timedelta) -> timedelta:
    """The pause before the next attempt: doubles from `first`, up to `LONGEST_DELAY`."""
    return min(first * (1 << min(attempt - 1, 16)), LONGEST_DELAY)


def destination_trouble(error: StorageError) -> str:
    """The exception class of a destination that refused for good."""
    if isinstance(error, AlreadyThere):
        return "PACK_CONFLICT"
    if isinstance(error, VolumeSealed):
        return "VOLUME_SEALED"
    return "DESTINATION_INTEGRITY" if isinstance(error, IntegrityError) else "DESTINATION_REJECTED"


def evidence_of(error: StorageError) -> Json:
    """What the ledger keeps of it."""
    if not error.sop_uids:
        return {"code": error.code}
    return {"code": error.code, "instances": len(error.sop_uids), "sop_uids": sorted(error.sop_uids)[:EVIDENCE_UIDS]}


class Settling:
    """Ends claims of one worker; every method is one statement on the claim's row and may raise `LostClaim`."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        limits: MoverLimits,
        tally: Tally,
        study_ref: Callable[[str], str],
        kind: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._tally = tally
        self._study_ref = study_ref
        self._destinations = Patience(limits.outage, now)
        """With destinations that do not answer any lane of this worker."""
        self._refused = Patience(limits.outage, now)
        """With deliveries whose study the source is always too busy for."""
        self._sources = Patience(limits.outage, now)
        """With sources that do not answer any lane of this worker."""
        self._log = structlog.get_logger(f"limosa.{kind}")

    def after(self, claim: Claim, error: Exception) -> Turn:
        """The claim is settled as `error` demands.

        Raises
        ------
        LostClaim
            It was another's already.
        Retryable
            The ledger is away: the row keeps the claim until its lease runs out.
        """
        match error:
            case LostClaim():
                raise error
            case Stopped():
                return self.give_back(claim, "STOPPED")
            case SinkFull():
                self._ledger.jobs.set_destination(claim.destination_id, DestinationState.FULL, str(error))
                return self.give_back(claim, "DESTINATION_FULL")
            case DeviceFull():
                return self.give_back(claim, "DEVICE_FULL")
            case UploadLost():
                return self.again(claim, "UPLOAD_LOST", {"code": error.code}, delay=NO_DELAY)
            case Rejected() if error.place in OURS:
                return self.again(claim, "Rejected", {"code": error.code, "place": error.place})
            case Rejected() if error.code in REFUSES_US:
                return self._refuses_us(claim, error)
            case AlreadyThere() | IntegrityError() | Rejected() | VolumeSealed():
                return self.fail(claim, destination_trouble(error), evidence_of(error))
            case Retryable() if error.place in OURS:
                self._log.warning("worker_in_trouble", study=self._study_ref(claim.study_uid), code=error.code)
                self.give_back(claim, "WORKER_IN_TROUBLE", delay=self._limits.retry_delay)
                return Turn.HALTED
            case Retryable():
                return self._away(claim, error)
            case SourceUnreachable():
                return self._source_away(claim, error)
            case SourceUnending():
                return self.again(claim, "SOURCE_UNENDING", {"bound": error.bound.value})
            case MixedPatient():
                return self.fail(
                    claim, "MIXED_PATIENT_IN_STUDY", {"attribute": error.attribute, "defect": error.defect}
                )
            case UnlistedAccession():
                return self.fail(claim, "ACC_UNLISTED", {"found": [error.accession]})
            case NotCoercible():
                evidence = {"rule": error.rule, "attribute": error.attribute, "defect": error.defect}
                return self.fail(claim, "NOT_COERCIBLE", evidence)
            case StorageError():
                return self.again(claim, type(error).__name__, evidence_of(error))
            case _:
                # A fault of ours in one study: the study gets another attempt, the operator gets the place.
                site = fault_site(error)
                self._log.error("internal_fault", study=self._study_ref(claim.study_uid), error=site)
                return self.again(claim, "INTERNAL_FAULT", {"site": site})

    def answered(self, claim: Claim) -> None:
        """The claim's destination works: an outage that may have been is over."""
        self._destinations.renew(claim.destination_id)

    def _away(self, claim: Claim, error: Retryable) -> Turn:
        """No attempt is counted. A destination that stays away for the job's patience is stopped, so that a run
        can end and say so; the next run tries it again."""
        self._log.warning("endpoint_away", study=self._study_ref(claim.study_uid), code=error.code)
        if self._destinations.exhausted(claim.destination_id):
            self._destinations.renew(claim.destination_id)
            self._ledger.jobs.set_destination(claim.destination_id, DestinationState.STOPPED, f"away: {error}")
            self._ledger.exceptions.open(
                problem("DESTINATION_AWAY", {"code": error.code}), destination_id=claim.destination_id
            )
        self.give_back(claim, "ENDPOINT_AWAY", delay=self._limits.retry_delay)
        return Turn.HALTED

    def _source_away(self, claim: Claim, error: SourceUnreachable) -> Turn:
        """Nobody's fault but the source's: no attempt is counted. A source that stays away for the job's patience is
        stopped, so that a run can end and say so, one that refuses us for good at once; the next run tries it again.
        """
        reason = "SOURCE_REFUSED" if error.refused else "SOURCE_UNREACHABLE"
        if error.permanent:
            self._stop_source(claim, error, "SOURCE_REFUSES_US", SERVED_LATELY)
        elif self._sources.exhausted(claim.source_id):
            self._sources.renew(claim.source_id)
            self._stop_source(claim, error, "SOURCE_AWAY", self._limits.outage)
        elif error.refused:
            # It wants fewer of us.
            self._ledger.control.source_busy(claim.source_id, reason)
        self.give_back(claim, reason)
        return Turn.HALTED

    def _stop_source(self, claim: Claim, error: SourceUnreachable, kind: str, silent_for: timedelta) -> None:
        if self._ledger.control.stop_source(claim.source_id, str(error), silent_for=silent_for):
            self._log.warning("source_stopped", kind=kind)
            self._ledger.exceptions.open(problem(kind, {"error": str(error)}))

    def _refuses_us(self, claim: Claim, error: Rejected) -> Turn:
        """The destination is stopped at once: the next study would be refused alike, and none is to blame."""
        self._ledger.jobs.set_destination(claim.destination_id, DestinationState.STOPPED, f"refuses us: {error}")
        self._ledger.exceptions.open(
            problem("DESTINATION_REFUSES_US", {"code": error.code}), destination_id=claim.destination_id
        )
        self.give_back(claim, "DESTINATION_REFUSES_US")
        return Turn.HALTED

    def busy(self, claim: Claim, reason: str) -> Turn:
        """The source asks for fewer of us, which is no fault of the study's, unless the source has had no other
        answer for it for as long as an outage may last: some archives say "busy" of a study they cannot read."""
        self._sources.renew(claim.source_id)
        if self._refused.exhausted(claim.delivery_id):
            return self.again(claim, reason, {})
        return self.give_back(claim, reason, delay=self._limits.retry_delay)

    def served(self, claim: Claim) -> None:
        """The source was there, and not too busy for the claim's study."""
        self._sources.renew(claim.source_id)
        self._refused.renew(claim.delivery_id)

    def again(self, claim: Claim, reason: str, evidence: Json, *, delay: timedelta | None = None) -> Turn:
        """Another attempt, after a pause that doubles; after the last one, an exception of class `reason`."""
        self._tally.add(failures=1)
        if claim.attempts >= self._limits.attempts:
            return self.fail(claim, reason, {**evidence, "attempts": claim.attempts})
        if delay is None:
            delay = retry_delay(claim.attempts, self._limits.retry_delay)
        self._ledger.claims.release(claim, delay=delay, reason=reason, spent=True)
        return Turn.WORKED

    def give_back(self, claim: Claim, reason: str, *, delay: timedelta = NO_DELAY) -> Turn:
        """Nothing was the study's fault: no attempt is counted."""
        self._ledger.claims.release(claim, delay=delay, reason=reason, spent=False)
        return Turn.WORKED

    def fail(self, claim: Claim, kind: str, evidence: Json, counts: ValidationCounts | None = None) -> Turn:
        """A person has to look."""
        self._ledger.commits.fail(claim, problem(kind, evidence), counts=counts)
        self._log.warning("study_exception", study=self._study_ref(claim.study_uid), kind=kind)
        return Turn.WORKED
