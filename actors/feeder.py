"""A feeder: writes fed destinations from the packs the inline destination holds.

It never touches the source, so a slow or dead destination holds nobody but itself.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from actors.copying import instances, landed
from actors.custody import fed_note
from actors.faults import fault_site
from actors.leases import Lease
from actors.mover import destination_trouble, retry_delay
from actors.options import MoverLimits
from actors.packing import StudyPacker
from actors.problems import problem
from actors.worker import Tally, Turn
from storage.errors import (
    AlreadyThere,
    DeviceFull,
    IntegrityError,
    LostClaim,
    Rejected,
    SinkFull,
    StorageError,
    UploadLost,
)
from storage.ledger.ledger import Ledger
from storage.ledger.records import DestinationState, FeedClaim
from storage.packs.model import PackId
from storage.packs.reader import PackReader
from storage.sinks.protocol import Sink
from storage.spool import LandingPlace

NO_DELAY = timedelta(0)


class Feeder:
    """The duty of a feeder process."""

    def __init__(
        self,
        *,
        name: str,
        limits: MoverLimits,
        ledger: Ledger,
        sinks: Mapping[str, Sink],
        destinations: Mapping[str, int],
        place: LandingPlace,
        study_ref: Callable[[str], str],
        tally: Tally,
    ) -> None:
        """`sinks` holds every destination of the job, `destinations` the ids of those that are fed."""
        self._name = name
        self._limits = limits
        self._ledger = ledger
        self._sinks = sinks
        self._destinations = destinations
        self._place = place
        self._study_ref = study_ref
        self._tally = tally
        self._log = structlog.get_logger("limosa.feeder")

    def claim(self) -> FeedClaim | None:
        return self._ledger.claims.feed(
            self._name, destination_ids=list(self._destinations.values()), lease=self._limits.lease
        )

    def rest(self, lane: int) -> None:
        """Nothing is open between studies."""

    def close(self) -> None:
        """Nothing is open between studies."""

    def work(self, lane: int, lease: Lease[FeedClaim], stop: Callable[[], bool]) -> Turn:
        del lane
        claim = lease.claim
        try:
            self._copy(claim, stop)
        except SinkFull as error:
            self._ledger.jobs.set_destination(claim.destination_id, DestinationState.FULL, str(error))
            self._ledger.claims.release(claim, delay=NO_DELAY, reason="DESTINATION_FULL", spent=False)
            return Turn.WORKED
        except (DeviceFull, UploadLost) as error:
            # The journal was reset; the study starts over, on the next device or with a new upload.
            self._ledger.claims.release(claim, delay=NO_DELAY, reason=type(error).__name__, spent=False)
            return Turn.WORKED
        except (AlreadyThere, IntegrityError, Rejected) as error:
            return self._fail(claim, destination_trouble(error), error.code)
        except (LostClaim, Stopped):
            return Turn.WORKED
        except StorageError as error:
            return self._again(claim, type(error).__name__, error.code)
        except Exception as error:
            # A fault of ours in one study: the study gets another attempt, the operator gets the place.
            self._log.error("feed_failed", study=self._study_ref(claim.study_uid), error=fault_site(error))
            return self._again(claim, "INTERNAL_FAULT", fault_site(error))
        return Turn.WORKED

    def _copy(self, claim: FeedClaim, stop: Callable[[], bool]) -> None:
        pack = PackId(study_uid=claim.study_uid, revision=claim.revision)
        source = self._sinks[claim.inline_destination]
        reader = PackReader(source, pack, claim.receipt.container, claim.receipt.key, device=claim.receipt.device)
        members = reader.index().members
        packer = StudyPacker(
            self._sinks[claim.destination],
            pack,
            self._ledger.uploads.journal(claim),
            lambda: self._ledger.uploads.state(claim),
            container=claim.receipt.container,
            size_hint=claim.receipt.size,
        )
        try:
            for member, pieces in instances(reader, {facts.sop_uid for facts in packer.resumed}):
                if stop():
                    raise Stopped
                with landed(self._place, pieces) as part10:
                    packer.add(member.facts, part10)
            receipt = packer.finish()
        finally:
            packer.close()
        self._ledger.commits.fed(claim, receipt=receipt, note=fed_note(receipt, len(members)))
        self._tally.add(studies=1, instances=len(members), size=receipt.size)

    def _again(self, claim: FeedClaim, reason: str, code: str) -> Turn:
        self._tally.add(failures=1)
        if claim.attempts >= self._limits.attempts:
            return self._fail(claim, reason, code)
        delay = retry_delay(claim.attempts, self._limits.retry_delay)
        self._ledger.claims.release(claim, delay=delay, reason=reason, spent=True)
        return Turn.WORKED

    def _fail(self, claim: FeedClaim, kind: str, code: str) -> Turn:
        self._ledger.commits.fail(claim, problem(kind, {"code": code, "attempts": claim.attempts}))
        self._log.warning("study_exception", study=self._study_ref(claim.study_uid), kind=kind)
        return Turn.WORKED


class Stopped(Exception):
    """The worker is draining or its claim is gone; the journal keeps what is done."""
