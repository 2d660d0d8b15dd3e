"""A study in two volumes whose devices go different ways: nothing is complete before each of them is proven."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.seeding.accounting import Account, PackVerdict, Verdict
from cluster.seeding.reconcile import Reconciling
from imaging.uid import Uid
from storage.ledger.exceptions import Resolution
from storage.ledger.records import CustodyNote, Problem, PullClaim, Severity
from storage.ledger.seeds import SealRow
from storage.packs.model import Container, Ended, Member, PackId, Part, Receipt

STUDY = Uid("1.2")
FIRST, SECOND = "a" * 32, "b" * 32
NOTE = CustodyNote(event="moved", payload={})


@dataclass(kw_only=True)
class Spread:
    """The study, and what becomes of its devices."""

    world: Any
    claim: PullClaim

    def begin(self, number: int, device: str) -> Receipt:
        """The pack of the volume is on the device; two instances."""
        facts = self.world.facts(STUDY, 4)[2 * number - 2 : 2 * number]
        members = [Member(facts=each, offset=n * 1024, length=1024, lead=512) for n, each in enumerate(facts)]
        journal = self.world.ledger.uploads.journal(self.claim)
        journal.begin(key=f"packs/{number}", container=Container.TAR, device=device)
        journal.commit_group([Part(number=1, offset=0, size=2048, crc64=7, etag="")], members)
        return Receipt(key=f"packs/{number}", container=Container.TAR, size=2048, crc64=7, device=device)

    def end_first(self) -> Receipt:
        receipt = self.begin(1, FIRST)
        self.world.ledger.uploads.journal(self.claim).end_volume(receipt, Ended.DEVICE)
        return receipt

    def end_second(self, first: Receipt) -> None:
        receipts = (first, self.begin(2, SECOND))
        whole = Receipt(key="packs/1", container=Container.TAR, size=4096, crc64=9, volumes=receipts)
        root = self.world.root(self.world.facts(STUDY, 4))
        self.world.ledger.commits.written(self.claim, expected_root=root, receipt=whole, note=NOTE)

    def seal(self, device: str) -> None:
        row = SealRow(
            device_id=device, sealed_at=datetime.now(UTC), root=bytes(32), packs=1, instances=2, bytes=2048,
            serial=device[:4], note="note", sealed_by="m.keller",
        )  # fmt: skip
        self.world.ledger.seeds.seal(row)
        self.world.ledger.seeds.seal_page(device, NOTE, by="m.keller")

    def arrive(self, device: str, number: int, *, proven: bool = True) -> None:
        packs = [PackId(study_uid=STUDY, revision=1, volume=number)]
        self.world.ledger.seeds.land(device, packs, NOTE, by="m.keller")
        if proven:
            self.world.ledger.seeds.prove(device, packs, NOTE, by="m.keller")

    def stop(self, device: str) -> int:
        """The pack on the device is not what was sealed; the exception's id."""
        (pack,) = self.world.ledger.seeds.packs(device)
        found = Problem(kind="SHIPMENT_ALTERED", severity=Severity.CRITICAL, blocking=True, remedy="", evidence={})
        return self.world.ledger.seeds.damaged(pack, found, by="m.keller")

    def retry(self, exception_id: int) -> None:
        self.world.ledger.exceptions.resolve(exception_id, Resolution.RETRY, by="m.keller")

    @property
    def state(self) -> str:
        """Of the delivery in volumes; the other destination's waits to be fed."""
        return self.world.states(STUDY)[0]


@pytest.fixture
def spread(world: Any) -> Spread:
    world.planned(STUDY)
    for device in (FIRST, SECOND):
        world.ledger.jobs.set_device(world.cloud, device_id=device, path_label=device[:4], state="loading")
    return Spread(world=world, claim=world.pull())


def test_a_volume_that_turned_out_altered_is_proven_anew_before_its_study_is(spread: Spread) -> None:
    spread.end_second(spread.end_first())
    for number, device in enumerate((FIRST, SECOND), start=1):
        spread.seal(device)
        spread.arrive(device, number)
    proven = spread.state
    spread.retry(spread.stop(SECOND))

    spread.arrive(FIRST, 1)
    after_another = spread.state
    spread.arrive(SECOND, 2, proven=False)
    unproven = spread.state
    spread.arrive(SECOND, 2)

    assert (proven, after_another, unproven, spread.state) == ("validated", "arrived", "arrived", "validated")


def test_a_second_volume_that_is_altered_too_is_known_though_the_study_has_stopped_already(
    spread: Spread, world: Any
) -> None:
    spread.end_second(spread.end_first())
    for number, device in enumerate((FIRST, SECOND), start=1):
        spread.seal(device)
        spread.arrive(device, number)
    for number, device in enumerate((FIRST, SECOND), start=1):
        account = Account(packs={f"packs/{number}": PackVerdict(verdict=Verdict.ALTERED, what="has another CRC-64")})
        Reconciling(
            ledger=world.ledger, device_id=device, destination="cloud", destination_id=world.cloud,
            evidence="listing", document=bytes(32), proof=None, by="m.keller",
        ).settle(account)  # fmt: skip
    (stopped,) = world.ledger.exceptions.list_open()
    spread.retry(stopped.exception_id)

    spread.arrive(FIRST, 1)

    assert [each["device"] for each in (stopped.evidence, *stopped.evidence["earlier"])] == [SECOND, FIRST]
    assert spread.state == "arrived"


@pytest.mark.parametrize("written", [False, True], ids=["while it is pulled", "while it is read back"])
def test_a_study_that_stops_while_a_device_of_it_is_sealed_is_complete_once_both_have_arrived(
    written: bool, spread: Spread, world: Any
) -> None:
    first = spread.end_first()
    if written:
        spread.end_second(first)
        claim = world.validation()
    else:
        claim = spread.claim
    problem = Problem(kind="COUNT_SHORT", severity=Severity.ERROR, blocking=True, remedy="", evidence={})
    stopped = world.ledger.commits.fail(claim, problem)
    spread.seal(FIRST)
    spread.retry(stopped)
    if not written:
        spread.claim = world.pull()
        spread.end_second(first)

    sealed = spread.state
    spread.arrive(FIRST, 1)
    spread.seal(SECOND)
    spread.arrive(SECOND, 2)

    assert (sealed, spread.state) == ("sealed", "validated")


def test_what_lies_on_a_device_that_hangs_is_read_last_of_a_study_in_volumes_too(spread: Spread, world: Any) -> None:
    spread.end_second(spread.end_first())
    world.planned("1.3")
    world.write(world.pull())

    claim = world.ledger.claims.validate("validator-1", [world.cloud], timedelta(seconds=60), last=[SECOND])

    assert claim is not None and claim.study_uid == "1.3"
