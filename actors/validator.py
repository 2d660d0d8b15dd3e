"""A validator: reads deliveries back from their destination and compares them with the ledger.

Nothing is `validated` without it: every instance is read, described anew, and its digests are compared.
"""

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import cast

from blake3 import blake3

from actors.committing import Committer, Committing
from actors.copying import landed, one_by_one, reader_of
from actors.custody import validated_note
from actors.hanging import hanging
from actors.leases import Lease
from actors.options import MoverLimits
from actors.settling import Settling
from actors.verify import COMPARED, Planned, ReadBack
from actors.worker import Tally, Turn
from imaging.errors import Refused
from imaging.facts import InstanceFacts
from imaging.identity.delivered import demands
from imaging.instance import Instance, identify_as
from imaging.likeness import Likenesses
from imaging.octets import Octets
from imaging.part10 import split_part10
from storage.errors import IntegrityError
from storage.ledger.commits import ObjectDigests, ValidationCounts
from storage.ledger.ledger import Ledger
from storage.ledger.records import ValidateClaim
from storage.packs.crc64 import crc64
from storage.packs.index import InvalidIndex
from storage.packs.model import Container, Member, PackId
from storage.packs.naming import member_key, strangers
from storage.packs.reader import PackReader
from storage.sinks.protocol import Proof, Sink
from storage.sinks.sameness import SAME_INSTANCE
from storage.spool import LandingPlace


class Validator:
    """The duty of a validator process."""

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
        self._name = name
        self._limits = limits
        self._ledger = ledger
        self._sinks = sinks
        self._destinations = destinations
        self._place = place
        self._likenesses = Likenesses()
        self._tally = tally
        self._settling = Settling(ledger=ledger, limits=limits, tally=tally, study_ref=study_ref, kind="validator")
        self._committing = Committing(ledger=ledger, settling=self._settling, tally=tally)

    def claim(self) -> ValidateClaim | None:
        return self._ledger.claims.validate(
            self._name,
            destination_ids=list(self._destinations.values()),
            lease=self._limits.lease,
            last=hanging(self._sinks),
        )

    def rest(self, lane: int) -> None:
        """Nothing is open between studies."""

    def close(self) -> None:
        """Nothing is open between studies."""

    def work(self, lane: int, lease: Lease[ValidateClaim], stop: Callable[[], bool]) -> Turn:
        del lane
        claim = lease.claim
        sink = self._sinks[claim.destination]
        if sink.traits.proof is Proof.COMMITMENT:
            return self._commit(claim, cast(Committer, sink), stop)
        try:
            read_back, around, whole = self._read_back(claim, stop)
        except IntegrityError as error:
            # Not even the index can be trusted.
            return self._settling.fail(claim, "DIGEST_MISMATCH", {"code": error.code, "what": "index"})
        except FileNotFoundError:
            return self._settling.fail(claim, "DIGEST_MISMATCH", {"what": "object missing"})
        except Exception as error:
            return self._settling.after(claim, error)
        if read_back is None:
            return self._settling.give_back(claim, "STOPPED")
        self._settling.answered(claim)
        if not read_back.proven:
            return self._settling.fail(claim, "DIGEST_MISMATCH", read_back.evidence(), counts_of(read_back))
        if around:
            return self._settling.fail(claim, "DIGEST_MISMATCH", {"what": around})
        if read_back.unplanned:
            return self._settling.fail(
                claim, "NOT_AS_PLANNED", read_back.unplanned_evidence(), counts_of(read_back, len(read_back.unplanned))
            )
        self._ledger.commits.validated(
            claim,
            instances=read_back.instances,
            digests_compared=read_back.digests_compared,
            note=validated_note(read_back, whole),
            whole=whole,
        )
        self._tally.add(studies=1, instances=read_back.instances, size=read_back.bytes)
        return Turn.WORKED

    def _commit(self, claim: ValidateClaim, sink: Committer, stop: Callable[[], bool]) -> Turn:
        try:
            return self._committing.work(claim, sink, stop)
        except Exception as error:
            return self._settling.after(claim, error)

    def _read_back(
        self, claim: ValidateClaim, stop: Callable[[], bool]
    ) -> tuple[ReadBack | None, str, ObjectDigests | None]:
        """What was read, None when stopped; what is wrong although every instance is right; and the object's digests
        where the delivery is one object and nothing is wrong."""
        ledger: dict[str, InstanceFacts] = {
            facts.sop_uid: facts for facts in self._ledger.facts.instances(claim.study_key, claim.revision)
        }
        service = claim.receipt.container is Container.SERVICE
        read_back = ReadBack(ledger, SAME_INSTANCE if service else COMPARED)
        planned = self._planned(claim, exact=not service)
        sink, pack = self._sinks[claim.destination], PackId(study_uid=claim.study_uid, revision=claim.revision)
        reader = reader_of(sink, pack, claim.receipt, ledger.values)
        summed: Summed | None = Summed()
        try:
            for member, pieces in reader.walk(summed.add):
                if stop():
                    return None, "", None
                self._compare(read_back, planned, member, pieces)
        except (IntegrityError, FileNotFoundError):
            # The stream cannot be followed past a damaged instance.
            summed = None
            for member, pieces in one_by_one(reader, read_back.seen):
                if stop():
                    return None, "", None
                try:
                    self._compare(read_back, planned, member, pieces)
                except (IntegrityError, FileNotFoundError) as error:
                    read_back.cannot_read(member.facts.sop_uid, error)
        if service or claim.receipt.container is Container.P10:
            key = claim.receipt.key
            sop_keys = {member_key(key, one) for one in reader.index().members if one.facts.sop_uid in ledger}
            read_back.strangers.update(strangers(pack, key, sop_keys, sink.loose(pack, key)))
        elif read_back.proven:
            return read_back, *around_instances(reader, summed, claim.receipt.crc64)
        return read_back, "", None

    def _planned(self, claim: ValidateClaim, *, exact: bool) -> Planned | None:
        """What the study's plan wants of each header; None where it wants nothing."""
        decided = self._ledger.facts.decided(claim.study_key, claim.revision)
        if not demands(decided):
            return None
        records = self._ledger.coercions.of_study(claim.study_uid, claim.revision)
        recorded = frozenset(uid for record in records for change in record.changes for uid in change.sop_uids)
        return Planned(decided, recorded, exact=exact)

    def _compare(self, read_back: ReadBack, planned: Planned | None, member: Member, pieces: Iterator[bytes]) -> None:
        with landed(self._place, pieces) as part10:
            try:
                found = reidentify(part10, member.facts, self._likenesses)
                read_back.compare(found.facts())
                if planned is not None and (names := planned.departures(found, member.facts)):
                    read_back.unplanned[member.facts.sop_uid] = list(names)
            except Refused as error:
                read_back.cannot_read(member.facts.sop_uid, error)


