"""A feeder: writes fed destinations from the packs the inline destination holds.

It never touches the source, so a slow or dead destination holds nobody but itself.
"""

from collections.abc import Callable, Mapping

from actors.copying import instances, landed
from actors.custody import fed_note
from actors.hanging import hanging
from actors.leases import Lease
from actors.options import MoverLimits
from actors.packing import StudyPacker
from actors.settling import Settling
from actors.worker import Stopped, Tally, Turn
from storage.ledger.ledger import Ledger
from storage.ledger.records import FeedClaim
from storage.packs.model import PackId
from storage.packs.volumes import pack_reader
from storage.sinks.protocol import Sink
from storage.spool import LandingPlace


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
        self._tally = tally
        self._settling = Settling(ledger=ledger, limits=limits, tally=tally, study_ref=study_ref, kind="feeder")

    def claim(self) -> FeedClaim | None:
        return self._ledger.claims.feed(
            self._name,
            destination_ids=list(self._destinations.values()),
            lease=self._limits.lease,
            last=hanging(self._sinks),
        )

    def rest(self, lane: int) -> None:
        """Nothing is open between studies."""

    def close(self) -> None:
        """Nothing is open between studies."""

    def work(self, lane: int, lease: Lease[FeedClaim], stop: Callable[[], bool]) -> Turn:
        del lane
        try:
            self._copy(lease.claim, stop)
        except Exception as error:
            return self._settling.after(lease.claim, error)
        return Turn.WORKED

    def _copy(self, claim: FeedClaim, stop: Callable[[], bool]) -> None:
        pack = PackId(study_uid=claim.study_uid, revision=claim.revision)
        source = self._sinks[claim.inline_destination]
        reader = pack_reader(source, pack, claim.receipt)
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
        self._settling.answered(claim)
        self._tally.add(studies=1, instances=len(members), size=receipt.size)