class Summed:
    """Checksum and digests of what has passed."""

    def __init__(self) -> None:
        self.crc64 = 0
        self._sha256 = sha256()
        self._blake3 = blake3()

    def add(self, piece: bytes) -> None:
        self.crc64 = crc64(piece, self.crc64)
        self._sha256.update(piece)
        self._blake3.update(piece)

    @property
    def digests(self) -> ObjectDigests:
        return ObjectDigests(sha256=self._sha256.digest(), blake3=self._blake3.digest())


def around_instances(
    reader: PackReader, summed: Summed | None, receipted: int | None
) -> tuple[str, ObjectDigests | None]:
    """What is not as it was written beside the instances, empty when nothing: tar headers and end blocks, that
    other tools need, and the index beside the pack. Where nothing is, the object's digests, too.

    `summed` is None where no walk came to its end; then the object is read once more.
    """
    if summed is None:
        summed = Summed()
        for piece in reader.pieces():
            summed.add(piece)
    if receipted is not None and summed.crc64 != receipted:
        return "object", None
    try:
        same = reader.sidecar() == reader.index()
    except (FileNotFoundError, InvalidIndex):
        same = False
    return ("", summed.digests) if same else ("sidecar", None)


def reidentify(part10: Octets, claimed: InstanceFacts, likenesses: Likenesses) -> Instance:
    """The instance of a file that was read back, from its bytes alone; RAW1 is taken over from the claim."""
    envelope = split_part10(part10)
    return identify_as(
        part10,
        dataset_offset=envelope.dataset_offset,
        transfer_syntax=envelope.transfer_syntax,
        raw1=claimed.raw1,
        sop_class=claimed.sop_class,
        sop_uid=claimed.sop_uid,
        likenesses=likenesses,
    )


def counts_of(read_back: ReadBack, unplanned: int = 0) -> ValidationCounts:
    """The read-back as the ledger counts it: instances whose digests were compared, not digests."""
    return ValidationCounts(
        instances=read_back.instances,
        digests_compared=read_back.digests_compared,
        mismatches=read_back.mismatches + unplanned,
        missing=len(read_back.missing),
        surplus=len(read_back.surplus) + len(read_back.strangers),
    )
